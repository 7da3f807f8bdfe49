/// Batches of events and requests: the bits of single calls, errors that belong to one member,
/// tasks loaded and unloaded in between, concurrent threads.

#include <algorithm>
#include <bit>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "refrain/core/random.hpp"
#include "refrain/serve/recommender.hpp"
#include "refrain_models/peterrec_served.hpp"
#include "support/catch.hpp"
#include "support/variables.hpp"

namespace refrain::test::of_served_batches {
namespace {

using models::NextItNet;
using models::PatchOptions;
using models::PatchSet;
using models::PeterRecServed;
using Served = Recommender<PeterRecServed>;

constexpr std::int64_t item_count = 25;

Vocabulary vocabulary_of(std::int64_t count, bool specials) {
  std::vector<std::string> names;
  for (std::int64_t i = 0; i < count; ++i) names.push_back(detail::concat("i", i));
  return Vocabulary(names, std::vector<std::int64_t>(names.size(), 3),
                    {.min_count = 1, .specials = specials});
}

std::shared_ptr<NextItNet> base_network(std::int64_t channels, Padding padding,
                                        std::vector<std::int64_t> dilations = {1, 2},
                                        DType dtype = DType::f32) {
  Random random(1);
  auto base = std::make_shared<NextItNet>(NextItNet::Options{.items = item_count + special_ids,
                                                             .channels = channels,
                                                             .dilations = std::move(dilations),
                                                             .padding = padding},
                                          random, Placement{.dtype = dtype});
  redraw(*base, 10);
  base->freeze();
  return base;
}

PeterRecServed::Task task_on(const NextItNet& base, const PatchOptions& patches,
                             std::int64_t targets, std::uint64_t seed, bool own_tcl = true) {
  Random random(seed);
  auto set = std::make_shared<PatchSet>(
      base,
      PatchSet::Options{
          .patches = patches, .head = {.targets = targets}, .tcl_id = own_tcl ? tcl_id : -1},
      random, Placement{.dtype = base.embedding().weight().dtype()});
  redraw(*set, 50 * seed);
  return PeterRecServed::Task(set);
}

/// A recommender with all kinds of tasks.
std::unique_ptr<Served> recommender(const std::shared_ptr<NextItNet>& base) {
  auto served = std::make_unique<Served>(PeterRecServed(base), vocabulary_of(item_count, true));
  served->load("base", PeterRecServed::Task(),
               {.targets = vocabulary_of(item_count, true), .leave_out = true});
  std::uint64_t seed = 1;
  const auto load = [&](const std::string& name, const PatchOptions& patches, bool own_tcl = true) {
    ++seed;
    served->load(name, task_on(*base, patches, 9, seed, own_tcl),
                 {.targets = vocabulary_of(9, false),
                  .leave_out = seed % 2 == 0,
                  .probabilities = seed % 3 == 0});
  };
  load("serial", {.insertion = Insertion::serial});
  load("parallel", {.insertion = Insertion::parallel});
  load("serial 16", {.insertion = Insertion::serial, .bottleneck = 16});
  load("parallel 16", {.insertion = Insertion::parallel, .bottleneck = 16});
  load("serial 32", {.insertion = Insertion::serial, .bottleneck = 32});
  load("other serial 16", {.insertion = Insertion::serial, .bottleneck = 16});
  load("one a block", {.insertion = Insertion::serial, .two_per_block = false, .bottleneck = 16});
  load("paths", {.insertion = Insertion::parallel, .bottleneck = 3, .cardinality = 2});
  load("own norm absent", {.insertion = Insertion::serial, .norm2 = false}, false);
  load("head alone", {.insertion = Insertion::none});
  return served;
}

std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }

bool same(const std::vector<Recommendation>& a, const std::vector<Recommendation>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Recommendation& x, const Recommendation& y) {
                      return x.item == y.item && bits(x.score) == bits(y.score) &&
                             x.probability.has_value() == y.probability.has_value() &&
                             bits(x.probability.value_or(0)) == bits(y.probability.value_or(0));
                    });
}

std::string message_of(const std::exception_ptr& error) {
  if (error == nullptr) return "";
  try {
    std::rethrow_exception(error);
  } catch (const Error& caught) {
    return caught.what();
  }
}

template <class Function>
std::string message_of_call(const Function& function) {
  try {
    function();
  } catch (const Error& caught) {
    return caught.what();
  }
  return "";
}

