#include "src/time_columns.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <vector>

#include "src/dates.hpp"
#include "src/digits.hpp"
#include "src/fields.hpp"

namespace refrain::detail {
namespace {

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

/// True when parse_date() is to report about this text: 2024-..., 20240131T...
bool is_iso_start(std::string_view text) noexcept {
  if (take_number(text, 4, 4) < 0) return false;
  return take_one_of(text, "-") || (take_number(text, 4, 4) >= 0 && take_one_of(text, "Tt "));
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

bool looks_like_time(std::string_view field) noexcept {
  return is_year_first(field) || is_year_last(field) || is_epoch(field);
}

std::string TimeParser::parse(std::string_view field, std::int64_t line, std::int64_t& time) {
  field = trim(field);
  Form form = Form::number;
  if (std::string reason = parse_any(field, time, form); !reason.empty()) return reason;
  if (form_ == Form::unknown) {
    form_ = form;
    first_line_ = line;
  }
  if (form == form_) return {};
  const auto text = [](Form of) {
    switch (of) {
      case Form::date:
        return "a date without an offset from UTC";
      case Form::date_with_offset:
        return "a date with an offset from UTC";
      default:
        return "a number";
    }
  };
  return concat("time ", quoted(field), " is ", text(form), ": expected ", text(form_),
                ", as in line ", first_line_);
}

std::string TimeParser::parse_any(std::string_view field, std::int64_t& time, Form& form) {
  if (detail::parse(field, time)) return {};
  double decimal = 0;
  if (detail::parse(field, decimal) && !std::isnan(decimal)) {
    if (!(decimal >= -0x1p63 && decimal < 0x1p63))
      return concat("time ", quoted(field), " does not fit 64 bits");
    time = static_cast<std::int64_t>(decimal);
    return {};
  }
  if (field.empty()) return "the time is empty";
  if (is_year_last(field)) {
    return concat("time ", quoted(field),
                  " is a date with the year last, in which day and month may be confused: expected "
                  "the year first, as in 2024-01-31 or 2024-01-31T10:15:00Z");
  }
  if (!is_iso_start(field)) {
    return concat("time ", quoted(field), " is neither a number nor a date as in ISO 8601 ",
                  "(2024-01-31, 2024-01-31T10:15:00Z)",
                  has_decimal_comma(field) ? ": write a decimal point" : "");
  }
  DateTime date;
  if (const std::string reason = parse_date(field, date); !reason.empty())
    return concat("date ", quoted(field), ": ", reason);
  time = date.microseconds;
  form = date.has_offset ? Form::date_with_offset : Form::date;
  return {};
}

void TimeOrder::add(std::int32_t user, std::int64_t time) {
  const auto number = static_cast<std::size_t>(user);
  if (number >= latest_.size()) {
    latest_.resize(number + 1);
    has_latest_.resize(number + 1);
  }
  if (has_latest_[number]) {
    rises_ += time > latest_[number];
    falls_ += time < latest_[number];
    ties_ += time == latest_[number];
  }
  latest_[number] = time;
  has_latest_[number] = true;
}

}  // namespace refrain::detail
