/// The largest scores and the ranks of targets over sharded item tables.

#include <cmath>
#include <limits>
#include <vector>

#include "distributed/sharded.hpp"
#include "refrain/ops/matmul.hpp"
#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;
using namespace refrain::test::sharded;

namespace sharded_ranking_test {

struct Queries {
  Tensor weight, bias, hidden, targets;
};

/// Small whole numbers, whose scores are exact and often equal.
Queries whole_numbers(std::int64_t items, std::int64_t rows, std::int64_t first) {
  const auto numbers = [](const Shape& shape, std::uint64_t seed) {
    Tensor tensor(shape, DType::f32);
    Random random(seed);
    for (float& value : tensor.span<float>()) value = static_cast<float>(random.below(5) - 2);
    return tensor;
  };
  Queries queries{numbers({items, 6}, 1), numbers({items}, 2), numbers({rows, 6}, 3),
                  random_ids(rows, items - first, 4)};
  for (std::int32_t& id : queries.targets.span<std::int32_t>())
    id += static_cast<std::int32_t>(first);
  return queries;
}

struct Found {
  std::vector<float> scores;
  std::vector<std::int32_t> ids;
  std::vector<Rank> ranks;
};

/// The results of all ranks, with the rows of the queries divided among them.
Found ranked(const Queries& queries, int ranks, std::int64_t k, std::int64_t first) {
  std::vector<Found> all(static_cast<std::size_t>(ranks));
  on_ranks(ranks, [&](Communicator& communicator) {
    const auto items = filled(communicator, queries.weight, queries.bias);
    const std::int64_t rows = queries.hidden.size(0);
    const std::int64_t begin = rows * communicator.rank() / ranks;
    const std::int64_t end = rows * (communicator.rank() + 1) / ranks;
    const Tensor hidden = queries.hidden.slice(begin, end);
    const TopKResult top = top_k(hidden, *items, k, first);
    Found& found = all[static_cast<std::size_t>(communicator.rank())];
    found.scores.assign(top.values.span<float>().begin(), top.values.span<float>().end());
    found.ids = integers(top.indices);
    found.ranks = rank_targets(hidden, *items, queries.targets.slice(begin, end), first);
  });
  Found joined;
  for (const Found& found : all) {
    joined.scores.insert(joined.scores.end(), found.scores.begin(), found.scores.end());
    joined.ids.insert(joined.ids.end(), found.ids.begin(), found.ids.end());
    joined.ranks.insert(joined.ranks.end(), found.ranks.begin(), found.ranks.end());
  }
  return joined;
}

/// Scores of all items, [rows, items].
Tensor all_scores(const Queries& queries) {
  return linear(Variable(queries.hidden), Variable(queries.weight), Variable(queries.bias)).value();
}

/// The items from `first` on by score descending, then id ascending, NaN last: the first k.
void check_top(const Found& got, const Tensor& scores, std::int64_t k, std::int64_t first) {
  bool is_equal = true;
  for (std::int64_t row = 0; row < scores.size(0); ++row) {
    const float* const of_row = scores.data<float>() + row * scores.size(1);
    std::vector<std::int32_t> ids;
    for (std::int64_t id = first; id < scores.size(1); ++id)
      ids.push_back(static_cast<std::int32_t>(id));
    std::stable_sort(ids.begin(), ids.end(), [&](std::int32_t a, std::int32_t b) {
      return of_row[a] > of_row[b] || (std::isnan(of_row[b]) && !std::isnan(of_row[a]));
    });
    for (std::int64_t i = 0; i < k; ++i) {
      const auto place = static_cast<std::size_t>(row * k + i);
      const std::int32_t id = ids[static_cast<std::size_t>(i)];
      is_equal = is_equal && got.ids.at(place) == id &&
                 (got.scores[place] == of_row[id] ||
                  (std::isnan(got.scores[place]) && std::isnan(of_row[id])));
    }
  }
  CHECK(is_equal);
}

}  // namespace sharded_ranking_test

using namespace sharded_ranking_test;

TEST_CASE("sharded items: top k and ranks equal those of the whole table",
          "[distributed][metrics][law]") {
  struct Sizes {
    std::int64_t items, rows, k, first;
  };
  for (const Sizes& sizes : {Sizes{50, 9, 47, 3}, Sizes{50, 9, 1, 0}, Sizes{5000, 530, 10, 3},
                             Sizes{4200, 40, 200, 4000}, Sizes{70, 2, 5, 65}}) {
    Queries queries = whole_numbers(sizes.items, sizes.rows, sizes.first);
    const auto last = static_cast<std::int32_t>(sizes.items - 1);
    for (const bool with_nan : {false, true}) {
      if (with_nan) {
        queries.bias.data<float>()[last] = std::numeric_limits<float>::quiet_NaN();
        queries.targets.data<std::int32_t>()[0] = last;
      }
      const Tensor scores = all_scores(queries);
      const std::vector<Rank> expected =
          rank_rows(scores, queries.targets,
                    {.first = static_cast<std::int32_t>(sizes.first),
                     .items = static_cast<std::int32_t>(sizes.items - sizes.first)});
      for (const int ranks : {1, 2, 3, 4, 8}) {
        INFO(sizes.items << " items, " << ranks << " ranks, NaN " << with_nan);
        const Found got = ranked(queries, ranks, sizes.k, sizes.first);
        check_top(got, scores, sizes.k, sizes.first);
        CHECK(got.ranks == expected);
      }
    }
  }
}

TEST_CASE("sharded items: ties of rounded scores and equal results on any number of ranks",
          "[distributed][metrics][determinism]") {
  constexpr std::int64_t items = 9000, rows = 300, width = 33;
  Queries queries{random_tensor<float>({items, width}, 1), random_tensor<float>({items}, 2),
                  random_tensor<float>({rows, width}, 3), random_ids(rows, 100, 4)};
  // Items 200 to 299 and the last 100 are copies of the targets, in other shards.
  for (const std::int64_t begin : {std::int64_t{200}, items - 100}) {
    queries.weight.slice(begin, begin + 100).copy_from(queries.weight.slice(0, 100));
    queries.bias.slice(begin, begin + 100).copy_from(queries.bias.slice(0, 100));
  }
  const Found one = ranked(queries, 1, 20, 0);
  for (const Rank& rank : one.ranks) CHECK(rank.equal == 2);
  for (const int ranks : {2, 3, 5, 8}) {
    const Found got = ranked(queries, ranks, 20, 0);
    CHECK(got.ids == one.ids);
    CHECK(got.scores == one.scores);
    CHECK(got.ranks == one.ranks);
  }
}
