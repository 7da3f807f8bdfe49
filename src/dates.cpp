#include "src/dates.hpp"

#include <chrono>

#include "src/digits.hpp"
#include "src/fields.hpp"

namespace refrain::detail {
namespace {

/// Reads a text from left to right. After the first failure all further reads fail.
class DateText {
 public:
  explicit DateText(std::string_view text) noexcept : rest_(text) {}

  bool is_at_digit() const noexcept { return !rest_.empty() && is_digit(rest_.front()); }
  const std::string& problem() const noexcept { return problem_; }

  /// Takes one character out of `characters`; '\0' if there is none.
  char take(std::string_view characters) noexcept {
    if (rest_.empty() || characters.find(rest_.front()) == std::string_view::npos) return '\0';
    const char taken = rest_.front();
    rest_.remove_prefix(1);
    return taken;
  }

  bool take_word(std::string_view word) noexcept {
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  /// Takes a number of exactly `digits` digits from `least` to `most`. `unit`: "a month".
  int number(std::string_view unit, std::size_t digits, int least, int most) {
    const std::string_view before = rest_;
    const int value = take_number(rest_, digits, digits);
    if (value < least || value > most) {
      fail(concat("expected ", unit, " from ", padded(least, digits), " to ", padded(most, digits),
                  ", got ", quoted(before.substr(0, digits))));
    }
    return value;
  }

  void expect(char mark) {
    if (take({&mark, 1}) == '\0') {
      fail(concat("expected '", std::string_view(&mark, 1), "', got ",
                  rest_.empty() ? "the end" : quoted(rest_)));
    }
  }

  /// Takes the digits of a fraction of a second, in microseconds.
  int fraction() {
    int value = 0, digits = 0;
    for (; is_at_digit(); rest_.remove_prefix(1), ++digits) {
      if (digits < 6) value = 10 * value + (rest_.front() - '0');
    }
    if (digits == 0) fail("expected digits after the decimal point");
    for (; digits < 6; ++digits) value *= 10;
    return value;
  }

  void fail(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
    rest_ = {};
  }

  void expect_end() {
    if (!rest_.empty()) {
      fail(concat("expected the end, a time of day (T10:15:00) or an offset (Z, +02:00), got ",
                  quoted(rest_)));
    }
  }

 private:
  static std::string padded(int value, std::size_t digits) {
    std::string text = std::to_string(value);
    return text.insert(0, digits - text.size(), '0');
  }

  std::string_view rest_;
  std::string problem_;
};

std::chrono::microseconds take_clock(DateText& text, bool has_marks) {
  using namespace std::chrono;
  const int hour = text.number("an hour", 2, 0, 23);
  if (has_marks) text.expect(':');
  const int minute = text.number("a minute", 2, 0, 59);
  microseconds time = hours(hour) + minutes(minute);
  if (has_marks ? text.take(":") != '\0' : text.is_at_digit()) {
    time += seconds(text.number("a second", 2, 0, 60));
    if (text.take(".,") != '\0') time += microseconds(text.fraction());
  }
  return time;
}

/// Takes an offset from UTC, possibly after a blank; sets `has_offset` if there is one.
std::chrono::microseconds take_offset(DateText& text, bool& has_offset) {
  using namespace std::chrono;
  text.take(" ");
  has_offset = true;
  if (text.take("Zz") != '\0' || text.take_word("UTC")) return microseconds(0);
  const char sign = text.take("+-");
  has_offset = sign != '\0';
  if (!has_offset) return microseconds(0);
  const int hour = text.number("the hours of an offset", 2, 0, 23);
  const bool has_minutes = text.take(":") != '\0' || text.is_at_digit();
  const int minute = has_minutes ? text.number("the minutes of an offset", 2, 0, 59) : 0;
  const microseconds offset = hours(hour) + minutes(minute);
  return sign == '-' ? -offset : offset;
}

}  // namespace

std::string parse_date(std::string_view text, DateTime& date) {
  using namespace std::chrono;
  DateText rest(text);
  const int year_number = rest.number("a year", 4, 0, 9999);
  const bool has_marks = rest.take("-") != '\0';
  const int month_number = rest.number("a month", 2, 1, 12);
  if (has_marks) rest.expect('-');
  if (!rest.problem().empty()) return rest.problem();
  const year_month of_month = year(year_number) / static_cast<int>(month_number);
  const year_month_day last = of_month / std::chrono::last;
  const int day_number =
      rest.number("a day", 2, 1, static_cast<int>(static_cast<unsigned>(last.day())));
  DateTime read;
  microseconds clock{0}, offset{0};
  const bool has_clock = rest.take("Tt ") != '\0';
  if (has_clock) {
    clock = take_clock(rest, has_marks);
    offset = take_offset(rest, read.has_offset);
  }
  rest.expect_end();
  if (!rest.problem().empty()) return rest.problem();
  const sys_days day(of_month / day_number);
  read.microseconds = (microseconds(day.time_since_epoch()) + clock - offset).count();
  date = read;
  return {};
}

}  // namespace refrain::detail
