#pragma once
/// A bounded map that forgets what was not used for longest.

#include <cstddef>
#include <functional>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "refrain/core/error.hpp"

namespace refrain::detail {

/// Values by name. While there are more than `capacity`, each call of find() and insert() removes
/// those that were not used for longest, up to one for which `may_leave` is false. Used by one
/// thread at a time.
template <class Value>
class RecentlyUsed {
 public:
  using MayLeave = std::function<bool(const Value&)>;

  explicit RecentlyUsed(std::size_t capacity, MayLeave may_leave = {})
      : capacity_(capacity), may_leave_(std::move(may_leave)) {
    if (capacity == 0) throw OptionError("RecentlyUsed: expected a capacity of at least 1, got 0");
  }

  std::size_t size() const noexcept { return index_.size(); }
  std::size_t capacity() const noexcept { return capacity_; }

  /// The value of a name, which counts as its use; null if there is none. The pointer is valid
  /// until the next call.
  Value* find(std::string_view name) {
    const auto found = index_.find(name);
    if (found == index_.end()) return nullptr;
    order_.splice(order_.begin(), order_, found->second);
    shrink();
    return &order_.front().second;
  }

  /// Adds a value, or replaces the value of the name.
  Value& insert(std::string_view name, Value value) {
    erase(name);
    order_.emplace_front(std::string(name), std::move(value));
    index_.emplace(order_.front().first, order_.begin());
    shrink();
    return order_.front().second;
  }

  /// While it exists, no value is removed by other values, and pointers stay valid.
  class Hold {
   public:
    explicit Hold(RecentlyUsed& map) : map_(map) { ++map_.holds_; }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() {
      --map_.holds_;
      map_.shrink();
    }

   private:
    RecentlyUsed& map_;
  };

  bool erase(std::string_view name) {
    const auto found = index_.find(name);
    if (found == index_.end()) return false;
    const auto at = found->second;
    index_.erase(found);
    order_.erase(at);
    return true;
  }

  /// Calls function(name, value) for each value, the one used last first.
  template <class Function>
  void for_each(Function&& function) const {
    for (const auto& [name, value] : order_) function(name, value);
  }
  template <class Function>
  void for_each(Function&& function) {
    for (auto& [name, value] : order_) function(name, value);
  }

 private:
  void shrink() {
    // The value used last stays.
    while (holds_ == 0 && index_.size() > capacity_ && index_.size() > 1 &&
           (!may_leave_ || may_leave_(order_.back().second))) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
  }

  using Order = std::list<std::pair<std::string, Value>>;
  std::size_t capacity_;
  MayLeave may_leave_;
  std::size_t holds_ = 0;
  Order order_;  ///< the value used last first
  std::unordered_map<std::string_view, typename Order::iterator> index_;
};

}  // namespace refrain::detail
