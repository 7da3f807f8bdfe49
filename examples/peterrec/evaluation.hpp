#pragma once
/// Measuring recommenders on one task.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/ranks_file.hpp"
#include "peterrec/data.hpp"
#include "peterrec/network.hpp"
#include "refrain/train/metrics.hpp"

namespace refrain::peterrec {

/// Computes the scores of all targets for source rows of a task: [rows,targets] on the CPU.
using Scorer = std::function<Tensor(std::span<const std::int64_t> rows)>;

/// Title of a base's own head.
inline constexpr const char* own_head = "the base's own head";

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
/// The scores of the base's own head, a reference for the next-item task if the base is causal.
Scorer base_scorer(const TaskData& task, const NextItNet& base);
/// Scores targets by their frequency in the training examples, equally for every user.
Reference popularity(const TaskData& task);
Reference random_scores(const TaskData& task, std::uint64_t seed);

/// Baselines with counts of the training part: naive Bayes for profiles, co-occurrence for items,
/// the n-gram and co-occurrence for the next item. `ids`: size of the source vocabulary.
std::vector<Reference> baselines(const TaskData& task, std::int64_t ids);

/// The base's own head, if it has scores for the task, popularity, and the baselines.
std::vector<Reference> references(const TaskData& task, const NextItNet& base);

/// A figure with the names of its table column and of its field in the log of evaluate.
struct Figure {
  const char* column;
  const char* field;
  double value;
  bool larger_is_better = true;
};

/// Figures of one recommender on one set of examples.
struct Figures {
  Accuracy accuracy = {};                     ///< only of profile tasks
  CrossEntropy cross_entropy = {};            ///< of softmax(scores), only of profile tasks
  std::vector<RankingMetrics> rankings = {};  ///< only of item tasks: full and sampled protocol
  std::int64_t negatives = 0;                 ///< Protocols::negatives

  /// The figure that early stopping uses: cross-entropy, or MRR@5 of the sampled protocol.
  double validation() const;
  std::vector<Figure> list() const;
  /// A readable text: a line per protocol, each after `label`, and note().
  std::string text(const std::string& label = {}) const;
  /// A description of the protocols.
  std::string protocols() const;
  /// How the sampled protocol differs from the requested one; empty if it does not differ.
  std::string note() const;
};

/// Scores every example and ranks its target. The next-item task excludes the seen items. If an
/// example has fewer possible negatives than requested, all examples are ranked among the smallest
/// such number; the sampled protocol excludes examples without negatives. `ranks`: the processes
/// that score the examples together, all with the same result; null for one.
Figures measure(const TaskData& task, const TransferExamples& examples, const Protocols& protocols,
                const Scorer& scorer, const OnRanks& on_ranks = {}, Communicator* ranks = nullptr);

/// measure() of the test part by the processes of the options, which also appends the ranks to
/// their file. The rank in a profile task is that of the user's class among all classes.
Figures measure_test(const TaskData& task, const Options& options, const Reference& measured,
                     std::uint64_t seed, examples::RanksFile& ranks);

}  // namespace refrain::peterrec
