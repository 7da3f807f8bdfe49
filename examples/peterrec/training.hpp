#pragma once
/// Training the base and the tasks.

#include <cstdint>

#include "common/training.hpp"
#include "peterrec/evaluation.hpp"

namespace refrain::peterrec {

using examples::Training;
using examples::TrainPlace;
using examples::TrainReport;

/// The pre-training task of a base.
struct SourceTask {
  const PretrainData& data;
  const Vocabulary& vocabulary;
  const BaseOptions& options;
};

/// The pre-training of a base. Network and data must outlive it.
Training base_training(NextItNet& network, const SourceTask& source, const TrainOptions& options,
                       std::uint64_t seed);

/// Pre-trains a base; afterwards it holds the parameters that were best on the held-out rows
/// (smallest loss), or the latest ones when the run was interrupted.
TrainReport train_base(NextItNet& network, const SourceTask& source, const TrainOptions& options,
                       const TrainPlace& place);

/// The batch size for a number of examples: TrainOptions::batch, or, if that is 0, a tenth of the
/// examples, rounded down to a power of two and limited to [8, 64]. With larger batches, a small
/// data set would have so few training steps per epoch that early stopping would end training too
/// soon.
std::int64_t fine_tuning_batch(const TrainOptions& options, std::int64_t examples);

/// The training of a task on `examples`. `joint`: the source task of multi-task learning. Network
/// and data must outlive it.
Training task_training(TaskNetwork& network, const TaskData& task, const TransferExamples& examples,
                       const Options& options, std::uint64_t seed,
                       const SourceTask* joint = nullptr);

/// Trains a task on `examples`; afterwards the network holds the parameters that were best on the
/// validation part, or the latest ones when the run was interrupted.
TrainReport train_task(TaskNetwork& network, const TaskData& task, const TransferExamples& examples,
                       const Options& options, const TrainPlace& place,
                       const SourceTask* joint = nullptr);

}  // namespace refrain::peterrec
