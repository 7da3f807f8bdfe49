#pragma once
/// Training the base and the tasks.

#include <cstdint>
#include <optional>
#include <string>

#include "common/training.hpp"
#include "peterrec/evaluation.hpp"

namespace refrain::peterrec {

using examples::Leavings;
using examples::leavings;
using examples::TrainPlace;
using examples::TrainReport;

/// Pre-trains a base; afterwards it holds the parameters that were best on the held-out rows
/// (smallest loss), or the latest ones when the run was interrupted.
TrainReport train_base(NextItNet& network, const PretrainData& data, const Vocabulary& vocabulary,
                       const BaseOptions& base, const TrainOptions& options, std::int64_t length,
                       const TrainPlace& place);

/// What multi-task learning trains along.
struct SourceTask {
  const PretrainData* data = nullptr;
  const Vocabulary* vocabulary = nullptr;
  const BaseOptions* options = nullptr;
};

/// Sequences a step of a fine-tuning on so many examples: TrainOptions::batch, or, where that is 0,
/// a tenth of the examples, as the power of two from 8 to 64 that is not above it. With larger
/// batches few examples make so few steps an epoch that early stopping ends training before it has
/// begun.
std::int64_t fine_tuning_batch(const TrainOptions& options, std::int64_t examples);

/// Trains a task on `examples`; afterwards the network holds the parameters that were best on the
/// validation part, or the latest ones when the run was interrupted.
TrainReport train_task(TaskNetwork& network, const TaskData& task, const TransferExamples& examples,
                       const TaskOptions& task_options, const TrainOptions& options,
                       std::int64_t length, const Protocols& protocols, const TrainPlace& place,
                       const SourceTask& joint = {});

/// Rows that pre-train hold one step more than a causal base reads, since the last is only a
/// target.
inline std::int64_t piece_length(std::int64_t length, bool causal) {
  return causal ? length + 1 : length;
}

}  // namespace refrain::peterrec