/// Two copies of the same users: one for batches, one for single calls.
struct Both {
  explicit Both(std::size_t count) : batched(count), alone(count) {}

  void expect_equal(const Served& served) const {
    for (std::size_t user = 0; user < batched.size(); ++user) {
      INFO("user " << user);
      REQUIRE(served.save(batched[user]) == served.save(alone[user]));
    }
  }

  std::vector<Served::User> batched;
  std::vector<Served::User> alone;
};

class Mix {
 public:
  Mix(Served& served, std::uint64_t seed, std::size_t users)
      : served_(served), random_(seed), users_(users) {}

  /// Some users begin to follow some task.
  void follow(std::size_t times) {
    const std::vector<std::string> tasks = served_.tasks();
    for (std::size_t i = 0; i < times; ++i) {
      const std::size_t user = below(users_.batched.size());
      const std::string& task = tasks[below(tasks.size())];
      served_.follow(users_.batched[user], task);
      served_.follow(users_.alone[user], task);
    }
  }

  /// A batch of events, of which some cannot be processed; a user may occur more than once.
  void observe(std::size_t size) {
    std::vector<Served::Event> events;
    std::vector<std::string> expected;
    const std::vector<std::string> before = saved();
    for (std::size_t i = 0; i < size; ++i) {
      const std::size_t user = below(users_.batched.size());
      const std::int32_t item = below(7) == 0 ? tcl_id : some_item();
      events.push_back({&users_.batched[user], item});
      expected.push_back(message_of_call([&] { served_.observe(users_.alone[user], item); }));
    }
    REQUIRE(saved() == before);
    const std::vector<std::exception_ptr> errors = served_.observe(events);
    REQUIRE(errors.size() == size);
    for (std::size_t i = 0; i < size; ++i) CHECK(message_of(errors[i]) == expected[i]);
    users_.expect_equal(served_);
  }

  /// A batch of requests for users and for histories, of which some cannot be answered.
  void recommend(std::size_t size) {
    std::vector<std::string> tasks = served_.tasks();
    tasks.push_back("unknown");
    const std::vector<std::string> before = saved();
    std::vector<Served::Request> requests;
    std::vector<std::vector<std::int32_t>> histories(size);
    for (std::size_t i = 0; i < size; ++i) {
      Served::Request request{.task = tasks[below(tasks.size())],
                              .k = static_cast<std::int64_t>(below(12))};
      if (below(4) > 0) {
        request.user = &users_.batched[below(users_.batched.size())];
      } else {
        for (std::size_t item = below(30); item > 0; --item) histories[i].push_back(some_item());
        request.history = histories[i];
      }
      requests.push_back(request);
    }
    const std::vector<Served::Answer> answers = served_.recommend(requests);
    REQUIRE(answers.size() == size);
    for (std::size_t i = 0; i < size; ++i) {
      const auto& [task, user, history, k, select] = requests[i];
      INFO("request " << i << ", task " << task);
      std::vector<Recommendation> expected;
      const std::string error = message_of_call([&] {
        expected = user != nullptr ? served_.recommend(task, *user, k, select)
                                   : served_.recommend(task, history, k, select);
      });
      CHECK(message_of(answers[i].error) == error);
      CHECK(same(answers[i].best, expected));
    }
    REQUIRE(saved() == before);
  }

  std::size_t below(std::size_t end) {
    return static_cast<std::size_t>(random_.below(static_cast<std::int64_t>(end)));
  }

 private:
  std::int32_t some_item() {
    return special_ids + static_cast<std::int32_t>(random_.below(item_count));
  }
  std::vector<std::string> saved() const {
    std::vector<std::string> bytes;
    for (const Served::User& user : users_.batched) bytes.push_back(served_.save(user));
    return bytes;
  }

  Served& served_;
  Random random_;
  Both users_;
};

}  // namespace

