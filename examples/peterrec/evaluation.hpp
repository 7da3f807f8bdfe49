#pragma once
/// Measuring methods on one task.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "peterrec/data.hpp"
#include "peterrec/network.hpp"
#include "refrain/train/metrics.hpp"

namespace refrain::peterrec {

/// Scores of all targets for source rows given as a batch: i32 [B,T] and their row numbers ->
/// [B,targets].
using Scorer = std::function<Tensor(const Tensor& ids, std::span<const std::int64_t> rows)>;

/// How a task's sequences become batches.
struct SequenceForm {
  std::int64_t length = 50;
  TclPlacement placement = TclPlacement::end;
};

inline TclPlacement placement_of(const NextItNet& base) {
  return base.is_causal() ? TclPlacement::end : TclPlacement::both;
}

/// Figures of one method on one set of examples: of profile tasks accuracy and cross-entropy, of
/// item tasks both protocols.
struct Figures {
  TaskKind kind = TaskKind::profile;
  std::optional<Accuracy> accuracy;
  std::optional<RankingMetrics> sampled;
  std::optional<RankingMetrics> full;
  double cross_entropy = 0;  ///< of softmax(scores), in nats; profile tasks
  std::string note;          ///< Rankings::note

  /// What early stopping looks at, larger is better: minus cross-entropy, or MRR@5 (sampled).
  double validation() const { return kind == TaskKind::profile ? -cross_entropy : sampled->mrr(5); }
  /// One line for people, protocols included.
  std::string text() const;
};

/// What is ranked, and against how many.
struct Protocols {
  std::int64_t negatives = 99;
  std::uint64_t seed = 1;
};

/// How the examples of an item task are ranked.
struct Rankings {
  RankingProtocol full;
  RankingProtocol sampled;         ///< with the number of negatives that every example has
  std::vector<std::int64_t> open;  ///< of each example: the items besides its own and the seen ones
  std::string note;  ///< in what the sampled protocol is not the one asked for; empty: in nothing
};

/// The sampled protocol takes the smallest number of open items where that is less than the
/// negatives asked for, so that all examples are ranked among equally many; an example without any
/// open item is not ranked by it.
Rankings rankings(const TaskData& task, const TransferExamples& examples,
                  const Protocols& protocols);

/// Scores every example and ranks its target; what the user has seen is left out.
Figures measure(const TaskData& task, const TransferExamples& examples, const SequenceForm& form,
                const Protocols& protocols, const Scorer& scorer);

/// A network's scores.
Scorer scorer_of(const PatchSet& set, const NextItNet& base);
Scorer scorer_of(const TaskNetwork& network);

/// The own head of a causal base, of task next: the scores of the items that follow the last one of
/// a row.
Scorer base_scorer(const NextItNet& base, const TaskData& task);

/// The same scores for everyone: how often each target occurs in the training examples (most
/// popular, label frequency).
Scorer popularity_scorer(const TaskData& task);
/// Uniform random scores.
Scorer random_scorer(const TaskData& task, std::uint64_t seed);

}  // namespace refrain::peterrec
