#pragma once
/// Metrics of rankings and classifications.
///
/// Tied items count as the average over all their orders, so that equal scores bring no advantage:
/// equal scores for all V items give exactly `HR@k = k / V` and `AUC = 1/2`. A NaN score ranks
/// below all numbers.

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/core/random.hpp"
#include "refrain/core/tensor.hpp"
#include "refrain/core/text.hpp"

namespace refrain {

/// The rank of the positive among the candidates: a place from greater + 1 to greater + equal + 1,
/// depending on the order of ties.
struct Rank {
  std::int64_t greater = 0;     ///< candidates with a larger score
  std::int64_t equal = 0;       ///< other candidates with the same score
  std::int64_t candidates = 1;  ///< the positive included

  friend bool operator==(const Rank&, const Rank&) = default;
};

/// The candidates among which the positive is ranked. Metrics of different protocols are not
/// comparable; metrics of the sampled protocol behave like AUC rather than like top-N quality.
struct REFRAIN_API RankingProtocol {
  enum class Kind : std::uint8_t {
    full,    ///< all items
    sampled  ///< the positive and `negatives` other items, drawn uniformly without repetition
  };
  Kind kind = Kind::full;
  std::int32_t first = 0;       ///< the first id of an item: special ids are never ranked
  std::int32_t items = 0;       ///< ids [first, first + items) are ranked
  std::int64_t negatives = 99;  ///< only for the sampled protocol
  std::uint64_t seed = 0;       ///< only for the sampled protocol
  /// only for text(): callers of rank_of() exclude the seen items
  bool without_seen = false;

  /// A description: "full, 9,724 items" or "sampled, 99 negatives of 9,724 items, seed 1".
  std::string text() const;
};

/// Ranks `positive` by one row of scores (f32 or f64), one score an id.
///
/// `excluded` ids, such as seen items, are not ranked; they may be in any order and repeated, and
/// never exclude the positive. The sampled protocol draws the negatives of example number `example`
/// from the seed only, independent of batches and threads. Throws OptionError when the positive or
/// an item has no score, the positive is no item, or too few items are available.
template <class T>
Rank rank_of(std::span<const T> scores, std::int32_t positive, const RankingProtocol& protocol,
             std::span<const std::int32_t> excluded = {}, std::int64_t example = 0);

/// rank_of() for each row of scores [B,V] (f32 or f64, CPU) and its positive [B] i32, in parallel;
/// row b is example first_example + b. `excluded` is empty or holds one list a row. Throws as
/// rank_of(), ShapeError and DTypeError.
REFRAIN_API std::vector<Rank> rank_rows(
    const Tensor& scores, const Tensor& positives, const RankingProtocol& protocol,
    std::int64_t first_example = 0, std::span<const std::span<const std::int32_t>> excluded = {});

/// The rank by the scores of the positive and of its negatives, for models that score only these.
template <class T>
Rank rank_among(T positive, std::span<const T> negatives);

/// `count` distinct items of the protocol other than the positive and the excluded ones, as drawn
/// by the sampled protocol for this example. Throws OptionError when too few are available.
REFRAIN_API std::vector<std::int32_t> sampled_negatives(std::int32_t positive,
                                                        const RankingProtocol& protocol,
                                                        std::span<const std::int32_t> excluded = {},
                                                        std::int64_t example = 0);

/// Means over examples; p is the place of the positive:
///
///   HR@k = [p <= k];  MRR@k = [p <= k] / p;  NDCG@k = [p <= k] / log2(p + 1);
///       AUC = (candidates - p) / (candidates - 1).
class REFRAIN_API RankingMetrics {
 public:
  /// Throws OptionError unless every cutoff is >= 1.
  explicit RankingMetrics(RankingProtocol protocol, std::vector<std::int64_t> cutoffs = {5, 10});

  /// Adds one example.
  void add(const Rank& rank);
  /// Adds examples.
  void add(std::span<const Rank> ranks);

  std::int64_t count() const noexcept { return count_; }
  const RankingProtocol& protocol() const noexcept { return protocol_; }

  /// Throw OptionError for a cutoff not given to the constructor; 0 without examples.
  double hr(std::int64_t k) const { return mean(sums(k).hr); }
  double mrr(std::int64_t k) const { return mean(sums(k).mrr); }
  double ndcg(std::int64_t k) const { return mean(sums(k).ndcg); }
  double auc() const { return mean(auc_); }

  /// All metrics by name: "HR@5", "MRR@5", "NDCG@5", ..., "AUC".
  std::vector<std::pair<std::string, double>> figures() const;

  /// The metrics as one line: "HR@5 0.1234  MRR@5 0.0678  ... (full, 9,724 items; 943 examples)".
  std::string text() const;

 private:
  struct Sums {
    std::int64_t cutoff = 0;
    double hr = 0;
    double mrr = 0;
    double ndcg = 0;
  };

  const Sums& sums(std::int64_t k) const;
  double mean(double sum) const noexcept {
    return count_ == 0 ? 0 : sum / static_cast<double>(count_);
  }

  RankingProtocol protocol_;
  std::vector<Sums> sums_;
  double auc_ = 0;
  std::int64_t count_ = 0;
};

/// Fraction of examples whose class has the largest score; an example whose class ties with t - 1
/// others counts 1/t.
class REFRAIN_API Accuracy {
 public:
  /// scores [B,K] (f32 or f64, CPU), classes [B] i32. Throws ShapeError, DTypeError, and
  /// OptionError for a class outside [0,K).
  void add(const Tensor& scores, const Tensor& classes);

  std::int64_t count() const noexcept { return count_; }
  /// The accuracy; 0 without examples.
  double value() const noexcept { return count_ == 0 ? 0 : correct_ / static_cast<double>(count_); }
  /// sqrt(p (1 - p) / n) for accuracy p over n examples: the standard deviation between test parts
  /// of that size.
  double standard_error() const noexcept;
  /// "accuracy 0.7120 +- 0.0147 (2 classes; 943 examples)", with the standard error.
  std::string text() const;

 private:
  double correct_ = 0;
  std::int64_t count_ = 0;
  std::int64_t classes_ = 0;
};

/// Mean of -log softmax(scores)[class] over examples, in nats.
class REFRAIN_API CrossEntropy {
 public:
  /// scores [B,K] (f32 or f64, CPU), classes [B] i32. Throws as Accuracy::add().
  void add(const Tensor& scores, const Tensor& classes);

  std::int64_t count() const noexcept { return count_; }
  /// The mean; 0 without examples.
  double value() const noexcept { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

 private:
  double sum_ = 0;
  std::int64_t count_ = 0;
};

/// Probability that a random positive example scores above a random negative one, with ties counted
/// one half; 1/2 without positives or negatives. Throws OptionError unless there is one label for
/// each score.
REFRAIN_API double auc(std::span<const double> scores, std::span<const std::uint8_t> is_positive);

}  // namespace refrain
