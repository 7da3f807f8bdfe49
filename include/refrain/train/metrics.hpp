#pragma once
/// How good rankings and classifications are.
///
/// Ties are counted as their average over all orders of the tied items, so that a scorer gains
/// nothing from equal scores: one that gives the same score to all V items gets exactly `HR@k = k /
/// V` and `AUC = 1/2`. A score that is NaN ranks below all numbers.

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

/// How the positive stands among the candidates: in some order of the tied ones it is at place
/// greater + 1 to greater + equal + 1.
struct Rank {
  std::int64_t greater = 0;     ///< candidates with a larger score
  std::int64_t equal = 0;       ///< other candidates with the same score
  std::int64_t candidates = 1;  ///< the positive included

  friend bool operator==(const Rank&, const Rank&) = default;
};

/// What the positive is ranked among. Figures of different protocols are not comparable; sampled
/// ones behave like AUC rather than like top-N quality.
struct REFRAIN_API RankingProtocol {
  enum class Kind : std::uint8_t {
    full,    ///< all items
    sampled  ///< the positive and `negatives` others, drawn uniformly without repetition
  };
  Kind kind = Kind::full;
  std::int32_t first = 0;       ///< the first id that is an item: special ids are never ranked
  std::int32_t items = 0;       ///< ids [first, first + items) are ranked
  std::int64_t negatives = 99;  ///< of the sampled protocol
  std::uint64_t seed = 0;       ///< of the sampled protocol
  bool without_seen =
      false;  ///< said in text() alone: the callers of rank_of() leave out what the user has seen

  /// "full, 9,724 items" or "sampled, 99 negatives of 9,724 items, seed 1".
  std::string text() const;
};

/// Ranks `positive` by one row of scores (f32 or f64), one score an id.
///
/// `excluded` ids are left out (what the user has seen), in any order, repeated or not; the
/// positive itself stays.  The sampled protocol draws the negatives of example number `example`
/// from the seed alone, so neither batches nor threads change them. Throws OptionError when the
/// positive or an item has no score, the positive is no item, or too few items are left to draw
/// from.
template <class T>
Rank rank_of(std::span<const T> scores, std::int32_t positive, const RankingProtocol& protocol,
             std::span<const std::int32_t> excluded = {}, std::int64_t example = 0);

/// rank_of() for each row of scores [B,V] (f32 or f64, CPU) and its positive [B] i32, in parallel;
/// row b is example first_example + b. `excluded` is empty or holds one list a row. Throws
/// ShapeError or DTypeError besides.
REFRAIN_API std::vector<Rank> rank_rows(
    const Tensor& scores, const Tensor& positives, const RankingProtocol& protocol,
    std::int64_t first_example = 0, std::span<const std::span<const std::int32_t>> excluded = {});

/// The rank by the positive's score and those of its negatives alone, for models that score only
/// these.
template <class T>
Rank rank_among(T positive, std::span<const T> negatives);

/// `count` distinct items of the protocol other than the positive and the excluded ones: what the
/// sampled protocol draws for this example.  Throws OptionError when there are too few.
REFRAIN_API std::vector<std::int32_t> sampled_negatives(std::int32_t positive,
                                                        const RankingProtocol& protocol,
                                                        std::span<const std::int32_t> excluded = {},
                                                        std::int64_t example = 0);

/// Means over examples; with place p of the positive:
///
///   HR@k = [p <= k];  MRR@k = [p <= k] / p;  NDCG@k = [p <= k] / log2(p + 1);
///       AUC = (candidates - p) / (candidates - 1).
class REFRAIN_API RankingMetrics {
 public:
  /// Throws OptionError unless every cutoff is >= 1.
  explicit RankingMetrics(RankingProtocol protocol, std::vector<std::int64_t> cutoffs = {5, 10});

  void add(const Rank& rank);
  void add(std::span<const Rank> ranks);

  std::int64_t count() const noexcept { return count_; }
  const RankingProtocol& protocol() const noexcept { return protocol_; }

  /// Throw OptionError for a cutoff that was not asked for; 0 without examples.
  double hr(std::int64_t k) const { return mean(sums(k).hr); }
  double mrr(std::int64_t k) const { return mean(sums(k).mrr); }
  double ndcg(std::int64_t k) const { return mean(sums(k).ndcg); }
  double auc() const { return mean(auc_); }

  /// All figures by name: "HR@5", "MRR@5", "NDCG@5", ..., "AUC".
  std::vector<std::pair<std::string, double>> figures() const;

  /// "HR@5 0.1234  MRR@5 0.0678  ... (full, 9,724 items; 943 examples)"
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

/// Share of examples whose class has the largest score; among t classes that tie for it, an example
/// counts 1/t.
class REFRAIN_API Accuracy {
 public:
  /// scores [B,K] (f32 or f64, CPU), classes [B] i32. Throws ShapeError, DTypeError, and
  /// OptionError for a class outside [0,K).
  void add(const Tensor& scores, const Tensor& classes);

  std::int64_t count() const noexcept { return count_; }
  /// 0 without examples.
  double value() const noexcept { return count_ == 0 ? 0 : correct_ / static_cast<double>(count_); }
  /// sqrt(p (1 - p) / n) of accuracy p over n examples: by so much it varies from one test part to
  /// another of that size.
  double standard_error() const noexcept;
  /// "accuracy 0.7120 +- 0.0147 (2 classes; 943 examples)": the standard error behind it.
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
  /// 0 without examples.
  double value() const noexcept { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

 private:
  double sum_ = 0;
  std::int64_t count_ = 0;
};

/// Probability that a random positive example scores above a random negative one, ties counting one
/// half; 1/2 when there is none of either. Throws OptionError unless there is one label a score.
REFRAIN_API double auc(std::span<const double> scores, std::span<const std::uint8_t> is_positive);

}  // namespace refrain
