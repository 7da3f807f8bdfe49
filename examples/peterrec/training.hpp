#pragma once
/// Training the base and the tasks.

#include <cstdint>
#include <optional>
#include <string>

#include "peterrec/evaluation.hpp"
#include "refrain/train/metric_log.hpp"

namespace refrain::peterrec {

/// Where training reports to, and where it keeps its state.
struct TrainPlace {
  std::string label;       ///< of the progress line
  std::string state_file;  ///< empty: an interrupted run cannot go on
  std::string setting;     ///< what a run that goes on from the state file must have in common with the one before
  MetricLog* log = nullptr;
  bool quiet = false;
  std::uint64_t seed = 1;
};

/// How training went.
struct TrainReport {
  std::int64_t epochs = 0;
  double seconds_per_epoch = 0;  ///< without evaluation
  double best = 0;               ///< on the validation part
  bool interrupted = false;
};

/// What a run that was interrupted leaves behind.
struct Leavings {
  bool writes_out = false;  ///< what was learned so far goes to --out
  std::string text;         ///< where things are and how to go on, for people
};

/// A state file holds everything, and nothing else is written; without one, what was learned so far goes to `out`, unless there
/// is such a file already: it may be a better one.
Leavings leavings(const std::string& out, const std::string& state_file);

/// Pre-trains a base; afterwards it holds the parameters that were best on the held-out rows (smallest loss), or the latest ones when
/// the run was interrupted.
TrainReport train_base(NextItNet& network, const PretrainData& data, const Vocabulary& vocabulary, const BaseOptions& base,
                       const TrainOptions& options, std::int64_t length, const TrainPlace& place);

/// What multi-task learning trains along.
struct SourceTask {
  const PretrainData* data = nullptr;
  const Vocabulary* vocabulary = nullptr;
  const BaseOptions* options = nullptr;
};

/// Trains a task on `examples`; afterwards the network holds the parameters that were best on the validation part, or the
/// latest ones when the run was interrupted.
TrainReport train_task(TaskNetwork& network, const TaskData& task, const TransferExamples& examples,
                       const TaskOptions& task_options, const TrainOptions& options, std::int64_t length,
                       const Protocols& protocols, const TrainPlace& place, const SourceTask& joint = {});

/// Rows that pre-train hold one step more than a causal base reads, since the last is only a target.
inline std::int64_t piece_length(std::int64_t length, bool causal) { return causal ? length + 1 : length; }

}  // namespace refrain::peterrec
