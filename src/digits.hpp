#pragma once
/// Digits at the front of a text.

#include <algorithm>
#include <charconv>
#include <string_view>

namespace refrain::detail {

inline bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

/// Removes a number of `min_digits` to `max_digits` digits (at most 9) from the front; negative
/// when there are fewer.
inline int take_number(std::string_view& text, std::size_t min_digits,
                       std::size_t max_digits) noexcept {
  std::size_t digits = 0;
  while (digits < std::min(max_digits, text.size()) && is_digit(text[digits])) ++digits;
  if (digits < min_digits) return -1;
  int value = 0;
  std::from_chars(text.data(), text.data() + digits, value);
  text.remove_prefix(digits);
  return value;
}

}  // namespace refrain::detail
