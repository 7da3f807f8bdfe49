/// Selected targets of requests: sets of targets, excluded targets, seen items. Answers equal those
/// of a search over the allowed targets alone.

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "refrain/core/random.hpp"
#include "refrain/serve/recommender.hpp"
#include "support/catch.hpp"

namespace refrain::test::of_selected_targets {
namespace {

using Names = std::vector<std::string>;

Vocabulary vocabulary_of(std::int64_t count, bool specials) {
  Names names;
  std::vector<std::int64_t> counts;
  for (std::int64_t i = 0; i < count; ++i) {
    names.push_back(detail::concat("i", i));
    counts.push_back(2 * (count - i));
  }
  return Vocabulary(names, counts, {.min_count = 1, .specials = specials});
}

/// Scores depend on the number of items and the newest one; many are equal.
struct Ties {
  struct Task {
    std::int32_t targets = 0;
    std::string identity() const { return "ties"; }
  };
  struct Stream {
    std::int64_t items = 0;
    std::int64_t newest = 0;
  };

  std::string identity() const { return "ties"; }
  bool is_incremental(const Task&) const { return true; }
  Stream start(const Task& task, std::span<const std::int32_t> items) const {
    Stream stream;
    for (const std::int32_t item : items) advance(task, stream, item);
    return stream;
  }
  void advance(const Task&, Stream& stream, std::int32_t item) const {
    ++stream.items;
    stream.newest = item;
  }
  Tensor scores(const Task& task, const Stream& stream) const {
    Random random(static_cast<std::uint64_t>(1000 * stream.items + stream.newest));
    Tensor scores({1, task.targets}, DType::f32);
    for (float& score : scores.span<float>())
      score = 0.37F * static_cast<float>(random.below(40)) - 7;
    return scores;
  }
  Tensor scores(const Task& task, std::span<const std::int32_t> items) const {
    return scores(task, start(task, items));
  }
  template <class Visitor>
  void visit(const Task&, const Stream& stream, Visitor& part) const {
    part(stream.items);
    part(stream.newest);
  }
  template <class Visitor>
  void visit(const Task&, Stream& stream, Visitor& part) const {
    part(stream.items);
    part(stream.newest);
  }
};

/// Ties as a model that answers groups.
struct GroupTies : Ties {
  using Ties::advance;
  using Ties::scores;
  void advance(std::span<const StreamEvent<GroupTies>> events) const {
    for (const auto& event : events) advance(*event.task, *event.stream, event.item);
  }
  template <class Take>
  void scores(std::span<const StreamQuery<GroupTies>> queries, Take&& take) const {
    for (std::size_t i = queries.size(); i-- > 0;)
      take(i, scores(*queries[i].task, *queries[i].stream));
  }
};
static_assert(ServedModel<Ties> && !GroupServedModel<Ties> && GroupServedModel<GroupTies>);

/// The best of the targets for which is_allowed(id), one by one.
template <class Allowed>
std::vector<Recommendation> searched(const Tensor& scores, const Vocabulary& targets,
                                     std::int64_t k, bool probabilities, Allowed&& is_allowed) {
  std::vector<ScoredId> allowed;
  for (std::int32_t id = targets.first_item(); id < targets.size(); ++id)
    if (is_allowed(id)) allowed.push_back({id, scores.data<float>()[id]});
  double total = 0;
  float largest = 0;
  if (!allowed.empty()) {
    largest = std::max_element(allowed.begin(), allowed.end(), [](auto a, auto b) {
                return a.score < b.score;
              })->score;
  }
  for (const ScoredId& each : allowed) total += std::exp(static_cast<double>(each.score) - largest);
  std::stable_sort(allowed.begin(), allowed.end(),
                   [](const ScoredId& a, const ScoredId& b) { return a.score > b.score; });
  allowed.resize(std::min(allowed.size(), static_cast<std::size_t>(k)));
  std::vector<Recommendation> found;
  for (const ScoredId& each : allowed) {
    found.push_back({std::string(targets.name(each.id)), each.score});
    if (probabilities) {
      found.back().probability =
          static_cast<float>(std::exp(static_cast<double>(each.score) - largest) / total);
    }
  }
  return found;
}

bool same_bits(const std::vector<Recommendation>& a, const std::vector<Recommendation>& b) {
  const auto bits = [](float value) { return std::bit_cast<std::uint32_t>(value); };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](const Recommendation& x, const Recommendation& y) {
                      return x.item == y.item && bits(x.score) == bits(y.score) &&
                             x.probability.has_value() == y.probability.has_value() &&
                             bits(x.probability.value_or(0)) == bits(y.probability.value_or(0));
                    });
}

