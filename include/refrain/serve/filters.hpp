#pragma once
/// Named filters of requests.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/serve/message.hpp"

namespace refrain::serve {

/// The items of one filter. It keeps their names, also those that no loaded task knows, and a set
/// of targets for each vocabulary that a request has used. Any thread may call any function.
class REFRAIN_API Filter {
 public:
  explicit Filter(std::vector<std::string> items) : items_(std::move(items)) {}

  const std::vector<std::string>& items() const noexcept { return items_; }

  /// The filter's targets in a vocabulary. The first call for a vocabulary looks up all names.
  std::shared_ptr<const TargetSet> of(const std::shared_ptr<const Vocabulary>& targets) const;

 private:
  std::vector<std::string> items_;
  mutable std::shared_mutex mutex_;
  mutable std::map<std::weak_ptr<const Vocabulary>, std::shared_ptr<const TargetSet>,
                   std::owner_less<>>
      sets_;
};

/// Filters by name. Any thread may change them: the map is replaced as a whole, so that a map in
/// use does not change.
class REFRAIN_API Filters {
 public:
  using Map = std::map<std::string, std::shared_ptr<const Filter>, std::less<>>;

  /// The filters at this moment.
  std::shared_ptr<const Map> now() const;
  /// Adds a filter, or replaces the filter with this name.
  void set(const std::string& name, std::shared_ptr<const Filter> filter);
  /// Throws OptionError for an unknown filter.
  void drop(const std::string& name);

  /// Throws OptionError, with the names of the filters, for an unknown one.
  static const Filter& find(const Map& map, std::string_view name);

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Map> map_ = std::make_shared<const Map>();
};

/// The targets that a request may recommend, in the ids of one task.
class REFRAIN_API RequestSelection {
 public:
  /// Throws OptionError for an unknown filter.
  RequestSelection(const Request& request, const Filters::Map& filters,
                   const std::shared_ptr<const Vocabulary>& targets);

  /// Number of names of "exclude" and "allow" that are no targets.
  std::int64_t unknown() const noexcept { return unknown_; }
  /// Valid during the lifetime of this object.
  TargetSelection view() const { return {.exclude = exclude_, .filters = views_, .seen = seen_}; }

 private:
  std::vector<std::int32_t> exclude_;
  std::vector<std::shared_ptr<const TargetSet>> sets_;
  std::vector<const TargetSet*> views_;
  SeenItems seen_;
  std::int64_t unknown_ = 0;
};

}  // namespace refrain::serve
