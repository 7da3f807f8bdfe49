#pragma once
/// Negative items: one per positive for ranking losses, a shared set for sampled softmax.

#include <cstdint>
#include <span>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/core/random.hpp"
#include "refrain/core/tensor.hpp"

namespace refrain {

/// Draws items other than the positive from [first, first + items), numbered by descending
/// popularity.
///
///   uniform:  p(item) = 1 / items
///   rank:     p(item) proportional to exp(-(r + 1) / (rho items)),  r = item - first
///       (LambdaFM's static sampler)
/// Both are conditioned on the item not being the positive, and drawn by inverting the distribution
/// function: one random number a draw, without tables or rejection.
class REFRAIN_API NegativeSampler {
 public:
  enum class Kind : std::uint8_t { uniform, rank };
  struct Options {
    Kind kind = Kind::uniform;
    std::int32_t first = 0;
    std::int32_t items = 0;  ///< required
    double rho = 0.3;        ///< smaller means more popular negatives
  };

  /// Throws OptionError unless items >= 2, first >= 0, first + items <= 2^31 - 1 and rho > 0.
  explicit NegativeSampler(Options options);

  /// One negative.  A positive outside the range excludes nothing.
  std::int32_t draw(std::int32_t positive, Random& random) const;

  /// One negative for each positive, i32 of any shape -> i32 of that shape.
  Tensor draw(const Tensor& positives, Random& random) const;

  /// Probability that draw() returns `item` for this positive.
  double probability(std::int32_t item, std::int32_t positive) const;

 private:
  double prior(std::int32_t rank) const noexcept;
  bool in_range(std::int32_t item) const noexcept {
    return item >= options_.first && item - options_.first < options_.items;
  }

  Options options_;
  double scale_;  ///< rho * items
  /// 1 - exp(-1 / rho): the mass of the untruncated geometric distribution within the range
  double mass_;
};

/// The candidates of one batch.
struct CandidateSample {
  Tensor ids;                  ///< [S] i32
  std::int64_t num_tries = 0;  ///< number of draws, repeated ids included
};

/// Draws the shared negatives of sampled softmax from [first, first + range); `first` excludes the
/// special ids.
///
///   log_uniform:  P(k) = (log(k + 2) - log(k + 1)) / log(range + 1),  k = id - first
///       (for ids by descending frequency)
///   uniform:      P(k) = 1 / range
/// These are TensorFlow's log_uniform_candidate_sampler and uniform_candidate_sampler.
class REFRAIN_API CandidateSampler {
 public:
  enum class Kind : std::uint8_t { log_uniform, uniform };
  struct Options {
    Kind kind = Kind::log_uniform;
    std::int32_t first = 0;
    std::int32_t range = 0;  ///< required
    bool unique = true;      ///< redraw ids that were drawn before
  };

  /// Throws OptionError unless range >= 1, first >= 0 and first + range <= 2^31 - 1.
  explicit CandidateSampler(Options options);

  const Options& options() const noexcept { return options_; }

  /// Throws OptionError unless count >= 1 and, with `unique`, count <= range. Not thread-safe.
  CandidateSample draw(std::int64_t count, Random& random);

  /// P(k) of an id; 0 outside the range.
  double probability(std::int32_t id) const noexcept;

  /// log of the expected count of an id in a sample of `count` ids that took `num_tries` draws:
  ///   unique: log(1 - (1 - P)^num_tries) = log(-expm1(num_tries log1p(-P)));
  ///       otherwise: log(count P).
  /// Returns 0, no correction, for ids outside the range (padding as a target).
  double log_expected_count(std::int32_t id, std::int64_t count,
                            std::int64_t num_tries) const noexcept;

  /// log_expected_count() for every element of `ids`, i32 of any shape -> `dtype` (f32 or f64) of
  /// that shape; computed in f64.
  Tensor log_expected_count(const Tensor& ids, const CandidateSample& sample,
                            DType dtype = DType::f32) const;

 private:
  Options options_;
  double log_range_;                 ///< log(range + 1)
  std::vector<std::uint64_t> seen_;  ///< one bit for each k, all zero between calls
};

}  // namespace refrain
