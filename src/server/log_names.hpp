#pragma once
// The names of the users and of the items of an event log.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "src/server/database.hpp"

namespace refrain::detail {

/// Names in memory; more are read from the file.
inline constexpr std::size_t max_cached_names = std::size_t{1} << 18U;

/// The numbers of names: of the users or of the items of the log. A transaction adds names.
class Names {
 public:
  Names(Database& database, const char* find, const char* add)
      : find_(database, find), add_(database, add) {}

  std::optional<std::int64_t> find(const std::string& name) {
    if (const auto cached = cache_.find(name); cached != cache_.end()) return cached->second;
    Rows rows(find_, std::string_view(name));
    if (!rows.next()) return std::nullopt;
    return remember(name, rows.integer(0));
  }

  /// Finds the number of a name, or gives it one; `value` is the second column of its row.
  std::int64_t find_or_add(const std::string& name, std::int64_t value) {
    if (const auto found = find(name)) return *found;
    Rows rows(add_, std::string_view(name), value);
    rows.next();
    const std::int64_t id = rows.integer(0);
    // The row is complete when the statement ends.
    rows.next();
    added_.push_back(name);
    return remember(name, id);
  }

  /// The transaction that added names has ended. Returns the number of added names.
  std::int64_t keep_added() { return static_cast<std::int64_t>(std::exchange(added_, {}).size()); }
  void forget_added() {
    for (const std::string& name : std::exchange(added_, {})) cache_.erase(name);
  }
  void forget(const std::string& name) { cache_.erase(name); }
  void forget_all() { cache_.clear(); }

 private:
  std::int64_t remember(const std::string& name, std::int64_t id) {
    if (cache_.size() >= max_cached_names) cache_.clear();
    return cache_.insert_or_assign(name, id).first->second;
  }

  Statement find_;
  Statement add_;
  std::unordered_map<std::string, std::int64_t> cache_;
  std::vector<std::string> added_;
};

}  // namespace refrain::detail
