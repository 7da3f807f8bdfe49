/// Successive halving: budgets, choice, ties, and candidates whose training diverges.

#include "refrain/train/successive_halving.hpp"

#include <cmath>
#include <utility>

#include "refrain/core/error.hpp"
#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

using Calls = std::vector<std::pair<std::int64_t, std::int64_t>>;

/// A search whose figures are a function of candidate and epochs.
struct Search {
  template <class Figure>
  std::optional<std::int64_t> go(SuccessiveHalvingOptions options, Figure figure) {
    options.on_round = [&](const HalvingRound& round) { rounds.push_back(round); };
    return successive_halving(
        options, [&](std::int64_t candidate, std::int64_t epochs) -> std::optional<double> {
          calls.emplace_back(candidate, epochs);
          return figure(candidate, epochs);
        });
  }
  std::vector<std::int64_t> kept(std::size_t round) const {
    std::vector<std::int64_t> numbers;
    for (const HalvingCandidate& each : rounds.at(round).candidates) {
      if (each.is_kept) numbers.push_back(each.number);
    }
    return numbers;
  }
  Calls calls;
  std::vector<HalvingRound> rounds;
};

double number_of(std::int64_t candidate, std::int64_t) { return static_cast<double>(candidate); }

}  // namespace

TEST_CASE("successive halving: the field halves while the epochs double", "[train][search]") {
  Search search;
  CHECK(search.go({.candidates = 5, .first_epochs = 3}, number_of) == 4);
  CHECK(search.calls ==
        Calls{{0, 3}, {1, 3}, {2, 3}, {3, 3}, {4, 3}, {2, 6}, {3, 6}, {4, 6}, {3, 12}, {4, 12}});
  REQUIRE(search.rounds.size() == 3);
  CHECK(search.rounds[1].round == 1);
  CHECK(search.rounds[1].epochs == 6);
  CHECK(search.rounds[1].candidates.size() == 3);
  CHECK(search.rounds[1].candidates[0].number == 2);
  CHECK(search.rounds[1].candidates[0].figure == 2);
  CHECK(search.kept(0) == std::vector<std::int64_t>{2, 3, 4});
  CHECK(search.kept(1) == std::vector<std::int64_t>{3, 4});
  CHECK(search.kept(2) == std::vector<std::int64_t>{4});

  Search smaller;
  CHECK(smaller.go({.candidates = 4, .larger_is_better = false}, number_of) == 0);
  CHECK(smaller.calls.size() == 6);

  Search single;
  CHECK(single.go({.candidates = 1}, number_of) == 0);
  CHECK(single.calls.empty());
}

TEST_CASE("successive halving: a candidate that is better later wins while it is in the field",
          "[train][search]") {
  const auto figure = [](std::int64_t candidate, std::int64_t epochs) {
    if (candidate == 1) return epochs < 4 ? 0.5 : 0.9;  // second after the first round
    return 0.6 - 0.01 * static_cast<double>(candidate);
  };
  Search search;
  CHECK(search.go({.candidates = 3, .first_epochs = 2}, figure) == 0);  // 0.6, 0.5, 0.58
  Search two;
  CHECK(two.go({.candidates = 2, .first_epochs = 4}, figure) == 1);
}

TEST_CASE("successive halving: the last two candidates train to the end", "[train][search]") {
  const auto figure = [](std::int64_t candidate, std::int64_t epochs) {
    if (candidate == 1) return epochs < 20 ? 0.5 : 0.9;  // slower, and better in the end
    return 0.6 - 0.01 * static_cast<double>(candidate == 0 ? 0 : 20 + candidate);
  };
  Search search;
  CHECK(search.go({.candidates = 4, .first_epochs = 3, .max_epochs = 50, .final_epochs = 50},
                  figure) == 1);
  CHECK(search.calls == Calls{{0, 3}, {1, 3}, {2, 3}, {3, 3}, {0, 50}, {1, 50}});
  CHECK(search.rounds.back().epochs == 50);
  Search short_one;
  CHECK(short_one.go({.candidates = 4, .first_epochs = 3, .max_epochs = 50}, figure) == 0);
  Search two;
  CHECK(two.go({.candidates = 2, .first_epochs = 3, .final_epochs = 30}, figure) == 1);
  CHECK(two.calls == Calls{{0, 30}, {1, 30}});
  CHECK_THROWS_AS(search.go({.candidates = 2, .final_epochs = -1}, figure), OptionError);
}