/// A random request, which owns what its selection views.
struct Selected {
  std::vector<std::int32_t> exclude;
  std::vector<TargetSet> sets;
  std::vector<const TargetSet*> filters;
  SeenItems seen = SeenItems::by_task;

  /// Sets of all sizes: from no target to all of them.
  Selected(Random& random, const Vocabulary& targets) {
    for (std::int64_t count = random.below(12) - 4; count > 0; --count)
      exclude.push_back(static_cast<std::int32_t>(random.below(targets.size() + 8)) - 4);
    for (std::int64_t count = random.below(4); count > 0; --count) {
      sets.emplace_back(targets);
      const std::int64_t share = std::vector<std::int64_t>{
          0, 1, 5, 50, 95, 99, 100}[static_cast<std::size_t>(random.below(7))];
      for (std::int32_t id = 0; id < targets.size(); ++id)
        if (random.below(100) < share) sets.back().insert(id);
    }
    for (const TargetSet& set : sets) filters.push_back(&set);
    seen = static_cast<SeenItems>(random.below(3));
  }

  TargetSelection view() const { return {.exclude = exclude, .filters = filters, .seen = seen}; }

  bool allows(std::int32_t id) const {
    return std::find(exclude.begin(), exclude.end(), id) == exclude.end() &&
           std::all_of(sets.begin(), sets.end(),
                       [&](const TargetSet& set) { return set.contains(id); });
  }
};

constexpr std::int64_t item_count = 150;

template <class Model>
struct Setup {
  Recommender<Model> served{Model{}, vocabulary_of(item_count, true)};

  Setup() {
    const auto load = [&](const std::string& name, std::int64_t targets, bool specials,
                          bool leave_out, bool probabilities) {
      Vocabulary names = vocabulary_of(targets, specials);
      const std::int32_t ids = names.size();
      served.load(
          name, {ids},
          {.targets = std::move(names), .leave_out = leave_out, .probabilities = probabilities});
    };
    load("items", item_count, true, true, false);
    load("shares", item_count, true, true, true);
    load("other", 64, false, false, true);
    load("classes", 3, false, false, true);
  }

  bool leaves_out(const std::string& task) const { return task == "items" || task == "shares"; }

  /// The targets with the names of the items are left out.
  std::vector<Recommendation> expected(const std::string& task,
                                       std::span<const std::int32_t> history, std::int64_t k,
                                       const Selected& selected) const {
    const auto targets = served.targets(served.snapshot(), task);
    std::set<std::string_view> seen;
    const bool excludes = selected.seen == SeenItems::exclude ||
                          (selected.seen == SeenItems::by_task && leaves_out(task));
    for (const std::int32_t item : history)
      if (excludes) seen.insert(served.items().name(item));
    return searched(served.model().scores(typename Model::Task{targets->size()}, history), *targets,
                    k, task != "items", [&](std::int32_t id) {
                      return selected.allows(id) && !seen.contains(targets->name(id));
                    });
  }
};

