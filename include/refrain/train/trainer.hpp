#pragma once
/// The training loop: steps, evaluation, early stopping, checkpoints, interruption, resumption.

#include <cstdint>
#include <deque>
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

namespace refrain {

struct TrainerOptions {
  std::int64_t epochs = 10;
  std::int64_t steps_per_epoch = 0;  ///< required
  double max_norm = 0;               ///< clip the gradients' global norm; 0: no clipping
  std::int64_t patience =
      0;  ///< stop after so many evaluations in a row without a better one; 0: never
  bool larger_is_better = true;  ///< what the evaluation returns
  bool restore_best =
      true;  ///< leave the parameters of the best evaluation in the model at the end
  /// Learning rate of a step, counted from 0 over the whole run; empty: the optimizer's own,
  /// constant.
  std::function<double(std::int64_t step)> schedule = {};
  std::string checkpoint =
      "";  ///< file of the training state, written after each epoch and on interruption; empty:
           ///< none
  double checkpoint_seconds =
      600;  ///< written inside an epoch, too, when so long has passed since the last time; 0: never
  Metadata metadata = {};  ///< texts to store in the checkpoint
  /// Steps whose losses may be looked at later, so that the host prepares the next ones while a
  /// device computes. 0: every loss is looked at before the parameters change.
  std::int64_t pending_losses = 0;
  /// On a GPU and with pending_losses: after so many steps in a row with batches of equal shapes a
  /// step is recorded and from then on run again (CapturedStep). The loss must then depend on
  /// nothing but batch, parameters and dropout streams. 0: never.
  std::int64_t capture_after = 0;
};

/// Where training stands; a resumed run starts from it.
struct TrainingPosition {
  std::int64_t epoch = 0;
  std::int64_t step = 0;         ///< in the epoch
  std::int64_t total_steps = 0;  ///< over all epochs
  double loss_sum = 0;           ///< over the epoch's steps so far
  double best_metric = 0;        ///< meaningful when best_epoch >= 0
  std::int64_t best_epoch = -1;
  std::int64_t worse_evaluations = 0;  ///< in a row since the best one
};

struct StepReport {
  std::int64_t epoch = 0;
  std::int64_t step = 0;  ///< in the epoch
  double loss = 0;
  double gradient_norm = 0;  ///< before clipping; 0 without clipping
};

struct EpochReport {
  std::int64_t epoch = 0;
  double loss = 0;    ///< mean over the steps
  double metric = 0;  ///< what the evaluation returned
  bool is_best = false;
  double training_seconds =
      0;  ///< of this process: less than the epoch's when it was resumed inside
  double evaluation_seconds = 0;
  double learning_rate = 0;
};

enum class TrainingEnd : std::uint8_t { finished, stopped_early, interrupted };

struct TrainingResult {
  TrainingEnd end = TrainingEnd::finished;
  TrainingPosition position;
};

/// Runs training. It knows no model: what a step computes and what an evaluation means are given as
/// functions.
///
///   Trainer trainer(model, optimizer, {.epochs = 20, .steps_per_epoch = batches.steps_per_epoch(), .patience = 3});
///   trainer.keep("dropout", model.dropout().random());
///   trainer.run([&](std::int64_t epoch, std::int64_t step) { return loss_of(batches.rows(epoch, step)); },
///               [&](std::int64_t epoch) { return hit_rate(validation); });
///
/// When a step depends on nothing but epoch, step, the parameters and the random streams that were
/// named to keep(), then a run that was interrupted anywhere and resumed ends with the same bytes
/// as one that was not. Model and optimizer must outlive the trainer.
class REFRAIN_API Trainer {
 public:
  /// Throws OptionError unless epochs >= 0, steps_per_epoch >= 1, max_norm >= 0, patience >= 0,
  /// pending_losses from 0 to 2^20 and capture_after >= 0.
  Trainer(Module& model, Optimizer& optimizer, TrainerOptions options);

  /// Makes a random stream part of the saved state. It must outlive the trainer. Throws OptionError
  /// for a name used before.
  void keep(const std::string& name, Random& random);

