/// Metrics against brute force over all orders of ties and all pairs.

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "refrain/train/metrics.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

struct Brute {
  double hr = 0;
  double mrr = 0;
  double ndcg = 0;
  double auc = 0;
};

/// Averages over all orders of the candidates, sorted by descending score, NaN last.
Brute brute(const std::vector<double>& scores, std::size_t positive, int k) {
  std::vector<std::size_t> order(scores.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto key = [&](std::size_t i) { return std::isnan(scores[i]) ? -1e300 : scores[i]; };
  Brute sum;
  double orders = 0;
  do {
    bool sorted = true;
    for (std::size_t i = 1; i < order.size(); ++i)
      sorted = sorted && key(order[i - 1]) >= key(order[i]);
    if (!sorted) continue;
    ++orders;
    const double place =
        1 + static_cast<double>(std::find(order.begin(), order.end(), positive) - order.begin());
    if (place <= k) {
      sum.hr += 1;
      sum.mrr += 1 / place;
      sum.ndcg += std::log(2.0) / std::log(place + 1);
    }
    sum.auc +=
        (static_cast<double>(order.size()) - place) / (static_cast<double>(order.size()) - 1);
  } while (std::next_permutation(order.begin(), order.end()));
  return {sum.hr / orders, sum.mrr / orders, sum.ndcg / orders, sum.auc / orders};
}

RankingProtocol full(std::int32_t items, std::int32_t first = 0) {
  return {.first = first, .items = items};
}

}  // namespace

TEST_CASE("metrics: rankings with ties and NaN equal the average over all orders",
          "[train][metrics]") {
  Random random(1);
  for (int trial = 0; trial < 60; ++trial) {
    std::vector<double> scores(6);
    for (double& score : scores) {
      const std::int64_t drawn = random.below(5);
      score = drawn == 4 ? not_a_number : static_cast<double>(drawn);
    }
    for (std::int32_t positive = 0; positive < 6; ++positive) {
      const Rank rank = rank_of<double>(scores, positive, full(6));
      RankingMetrics metrics(full(6), {1, 2, 3, 10});
      metrics.add(rank);
      for (const int k : {1, 2, 3, 10}) {
        const Brute expected = brute(scores, static_cast<std::size_t>(positive), k);
        CHECK(metrics.hr(k) == Approx(expected.hr));
        CHECK(metrics.mrr(k) == Approx(expected.mrr));
        CHECK(metrics.ndcg(k) == Approx(expected.ndcg));
        CHECK(metrics.auc() == Approx(expected.auc));
      }
    }
  }
}

TEST_CASE("metrics: equal scores give the result of chance", "[train][metrics]") {
  const std::int32_t items = 50;
  for (const double score : {0.0, -3.5, not_a_number, std::numeric_limits<double>::infinity()}) {
    const Tensor scores = Tensor::full({4, items + 3}, score, DType::f32);
    const Tensor positives = Tensor::from<std::int32_t>({4}, {3, 52, 10, 20});
    RankingMetrics metrics(full(items, 3), {5});
    metrics.add(rank_rows(scores, positives, metrics.protocol()));
    CHECK(metrics.hr(5) == Approx(5.0 / items));
    CHECK(metrics.mrr(5) == Approx((1 + 1 / 2.0 + 1 / 3.0 + 1 / 4.0 + 1 / 5.0) / items));
    CHECK(metrics.auc() == Approx(0.5));

    RankingProtocol sampled = full(items, 3);
    sampled.kind = RankingProtocol::Kind::sampled;
    sampled.negatives = 19;
    RankingMetrics among(sampled, {5});
    among.add(rank_rows(scores, positives, sampled));
    CHECK(among.hr(5) == Approx(5.0 / 20));

    Accuracy accuracy;
    accuracy.add(Tensor::full({2, 4}, score, DType::f64), Tensor::from<std::int32_t>({2}, {0, 3}));
    CHECK(accuracy.value() == Approx(0.25));
  }
}

TEST_CASE("metrics: special ids and seen items are not ranked", "[train][metrics]") {
  const std::vector<float> scores{9, 9, 9, 1, 2, 3, 4, 5};  // three special ids
  const auto rank = [&](std::int32_t positive, std::vector<std::int32_t> seen) {
    return rank_of<float>(scores, positive, full(5, 3), seen);
  };
  CHECK(rank(3, {}) == Rank{.greater = 4, .equal = 0, .candidates = 5});
  CHECK(rank(3, {7, 5, 7, 7}) == Rank{.greater = 2, .equal = 0, .candidates = 3});
  // The positive stays.
  CHECK(rank(3, {3, 0, 1, -1, 100}) == Rank{.greater = 4, .equal = 0, .candidates = 5});
  CHECK(rank(7, {3, 4, 5, 6}) == Rank{.greater = 0, .equal = 0, .candidates = 1});
  CHECK_THROWS_AS(rank(2, {}), OptionError);
  CHECK_THROWS_AS(rank(8, {}), OptionError);
  CHECK_THROWS_MATCHES(rank_of<float>(scores, 3, full(6, 3)), OptionError,
                       message_contains("got 8 scores"));
}