template <class Model>
void expect_searched(std::uint64_t seed, int rounds) {
  Setup<Model> setup;
  auto& served = setup.served;
  Random random(seed);
  using User = typename Recommender<Model>::User;
  const Names tasks{"items", "shares", "other", "classes"};
  std::vector<User> users(7);
  std::int64_t empty = 0, shorter = 0;
  for (int round = 0; round < rounds; ++round) {
    User& user = users[static_cast<std::size_t>(random.below(7))];
    const std::string& some_task = tasks[static_cast<std::size_t>(random.below(4))];
    served.observe(user, special_ids + static_cast<std::int32_t>(random.below(item_count)));
    served.follow(user, some_task);
    std::vector<Selected> selected;
    std::vector<std::string> task_of;
    for (int i = 0; i < 10; ++i) {
      task_of.push_back(tasks[static_cast<std::size_t>(random.below(4))]);
      selected.emplace_back(random, *served.targets(served.snapshot(), task_of.back()));
    }
    std::vector<typename Recommender<Model>::Request> requests;
    for (std::size_t i = 0; i < selected.size(); ++i) {
      const bool after_items = random.below(3) == 0;
      requests.push_back({.task = task_of[i],
                          .user = after_items ? nullptr : &user,
                          .history = user.items(),
                          .k = 1 + random.below(30),
                          .select = selected[i].view()});
    }
    const auto answers = served.recommend(requests);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const auto& [task, asked, history, k, select] = requests[i];
      INFO("round " << round << ", request " << i << ", task " << task);
      const auto expected = setup.expected(task_of[i], history, k, selected[i]);
      REQUIRE(answers[i].error == nullptr);
      REQUIRE(same_bits(answers[i].best, expected));
      REQUIRE(same_bits(asked != nullptr ? served.recommend(task, *asked, k, select)
                                         : served.recommend(task, history, k, select),
                        expected));
      empty += expected.empty();
      shorter += std::ssize(expected) < k && !expected.empty();
    }
  }
  CHECK(empty > rounds / 10);
  CHECK(shorter > rounds / 10);
}

}  // namespace

TEST_CASE("selection: a set of targets has the members that were added", "[serve]") {
  for (const bool specials : {true, false}) {
    for (const std::int64_t count : {1, 59, 60, 61, 64, 65, 200}) {
      INFO(count << " items");
      const Vocabulary targets = vocabulary_of(count, specials);
      const TargetSet none(targets);
      CHECK(none.size() == 0);
      CHECK(none.ids() == targets.size());
      const Names names{"i0", detail::concat("i", count - 1), "i0", "absent", "[PAD]"};
      const TargetSet few = TargetSet::of_names(targets, names);
      CHECK(few.size() == std::min<std::int64_t>(2, count));
      CHECK(few.unknown() == 2);
      for (std::int32_t id = -70; id < targets.size() + 70; ++id) {
        CHECK(few.contains(id) ==
              (id == targets.first_item() || (id == targets.size() - 1 && count > 0)));
        CHECK_FALSE(none.contains(id));
      }
      TargetSet all(targets);
      for (std::int32_t id = 0; id < targets.size(); ++id) all.insert(id);
      CHECK(all.size() == count);
      CHECK(all.unknown() == targets.first_item());
      all.insert(targets.size());
      all.insert(-1);
      CHECK(all.unknown() == targets.first_item() + 2);
      TargetSet both = all;
      both &= few;
      CHECK(std::equal(both.words().begin(), both.words().end(), few.words().begin()));
      both |= all;
      CHECK(both.size() == count);
    }
  }
  TargetSet small(vocabulary_of(3, false));
  CHECK_THROWS_WITH(small &= TargetSet(vocabulary_of(4, false)),
                    "TargetSet: expected a set of the targets of a vocabulary of 3 ids, got one of "
                    "4");
  CHECK_THROWS_AS(small |= TargetSet(vocabulary_of(4, false)), OptionError);
}

TEST_CASE("selection: answers are those of a search over the allowed targets, bit for bit",
          "[serve]") {
  expect_searched<Ties>(1, 500);
  expect_searched<GroupTies>(2, 500);
}

