#pragma once
/// Fine-tuning of many tasks in one pass.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "peterrec/training.hpp"

namespace refrain::peterrec {

/// A task whose training is prepared. What it refers to must outlive the training.
struct PreparedTask {
  std::function<std::unique_ptr<TaskNetwork>()> network;  ///< creates the untrained network
  std::int64_t parameters = 0;                            ///< of the network, without the base
  const TaskData* task = nullptr;
  const TransferExamples* examples = nullptr;
  const Options* options = nullptr;
  TrainPlace place{};
};

/// The result of one task of train_together().
struct TrainedTask {
  std::size_t number = 0;                     ///< in the list of tasks
  std::unique_ptr<TaskNetwork> network = {};  ///< null for a training that diverged
  TrainReport report = {};
  std::string error = {};  ///< of a training that diverged; its report is empty
};

/// True when tasks with such patches train in one pass: on the CPU, unless the options ask for one
/// after the other.
bool fits_one_pass(const Options& options, Insertion insertion);

/// How many tasks train at a time: TaskOptions::at_once, or, if that is 0, as many as have batches
/// of 256 sequences together. Larger passes are no faster on the CPU. Prints this number and the
/// memory of their training. Throws OptionError when this is more than the memory that is
/// available.
std::int64_t choose_tasks_at_once(const Options& options, const NextItNet& base,
                                  std::span<const PreparedTask> tasks);

/// Trains tasks on one frozen base together: a pass computes a training step of each, and ends with
/// the bytes of train_task() for each. Every task has its own examples, optimizer and early
/// stopping; when one ends, the next of the list takes its place. Calls `finished` for each task
/// when it ends, and for all running ones, with an interrupted report, when an interruption is
/// requested. Tasks that have not begun by then are not reported. All have patches of the same
/// kind, and the same slices and processes. On the CPU. `label`: that of the progress line.
void train_together(const NextItNet& base, const std::string& label,
                    std::span<const PreparedTask> tasks, std::int64_t at_once,
                    const std::function<void(TrainedTask)>& finished);

}  // namespace refrain::peterrec