TEST_CASE("successive halving: a tie goes to the earlier candidate", "[train][search]") {
  for (const bool larger_is_better : {true, false}) {
    Search search;
    CHECK(search.go({.candidates = 6, .larger_is_better = larger_is_better},
                    [](std::int64_t, std::int64_t) { return 1.0; }) == 0);
    CHECK(search.kept(0) == std::vector<std::int64_t>{0, 1, 2});
    CHECK(search.kept(1) == std::vector<std::int64_t>{0, 1});
  }
}

TEST_CASE("successive halving: the round of max_epochs is the last one", "[train][search]") {
  Search search;
  CHECK(search.go({.candidates = 8, .first_epochs = 3, .max_epochs = 5}, number_of) == 7);
  REQUIRE(search.rounds.size() == 2);
  CHECK(search.rounds[0].epochs == 3);
  CHECK(search.rounds[1].epochs == 5);
  CHECK(search.kept(1) == std::vector<std::int64_t>{7});
  Search once;
  CHECK(once.go({.candidates = 8, .first_epochs = 9, .max_epochs = 5}, number_of) == 7);
  REQUIRE(once.rounds.size() == 1);
  CHECK(once.rounds[0].epochs == 5);
  // Budgets near the largest integer do not overflow.
  constexpr std::int64_t huge = INT64_MAX - 1;
  Search long_one;
  CHECK(long_one.go({.candidates = 4, .first_epochs = huge}, number_of) == 3);
  CHECK(long_one.rounds.at(1).epochs == INT64_MAX);
}

TEST_CASE("successive halving: candidates without a finite figure are dropped", "[train][search]") {
  for (const double bad : {static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    Search search;
    CHECK(search.go({.candidates = 4}, [&](std::int64_t candidate, std::int64_t) {
      return candidate == 3 || candidate == 1 ? bad : 1.0;
    }) == 0);
    CHECK(search.kept(0) == std::vector<std::int64_t>{0, 2});
    // Fewer than half are left; the last one is chosen without a further round.
    Search one;
    CHECK(one.go({.candidates = 4}, [&](std::int64_t candidate, std::int64_t) {
      return candidate == 2 ? 1.0 : bad;
    }) == 2);
    CHECK(one.rounds.size() == 1);
    // Two diverge in the second round; the better one of the others is chosen.
    Search late;
    CHECK(late.go({.candidates = 4}, [&](std::int64_t candidate, std::int64_t epochs) {
      return candidate >= 2 && epochs > 3 ? bad : static_cast<double>(candidate);
    }) == 1);
    CHECK(late.kept(1).empty());
    Search none;
    CHECK_THROWS_WITH(none.go({.candidates = 3}, [&](std::int64_t, std::int64_t) { return bad; }),
                      "successive_halving: none of the 3 candidates has a finite figure");
    CHECK(none.rounds.size() == 1);
  }
}

TEST_CASE("successive halving: the function ends the search", "[train][search]") {
  std::int64_t calls = 0, rounds = 0;
  const std::optional<std::int64_t> best =
      successive_halving({.candidates = 4, .on_round = [&](const HalvingRound&) { ++rounds; }},
                         [&](std::int64_t candidate, std::int64_t epochs) -> std::optional<double> {
                           ++calls;
                           if (epochs == 6 && candidate == 3) return std::nullopt;
                           return static_cast<double>(candidate);
                         });
  CHECK_FALSE(best);
  CHECK(calls == 6);
  CHECK(rounds == 1);
}

TEST_CASE("successive halving: options out of range are refused", "[train][search]") {
  const auto error = [](SuccessiveHalvingOptions options) {
    Search search;
    CHECK_THROWS_AS(search.go(options, number_of), OptionError);
    CHECK(search.calls.empty());
  };
  error({.candidates = 0});
  error({.candidates = 2, .first_epochs = 0});
  error({.candidates = 2, .max_epochs = -1});
}