  void on_step(std::function<void(const StepReport&)> function) { on_step_ = std::move(function); }
  void on_epoch(std::function<void(const EpochReport&)> function) {
    on_epoch_ = std::move(function);
  }
  /// Called when a step was recorded, or could not be.
  void on_capture(std::function<void(const CaptureReport&)> function) {
    on_capture_ = std::move(function);
  }

  const TrainingPosition& position() const noexcept { return position_; }

  /// Writes the training state to a file. Throws Error, and leaves the file as it was, when a
  /// parameter is not finite.
  void save(const std::string& path) const;

  /// Continues from a saved state: model, optimizer, random streams and position. Throws DataError
  /// when the file is damaged or belongs to another model, optimizer, number of steps or set of
  /// random streams.
  void resume(const std::string& path);

  /// Trains until the last epoch, early stopping, or InterruptGuard::requested(); leaves the model
  /// in evaluation mode. An interrupted run has saved its state, if there is a checkpoint file; an
  /// evaluation that was interrupted is done again by the resumed run.
  ///
  /// `loss(epoch, step)` returns the scalar Variable to minimize; `evaluate(epoch)` returns the metric, with the model in
  /// evaluation mode and nothing recorded, and draws from no stream named to keep(). Throws Error
  /// when a loss is not finite, besides what the functions throw.
  template <class Loss, class Evaluate>
  TrainingResult run(Loss&& loss, Evaluate&& evaluate);

  /// The same with the making of a batch apart from its loss: `make(epoch, step)` returns a batch
  /// of host tensors (see BatchFeed) and depends on nothing but epoch and step; `loss(batch)` is
  /// given it on `device`. With pending_losses the next batch is made and sent while the device
  /// computes, nothing waits for the device but a loss that is so many steps old, and a loss that
  /// is not finite is reported as late. Steps, their order and their numbers are the same.
  template <class Make, class Loss, class Evaluate>
  TrainingResult run(Device device, Make&& make, Loss&& loss, Evaluate&& evaluate);

 private:
  /// A step whose loss has not been looked at.
  struct Pending {
    StepReport report;
    DType dtype;
    bool clipped;
    Event known;  ///< behind the copies of loss and norm
  };

  template <class Step, class Evaluate>
  TrainingResult run_epochs(Step&& step, Evaluate&& evaluate);
  void queue_update(const Tensor& loss);
  void queue_report(const Tensor& loss, const Tensor& norm);
  void set_rate();
  void settle(std::size_t allowed);
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
  TrainingResult finish(TrainingEnd end);
  void save_if_asked();
  static double now_seconds();

  Module& model_;
  Optimizer& optimizer_;
  TrainerOptions options_;
  TrainingPosition position_;
  TensorMap best_;
  std::vector<std::pair<std::string, Random*>> randoms_;
  std::function<void(const StepReport&)> on_step_;
  std::function<void(const EpochReport&)> on_epoch_;
  std::function<void(const CaptureReport&)> on_capture_;
  double epoch_began_ = 0;
  double saved_at_ = 0;
  std::deque<Pending> pending_;
  PinnedBuffer figures_;  ///< loss and norm of each pending step
  std::int64_t queued_steps_ = 0;
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
  CapturedStep<Batch> recorded(device, optimizer_, options_.max_norm, options_.capture_after);
  const auto report_capture = [&](const CaptureReport& report) {
    if (on_capture_) on_capture_(report);
  };
  return run_epochs(
      [&] {
        const Batch batch = next_batch();
        set_rate();
        if (recorded.run(batch, loss, report_capture)) {
          queue_report(recorded.loss(), recorded.norm());
        } else {
          optimizer_.zero_grad();
          const Variable value = loss(batch);
          backward(value);
          queue_update(value.value());
        }
        if (position_.step < options_.steps_per_epoch)
          feed.push(make(position_.epoch, position_.step));
        settle(static_cast<std::size_t>(options_.pending_losses));
      },
      evaluate);
}

template <class Step, class Evaluate>
TrainingResult Trainer::run_epochs(Step&& step, Evaluate&& evaluate) {
  saved_at_ = now_seconds();
  pending_.clear();
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
