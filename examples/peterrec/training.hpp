#pragma once
/// Training the base and the tasks.

#include <cstdint>

#include "common/training.hpp"
#include "peterrec/task_batches.hpp"

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