TEST_CASE("recommender: a batch has the bits of single calls in any mix of tasks and users",
          "[serve]") {
  for (const std::int64_t channels : {16, 24, 64}) {
    for (const Padding padding : {Padding::causal, Padding::same}) {
      INFO(channels << " channels, " << (padding == Padding::causal ? "causal" : "two-way"));
      const std::shared_ptr<NextItNet> base = base_network(channels, padding);
      const std::unique_ptr<Served> served = recommender(base);
      Mix mix(*served, static_cast<std::uint64_t>(channels), 23);
      for (std::uint64_t round = 0; round < 12; ++round) {
        INFO("round " << round);
        mix.follow(10);
        mix.observe(std::vector<std::size_t>{0, 1, 2, 7, 8, 9, 16, 40}[round % 8]);
        mix.recommend(std::vector<std::size_t>{30, 9, 1, 0}[round % 4]);
        if (round % 3 == 1) {  // streams of the earlier task are dropped
          served->load(
              "serial 16",
              task_on(*base, {.insertion = Insertion::serial, .bottleneck = 16}, 9, 90 + round),
              {.targets = vocabulary_of(9, false)});
        }
        if (round == 5) served->unload("parallel");
        if (round == 8)
          served->load("parallel", task_on(*base, {.insertion = Insertion::parallel}, 9, 77),
                       {.targets = vocabulary_of(9, false)});
      }
    }
  }
}

TEST_CASE("recommender: a batch of streams of f64 has the bits of single calls", "[serve]") {
  const std::shared_ptr<NextItNet> base = base_network(16, Padding::causal, {1, 2}, DType::f64);
  Served served(PeterRecServed(base), vocabulary_of(item_count, true));
  for (std::uint64_t task = 0; task < 5; ++task) {
    const auto loaded = task_on(
        *base, {.insertion = Insertion::serial, .bottleneck = task % 2 == 0 ? 8 : 4}, 3, task + 1);
    served.load(detail::concat("task ", task), loaded, {.targets = vocabulary_of(3, false)});
  }
  Both users(20);
  Random random(4);
  for (int round = 0; round < 6; ++round) {
    std::vector<Served::Event> events;
    for (std::size_t user = 0; user < 20; ++user) {
      const std::string task = detail::concat("task ", user % 5);
      served.follow(users.batched[user], task);
      served.follow(users.alone[user], task);
      const std::int32_t item = special_ids + static_cast<std::int32_t>(random.below(item_count));
      events.push_back({&users.batched[user], item});
      served.observe(users.alone[user], item);
    }
    for (const std::exception_ptr& error : served.observe(events)) CHECK(error == nullptr);
    users.expect_equal(served);
  }
}

TEST_CASE("recommender: many requests for one task have the bits of single requests", "[serve]") {
  const std::shared_ptr<NextItNet> base = base_network(64, Padding::causal);
  const std::unique_ptr<Served> served = recommender(base);
  std::vector<Served::User> users(33);
  Random random(8);
  for (std::size_t user = 0; user < users.size(); ++user) {
    for (int i = 0; i < 3; ++i)
      served->observe(users[user],
                      special_ids + static_cast<std::int32_t>(random.below(item_count)));
    for (const char* const task : {"base", "serial", "parallel 16"})
      served->follow(users[user], task);
  }
  for (const std::size_t count : {1U, 4U, 5U, 8U, 33U}) {
    for (const char* const task : {"base", "serial", "parallel 16"}) {
      std::vector<Served::Request> requests;
      for (std::size_t user = 0; user < count; ++user)
        requests.push_back({.task = task, .user = &users[user], .k = 9});
      const std::vector<Served::Answer> answers = served->recommend(requests);
      for (std::size_t user = 0; user < count; ++user) {
        INFO(task << ", user " << user << " of " << count);
        CHECK(same(answers[user].best, served->recommend(task, users[user], 9)));
      }
    }
  }
}

TEST_CASE("recommender: events of one user in a batch are applied in their order", "[serve]") {
  const std::shared_ptr<NextItNet> base = base_network(16, Padding::causal);
  const std::unique_ptr<Served> served = recommender(base);
  Served::User user;
  Served::User other;
  served->follow(user, "serial");
  std::vector<Served::Event> events;
  std::vector<std::int32_t> items;
  for (std::int32_t i = 0; i < 9; ++i) {
    items.push_back(special_ids + (i * 7) % static_cast<std::int32_t>(item_count));
    events.push_back({&user, items.back()});
    if (i % 4 == 0) events.push_back({&other, items.back()});
  }
  for (const std::exception_ptr& error : served->observe(events)) CHECK(error == nullptr);
  CHECK(std::equal(items.begin(), items.end(), user.items().begin(), user.items().end()));
  CHECK(other.items().size() == 3);
  Served::User alone;
  served->follow(alone, "serial");
  for (const std::int32_t item : items) served->observe(alone, item);
  CHECK(served->save(user) == served->save(alone));
}

