#pragma once
/// Training with progress output, a log, and graceful shutdown on SIGINT and SIGTERM.

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/options.hpp"
#include "common/run_log.hpp"
#include "refrain/train/learning_rate_schedule.hpp"
#include "refrain/train/optimizer.hpp"
#include "refrain/train/progress.hpp"
#include "refrain/train/trainer.hpp"
#include "refrain/train/training_progress.hpp"

namespace refrain::examples {

/// The fields of a stored configuration (saved_config.hpp) except its note. A run's setting
/// excludes options that may change when the run is resumed: epochs, patience and its plateau,
/// learning rate and its schedule, clipping and threads.
RunSetting setting_of_config(const std::string& config);

/// Adds the settings of the loss and of the order of an epoch: L2, and weight decay and the order
/// unless they are the defaults, as states of older versions lack them.
void add_regularization(RunSetting& setting, const TrainOptions& options);

/// The options of Adam.
AdamOptions adam_options(const TrainOptions& options);

/// Throws OptionError, with the options' names after --`prefix`, unless the warm-up ends before the
/// last epoch.
void expect_warmup(const TrainOptions& options, const std::string& prefix = {});

/// Throws OptionError unless there is a slice for each of several processes.
void expect_share(const TrainOptions& options, const RunOptions& run);

/// The learning rate of each training step; empty for a constant rate without warm-up. The warm-up
/// is rounded to training steps and leaves at least the last one.
LearningRateSchedule rate_schedule(const TrainOptions& options, std::int64_t steps_per_epoch);

/// The label, log, state file, device and processes of a training.
struct TrainPlace {
  std::string label;            ///< label of the progress line
  std::string state_file = {};  ///< empty: an interrupted run cannot be resumed
  RunSetting setting = {};      ///< stored in the state file
  RunLog* log = nullptr;
  std::uint64_t seed = 1;
  Device device = Device::cpu;  ///< device of the module's parameters
  bool is_one_of_many = false;  ///< without a terminal, all epochs are printed on one line
  bool is_quiet = false;        ///< without a progress line
  Metadata metadata = {};       ///< further texts of the state file
  Processes* processes = &Processes::alone();
};

/// The TrainPlace of a command.
inline TrainPlace training_place(const RunOptions& run, RunLog& log, std::string label,
                                 std::string state_file = {}, RunSetting setting = {}) {
  return {.label = std::move(label),
          .state_file = std::move(state_file),
          .setting = std::move(setting),
          .log = &log,
          .seed = run.seed,
          .device = run.device,
          .processes = run.processes};
}

/// The result of a training.
struct TrainReport {
  std::string label;   ///< TrainPlace::label
  std::string metric;  ///< Validation::name
  std::int64_t epochs = 0;
  double seconds_per_epoch = 0;  ///< without evaluation
  double best = 0;               ///< best figure on the validation part
  /// Loss, in nats, of the best parameters: on the validation part if it measures a loss, otherwise
  /// the mean over the training steps of their epoch. NaN if an earlier process trained that epoch.
  double loss = std::numeric_limits<double>::quiet_NaN();
  double chance = 0;  ///< Validation::chance
  bool interrupted = false;
  bool is_of_first = true;           ///< this process writes the result (Processes::is_first())
  std::vector<EpochReport> curve{};  ///< epochs of this process
};

/// The figure that is measured on the validation part.
struct Validation {
  std::string name;
  bool larger_is_better = true;
  /// Measures it; `ranks`: the processes that do so together, null for one.
  std::function<double(Communicator* ranks)> measure;
  /// The loss, in nats, of a network that gives every answer the same score. It is compared with
  /// the result of `measure` if smaller is better, otherwise with the training loss.
  double chance = 0;
};

/// Runs a trainer with an evaluation function.
using RunTrainer =
    std::function<TrainingResult(Trainer&, const std::function<double(std::int64_t)>&)>;

/// A training that is ready to run. The module must outlive it.
struct Training {
  Module& module;
  std::unique_ptr<Optimizer> optimizer;
  std::int64_t steps_per_epoch = 0;
  RunTrainer run;
  Validation validation;
};

/// A training by an objective: `steps_per_epoch()`; `batch(epoch, step, slice)`, which creates a
/// slice of the batch of a training step on the host, without elements if it has no rows; and
/// `loss(batch)`, its loss, or the terms of its loss, on the module's device (Trainer::run).
template <class Objective>
Training training_of(Module& module, std::unique_ptr<Optimizer> optimizer,
                     std::shared_ptr<Objective> objective, Validation validation) {
  const std::int64_t steps_per_epoch = objective->steps_per_epoch();
  return {.module = module,
          .optimizer = std::move(optimizer),
          .steps_per_epoch = steps_per_epoch,
          .run =
              [objective, device = module.device()](Trainer& trainer, const auto& evaluate) {
                return trainer.run(
                    device,
                    [&](std::int64_t epoch, std::int64_t step, BatchSlice slice) {
                      return objective->batch(epoch, step, slice);
                    },
                    [&](const auto& batch) { return objective->loss(batch); }, evaluate);
              },
          .validation = std::move(validation)};
}

/// The style of the progress line: only the first process shows it.
inline Progress::Style progress_style(const TrainPlace& place) {
  return place.processes->is_first() && !place.is_quiet ? Progress::Style::automatic
                                                        : Progress::Style::quiet;
}

/// The options of a training's trainer, without those of its state file.
TrainerOptions trainer_options(const Training& training, const TrainOptions& options,
                               const TrainPlace& place);

/// A training in progress: its trainer, resumed from the state file if there is one, with progress
/// output and log. Throws DataError, with the differences, if the state file belongs to a run with
/// another setting.
class TrainingRun {
 public:
  TrainingRun(const Training& training, const TrainOptions& options, const TrainPlace& place);

  /// The training's own loop, until the last epoch, early stopping or an interruption.
  TrainReport run();

  /// For a loop over several trainings: see Trainer::start().
  Trainer& trainer() noexcept { return trainer_; }
  bool evaluate_epoch();
  TrainReport finish() { return report(trainer_.finish()); }
  TrainReport interrupt() { return report(trainer_.interrupt()); }

 private:
  void show(const EpochReport& epoch);
  TrainReport report(const TrainingResult& result);

  const Training& training_;
  const TrainOptions& options_;
  TrainPlace place_;
  Trainer trainer_;
  TrainingProgress progress_;
  TrainReport report_;
};

/// Trains until the last epoch, early stopping or an interruption; several processes train
/// together. Throws DataError, with the differences, if the state file belongs to a run with
/// another setting.
TrainReport train(const Training& training, const TrainOptions& options, const TrainPlace& place);

/// Throws OptionError, so that `out` is not written, if the loss is clearly worse than chance, as
/// after divergence. Never throws with `force`.
void expect_better_than_chance(const TrainReport& report, const std::string& out,
                               const std::string& state_file, bool force);

/// Ends a run: the first process writes its result by save(note) and prints a summary. The result
/// of an interrupted run is written only if there is no state file and `out` does not exist,
/// because an existing file may hold a better result. Throws as expect_better_than_chance() does.
Outcome finish_training(const TrainReport& report, const std::string& out,
                        const std::string& state_file, bool force,
                        const std::function<void(const std::string& note)>& save);

}  // namespace refrain::examples
