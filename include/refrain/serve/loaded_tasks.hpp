#pragma once
/// The tasks that a server has loaded.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "refrain/core/error.hpp"

namespace refrain::detail {

/// Tasks by name, which any thread may load and unload while others read them: both replace the map
/// as a whole, so that a map in use does not change. A Loaded has a member `number`.
template <class Loaded>
class LoadedTasks {
 public:
  using Map = std::map<std::string, std::shared_ptr<const Loaded>, std::less<>>;

  /// The tasks at this moment.
  std::shared_ptr<const Map> now() const {
    const std::shared_lock lock(mutex_);
    return map_;
  }

  /// Adds a task, or replaces the task with this name. Its number is unique.
  void load(const std::string& name, std::shared_ptr<Loaded> loaded) {
    std::shared_ptr<const Map> before;  // destroyed after the lock is released
    const std::unique_lock lock(mutex_);
    loaded->number = ++loads_;
    auto after = std::make_shared<Map>(*map_);
    (*after)[name] = std::move(loaded);
    before = std::exchange(map_, std::move(after));
  }

  /// Removes a task; false when there is none with this name.
  bool unload(std::string_view name) {
    std::shared_ptr<const Map> before;
    const std::unique_lock lock(mutex_);
    const auto found = map_->find(name);
    if (found == map_->end()) return false;
    auto after = std::make_shared<Map>(*map_);
    after->erase(found->first);
    before = std::exchange(map_, std::move(after));
    return true;
  }

  static const Loaded* find_or_null(const Map& map, std::string_view name) {
    const auto found = map.find(name);
    return found == map.end() ? nullptr : found->second.get();
  }

  /// Throws OptionError, with the names of the loaded tasks, for an unknown one.
  static const Loaded& find(const Map& map, std::string_view name) {
    if (const Loaded* const loaded = find_or_null(map, name)) return *loaded;
    std::string known;
    for (const std::string& each : names_of(map)) known += (known.empty() ? "" : ", ") + each;
    throw OptionError(
        concat("unknown task '", name, "'; loaded: ", known.empty() ? "none" : known));
  }

  static std::vector<std::string> names_of(const Map& map) {
    std::vector<std::string> names;
    for (const auto& [name, task] : map) names.push_back(name);
    return names;
  }

 private:
  mutable std::shared_mutex mutex_;
  std::shared_ptr<const Map> map_ = std::make_shared<const Map>();
  std::uint64_t loads_ = 0;
};

}  // namespace refrain::detail