TEST_CASE("recommender: errors in a batch belong to their members", "[serve]") {
  const std::shared_ptr<NextItNet> base = base_network(16, Padding::causal);
  const std::unique_ptr<Served> served = recommender(base);
  // A task of a base with another number of blocks: an empty user can follow it.
  const std::shared_ptr<NextItNet> longer = base_network(16, Padding::causal, {1, 2, 1});
  served->load("misfit", task_on(*longer, {.insertion = Insertion::serial}, 9, 5),
               {.targets = vocabulary_of(9, false)});
  // A task whose names do not fit its scores.
  served->load("misnamed", task_on(*base, {.insertion = Insertion::serial}, 9, 6),
               {.targets = vocabulary_of(8, false)});
  Both users(6);
  const std::vector<std::string> followed{"serial",   "misfit", "parallel",
                                          "misnamed", "base",   "serial"};
  std::vector<Served::Event> events;
  std::vector<std::string> expected;
  const std::int32_t item = special_ids + 4;
  for (std::size_t user = 0; user < followed.size(); ++user) {
    served->follow(users.batched[user], followed[user]);
    served->follow(users.alone[user], followed[user]);
    events.push_back({&users.batched[user], item});
    expected.push_back(message_of_call([&] { served->observe(users.alone[user], item); }));
  }
  events.push_back({nullptr, item});
  std::vector<std::exception_ptr> errors = served->observe(events);
  REQUIRE(errors.size() == 7);
  for (std::size_t user = 0; user < followed.size(); ++user) {
    INFO(followed[user]);
    CHECK((errors[user] != nullptr) == (followed[user] == "misfit"));
    CHECK((errors[user] != nullptr) == !expected[user].empty());
    CHECK(users.batched[user].items().size() == 1);
  }
  CHECK_THROWS_AS(std::rethrow_exception(errors[1]), ShapeError);
  CHECK_THROWS_WITH(std::rethrow_exception(errors[6]), contains("expected an event of a user"));
  users.expect_equal(*served);

  std::vector<Served::Request> requests;
  for (std::size_t user = 0; user < followed.size(); ++user)
    requests.push_back({.task = followed[user], .user = &users.batched[user], .k = 3});
  requests.push_back({.task = "serial", .k = 3});
  const std::vector<Served::Answer> answers = served->recommend(requests);
  for (std::size_t i = 0; i < followed.size(); ++i) {
    INFO(followed[i]);
    const bool fails = followed[i] == "misfit" || followed[i] == "misnamed";
    CHECK((answers[i].error != nullptr) == fails);
    CHECK(answers[i].best.empty() == fails);
    if (!fails) {
      CHECK(same(answers[i].best, served->recommend(followed[i], users.alone[i], 3)));
    }
  }
  CHECK_THROWS_WITH(std::rethrow_exception(answers[6].error),
                    "task 'serial': the history is empty");
}

TEST_CASE("recommender: a snapshot answers batches with its own tasks", "[serve]") {
  const std::shared_ptr<NextItNet> base = base_network(16, Padding::causal);
  const std::unique_ptr<Served> served = recommender(base);
  Served::User user;
  served->follow(user, "serial");
  const Served::Tasks before = served->snapshot();
  const std::vector<Served::Event> event{{&user, special_ids + 3}};
  const std::vector<Served::Request> request{{.task = "serial", .user = &user, .k = 2}};
  CHECK(served->observe(before, event).at(0) == nullptr);
  const auto expected = served->recommend(before, request);
  served->unload("serial");
  CHECK(same(served->recommend(before, request).at(0).best, expected.at(0).best));
  CHECK(message_of(served->recommend(request).at(0).error).find("unknown task 'serial'") == 0);
  CHECK(served->observe(before, event).at(0) == nullptr);  // keeps the stream
  CHECK(served->follow(before, user, "serial"));
  CHECK(served->observe(event).at(0) == nullptr);  // drops it
  CHECK(user.items().size() == 3);
}

