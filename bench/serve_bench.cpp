/// Events and requests of 1,000 followed users of one base, in micro-batches and one at a time.
///
/// 8 blocks, C = 64, D = 16, serial patches at both convolutions: 16 slots, 138 KB of patches a
/// task. Arguments: tasks, which the users share evenly, and members of a micro-batch; 0 members:
/// one at a time by the functions for one. One thread. Compare the lines of one run with
/// --benchmark_enable_random_interleaving=true.

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "refrain/core/random.hpp"
#include "refrain/serve/recommender.hpp"
#include "refrain_models/peterrec_served.hpp"
#include "support.hpp"

namespace {

using namespace refrain;
using models::NextItNet;
using models::PatchSet;
using models::PeterRecServed;
using Served = Recommender<PeterRecServed>;

constexpr std::int64_t item_count = 3'500;
constexpr std::size_t user_count = 1'000;

Vocabulary vocabulary_of(std::int64_t count, bool specials) {
  std::vector<std::string> names;
  for (std::int64_t i = 0; i < count; ++i) names.push_back(std::to_string(i));
  return Vocabulary(names, std::vector<std::int64_t>(names.size(), 1),
                    {.min_count = 1, .specials = specials});
}

/// Users with a short history, who follow one task each, in random order.
class Users {
 public:
  explicit Users(std::size_t tasks)
      : random_(1),
        base_(std::make_shared<NextItNet>(
            NextItNet::Options{.items = item_count + special_ids, .channels = 64}, random_)),
        served_(PeterRecServed(base_), vocabulary_of(item_count, true)),
        users_(user_count) {
    base_->freeze();
    for (std::size_t task = 0; task < tasks; ++task) {
      const PatchSet::Options options{
          .patches = {.start = PatchStart::random}, .head = {.targets = 2}, .tcl_id = tcl_id};
      served_.load(name_of(task),
                   PeterRecServed::Task(std::make_shared<PatchSet>(*base_, options, random_)),
                   {.targets = vocabulary_of(2, false)});
    }
    for (std::size_t user = 0; user < user_count; ++user) {
      names_.push_back(name_of(user % tasks));
      for (int i = 0; i < 3; ++i) served_.observe(users_[user], item());
      served_.follow(users_[user], names_[user]);
    }
    order_.resize(user_count);
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    for (std::size_t i = user_count; i > 1; --i)
      std::swap(order_[i - 1],
                order_[static_cast<std::size_t>(random_.below(static_cast<std::int64_t>(i)))]);
  }

  /// One event of each user.
  void observe(std::size_t batch) {
    if (batch == 0) {
      for (const std::size_t user : order_) served_.observe(users_[user], item());
      return;
    }
    std::vector<Served::Event> events;
    for (std::size_t at = 0; at < user_count; at += batch) {
      events.clear();
      for (std::size_t i = at; i < std::min(user_count, at + batch); ++i)
        events.push_back({&users_[order_[i]], item()});
      benchmark::DoNotOptimize(served_.observe(events));
    }
  }

  /// One request of each user.
  void recommend(std::size_t batch) {
    if (batch == 0) {
      for (const std::size_t user : order_)
        benchmark::DoNotOptimize(served_.recommend(names_[user], users_[user], 2));
      return;
    }
    std::vector<Served::Request> requests;
    for (std::size_t at = 0; at < user_count; at += batch) {
      requests.clear();
      for (std::size_t i = at; i < std::min(user_count, at + batch); ++i)
        requests.push_back({.task = names_[order_[i]], .user = &users_[order_[i]], .k = 2});
      benchmark::DoNotOptimize(served_.recommend(requests));
    }
  }

 private:
  static std::string name_of(std::size_t task) { return "task " + std::to_string(task); }
  std::int32_t item() { return special_ids + static_cast<std::int32_t>(random_.below(item_count)); }

  Random random_;
  std::shared_ptr<NextItNet> base_;
  Served served_;
  std::vector<Served::User> users_;
  std::vector<std::string> names_;  ///< the task of each user
  std::vector<std::size_t> order_;
};

template <void (Users::*function)(std::size_t)>
void run(benchmark::State& state) {
  Users users(static_cast<std::size_t>(state.range(0)));
  const std::size_t batch = static_cast<std::size_t>(state.range(1));
  (users.*function)(batch);
  for (auto _ : state) (users.*function)(batch);
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(user_count));
}

void sizes(benchmark::internal::Benchmark* line) {
  line->ArgsProduct({{1, 10, 1'000}, {0, 1, 8, 32, 64, 256}})
      ->ArgNames({"tasks", "batch"})
      ->Unit(benchmark::kMillisecond);
}
BENCHMARK(run<&Users::observe>)->Name("events")->Apply(sizes);
BENCHMARK(run<&Users::recommend>)->Name("requests")->Apply(sizes);

}  // namespace

int main(int argc, char** argv) { return refrain::bench::run_suite(argc, argv); }