TEST_CASE("metrics: sampled negatives are distinct, allowed, seeded and uniform",
          "[train][metrics]") {
  RankingProtocol protocol{
      .kind = RankingProtocol::Kind::sampled, .first = 4, .items = 12, .negatives = 3, .seed = 7};
  const std::vector<std::int32_t> seen{5, 15, 5, 2};
  std::map<std::int32_t, int> counts;
  std::map<std::set<std::int32_t>, int> pairs;
  const int draws = 9000;
  for (int example = 0; example < draws; ++example) {
    const std::vector<std::int32_t> drawn = sampled_negatives(9, protocol, seen, example);
    REQUIRE(drawn.size() == 3);
    REQUIRE(std::set<std::int32_t>(drawn.begin(), drawn.end()).size() == 3);
    for (const std::int32_t id : drawn) {
      ++counts[id];
      REQUIRE((id >= 4 && id < 16 && id != 9 && id != 5 && id != 15));
    }
    CHECK(drawn == sampled_negatives(9, protocol, seen, example));
    ++pairs[{drawn[0], drawn[1], drawn[2]}];
  }
  CHECK(counts.size() == 9);
  for (const auto& [id, count] : counts)
    CHECK(std::abs(count - draws / 3) < 5 * std::sqrt(draws * 2 / 9.0));
  CHECK(pairs.size() == 84);  // every set of 3 of 9
  for (const auto& [set, count] : pairs)
    CHECK(std::abs(count - draws / 84.0) < 5 * std::sqrt(draws / 84.0));

  protocol.negatives = 9;
  CHECK(sampled_negatives(9, protocol, seen) ==
        std::vector<std::int32_t>{4, 6, 7, 8, 10, 11, 12, 13, 14});
  protocol.negatives = 10;
  CHECK_THROWS_MATCHES(sampled_negatives(9, protocol, seen), OptionError,
                       message_contains("1 to 9"));
  protocol.negatives = 3;
  const auto first = sampled_negatives(9, protocol, {}, 0);
  protocol.seed = 8;
  CHECK(sampled_negatives(9, protocol, {}, 0) != first);
}

TEST_CASE("metrics: the sampled protocol ranks among its own negatives, for any threads",
          "[train][metrics][determinism]") {
  const RankingProtocol protocol{
      .kind = RankingProtocol::Kind::sampled, .first = 2, .items = 40, .negatives = 10, .seed = 3};
  const Tensor scores = random_tensor<float>({30, 42}, 5);
  Tensor positives = random_ids(30, 40, 6);
  for (std::int32_t& id : positives.span<std::int32_t>()) id += 2;
  for (const int count : {1, 3}) {
    const ThreadCount scope(count);
    const std::vector<Rank> ranks = rank_rows(scores, positives, protocol, 100);
    for (std::int64_t row = 0; row < 30; ++row) {
      const std::int32_t positive = positives.data<std::int32_t>()[row];
      const float own = scores.data<float>()[row * 42 + positive];
      std::vector<float> others;
      Rank expected;
      for (const std::int32_t id : sampled_negatives(positive, protocol, {}, 100 + row)) {
        others.push_back(scores.data<float>()[row * 42 + id]);
        expected.greater += others.back() > own ? 1 : 0;
      }
      expected.candidates = 11;
      CHECK(ranks[static_cast<std::size_t>(row)] == expected);
      CHECK(rank_among<float>(own, others) == expected);
    }
  }
}

TEST_CASE("metrics: means, names and the protocol in the text", "[train][metrics]") {
  RankingMetrics metrics(full(9724), {1, 5});
  metrics.add(Rank{.greater = 0, .equal = 0, .candidates = 9724});
  metrics.add(Rank{.greater = 3, .equal = 0, .candidates = 9724});
  metrics.add(Rank{.greater = 100, .equal = 0, .candidates = 9724});
  CHECK(metrics.hr(5) == Approx(2.0 / 3));
  CHECK(metrics.mrr(5) == Approx((1 + 0.25) / 3));
  CHECK_THROWS_AS(metrics.hr(10), OptionError);
  CHECK_THROWS_AS(RankingMetrics(full(3), {0}), OptionError);
  CHECK_THAT(metrics.text(), contains("HR@5 0.6667  MRR@5 0.4167"));
  CHECK_THAT(metrics.text(), contains("(full, 9,724 items; 3 examples)"));
  CHECK(metrics.figures().front() == std::pair<std::string, double>("HR@1", 1.0 / 3));
  CHECK(metrics.figures().back().first == "AUC");

  RankingProtocol sampled{
      .kind = RankingProtocol::Kind::sampled, .items = 1000000, .seed = 1, .without_seen = true};
  CHECK(sampled.text() == "sampled, 99 negatives of 1,000,000 items, seed 1, seen ones left out");
  CHECK(RankingMetrics(sampled).hr(5) == 0);
  CHECK(with_commas(0) == "0");
  CHECK(with_commas(999) == "999");
  CHECK(with_commas(-1000) == "-1,000");
  CHECK(with_commas(-100) == "-100");
  CHECK(with_commas(1234567) == "1,234,567");
}

