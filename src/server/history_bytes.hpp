#pragma once
// The newest events of a user as bytes.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace refrain::detail {

/// An event of one user.
struct UserEvent {
  std::int64_t position;
  std::int64_t item;  ///< its number in the log
};

/// The newest events of a user, oldest first, and the position of the newest event left out.
struct StoredHistory {
  std::int64_t left_out = 0;
  std::vector<UserEvent> events;
};

/// `left_out`, then for each event the difference of its position to the event before, and its
/// item; all as integers of 7 bits a byte, low bits first.
std::string history_bytes(const StoredHistory& history);

/// Inverts history_bytes(); nothing for other bytes.
std::optional<StoredHistory> parse_history(std::string_view bytes);

}  // namespace refrain::detail
