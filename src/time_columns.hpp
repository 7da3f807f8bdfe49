#pragma once
/// Recognition of columns that hold times.

#include <string_view>

namespace refrain::detail {

/// Whether a column of this name is likely to hold times: created_at, orderDate, event-time, day.
/// What follows a colon does not count.
bool is_time_name(std::string_view column);

/// Whether a field is likely to be a date (2024-01-31, 31/01/2024 10:15, 20240131, ISO 8601) or a
/// Unix time in seconds, milliseconds or microseconds after 1985.
bool looks_like_time(std::string_view field) noexcept;

/// Whether a field is likely to be a date rather than a number.
bool looks_like_date(std::string_view field) noexcept;

}  // namespace refrain::detail