TEST_CASE("metrics: accuracy", "[train][metrics]") {
  Accuracy accuracy;
  CHECK(accuracy.value() == 0);
  CHECK(accuracy.standard_error() == 0);
  const Tensor scores =
      Tensor::from<float>({4, 3}, {1, 2, 0, /**/ 5, 5, 1, /**/ 0, 0, 1, /**/ 3, 2, 1});
  accuracy.add(scores, Tensor::from<std::int32_t>({4}, {1, 0, 0, 0}));
  CHECK(accuracy.value() == Approx((1 + 0.5 + 0 + 1) / 4));
  CHECK(accuracy.standard_error() == Approx(std::sqrt(0.625 * 0.375 / 4)));
  CHECK(accuracy.text() == "accuracy 0.6250 +- 0.2421 (3 classes; 4 examples)");
  CHECK_THROWS_AS(accuracy.add(scores, Tensor::from<std::int32_t>({4}, {1, 0, 3, 0})), OptionError);
  CHECK_THROWS_AS(accuracy.add(scores, Tensor::from<std::int32_t>({3}, {1, 0, 2})), ShapeError);
  CHECK_THROWS_AS(
      accuracy.add(scores.to(DType::i32), Tensor::from<std::int32_t>({4}, {1, 0, 2, 0})),
      DTypeError);
}

TEST_CASE("metrics: cross-entropy", "[train][metrics]") {
  const auto expected = [](const std::vector<double>& row, std::size_t of_class) {
    double total = 0;
    for (const double score : row) total += std::exp(score);
    return -std::log(std::exp(row[of_class]) / total);
  };
  const std::vector<double> a{1, 2, 0.5}, b{-3, 0, 4};
  const double mean = (expected(a, 1) + expected(b, 0) + expected(a, 2)) / 3;
  for (const DType dtype : {DType::f32, DType::f64}) {
    INFO(name(dtype));
    const Tensor scores = Tensor::from<double>({2, 3}, {1, 2, 0.5, -3, 0, 4}).to(dtype);
    CrossEntropy entropy;
    CHECK(entropy.value() == 0);
    entropy.add(scores, Tensor::from<std::int32_t>({2}, {1, 0}));
    entropy.add(scores.slice(0, 1), Tensor::from<std::int32_t>({1}, {2}));
    CHECK(entropy.count() == 3);
    CHECK(entropy.value() == Approx(mean).epsilon(1e-6));
    CHECK_THROWS_AS(entropy.add(scores, Tensor::from<std::int32_t>({2}, {1, 3})), OptionError);
    CHECK_THROWS_AS(entropy.add(scores, Tensor::from<std::int32_t>({1}, {1})), ShapeError);
  }
  // Large scores do not overflow.
  CrossEntropy large;
  large.add(Tensor::from<float>({1, 2}, {1000, 0}), Tensor::from<std::int32_t>({1}, {1}));
  CHECK(large.value() == Approx(1000));
}

TEST_CASE("metrics: AUC equals the count over all pairs", "[train][metrics]") {
  Random random(2);
  for (int trial = 0; trial < 30; ++trial) {
    std::vector<double> scores(25);
    std::vector<std::uint8_t> labels(25);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      scores[i] = static_cast<double>(random.below(6));
      labels[i] = random.uniform() < 0.3 ? 1 : 0;
    }
    double wins = 0;
    double pairs = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      for (std::size_t j = 0; j < scores.size(); ++j) {
        if (labels[i] == 0 || labels[j] != 0) continue;
        ++pairs;
        wins += scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0;
      }
    }
    CHECK(auc(scores, labels) == Approx(pairs > 0 ? wins / pairs : 0.5));
  }
  CHECK(auc({}, {}) == 0.5);
  const std::vector<double> with_nan{not_a_number, 1};
  const std::vector<std::uint8_t> first{1, 0};
  CHECK(auc(with_nan, first) == 0);
  CHECK_THROWS_AS(auc(with_nan, {}), OptionError);
}
