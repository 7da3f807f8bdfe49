#pragma once
/// Measuring recommenders on one task.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "peterrec/data.hpp"
#include "peterrec/network.hpp"
#include "refrain/train/metrics.hpp"

namespace refrain::peterrec {

/// Scores of all targets after the sequences of a task's source rows: [rows,targets] on the CPU.
using Scorer = std::function<Tensor(std::span<const std::int64_t> rows)>;

/// A recommender to compare with.
struct Reference {
  std::string title;
  Scorer scorer;
};

inline TclPlacement placement_of(const NextItNet& base) {
  return base.is_causal() ? TclPlacement::end : TclPlacement::both;
}

Scorer scorer_of(const TaskData& task, const NextItNet& base, const PatchSet& set);
inline Scorer scorer_of(const TaskData& task, const TaskNetwork& network) {
  return scorer_of(task, network.base(), network.task());
}
/// The scores of the base's own head, with which the next-item task is compared where the base is
/// causal.
Scorer base_scorer(const TaskData& task, const NextItNet& base);
/// How often each target occurs in the training examples, for every user.
Reference popularity(const TaskData& task);
Reference random_scores(const TaskData& task, std::uint64_t seed);

/// The base's own head, where it has scores for the task, and the popularity.
std::vector<Reference> references(const TaskData& task, const NextItNet& base);

/// A figure, under the name of its column in a table and of its field in the log of evaluate.
struct Figure {
  const char* column;
  const char* field;
  double value;
};

/// Figures of one recommender on one set of examples.
struct Figures {
  Accuracy accuracy = {};                     ///< of profile tasks
  CrossEntropy cross_entropy = {};            ///< of softmax(scores); of profile tasks
  std::vector<RankingMetrics> rankings = {};  ///< of item tasks: the full and the sampled protocol
  std::int64_t negatives = 0;                 ///< Protocols::negatives

  /// What early stopping looks at: the cross-entropy, or MRR@5 of the sampled protocol.
  double validation() const;
  std::vector<Figure> list() const;
  /// For people, after a label of each line: a line of each protocol, and note().
  std::string text(const std::string& label = {}) const;
  /// The protocols of the figures.
  std::string protocols() const;
  /// How the sampled protocol differs from the one asked for, as an indented line; empty: not.
  std::string note() const;
};

/// Scores every example and ranks its target. The next-item task leaves out the seen items. Where
/// an example has fewer items than the negatives asked for, all are ranked among the smallest such
/// number, and examples without any are left out of the sampled protocol.
Figures measure(const TaskData& task, const TransferExamples& examples, const Protocols& protocols,
                const Scorer& scorer);

}  // namespace refrain::peterrec
