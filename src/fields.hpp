#pragma once
/// Fields of a line, and numbers in them.

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/line_reader.hpp"
#include "src/utf8.hpp"

namespace refrain::detail {

/// The separator between the fields of a line.
struct Separator {
  std::string_view text;  ///< for instance "::"; empty: any run of blanks
  bool quotes = false;    ///< fields may be in double quotes, in which "" stands for one quote
};

/// A field for an error message: shortened and quoted, with unprintable bytes escaped.
inline std::string quoted(std::string_view field) {
  constexpr std::size_t max_bytes = 40;
  if (field.size() <= max_bytes) return detail::concat("\"", printable(field), "\"");
  std::size_t cut = max_bytes;
  while (cut > max_bytes - 3 && (static_cast<unsigned char>(field[cut]) & 0xC0) == 0x80) --cut;
  return detail::concat("\"", printable(field.substr(0, cut)), "...\"");
}

inline std::string_view trim(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// Iterates over the fields of a line and replaces doubled quotes in place.
class FieldSplitter {
 public:
  FieldSplitter(char* begin, char* end, Separator separator) noexcept
      : at_(begin), end_(end), separator_(separator) {}

  /// False after the last field. A line of n separators has n + 1 fields; blanks at the ends of a
  /// line separate no fields.
  bool next(std::string_view& field) noexcept {
    if (done_) return false;
    if (separator_.text.empty()) return next_word(field);
    if (separator_.quotes && at_ != end_ && *at_ == '"') return next_quoted(field);
    const std::string_view rest(at_, static_cast<std::size_t>(end_ - at_));
    const std::size_t length =
        separator_.text.size() == 1 ? rest.find(separator_.text[0]) : rest.find(separator_.text);
    field = rest.substr(0, length);
    step_over(field.size());
    return true;
  }

  /// The reason why splitting stopped early, or null.
  const char* problem() const noexcept { return problem_; }

 private:
  static bool is_blank(char c) noexcept { return c == ' ' || c == '\t'; }

  bool next_word(std::string_view& field) noexcept {
    while (at_ != end_ && is_blank(*at_)) ++at_;
    char* const begin = at_;
    while (at_ != end_ && !is_blank(*at_)) ++at_;
    field = {begin, static_cast<std::size_t>(at_ - begin)};
    return !field.empty();
  }

  bool next_quoted(std::string_view& field) noexcept {
    char* const begin = at_ + 1;
    char* to = begin;
    for (char* from = begin; from != end_; *to++ = *from++) {
      if (*from != '"') continue;
      ++from;
      if (from != end_ && *from == '"') continue;
      field = {begin, static_cast<std::size_t>(to - begin)};
      const std::string_view rest(from, static_cast<std::size_t>(end_ - from));
      if (!rest.empty() && !rest.starts_with(separator_.text))
        return stop("text follows a closing quote");
      step_over(static_cast<std::size_t>(from - at_));
      return true;
    }
    return stop(
        "a quote is not closed on its line: expected a closing quote, and no line break within "
        "quotes");
  }

  void step_over(std::size_t field) noexcept {
    at_ += field;
    done_ = at_ == end_;
    if (!done_) at_ += separator_.text.size();
  }

  bool stop(const char* problem) noexcept {
    problem_ = problem;
    done_ = true;
    return false;
  }

  char* at_;
  char* end_;
  Separator separator_;
  const char* problem_ = nullptr;
  bool done_ = false;
};

/// All fields.  Returns the reason why the line cannot be split, or null.
inline const char* split(const Line& line, Separator separator,
                         std::vector<std::string_view>& fields) {
  fields.clear();
  FieldSplitter splitter(line.begin, line.end, separator);
  for (std::string_view field; splitter.next(field);) fields.push_back(field);
  return splitter.problem();
}

/// Parses a whole field as a number; false when it is no number or out of range.
template <class Number>
bool parse(std::string_view field, Number& number) noexcept {
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), number);
  return error == std::errc() && end == field.data() + field.size();
}

/// True for a number with a decimal comma, such as 3,5.
inline bool has_decimal_comma(std::string_view field) {
  const std::size_t comma = field.find(',');
  if (comma == std::string_view::npos) return false;
  std::string with_point(field);
  with_point[comma] = '.';
  double number = 0;
  return parse(with_point, number);
}

/// Returns the reason why an id of a user or item (`of`) is invalid, or an empty string. Ids must
/// be UTF-8, because programs write them as JSON.
inline std::string check_id(std::string_view of, std::string_view id) {
  if (id.empty()) return detail::concat("the ", of, " id is empty");
  if (!is_utf8(id)) return detail::concat("the ", of, " id ", quoted(id), " is not UTF-8");
  return {};
}

}  // namespace refrain::detail
