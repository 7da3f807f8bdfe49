#pragma once
/// Training the base and the tasks.

#include <cstdint>

#include "common/training.hpp"
#include "peterrec/evaluation.hpp"

namespace refrain::peterrec {

using examples::TrainPlace;
using examples::TrainReport;

/// What a base learns.
struct SourceTask {
  const PretrainData& data;
  const Vocabulary& vocabulary;
  const BaseOptions& options;
};

/// Pre-trains a base; afterwards it holds the parameters that were best on the held-out rows
/// (smallest loss), or the latest ones when the run was interrupted.
TrainReport train_base(NextItNet& network, const SourceTask& source, const TrainOptions& options,
                       const TrainPlace& place);

/// Sequences of a training step for so many examples: TrainOptions::batch, or, where that is 0, a
/// tenth of the examples, as the power of two from 8 to 64 that is not above it. With larger
/// batches few examples make so few training steps an epoch that early stopping ends training
/// before it has begun.
std::int64_t fine_tuning_batch(const TrainOptions& options, std::int64_t examples);

/// Trains a task on `examples`; afterwards the network holds the parameters that were best on the
/// validation part, or the latest ones when the run was interrupted. `joint`: trained along by
/// multi-task learning.
TrainReport train_task(TaskNetwork& network, const TaskData& task, const TransferExamples& examples,
                       const Options& options, const TrainPlace& place,
                       const SourceTask* joint = nullptr);

}  // namespace refrain::peterrec
