#pragma once
/// Rows and events that readers return, as texts.

#include <string>
#include <vector>

#include "refrain/data/readers.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"

namespace refrain::test {

using Words = std::vector<std::vector<std::string>>;

/// Rows as original ids.
inline Words words(const Sequences& sequences) {
  Words rows;
  for (std::int64_t row = 0; row < sequences.rows.rows(); ++row) {
    rows.emplace_back();
    for (const std::int32_t item : sequences.rows[row])
      rows.back().emplace_back(sequences.items[item]);
  }
  return rows;
}

inline std::vector<std::string> row_users(const Sequences& sequences) {
  std::vector<std::string> users;
  for (const std::int32_t user : sequences.user) users.emplace_back(sequences.users[user]);
  return users;
}

inline std::vector<std::string> events(const Interactions& log) {
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < log.user.size(); ++i) {
    lines.push_back(detail::concat(log.users[log.user[i]], " ", log.items[log.item[i]]));
    if (!log.rating.empty()) lines.back() += detail::concat(" ", log.rating[i]);
    if (!log.time.empty()) lines.back() += detail::concat(" ", log.time[i]);
  }
  return lines;
}

}  // namespace refrain::test
