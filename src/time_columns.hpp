#pragma once
/// Recognition of columns that hold times.

#include <string_view>

namespace refrain::detail {

/// True when the name of a column suggests times: created_at, orderDate, event-time, day. Ignores
/// text after a colon.
bool is_time_name(std::string_view column);

/// True when a field looks like a date (2024-01-31, 31/01/2024 10:15, 20240131, ISO 8601) or a Unix
/// time in seconds, milliseconds or microseconds after 1985.
bool looks_like_time(std::string_view field) noexcept;

/// True when a field looks like a date rather than a number.
bool looks_like_date(std::string_view field) noexcept;

}  // namespace refrain::detail