TEST_CASE("selection: the best of a row of scores are those of a search, bit for bit", "[serve]") {
  Random random(5);
  for (int round = 0; round < 2000; ++round) {
    const Vocabulary targets = vocabulary_of(1 + random.below(300), random.below(2) == 0);
    const Selected selected(random, targets);
    Tensor scores({targets.size()}, DType::f32);
    for (float& score : scores.span<float>()) score = static_cast<float>(random.below(25)) / 3 - 4;
    const std::int64_t k = 1 + random.below(40);
    const bool probabilities = random.below(2) == 0;
    INFO("round " << round);
    const auto expected = searched(scores, targets, k, probabilities,
                                   [&](std::int32_t id) { return selected.allows(id); });
    REQUIRE(same_bits(
        best_items(scores.clone(), targets, k, selected.exclude, probabilities, selected.filters),
        expected));
    const auto ids =
        best_ids(scores.clone(), k, targets.first_item(), selected.exclude, selected.filters);
    REQUIRE(ids.size() == expected.size());
    for (std::size_t i = 0; i < ids.size(); ++i) CHECK(targets.name(ids[i].id) == expected[i].item);
  }
}

TEST_CASE("selection: seen items follow the request, then the task", "[serve]") {
  Setup<Ties> setup;
  const auto& served = setup.served;
  const std::vector<std::int32_t> history{special_ids, special_ids + 5};
  const auto count = [&](const char* task, SeenItems seen) {
    return std::ssize(served.recommend(task, history, 1000, {.seen = seen}));
  };
  CHECK(count("items", SeenItems::by_task) == item_count - 2);
  CHECK(count("items", SeenItems::exclude) == item_count - 2);
  CHECK(count("items", SeenItems::include) == item_count);
  CHECK(count("other", SeenItems::by_task) == 64);
  CHECK(count("other", SeenItems::exclude) == 62);
  CHECK(count("other", SeenItems::include) == 64);
}

TEST_CASE("selection: frequent targets are selected, too", "[serve]") {
  Setup<Ties> setup;
  const auto& served = setup.served;
  const auto tasks = served.snapshot();
  const auto targets = served.targets(tasks, "shares");
  const TargetSet three = TargetSet::of_names(*targets, Names{"i9", "i2", "i5"});
  const TargetSet* const filters[] = {&three};
  const std::vector<std::int32_t> exclude{targets->find("i2")};
  const auto best =
      served.most_frequent(tasks, "shares", 10, {.exclude = exclude, .filters = filters});
  REQUIRE(best.size() == 2);
  CHECK(best[0].item == "i5");
  CHECK(best[1].item == "i9");
  const double shares[] = {290.5, 282.5};
  CHECK(*best[0].probability == Approx(shares[0] / (shares[0] + shares[1])));
}

TEST_CASE("selection: a set of another vocabulary is refused for its request alone", "[serve]") {
  Setup<GroupTies> setup;
  const auto& served = setup.served;
  Recommender<GroupTies>::User user;
  served.observe(user, special_ids);
  served.follow(user, "items");
  const TargetSet classes(*served.targets(served.snapshot(), "classes"));
  const TargetSet* const filters[] = {&classes};
  const std::vector<Recommender<GroupTies>::Request> requests{
      {.task = "items", .user = &user, .select = {.filters = filters}},
      {.task = "items", .user = &user},
      {.task = "classes", .user = &user, .select = {.filters = filters}}};
  const auto answers = served.recommend(requests);
  CHECK_THROWS_WITH(std::rethrow_exception(answers[0].error),
                    "TargetSet: expected a set of the targets of a vocabulary of 154 ids, got one "
                    "of 3");
  CHECK(answers[1].best.size() == 10);
  CHECK(answers[2].error == nullptr);
  CHECK(answers[2].best.empty());
}

TEST_CASE("selection: the names of targets identify a load and outlive it", "[serve]") {
  Setup<Ties> setup;
  auto& served = setup.served;
  const auto before = served.targets(served.snapshot(), "classes");
  CHECK(before == served.targets(served.snapshot(), "classes"));
  served.load("classes", {3}, {.targets = vocabulary_of(3, false)});
  CHECK(before != served.targets(served.snapshot(), "classes"));
  CHECK(before->name(1) == "i1");
  served.unload("classes");
  CHECK_THROWS_WITH(served.targets(served.snapshot(), "classes"), contains("unknown task"));
}

}  // namespace refrain::test::of_selected_targets