TEST_CASE("recommender: threads pass batches at once while tasks are loaded and unloaded",
          "[serve][threads]") {
  const std::shared_ptr<NextItNet> base = base_network(16, Padding::causal);
  const std::unique_ptr<Served> served = recommender(base);
  constexpr std::size_t users = 5;
  constexpr std::int32_t rounds = 15;
  const std::vector<std::string> tasks{"serial 16", "other serial 16", "parallel", "base", "paths"};
  const auto item = [](std::size_t thread, std::size_t user, std::int32_t round) {
    return special_ids +
           static_cast<std::int32_t>((thread * 3 + user * 5 + static_cast<std::size_t>(round) * 7) %
                                     static_cast<std::size_t>(item_count));
  };
  std::vector<std::string> saved(4 * users);
  const auto work = [&](std::size_t thread) {
    std::vector<Served::User> own(users);
    for (std::size_t u = 0; u < users; ++u) served->follow(own[u], tasks[u]);
    for (std::int32_t round = 0; round < rounds; ++round) {
      std::vector<Served::Event> events;
      std::vector<Served::Request> requests;
      for (std::size_t u = 0; u < users; ++u) {
        events.push_back({&own[u], item(thread, u, round)});
        requests.push_back({.task = tasks[u], .user = &own[u], .k = 3});
      }
      requests.push_back({.task = "serial", .user = &own[0], .k = 3});  // loaded now and then
      served->observe(events);
      served->recommend(requests);
    }
    for (std::size_t u = 0; u < users; ++u) saved[thread * users + u] = served->save(own[u]);
  };
  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < 4; ++thread) threads.emplace_back(work, thread);
  for (std::uint64_t round = 0; round < 20; ++round) {
    served->unload("serial");
    served->load("serial", task_on(*base, {.insertion = Insertion::serial}, 9, 100 + round),
                 {.targets = vocabulary_of(9, false)});
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t thread = 0; thread < 4; ++thread) {
    for (std::size_t u = 0; u < users; ++u) {
      Served::User alone;
      served->follow(alone, tasks[u]);
      for (std::int32_t round = 0; round < rounds; ++round)
        served->observe(alone, item(thread, u, round));
      INFO("thread " << thread << ", user " << u);
      CHECK(saved[thread * users + u] == served->save(alone));
    }
  }
}

namespace {

/// Scores count the items of a history: a model without functions for groups.
struct Counter {
  struct Task {
    std::string identity() const { return "count"; }
  };
  using Stream = std::int64_t;

  std::string identity() const { return "counter"; }
  bool is_incremental(const Task&) const { return true; }
  Stream start(const Task&, std::span<const std::int32_t> items) const { return std::ssize(items); }
  void advance(const Task&, Stream& count, std::int32_t) const { ++count; }
  Tensor scores(const Task&, const Stream& count) const {
    return Tensor::full({1, 2}, static_cast<double>(count), DType::f32);
  }
  Tensor scores(const Task& task, std::span<const std::int32_t> items) const {
    return scores(task, start(task, items));
  }
  void visit(const Task&, const Stream& count, StateWriter& part) const { part(count); }
  void visit(const Task&, Stream& count, StateReader& part) const { part(count); }
};

}  // namespace

TEST_CASE("recommender: a model without functions for groups answers batches one by one",
          "[serve]") {
  static_assert(GroupServedModel<PeterRecServed>);
  static_assert(ServedModel<Counter> && !GroupServedModel<Counter>);
  Recommender<Counter> served(Counter{}, vocabulary_of(item_count, true));
  served.load("count", {}, {.targets = vocabulary_of(2, false)});
  using User = Recommender<Counter>::User;
  User first;
  User second;
  served.follow(first, "count");
  const std::vector<Recommender<Counter>::Event> events{{&first, special_ids},
                                                        {&second, special_ids},
                                                        {&first, -5},
                                                        {nullptr, special_ids},
                                                        {&first, special_ids + 1}};
  const std::vector<std::exception_ptr> errors = served.observe(events);
  REQUIRE(errors.size() == 5);
  for (const std::size_t i : {0U, 1U, 4U}) CHECK(errors[i] == nullptr);
  CHECK(message_of(errors[2]).find("expected an item id") == 0);
  CHECK(message_of(errors[3]).find("Recommender: expected an event of a user") == 0);
  const std::vector<Recommender<Counter>::Request> requests{
      {.task = "count", .user = &first, .k = 1},
      {.task = "none", .user = &first},
      {.task = "count", .user = &second}};
  const auto answers = served.recommend(requests);
  CHECK(answers.at(0).best.at(0).score == 2);
  CHECK(message_of(answers.at(1).error) == "unknown task 'none'; loaded: count");
  CHECK(answers.at(2).best.at(1).score == 1);
}

}  // namespace refrain::test::of_served_batches
