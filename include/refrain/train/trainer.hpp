#pragma once
/// The training loop: steps, evaluation, early stopping, checkpoints, interruption, resumption.

#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "refrain/autograd/tape.hpp"
#include "refrain/core/export.hpp"
#include "refrain/nn/module.hpp"
#include "refrain/train/batch_feed.hpp"
#include "refrain/train/captured_step.hpp"
#include "refrain/train/checkpoint.hpp"
#include "refrain/train/interrupt.hpp"
#include "refrain/train/optimizer.hpp"
#include "refrain/train/pending_losses.hpp"
#include "refrain/train/reports.hpp"

namespace refrain {

/// Texts by name that tell one run from another: "batch" -> "64".
using RunSetting = Metadata;

struct TrainerOptions {
  std::int64_t epochs = 10;
  std::int64_t steps_per_epoch = 0;  ///< required
  double max_norm = 0;               ///< clip the gradients' global norm; 0: no clipping
  /// Stop after so many evaluations in a row without a better one; 0: never.
  std::int64_t patience = 0;
  bool larger_is_better = true;  ///< what the evaluation returns
  /// Leave the parameters of the best evaluation in the model at the end.
  bool restore_best = true;
  /// Learning rate of a training step, counted from 0 over the whole run; empty: the optimizer's
  /// own, constant.
  std::function<double(std::int64_t step)> schedule = {};
  /// File of the training state, written after each epoch and on interruption; empty: none.
  std::string checkpoint = "";
  /// Written inside an epoch, too, when so much time has passed since the last write; 0: never.
  double checkpoint_seconds = 600;
  Metadata metadata = {};  ///< texts to store in the checkpoint
  /// What a run that resumes from a checkpoint must share with the run that wrote it (seed, batch
  /// size, a hash of the data); stored in the checkpoint. Empty: nothing is compared.
  RunSetting setting = {};
  /// Training steps whose losses may be looked at later, so that the host prepares the next ones
  /// while a device computes. 0: every loss is looked at before the parameters change.
  std::int64_t pending_losses = 0;
  /// On a GPU and with pending_losses: after so many training steps in a row with batches of equal
  /// shapes a step is captured and from then on replayed (CapturedStep). The loss must then depend
  /// on nothing but batch, parameters and the model's random streams. 0: never.
  std::int64_t capture_after = 0;
};

/// Runs training. It knows no model: what a training step computes and what an evaluation means are
/// given as functions.
///
///   Trainer trainer(model, optimizer, {.epochs = 20, .steps_per_epoch = batches.steps_per_epoch(),
///                                      .patience = 3});
///   trainer.run(
///       [&](std::int64_t epoch, std::int64_t step) { return loss_of(batches.rows(epoch, step)); },
///       [&](std::int64_t epoch) { return hit_rate(validation); });
///
/// When a training step depends on nothing but epoch, step, the parameters and the random streams
/// that the model visits (Module::Visitor::random), then a run that was interrupted anywhere and
/// resumed ends with the same bytes as one that was not. Model and optimizer must outlive the
/// trainer.
class REFRAIN_API Trainer {
 public:
  /// Throws OptionError unless epochs >= 0, steps_per_epoch >= 1, max_norm >= 0, patience >= 0,
  /// pending_losses from 0 to 2^20 and capture_after >= 0.
  Trainer(Module& model, Optimizer& optimizer, TrainerOptions options);

  /// Makes a random stream that is no member of the model part of the saved state. It must outlive
  /// the trainer. Throws OptionError for a name used before.
  void keep(const std::string& name, Random& random);

  void on_step(std::function<void(const StepReport&)> function) { on_step_ = std::move(function); }
  void on_epoch(std::function<void(const EpochReport&)> function) {
    on_epoch_ = std::move(function);
  }
  /// Called when a training step was captured, or could not be.
  void on_capture(std::function<void(const CaptureReport&)> function) {
    on_capture_ = std::move(function);
  }

  const TrainingPosition& position() const noexcept { return position_; }

  /// Writes the training state to a file. Throws Error, and leaves the file as it was, when a
  /// parameter is not finite.
  void save(const std::string& path) const;

  /// Continues from a saved state: model, optimizer, random streams and position. Throws DataError
  /// when the file is damaged or belongs to another model, optimizer, setting, number of steps or
  /// set of random streams; then nothing has changed.
  void resume(const std::string& path);

  /// Continues from the checkpoint of the options, where that file exists. Returns whether it does.
  bool resume();

  /// Trains until the last epoch, early stopping, or InterruptGuard::requested(); leaves the model
  /// in evaluation mode. An interrupted run has saved its state, if there is a checkpoint file; an
  /// evaluation that was interrupted is done again by the resumed run.
  ///
  /// `loss(epoch, step)` returns the scalar Variable to minimize; `evaluate(epoch)` returns the
  /// metric, with the model in evaluation mode and nothing recorded on the tape, and draws from
  /// none of the saved streams. Throws Error when a loss is not finite, besides what the functions
  /// throw.
  template <class Loss, class Evaluate>
  TrainingResult run(Loss&& loss, Evaluate&& evaluate);

