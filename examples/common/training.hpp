#pragma once
/// Training as a program shows it: progress, figures in the log, Ctrl-C in order.

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "common/options.hpp"
#include "common/run_log.hpp"
#include "refrain/train/trainer.hpp"

namespace refrain::examples {

/// The fields of a stored configuration (saved_config.hpp), without its note. The setting of a run
/// leaves out what may change when it is resumed: epochs, patience, learning rate, clipping,
/// threads.
RunSetting setting_of_config(const std::string& config);

/// Where training reports to, and where it keeps its state.
struct TrainPlace {
  std::string label;            ///< of the progress line
  std::string state_file = {};  ///< empty: an interrupted run cannot go on
  RunSetting setting = {};      ///< kept in the state file
  RunLog* log = nullptr;
  std::uint64_t seed = 1;
  Device device = Device::cpu;  ///< where the module's parameters are
  bool is_one_of_many = false;  ///< where no terminal shows progress, its epochs share a line
};

/// The place of a command's training.
inline TrainPlace training_place(const RunOptions& run, RunLog& log, std::string label,
                                 std::string state_file = {}, RunSetting setting = {}) {
  return {.label = std::move(label),
          .state_file = std::move(state_file),
          .setting = std::move(setting),
          .log = &log,
          .seed = run.seed,
          .device = run.device};
}

/// How training went.
struct TrainReport {
  std::string label;   ///< TrainPlace::label
  std::string metric;  ///< Validation::name
  std::int64_t epochs = 0;
  double seconds_per_epoch = 0;  ///< without evaluation
  double best = 0;               ///< on the validation part
  /// Of the parameters that were kept, in nats: of the validation part where that measures a loss,
  /// otherwise the mean over the steps of their epoch. Not a number where that epoch was one of an
  /// earlier process.
  double loss = std::numeric_limits<double>::quiet_NaN();
  double chance = 0;  ///< Validation::chance
  bool interrupted = false;
  std::vector<EpochReport> curve;  ///< of this process
};

/// What the validation part measures.
struct Validation {
  std::string name;
  bool larger_is_better = true;
  std::function<double()> measure;
  /// The loss, in nats, of a network that gives every answer the same score; what `measure` returns
  /// is compared to it where smaller is better, otherwise the loss of training.
  double chance = 0;
};

/// What runs a trainer, given the evaluation.
using RunTrainer =
    std::function<TrainingResult(Trainer&, const std::function<double(std::int64_t)>&)>;

TrainReport train_by(const RunTrainer& run, Module& module, Optimizer& optimizer,
                     const TrainOptions& options, const TrainPlace& place,
                     std::int64_t steps_per_epoch, const Validation& validation);

/// Trains until the options, the validation part or Ctrl-C end it; `make(epoch, step)` makes a
/// step's batch on the host, `loss(batch)` its loss on the place's device. Throws DataError when
/// the state file belongs to a run of another setting, and says where they differ.
template <class Make, class Loss>
TrainReport train(Module& module, Optimizer& optimizer, const TrainOptions& options,
                  const TrainPlace& place, std::int64_t steps_per_epoch, const Make& make,
                  const Loss& loss, const Validation& validation) {
  return train_by(
      [&](Trainer& trainer, const std::function<double(std::int64_t)>& evaluate) {
        return trainer.run(place.device, make, loss, evaluate);
      },
      module, optimizer, options, place, steps_per_epoch, validation);
}

/// Throws OptionError when what was learned is clearly worse than a guess, as after a divergence:
/// `out` is then not to be written, unless `force` says so.
void expect_better_than_chance(const TrainReport& report, const std::string& out,
                               const std::string& state_file, bool force);

/// Ends a run. Writes its result by save(note), and prints what was done. The result of an
/// interrupted run is written only where neither a state file keeps it nor `out` exists, which may
/// be a better one. Throws as expect_better_than_chance().
Outcome finish_training(const TrainReport& report, const std::string& out,
                        const std::string& state_file, bool force,
                        const std::function<void(const std::string& note)>& save);

}  // namespace refrain::examples
