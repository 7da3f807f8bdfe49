#pragma once
/// Formatting of messages.

#include <fmt/format.h>

#include <iterator>
#include <string>

namespace refrain::examples {

/// Concatenates the formatted arguments, independently of the locale.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::string text;
  (fmt::format_to(std::back_inserter(text), "{}", parts), ...);
  return text;
}

}  // namespace refrain::examples
