#pragma once
/// Events and requests of users, as a Recommender receives them, and its answers.

#include <cstdint>
#include <exception>
#include <span>
#include <string_view>
#include <vector>

#include "refrain/serve/recommendation.hpp"
#include "refrain/serve/target_set.hpp"

namespace refrain {

/// What a request does with the items of the history.
enum class SeenItems : std::uint8_t {
  by_task,  ///< excludes them if the task was loaded with leave_out
  exclude,  ///< excludes the targets with their names
  include,  ///< may recommend them again
};

/// The targets that one request may recommend: by default all of the task, except for seen ones.
/// The best k of these are found, not those of the best k of all, so an answer is shorter than k
/// only if fewer remain; it may be empty. A view: ids and sets must outlive the call.
struct TargetSelection {
  /// ids of targets that are not recommended; other numbers are ignored
  std::span<const std::int32_t> exclude{};
  /// only targets that are in every one of these sets are recommended
  std::span<const TargetSet* const> filters{};
  SeenItems seen = SeenItems::by_task;
};

/// Options of a Recommender.
struct RecommenderOptions {
  /// Number of newest items kept of a user; older ones are forgotten and no longer count as seen.
  /// 0: all. A full pass reads the kept items, so it must be at least the number of time steps that
  /// the model reads.
  std::int64_t history = 0;
};

/// An item of one user, in a batch.
template <class User>
struct ServedEvent {
  User* user = nullptr;
  std::int32_t item = 0;
};

/// One of a batch of requests: after the history of a user, or after given items.
template <class User>
struct ServedRequest {
  std::string_view task{};
  const User* user = nullptr;               ///< null: after `history`
  std::span<const std::int32_t> history{};  ///< oldest item first; not read for a user
  std::int64_t k = 10;
  TargetSelection select{};
};

/// The answer to one of a batch of requests.
struct ServedAnswer {
  std::vector<Recommendation> best;
  std::exception_ptr error{};  ///< what recommend() of this request throws; null: no error
};

}  // namespace refrain
