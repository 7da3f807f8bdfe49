#pragma once
/// A small model and its service: the items that most often follow the newest one.

#include <fstream>
#include <string>
#include <vector>

#include "refrain/serve/service.hpp"

namespace refrain::server_test {

constexpr std::int32_t follower_items = 20;

/// Scores of the targets: those of the newest item, moved by the task's offset.
struct Followers {
  struct Task {
    std::int32_t offset = 1;
    std::string identity() const { return std::to_string(offset); }
  };
  using Stream = std::int64_t;  ///< the sum of the items

  std::string identity() const { return "followers"; }
  bool is_incremental(const Task&) const { return true; }
  Stream start(const Task&, std::span<const std::int32_t> items) const {
    Stream sum = 0;
    for (const std::int32_t item : items) sum += item;
    return sum;
  }
  void advance(const Task&, Stream& sum, std::int32_t item) const { sum += item; }
  Tensor scores(const Task& task, const Stream& sum) const {
    Tensor scores({1, follower_items}, DType::f32);
    for (std::int32_t id = 0; id < follower_items; ++id)
      scores.span<float>()[static_cast<std::size_t>(id)] =
          static_cast<float>((id * 7 + sum * task.offset) % 101);
    return scores;
  }
  Tensor scores(const Task& task, std::span<const std::int32_t> items) const {
    return scores(task, start(task, items));
  }
  void visit(const Task&, const Stream& sum, StateWriter& part) const { part(sum); }
  void visit(const Task&, Stream& sum, StateReader& part) const { part(sum); }
};

inline Vocabulary follower_vocabulary() {
  std::vector<std::string> names;
  std::vector<std::int64_t> counts;
  for (std::int32_t i = 0; i < follower_items; ++i) {
    names.push_back("i" + std::to_string(i));
    counts.push_back(100 - i);
  }
  return Vocabulary(names, counts, {.min_count = 1, .specials = false});
}

/// Serves the task "next". A file of tasks holds the name of one.
class FollowersService final : public serve::ModelService<Followers> {
 public:
  FollowersService(std::size_t shards, const serve::ServiceMemory& memory)
      : ModelService(Followers{}, follower_vocabulary(), shards, memory) {
    recommender().load("next", {}, {.targets = follower_vocabulary(), .leave_out = true});
  }

  std::string load(const std::string& file, std::string_view expected) override {
    std::string task;
    std::ifstream(file) >> task;
    expect_task(file, task, expected);
    recommender().load(task, {.offset = 3}, {.targets = follower_vocabulary()});
    return task;
  }
};

}  // namespace refrain::server_test
