#pragma once
// The events of a log that are in no history yet.

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <span>
#include <vector>

#include "src/server/history_bytes.hpp"

namespace refrain::detail {

/// The events that are in no history, by user. Memory replaces an index of the table `events`,
/// which would cost a page for each user of a transaction.
using Recent = std::map<std::int64_t, std::vector<UserEvent>>;

/// How far the log is. Events up to `folded` are in the histories. A pass of fold() moves those up
/// to `pass_end`, user by user; it has done the users below `pass_user`. 0: no pass.
struct Positions {
  std::int64_t newest = 0;
  std::int64_t folded = 0;
  std::int64_t pass_end = 0;
  std::int64_t pass_user = 0;

  bool is_folded(std::int64_t user, std::int64_t position) const {
    return position <= folded || (position <= pass_end && user < pass_user);
  }
};

inline std::span<const UserEvent> up_to(const std::vector<UserEvent>& events, std::int64_t end) {
  const auto after = std::upper_bound(
      events.begin(), events.end(), end,
      [](std::int64_t position, const UserEvent& event) { return position < event.position; });
  return {events.begin(), after};
}

/// Adds newer events and leaves out all but the newest `count`.
inline void add(StoredHistory& history, std::span<const UserEvent> events, std::int64_t count) {
  history.events.insert(history.events.end(), events.begin(), events.end());
  const auto size = static_cast<std::int64_t>(history.events.size());
  if (size <= count) return;
  const auto end = history.events.begin() + (size - count);
  history.left_out = std::prev(end)->position;
  history.events.erase(history.events.begin(), end);
}

}  // namespace refrain::detail
