#pragma once
/// Evaluation of next-item prediction on held-out items.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/data/batches.hpp"
#include "refrain/data/splits.hpp"
#include "refrain/distributed/communicator.hpp"
#include "refrain/nn/scores.hpp"
#include "refrain/train/metrics.hpp"
#include "refrain/train/model.hpp"

namespace refrain {

/// The protocol that ranks the item after a history, and its metrics.
struct EvaluateOptions {
  std::vector<std::int64_t> cutoffs{5, 10};  ///< k of HR, MRR and NDCG
  bool leave_out_seen = false;               ///< exclude items of the history
  /// The sampled protocol ranks among this many other items, drawn at random; 0: the full protocol,
  /// among all items. Metrics of different protocols are not comparable.
  std::int64_t negatives = 0;
  /// When an example has fewer other items than `negatives`: true ranks all examples among the
  /// smallest number available to an example, and skips examples without other items; false throws
  /// OptionError.
  bool allow_fewer_negatives = false;
  std::uint64_t seed = 1;    ///< seed of the sampled protocol
  std::int64_t batch = 256;  ///< sequences that are scored at a time
  /// The first id of an item: smaller ids are special and never ranked.
  std::int32_t first_item = special_ids;
  /// The ranks that evaluate together: each ranks the examples of its batches (for_own_batches),
  /// and every rank gets the ranks and figures of one process. Null: one process.
  Communicator* communicator = nullptr;

