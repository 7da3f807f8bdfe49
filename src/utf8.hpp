#pragma once
/// UTF-8 in ids and messages.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace refrain::detail {

/// Length in bytes of the UTF-8 character at the start of `text`; 0 for an empty text and for
/// invalid bytes, including overlong forms and surrogates.
inline std::size_t utf8_length(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto follows = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return byte(i) >= low && byte(i) <= high;
  };
  if (text.empty()) return 0;
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return follows(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF)
    return follows(1, lead == 0xE0 ? 0xA0 : 0x80, lead == 0xED ? 0x9F : 0xBF) && follows(2) ? 3 : 0;
  if (lead >= 0xF0 && lead <= 0xF4) {
    return follows(1, lead == 0xF0 ? 0x90 : 0x80, lead == 0xF4 ? 0x8F : 0xBF) && follows(2) &&
                   follows(3)
               ? 4
               : 0;
  }
  return 0;
}

/// True when all bytes are ASCII; tests eight bytes at a time.
inline bool is_ascii(std::string_view text) noexcept {
  std::uint64_t high = 0;
  for (; text.size() >= sizeof high; text.remove_prefix(sizeof high)) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data(), sizeof word);
    high |= word;
  }
  for (const char c : text) high |= static_cast<unsigned char>(c);
  return (high & 0x8080808080808080u) == 0;
}

inline bool is_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

/// A text for a message: control characters and invalid UTF-8 are written as \t, \n, \r or \xHH.
inline std::string printable(std::string_view text) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string shown;
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const unsigned char first = static_cast<unsigned char>(text.front());
    if (length > 0 && first >= 0x20 && first != 0x7F) {
      shown += text.substr(0, length);
    } else if (first == '\t' || first == '\n' || first == '\r') {
      shown += first == '\t' ? "\\t" : first == '\n' ? "\\n" : "\\r";
    } else {
      shown += "\\x";
      shown += digits[first >> 4];
      shown += digits[first & 15];
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return shown;
}

}  // namespace refrain::detail
