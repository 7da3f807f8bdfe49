/// Distributions of the samplers against probabilities computed from the formulas.

#include <cmath>
#include <cstdint>
#include <set>
#include <vector>

#include "refrain/data/samplers.hpp"
#include "support/catch.hpp"

using namespace refrain;

namespace {

/// Pearson's statistic of counts against probabilities that sum to 1. Its mean is the number of
/// cells less one.
double chi_square(const std::vector<std::int64_t>& counts, const std::vector<double>& probability,
                  std::int64_t draws) {
  double sum = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double expected = probability[i] * static_cast<double>(draws);
    if (expected > 0)
      sum += (static_cast<double>(counts[i]) - expected) *
             (static_cast<double>(counts[i]) - expected) / expected;
  }
  return sum;
}

/// Five standard deviations above the mean.
double chi_square_bound(std::size_t cells) {
  const double freedom = static_cast<double>(cells) - 1;
  return freedom + 5 * std::sqrt(2 * freedom);
}

std::vector<double> normalized(std::vector<double> weights) {
  double sum = 0;
  for (const double weight : weights) sum += weight;
  for (double& weight : weights) weight /= sum;
  return weights;
}

}  // namespace

TEST_CASE("negative_sampler: frequencies follow the formulas, and the positive is never drawn",
          "[data]") {
  const std::int32_t items = 23;
  const std::int32_t first = 4;
  const std::int64_t draws = 60000;
  for (const auto kind : {NegativeSampler::Kind::uniform, NegativeSampler::Kind::rank}) {
    for (const std::int32_t positive : {first, first + 7, first + items - 1, 0, first + items}) {
      const NegativeSampler sampler({.kind = kind, .first = first, .items = items});
      std::vector<double> weights;
      for (std::int32_t r = 0; r < items; ++r) {
        const double weight =
            kind == NegativeSampler::Kind::uniform ? 1.0 : std::exp(-(r + 1.0) / (0.3 * items));
        weights.push_back(first + r == positive ? 0.0 : weight);
      }
      const std::vector<double> expected = normalized(weights);
      std::vector<std::int64_t> counts(static_cast<std::size_t>(items), 0);
      Random random(11);
      for (std::int64_t i = 0; i < draws; ++i) {
        const std::int32_t item = sampler.draw(positive, random);
        REQUIRE(item >= first);
        REQUIRE(item < first + items);
        REQUIRE(item != positive);
        ++counts[static_cast<std::size_t>(item - first)];
      }
      INFO("positive " << positive);
      CHECK(chi_square(counts, expected, draws) < chi_square_bound(counts.size()));
      for (std::int32_t r = 0; r < items; ++r) {
        CHECK(sampler.probability(first + r, positive) ==
              Approx(expected[static_cast<std::size_t>(r)]).epsilon(1e-12).margin(1e-300));
      }
      CHECK(sampler.probability(first - 1, positive) == 0);
    }
  }
}

TEST_CASE("negative_sampler: two items, tensors, and bad options", "[data]") {
  Random random(2);
  for (const auto kind : {NegativeSampler::Kind::uniform, NegativeSampler::Kind::rank}) {
    const NegativeSampler sampler({.kind = kind, .items = 2, .rho = 0.1});
    for (int i = 0; i < 200; ++i) {
      REQUIRE(sampler.draw(0, random) == 1);
      REQUIRE(sampler.draw(1, random) == 0);
    }
  }
  const NegativeSampler sampler({.kind = NegativeSampler::Kind::rank, .items = 100});
  const Tensor positives = Tensor::full(Shape{3, 5}, 1, DType::i32);
  Random a(6);
  Random b(6);
  const Tensor negatives = sampler.draw(positives, a);
  CHECK(negatives.shape() == positives.shape());
  for (const std::int32_t negative : negatives.span<std::int32_t>())
    CHECK(negative == sampler.draw(1, b));
  CHECK_THROWS_AS(sampler.draw(Tensor::full(Shape{2}, 1, DType::f32), a), DTypeError);
  CHECK_THROWS_AS(NegativeSampler({.items = 1}), OptionError);
  CHECK_THROWS_AS(NegativeSampler({.first = -1, .items = 5}), OptionError);
  CHECK_THROWS_AS(NegativeSampler({.first = 2147483647, .items = 5}), OptionError);
  CHECK_THROWS_AS(NegativeSampler({.items = 5, .rho = 0}), OptionError);
}

