#pragma once
// The elements of a JSON list as texts.

#include <cstddef>
#include <string_view>
#include <vector>

namespace refrain::detail {

/// Whether a text begins a JSON list.
bool is_json_list(std::string_view text);

/// The texts of a list's elements, which are not parsed themselves. Throws OptionError for an
/// unbalanced list, for text after it, and for more than `most` elements.
std::vector<std::string_view> json_elements(std::string_view list, std::size_t most);

/// The lines of a text that are not blank. Throws OptionError for more than `most` of them.
std::vector<std::string_view> filled_lines(std::string_view text, std::size_t most);

}  // namespace refrain::detail
