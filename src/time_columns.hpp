#pragma once
/// Columns that hold times: their recognition, their fields and their order.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace refrain::detail {

/// True when the name of a column suggests times: created_at, orderDate, event-time, day. Ignores
/// text after a colon.
bool is_time_name(std::string_view column);

/// True when a field looks like a date (2024-01-31, 31/01/2024 10:15, 20240131, ISO 8601) or a Unix
/// time in seconds, milliseconds or microseconds after 1985.
bool looks_like_time(std::string_view field) noexcept;

/// Parses the fields of one time column, which are either all numbers, or all dates with an offset
/// from UTC, or all dates without one: times of different forms have no order.
class TimeParser {
 public:
  /// Parses a number, whose fraction is dropped (RecBole writes floats), or a date as microseconds
  /// since 1970 (parse_date()). `line`: the number of the field's line. Returns the reason of a
  /// failure, or an empty string.
  std::string parse(std::string_view field, std::int64_t line, std::int64_t& time);

 private:
  enum class Form : std::uint8_t { unknown, number, date, date_with_offset };

  static std::string parse_any(std::string_view field, std::int64_t& time, Form& form);

  Form form_ = Form::unknown;  ///< of the first field
  std::int64_t first_line_ = 0;
};

/// Counts how the times of each user's consecutive events change.
class TimeOrder {
 public:
  void add(std::int32_t user, std::int64_t time);
  /// Adds the counts of other users.
  void add(const TimeOrder& other) noexcept {
    rises_ += other.rises_;
    falls_ += other.falls_;
    ties_ += other.ties_;
  }
  /// Keeps the counts; the numbers of users may then mean others.
  void forget_users() {
    latest_.clear();
    has_latest_.clear();
  }

  /// Pairs of consecutive events of a user with equal times.
  std::int64_t ties() const noexcept { return ties_; }
  /// True when times fall, with at most one rise for 20 falls: the newest event comes first.
  bool is_falling() const noexcept { return falls_ > 0 && 20 * rises_ <= falls_; }
  /// True when is_falling() remains false for a log of this many events.
  bool never_falls(std::int64_t events) const noexcept { return 20 * rises_ > events; }

 private:
  std::vector<std::int64_t> latest_;  ///< by user
  std::vector<bool> has_latest_;
  std::int64_t rises_ = 0, falls_ = 0, ties_ = 0;
};

}  // namespace refrain::detail