TEST_CASE("candidate_sampler: frequencies with replacement follow P", "[data]") {
  const std::int32_t range = 31;
  const std::int64_t draws = 60000;
  for (const auto kind : {CandidateSampler::Kind::log_uniform, CandidateSampler::Kind::uniform}) {
    CandidateSampler sampler({.kind = kind, .first = 4, .range = range, .unique = false});
    std::vector<double> expected;
    for (int k = 0; k < range; ++k) {
      expected.push_back(kind == CandidateSampler::Kind::uniform
                             ? 1.0 / range
                             : std::log((k + 2.0) / (k + 1.0)) / std::log(range + 1.0));
      CHECK(sampler.probability(4 + k) == Approx(expected.back()).epsilon(1e-12));
      CHECK(sampler.log_expected_count(4 + k, 50, 50) ==
            Approx(std::log(50 * expected.back())).epsilon(1e-12));
    }
    Random random(21);
    const CandidateSample sample = sampler.draw(draws, random);
    CHECK(sample.num_tries == draws);
    std::vector<std::int64_t> counts(static_cast<std::size_t>(range), 0);
    for (const std::int32_t id : sample.ids.span<std::int32_t>()) {
      REQUIRE(id >= 4);
      REQUIRE(id < 4 + range);
      ++counts[static_cast<std::size_t>(id - 4)];
    }
    CHECK(chi_square(counts, expected, draws) < chi_square_bound(counts.size()));
    CHECK(sampler.log_expected_count(0, 50, 50) == 0);
    CHECK(sampler.log_expected_count(4 + range, 50, 50) == 0);
  }
}

TEST_CASE("candidate_sampler: distinct candidates follow P without the earlier ones", "[data]") {
  // The first candidate is k with probability P(k), the second with sum over j != k of P(j) P(k) /
  // (1 - P(j)); after j it takes 1 / (1 - P(j)) draws on average.
  const std::int32_t range = 12;
  const int samples = 60000;
  for (const auto kind : {CandidateSampler::Kind::log_uniform, CandidateSampler::Kind::uniform}) {
    std::vector<double> first;
    for (int k = 0; k < range; ++k) {
      first.push_back(kind == CandidateSampler::Kind::uniform
                          ? 1.0 / range
                          : std::log((k + 2.0) / (k + 1.0)) / std::log(range + 1.0));
    }
    std::vector<double> second(first.size(), 0);
    double mean_tries = 1;  // of the first
    for (std::size_t j = 0; j < first.size(); ++j) {
      mean_tries += first[j] * (1 / (1 - first[j]));
      for (std::size_t k = 0; k < first.size(); ++k)
        second[k] += k == j ? 0 : first[j] * first[k] / (1 - first[j]);
    }
    CandidateSampler sampler({.kind = kind, .first = 4, .range = range});
    Random random(31);
    std::vector<std::int64_t> at_first(first.size(), 0);
    std::vector<std::int64_t> at_second(first.size(), 0);
    double tries = 0;
    for (int i = 0; i < samples; ++i) {
      const CandidateSample sample = sampler.draw(2, random);
      const auto ids = sample.ids.span<std::int32_t>();
      REQUIRE(ids[0] != ids[1]);
      ++at_first[static_cast<std::size_t>(ids[0] - 4)];
      ++at_second[static_cast<std::size_t>(ids[1] - 4)];
      tries += static_cast<double>(sample.num_tries);
    }
    CHECK(chi_square(at_first, first, samples) < chi_square_bound(first.size()));
    CHECK(chi_square(at_second, second, samples) < chi_square_bound(second.size()));
    CHECK(tries / samples == Approx(mean_tries).epsilon(0.01));
    for (const int n : {2, 5, 300}) {
      for (std::int32_t k = 0; k < range; ++k) {
        const double share = 1 - std::pow(1 - first[static_cast<std::size_t>(k)], n);
        CHECK(sampler.log_expected_count(4 + k, 2, n) ==
              Approx(std::log(share)).epsilon(1e-10).margin(1e-14));
      }
    }
  }
}

TEST_CASE("candidate_sampler: the whole range, tensors, determinism and bad options", "[data]") {
  CandidateSampler sampler({.first = 2, .range = 70});
  Random a(8);
  Random b(8);
  for (int i = 0; i < 3; ++i) {  // the marks of one sample must not affect the next
    const CandidateSample all = sampler.draw(70, a);
    const auto ids = all.ids.span<std::int32_t>();
    CHECK(std::set<std::int32_t>(ids.begin(), ids.end()).size() == 70);
    const CandidateSample same = CandidateSampler({.first = 2, .range = 70}).draw(70, b);
    CHECK(std::equal(ids.begin(), ids.end(), same.ids.data<std::int32_t>()));
    CHECK(all.num_tries == same.num_tries);
  }
  const CandidateSample sample = sampler.draw(5, a);
  const Tensor logs = sampler.log_expected_count(sample.ids, sample, DType::f64);
  CHECK(logs.shape() == Shape{5});
  for (std::int64_t i = 0; i < 5; ++i) {
    CHECK(logs.data<double>()[i] ==
          sampler.log_expected_count(sample.ids.data<std::int32_t>()[i], 5, sample.num_tries));
  }
  CHECK(sampler.log_expected_count(sample.ids, sample).dtype() == DType::f32);
  CHECK_THROWS_AS(sampler.log_expected_count(sample.ids, sample, DType::i32), DTypeError);
  CHECK_THROWS_AS(sampler.draw(71, a), OptionError);
  CHECK_THROWS_AS(sampler.draw(0, a), OptionError);
  CHECK_THROWS_AS(CandidateSampler({.range = 0}), OptionError);
  CHECK(CandidateSampler({.range = 1}).draw(1, a).ids.item() == 0);
}
