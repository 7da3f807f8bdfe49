#pragma once
/// Standard input, output and error of a program.

#include <fmt/core.h>

#include <string_view>
#include <utility>

namespace refrain::examples {

/// Opens /dev/null in place of each closed standard descriptor. Otherwise the first file that the
/// program opens would become its standard output.
void open_standard_streams();

/// Ends the output of this process, which another one prints: standard output goes to /dev/null,
/// and say() writes nothing.
void mute_standard_streams() noexcept;

/// Writes to standard error. A failure is ignored, because it cannot be reported anywhere else.
void say(std::string_view text) noexcept;

template <class... Values>
void say(fmt::format_string<Values...> format, Values&&... values) {
  say(std::string_view(fmt::format(format, std::forward<Values>(values)...)));
}

/// Flushes standard output. finish_output() reports a failure.
void flush_output() noexcept;

/// Flushes standard output at the end of a program. If some of the output was lost, prints the
/// reason to standard error and returns false. `error`: errno of an earlier failure.
bool finish_output(const char* program, int error = 0);

}  // namespace refrain::examples