  /// The same with the making of a batch apart from its loss: `make(epoch, step)` returns a batch
  /// of host tensors (see BatchFeed) and depends on nothing but epoch and step; `loss(batch)` is
  /// given it on `device`. With pending_losses the next batch is made and sent while the device
  /// computes, nothing waits for the device but a loss that is so many training steps old, and a
  /// loss that is not finite is reported as late. Steps, their order and their numbers are the
  /// same.
  template <class Make, class Loss, class Evaluate>
  TrainingResult run(Device device, Make&& make, Loss&& loss, Evaluate&& evaluate);

 private:
  template <class Step, class Evaluate>
  TrainingResult run_epochs(Step&& step, Evaluate&& evaluate);
  void queue_update(const Tensor& loss);
  void queue_report(const Tensor& loss, const Tensor& norm);
  void set_rate();
  void settle(std::int64_t allowed);
  void report(const StepReport& report);
  void advance();
  bool stopped_early() const noexcept {
    return options_.patience > 0 && position_.worse_evaluations >= options_.patience;
  }
  void begin_step();
  void end_step(double loss);
  void end_epoch(double metric, double evaluation_seconds);
  bool is_better(double metric) const noexcept;
  void remember_best();
  void restore_best();
  std::vector<NamedRandom> randoms() const;
  TrainingResult finish(TrainingEnd end);
  void save_if_asked();
  static double now_seconds();

  Module& model_;
  Optimizer& optimizer_;
  TrainerOptions options_;
  TrainingPosition position_;
  TensorMap best_;
  std::vector<NamedRandom> kept_;  ///< streams outside the model
  std::function<void(const StepReport&)> on_step_;
  std::function<void(const EpochReport&)> on_epoch_;
  std::function<void(const CaptureReport&)> on_capture_;
  double epoch_began_ = 0;
  double saved_at_ = 0;
  PendingLosses pending_;
  std::vector<EpochReport> epochs_;
};

template <class Loss, class Evaluate>
TrainingResult Trainer::run(Loss&& loss, Evaluate&& evaluate) {
  return run_epochs(
      [&] {
        begin_step();
        const Variable value = loss(position_.epoch, position_.step);
        backward(value);
        end_step(value.item());
      },
      evaluate);
}

template <class Make, class Loss, class Evaluate>
TrainingResult Trainer::run(Device device, Make&& make, Loss&& loss, Evaluate&& evaluate) {
  using Batch = std::decay_t<decltype(make(position_.epoch, position_.step))>;
  BatchFeed<Batch> feed(device);
  const auto next_batch = [&] {
    if (feed.is_empty()) feed.push(make(position_.epoch, position_.step));
    return feed.pop();
  };
  if (options_.pending_losses == 0) {
    return run([&](std::int64_t, std::int64_t) { return loss(next_batch()); }, evaluate);
  }
  CapturedStep<Batch> captured(device, optimizer_, options_.max_norm, options_.capture_after);
  const auto report_capture = [&](const CaptureReport& report) {
    if (on_capture_) on_capture_(report);
  };
  return run_epochs(
      [&] {
        const Batch batch = next_batch();
        set_rate();
        if (captured.run(batch, loss, report_capture)) {
          queue_report(captured.loss(), captured.norm());
        } else {
          optimizer_.zero_grad();
          const Variable value = loss(batch);
          backward(value);
          queue_update(value.value());
        }
        if (position_.step < options_.steps_per_epoch)
          feed.push(make(position_.epoch, position_.step));
        settle(options_.pending_losses);
      },
      evaluate);
}

template <class Step, class Evaluate>
TrainingResult Trainer::run_epochs(Step&& step, Evaluate&& evaluate) {
  saved_at_ = now_seconds();
  pending_.clear();
  epochs_.clear();
  while (position_.epoch < options_.epochs && !stopped_early()) {
    model_.train();
    epoch_began_ = now_seconds();
    while (position_.step < options_.steps_per_epoch) {
      if (InterruptGuard::requested()) return finish(TrainingEnd::interrupted);
      step();
    }
    settle(0);
    if (InterruptGuard::requested()) return finish(TrainingEnd::interrupted);
    model_.eval();
    const double evaluation_began = now_seconds();
    double metric = 0;
    {
      const NoGrad off;
      metric = static_cast<double>(evaluate(position_.epoch));
    }
    if (InterruptGuard::requested())
      return finish(TrainingEnd::interrupted);  // it may have been cut short
    end_epoch(metric, now_seconds() - evaluation_began);
  }
  return finish(stopped_early() ? TrainingEnd::stopped_early : TrainingEnd::finished);
}

}  // namespace refrain
