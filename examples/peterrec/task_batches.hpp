#pragma once
/// The batches of a task's fine-tuning.

#include <cstdint>
#include <optional>

#include "peterrec/evaluation.hpp"
#include "refrain/data/batches.hpp"
#include "refrain/data/samplers.hpp"

namespace refrain::peterrec {

/// The inputs of a task's loss, on the host.
struct TaskBatch {
  Tensor ids;
  Tensor targets;
  Tensor negatives{};  ///< for the pair losses only
};

/// The batch size for a number of examples: TrainOptions::batch, or, if that is 0, a tenth of the
/// examples, rounded down to a power of two and limited to [8, 64]. With larger batches, a small
/// data set would have so few training steps per epoch that early stopping would end training too
/// soon.
std::int64_t fine_tuning_batch(const TrainOptions& options, std::int64_t examples);

/// The batches of a task, which depend only on its examples, the options, the seed, epoch and step.
/// Task, examples and base must outlive it.
class TaskBatches {
 public:
  TaskBatches(const TaskNetwork& network, const TaskData& task, const TransferExamples& examples,
              const Options& options, std::uint64_t seed);

  std::int64_t steps_per_epoch() const { return batches_.steps_per_epoch(); }

  /// The number of examples in a slice of the batch of a training step.
  std::int64_t size(std::int64_t epoch, std::int64_t step, BatchSlice slice = {}) {
    return std::ssize(batches_.rows(epoch, step, slice));
  }

  /// A slice of the batch of a training step.
  TaskBatch batch(std::int64_t epoch, std::int64_t step, BatchSlice slice = {});

 private:
  const TaskData& task_;
  const TransferExamples& examples_;
  TclPlacement placement_;
  BatchSampler batches_;
  std::optional<NegativeSampler> negatives_;
};

}  // namespace refrain::peterrec
