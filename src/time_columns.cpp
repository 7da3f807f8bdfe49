#include "src/time_columns.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <string>
#include <vector>

namespace refrain::detail {
namespace {

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool is_upper(char c) noexcept { return c >= 'A' && c <= 'Z'; }
bool is_lower(char c) noexcept { return c >= 'a' && c <= 'z'; }

template <class Words>
bool contains(const Words& words, std::string_view word) noexcept {
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// The words of a name in lower case, split at capitals and at all characters but letters and
/// digits.
std::vector<std::string> words_of(std::string_view name) {
  std::vector<std::string> words;
  bool in_word = false;
  char before = ' ';
  for (const char c : name) {
    if (is_upper(c) || is_lower(c) || is_digit(c)) {
      if (!in_word || (is_upper(c) && is_lower(before))) words.emplace_back();
      words.back() += is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c;
      in_word = true;
    } else {
      in_word = false;
    }
    before = c;
  }
  return words;
}

/// Removes a number of `min_digits` to `max_digits` digits from the front; negative when there are
/// fewer.
int take_number(std::string_view& text, std::size_t min_digits, std::size_t max_digits) noexcept {
  std::size_t digits = 0;
  while (digits < std::min(max_digits, text.size()) && is_digit(text[digits])) ++digits;
  if (digits < min_digits) return -1;
  int value = 0;
  std::from_chars(text.data(), text.data() + digits, value);
  text.remove_prefix(digits);
  return value;
}

bool take_one_of(std::string_view& text, std::string_view characters) noexcept {
  if (text.empty() || characters.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

bool is_day(int year, int month, int day) noexcept {
  return year >= 1900 && year <= 2200 && month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

/// True at the end of a date, or before a time of day.
bool is_end_or_clock(std::string_view rest) noexcept {
  return rest.empty() || (take_one_of(rest, "T t") && !rest.empty() && is_digit(rest.front()));
}

/// 2024-01-31, 2024/1/31, 20240131
bool is_year_first(std::string_view text) noexcept {
  const int year = take_number(text, 4, 4);
  const bool has_marks = take_one_of(text, "-/.");
  const std::size_t min_digits = has_marks ? 1 : 2;
  const int month = take_number(text, min_digits, 2);
  if (has_marks && !take_one_of(text, "-/.")) return false;
  const int day = take_number(text, min_digits, 2);
  return is_day(year, month, day) && is_end_or_clock(text);
}

/// 31.01.2024, 1/31/2024
bool is_year_last(std::string_view text) noexcept {
  const int first = take_number(text, 1, 2);
  if (!take_one_of(text, "-/.")) return false;
  const int second = take_number(text, 1, 2);
  if (!take_one_of(text, "-/.")) return false;
  const int year = take_number(text, 4, 4);
  return (is_day(year, first, second) || is_day(year, second, first)) && is_end_or_clock(text);
}

/// Seconds, milliseconds or microseconds since 1970, from 1985 to 2038.
bool is_epoch(std::string_view text) noexcept {
  constexpr std::int64_t begin = 473'385'600, end = std::int64_t{1} << 31;
  const std::size_t point = text.find('.');
  if (point != std::string_view::npos) {
    const std::string_view fraction = text.substr(point + 1);
    if (!std::all_of(fraction.begin(), fraction.end(), is_digit)) return false;
    text = text.substr(0, point);
  }
  std::int64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size()) return false;
  for (const std::int64_t unit : {1, 1'000, 1'000'000}) {
    if (value >= begin * unit && value < end * unit) return true;
  }
  return false;
}

}  // namespace

bool is_time_name(std::string_view column) {
  static constexpr std::array<std::string_view, 10> time_words{
      "time", "timestamp", "ts", "date", "datetime", "day", "at", "epoch", "when", "utc"};
  static constexpr std::array<std::string_view, 15> events{
      "created", "updated", "event", "order",   "purchase", "review", "click", "view",
      "rating",  "visit",   "added", "session", "start",    "end",    "unix"};
  const std::vector<std::string> words = words_of(column.substr(0, column.find(':')));
  if (words.empty()) return false;
  const std::string_view last = words.back();
  if (contains(time_words, last) || last.ends_with("timestamp") || last.ends_with("datetime"))
    return true;
  // createdat, orderdate
  return std::any_of(events.begin(), events.end(), [&](std::string_view event) {
    return last.starts_with(event) && contains(time_words, last.substr(event.size()));
  });
}

bool looks_like_date(std::string_view field) noexcept {
  return is_year_first(field) || is_year_last(field);
}

bool looks_like_time(std::string_view field) noexcept {
  return looks_like_date(field) || is_epoch(field);
}

}  // namespace refrain::detail