  /// The protocol over `ids` ids, as in the metrics.
  REFRAIN_API RankingProtocol protocol(std::int64_t ids) const;
};

/// Calls function(begin, end) for consecutive ranges of at most `size` that cover [0, count).
/// Throws OptionError unless size >= 1.
template <class Function>
void for_batches(std::int64_t count, std::int64_t size, Function&& function) {
  if (size < 1) throw OptionError(detail::concat("batch: expected at least 1, got ", size));
  for (std::int64_t begin = 0; begin < count; begin += size)
    function(begin, std::min(begin + size, count));
}

/// The examples of one rank: consecutive ones of `count`.
struct ExampleRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// The examples of the batches that a rank evaluates: of n batches of `size` examples, rank r of R
/// has the batches [n r / R, n (r + 1) / R), rounded down, so that every batch consists of the same
/// examples on any number of ranks. All examples without a communicator. Throws OptionError unless
/// size >= 1.
REFRAIN_API ExampleRange own_examples(std::int64_t count, std::int64_t size,
                                      const Communicator* communicator);

/// for_batches() for the batches of own_examples().
template <class Function>
void for_own_batches(std::int64_t count, std::int64_t size, const Communicator* communicator,
                     Function&& function) {
  const ExampleRange own = own_examples(count, size, communicator);
  for_batches(own.end - own.begin, size, [&](std::int64_t begin, std::int64_t end) {
    function(own.begin + begin, own.begin + end);
  });
}

/// Examples [begin, end) -> a score of every id for each of them, [end - begin, ids] on the CPU.
/// They depend on nothing else.
using ScoreExamples = std::function<Tensor(std::int64_t begin, std::int64_t end)>;

/// The targets of examples, and the items that are not ranked.
struct RankedExamples {
  std::span<const std::int32_t> targets;  ///< id of the correct item of each example
  /// The ids that leave_out_seen excludes for an example; may be empty without that option.
  std::function<std::span<const std::int32_t>(std::int64_t example)> seen = {};
};

/// Receives the ranks of consecutive examples from example `begin` on, by the protocol of that
/// number. Each protocol's examples come in ascending order; an example that a protocol does not
/// rank is left out.
using OnRanks =
    std::function<void(std::int64_t protocol, std::int64_t begin, std::span<const Rank> ranks)>;

/// Evaluates several protocols in one pass over examples whose scores depend on more than a history
/// of items. The first protocol determines the batch size and the communicator.
///
///   rank_examples([&](auto begin, auto end) { return head.scores(users(begin, end)); },
///                 {.targets = classes}, protocols);
///
/// Throws OptionError without examples or protocols, for leave_out_seen without
/// RankedExamples::seen, for a target that is no item, and for a sampled protocol with more
/// negatives than available items (see allow_fewer_negatives).
///
/// With several ranks a collective call. Each rank sends 24 (R - 1) bytes for each of its examples
/// and protocols, and on_ranks is called on every rank. Throws CommunicationError when the numbers
/// of examples, the targets or the batch sizes differ, and, on every rank and with the reason, when
/// the evaluation throws on any of them.
REFRAIN_API std::vector<RankingMetrics> rank_examples(const ScoreExamples& scores,
                                                      const RankedExamples& examples,
                                                      std::span<const EvaluateOptions> protocols,
                                                      const OnRanks& on_ranks = {});

namespace detail {

/// ids i32 [B,T] on the CPU -> scores [B,ids] on the CPU.
using ScoreIds = std::function<Tensor(const Tensor& ids)>;

REFRAIN_API std::vector<RankingMetrics> rank_held_out(const ScoreIds& scores, const HeldOut& part,
                                                      std::int64_t length,
                                                      std::span<const EvaluateOptions> protocols,
                                                      const OnRanks& on_ranks = {});

}  // namespace detail

/// evaluate() with several protocols in one pass over the sequences; the first one determines the
/// batch size and the communicator. `on_ranks` receives the ranks, with rows of the part as
/// examples.
template <class Model>
std::vector<RankingMetrics> evaluate(Model& model, const HeldOut& part,
                                     std::span<const EvaluateOptions> protocols,
                                     const OnRanks& on_ranks = {}) {
  detail::expect_scoring_model<Model>();
  std::vector<RankingMetrics> metrics;
  if constexpr (ScoringModel<Model>) {
    const detail::EvaluationScope scope(model);
    const Device device = model.device();
    metrics = detail::rank_held_out(
        [&](const Tensor& ids) { return Tensor(model.scores(ids.to(device))).to(Device::cpu); },
        part, model.length(), protocols, on_ranks);
  }
  return metrics;
}

/// Ranks the last item of each sequence by the scores that the model gives after the items before
/// it, on the model's device.
///
///   const RankingMetrics metrics =
///       evaluate(model, data.test, {.cutoffs = {10}, .leave_out_seen = true});
///
/// The model is a ScoringModel. With several ranks all have the same model and part. Throws
/// OptionError for a part without sequences and for a sampled protocol with more negatives than
/// available items, and CommunicationError as rank_examples() does.
template <class Model>
RankingMetrics evaluate(Model& model, const HeldOut& part, const EvaluateOptions& options = {}) {
  return evaluate(model, part, std::span(&options, 1)).front();
}

/// Mean loss over the targets of `count` rows that are not padding_id, in batches of `batch` rows:
/// `make(begin, end)` returns the batch of rows [begin, end) on the CPU, `mean(batch)` the mean
/// loss over its targets. 0 without targets.
///
/// Of several ranks, each makes all batches in order, because make() may draw random numbers, and
/// computes the mean losses of its own ones (own_examples); every rank gets the result of one
/// process. Throws CommunicationError when `count` or `batch` differ, and when a function throws on
/// any rank.
REFRAIN_API double mean_loss(
    std::int64_t count, std::int64_t batch,
    const std::function<SequenceBatch(std::int64_t begin, std::int64_t end)>& make,
    const std::function<double(const SequenceBatch& batch)>& mean,
    Communicator* communicator = nullptr);

/// Mean loss of the held-out items: of all positions of wholly unseen sequences with
/// LossPositions::all, otherwise of the last items. `mean(batch)` is the mean loss over the targets
/// [B,length] of a batch on the CPU that are not padding. Several ranks compute it together, as in
/// mean_loss(). Throws OptionError for a part without sequences.
REFRAIN_API double held_out_loss(const std::function<double(const SequenceBatch& batch)>& mean,
                                 const HeldOut& part, std::int64_t length,
                                 LossPositions positions = LossPositions::all,
                                 std::int64_t batch = 256, Communicator* communicator = nullptr);

/// held_out_loss() of a model with `Variable loss(const SequenceBatch&)`, on its device.
template <class Model>
requires std::derived_from<Model, Module>
double held_out_loss(Model& model, const HeldOut& part,
                     LossPositions positions = LossPositions::all, std::int64_t batch = 256,
                     Communicator* communicator = nullptr) {
  detail::expect_trainable_model<Model>();
  if constexpr (TrainableModel<Model>) {
    const detail::EvaluationScope scope(model);
    const Device device = model.device();
    return held_out_loss(
        [&](const SequenceBatch& made) {
          const Variable loss = model.loss({made.ids.to(device), made.targets.to(device)});
          return loss.item();
        },
        part, model.length(), positions, batch, communicator);
  } else {
    return 0;
  }
}

}  // namespace refrain
