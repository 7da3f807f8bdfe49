#include "refrain/serve/filters.hpp"

#include <utility>

namespace refrain::serve {

std::shared_ptr<const TargetSet> Filter::of(
    const std::shared_ptr<const Vocabulary>& targets) const {
  {
    const std::shared_lock lock(mutex_);
    const auto found = sets_.find(targets);
    if (found != sets_.end()) return found->second;
  }
  const std::unique_lock lock(mutex_);
  std::erase_if(sets_, [](const auto& set) { return set.first.expired(); });
  const auto found = sets_.find(targets);
  if (found != sets_.end()) return found->second;
  auto set = std::make_shared<const TargetSet>(TargetSet::of_names(*targets, items_));
  sets_.emplace(targets, set);
  return set;
}

std::shared_ptr<const Filters::Map> Filters::now() const {
  const std::lock_guard lock(mutex_);
  return map_;
}

void Filters::set(const std::string& name, std::shared_ptr<const Filter> filter) {
  std::shared_ptr<const Map> before;  // destroyed after the lock is released
  const std::lock_guard lock(mutex_);
  auto after = std::make_shared<Map>(*map_);
  (*after)[name] = std::move(filter);
  before = std::exchange(map_, std::move(after));
}

void Filters::drop(const std::string& name) {
  std::shared_ptr<const Map> before;
  const std::lock_guard lock(mutex_);
  find(*map_, name);
  auto after = std::make_shared<Map>(*map_);
  after->erase(name);
  before = std::exchange(map_, std::move(after));
}

const Filter& Filters::find(const Map& map, std::string_view name) {
  const auto found = map.find(name);
  if (found != map.end()) return *found->second;
  std::string known;
  for (const auto& [each, filter] : map) known += (known.empty() ? "" : ", ") + each;
  throw OptionError(refrain::detail::concat("unknown filter '", name,
                                            "'; set: ", known.empty() ? "none" : known));
}

RequestSelection::RequestSelection(const Request& request, const Filters::Map& filters,
                                   const std::shared_ptr<const Vocabulary>& targets)
    : seen_(request.seen) {
  for (const std::string& item : request.exclude) {
    const std::int32_t id = targets->find(item);
    exclude_.push_back(id);
    if (id < targets->first_item()) ++unknown_;
  }
  if (request.allow) {
    sets_.push_back(
        std::make_shared<const TargetSet>(TargetSet::of_names(*targets, *request.allow)));
    unknown_ += sets_.back()->unknown();
  }
  for (const std::string& name : request.filters)
    sets_.push_back(Filters::find(filters, name).of(targets));
  for (const std::shared_ptr<const TargetSet>& set : sets_) views_.push_back(set.get());
}

}  // namespace refrain::serve
