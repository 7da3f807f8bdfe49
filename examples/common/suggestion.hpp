#pragma once
/// Suggestions for misspelt names.

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace refrain::examples {

/// " (did you mean X?)" for the name closest to the given one; empty if no name is close.
std::string suggestion(std::string_view given, const std::vector<std::string>& names);

/// "--length", ... of a command.
std::vector<std::string> option_names(const CLI::App& command);

/// "pretrain", ... of a program.
std::vector<std::string> command_names(const CLI::App& program);

}  // namespace refrain::examples
