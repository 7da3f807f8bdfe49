#pragma once
/// Dates and times of day in ISO 8601.

#include <cstdint>
#include <string>
#include <string_view>

namespace refrain::detail {

/// A point in time.
struct DateTime {
  std::int64_t microseconds = 0;  ///< since 1970-01-01T00:00:00, in UTC if there is an offset
  bool has_offset = false;        ///< the text states its offset from UTC (Z, UTC, +02:00)
};

/// Parses a date of the proleptic Gregorian calendar, years 0000 to 9999, and a time of day:
/// 2024-01-31, 2024-01-31T10:15, 2024-01-31 10:15:00.123, 2024-01-31T10:15:00+02:00,
/// 20240131T101500Z. A second 60, a leap second, equals the second after it. Digits after the
/// microsecond are dropped. Returns the reason of a failure, or an empty string.
std::string parse_date(std::string_view text, DateTime& date);

}  // namespace refrain::detail
