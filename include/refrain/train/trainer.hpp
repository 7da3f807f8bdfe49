#pragma once
/// The training loop: steps, evaluation, early stopping, checkpoints, interruption, resumption.

#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "refrain/autograd/tape.hpp"
#include "refrain/core/error.hpp"
#include "refrain/core/export.hpp"
#include "refrain/nn/module.hpp"
#include "refrain/train/batch_feed.hpp"
#include "refrain/train/captured_step.hpp"
#include "refrain/train/checkpoint.hpp"
#include "refrain/train/interrupt.hpp"
#include "refrain/train/learning_rate_schedule.hpp"
#include "refrain/train/optimizer.hpp"
#include "refrain/train/pending_losses.hpp"
#include "refrain/train/reports.hpp"
#include "refrain/train/slices.hpp"

namespace refrain {

/// Texts by name that identify a run: "batch" -> "64".
using RunSetting = Metadata;

/// A loss or the norm of the gradients is not finite.
class REFRAIN_API DivergedError : public Error {
 public:
  using Error::Error;
};

/// Options of Trainer.
struct TrainerOptions {
  std::int64_t epochs = 10;
  std::int64_t steps_per_epoch = 0;  ///< required
  double max_norm = 0;               ///< clip the gradients' global norm; 0: no clipping
  /// Number of slices of a batch (gradient accumulation): forward and backward passes run slice by
  /// slice, so that the activations of one slice exist at a time, and the optimizer updates the
  /// parameters once with the gradient of the whole batch (SliceSum). Random draws are those of
  /// each slice (SliceStreams), so another number of slices gives another run. A batch with fewer
  /// rows has empty slices, which contribute nothing.
  std::int64_t slices = 1;
  /// The ranks that train together (data-parallel training), at most as many as slices. Each rank
  /// has its share of the slices of every batch (SliceTree::slices_of), and all end with the bytes
  /// of one process with the same number of slices; on GPUs these must be of one model. Without
  /// pending_losses; must outlive the trainer. Every rank has the whole model and calls every
  /// evaluation, which may share its work among the ranks (EvaluateOptions). Rank 0 alone writes
  /// the checkpoint, which all ranks must be able to read. Null, or one rank: one process.
  Communicator* communicator = nullptr;
  /// Stop after this many consecutive evaluations without improvement; 0: never.
  std::int64_t patience = 0;
  /// Patience counts only after an evaluation was better than the first one, F, by at least
  /// plateau_margin * |F|: recurrent networks often start on a plateau at the level of the most
  /// popular items. A run that never leaves the plateau trains all epochs. 0: patience counts from
  /// the first evaluation.
  double plateau_margin = 0;
  bool larger_is_better = true;  ///< direction of the metric
  /// Set the model to the parameters of the best evaluation at the end.
  bool restore_best = true;
  /// Learning rate of a training step, counted from 0 over the whole run; empty: the constant rate
  /// of the optimizer.
  LearningRateSchedule schedule = {};
  /// File of the training state, written after each epoch and on interruption; empty: no file.
  std::string checkpoint = "";
  /// Seconds after which the state is also written inside an epoch; 0: never.
  double checkpoint_seconds = 600;
  Metadata metadata = {};  ///< texts to store in the checkpoint
  /// The setting that a resumed run must share with the run that wrote the checkpoint (seed, batch
  /// size, a hash of the data); stored in the checkpoint. Empty: no check.
  RunSetting setting = {};
  /// Number of training steps whose losses are checked later, so that the host prepares the next
  /// steps while a device computes. 0: every loss is checked before the parameters change.
  std::int64_t pending_losses = 0;
  /// On a GPU with pending_losses: after this many consecutive training steps with batches of equal
  /// shapes a step is captured and then replayed (CapturedStep). The loss must then depend only on
  /// batch, parameters and the model's random streams. 0: never.
  std::int64_t capture_after = 0;
};

/// The training loop, independent of the model: functions define the loss of a training step and
/// the evaluation.
///
///   Trainer trainer(model, optimizer, {.epochs = 20, .steps_per_epoch = batches.steps_per_epoch(),
///                                      .patience = 3});
///   trainer.run(
///       [&](std::int64_t epoch, std::int64_t step) { return loss_of(batches.rows(epoch, step)); },
///       [&](std::int64_t epoch) { return hit_rate(validation); });
///
/// When a training step depends only on epoch, step, the parameters and the random streams that the
/// model visits (Module::Visitor::random), a run that was interrupted anywhere and resumed ends
/// with the same bytes as an uninterrupted run. Model and optimizer must outlive the trainer.
class REFRAIN_API Trainer {
 public:
  /// Throws OptionError unless epochs >= 0, steps_per_epoch >= 1, max_norm >= 0, patience >= 0,
  /// plateau_margin is a number >= 0, slices from 1 to 65,536 and at least as many as ranks,
  /// pending_losses from 0 to 2^20, with several ranks 0, and capture_after >= 0.
  Trainer(Module& model, Optimizer& optimizer, TrainerOptions options);

  /// Adds a random stream that is no member of the model to the saved state. It must outlive the
  /// trainer. Throws OptionError for a name in use.
  void keep(const std::string& name, Random& random);

  /// Called after each training step, in order; with pending_losses with a delay.
  void on_step(std::function<void(const StepReport&)> function) { on_step_ = std::move(function); }
  /// Called after each epoch and its evaluation.
  void on_epoch(std::function<void(const EpochReport&)> function) {
    on_epoch_ = std::move(function);
  }
  /// Called when a training step was captured or could not be captured.
  void on_capture(std::function<void(const CaptureReport&)> function) {
    on_capture_ = std::move(function);
  }

  const TrainingPosition& position() const noexcept { return position_; }

  /// Changes the maximum number of epochs, so that run() continues a finished run. The further
  /// epochs are those of one longer run only without restore_best, because they continue from the
  /// present parameters. Throws OptionError unless epochs >= 0.
  void set_epochs(std::int64_t epochs);

  /// Writes the training state to a file. Throws Error and leaves the file unchanged when a
  /// parameter is not finite.
  void save(const std::string& path) const;

  /// Continues from a saved state: model, optimizer, random streams and position. Throws DataError
  /// and changes nothing when the file is damaged or belongs to another model, optimizer, setting,
  /// number of steps or slices, or set of random streams.
  void resume(const std::string& path);

  /// Continues from the checkpoint of the options; false when that file does not exist.
  bool resume();

  /// Trains until the last epoch, early stopping, or InterruptGuard::requested(); leaves the model
  /// in evaluation mode. An interrupted run saves its state if the options have a checkpoint file;
  /// the resumed run repeats an interrupted evaluation.
  ///
  /// `loss(epoch, step)` returns the scalar Variable to minimize. `evaluate(epoch)` returns the
  /// metric; it runs in evaluation mode with recording off, and must not draw from the saved
  /// streams. With several ranks a request to any of them interrupts all after the same step.
  /// Throws DivergedError when a loss is not finite, OptionError with more than one slice,
  /// CommunicationError when ranks differ in parameters, settings or build, or when one of them
  /// fails, and the exceptions of the functions.
  template <class Loss, class Evaluate>
  TrainingResult run(Loss&& loss, Evaluate&& evaluate);

  /// run() with batches separate from the loss: `make(epoch, step)` returns a batch of host tensors
  /// (see BatchFeed) and depends only on epoch and step; `loss(batch)` takes it on `device`. With
  /// pending_losses the next batch is made and sent while the device computes, the host waits only
  /// for losses that are that many training steps old, and a loss that is not finite is reported
  /// with that delay. Training steps, their order and their results are the same.
  ///
  /// Slices need `make(epoch, step, slice)`, which returns a BatchSlice of the batch and draws from
  /// random numbers of that slice alone, and `batch.counted()`, the number of targets that count in
  /// the mean loss. A slice without rows is a batch without elements. A loss may be a sum of terms:
  /// then `loss` returns a std::vector<Variable>, in which a term without rows is undefined, and
  /// `counted()` a std::vector<std::int64_t>. The loss of a batch is the sum over slices and terms
  /// of (counted targets of the slice / those of the batch) * mean loss of the slice. Throws
  /// OptionError with more than one slice for a `make` without slices.
  template <class Make, class Loss, class Evaluate>
  TrainingResult run(Device device, Make&& make, Loss&& loss, Evaluate&& evaluate);

  /// The pieces of run(), for a caller that computes the training steps of several trainers in one
  /// pass. They give the results of run():
  ///
  ///   trainer.start();
  ///   while (!trainer.is_done()) {
  ///     while (trainer.has_step()) {
  ///       trainer.begin_step();
  ///       ...  // compute the loss of position() and set the gradients
  ///       trainer.end_step(loss);
  ///     }
  ///     trainer.evaluate_epoch(evaluate);
  ///   }
  ///   const TrainingResult result = trainer.finish();
  ///
  /// The caller computes the gradients of all slices and ranks (SliceSum). Without pending_losses.
  /// A caller that is to stop, as stop_requested() tells, calls interrupt() at any point between
  /// two steps instead of finish(). Several ranks call the same pieces in the same order.
  void start();
  /// True when an interruption was requested of any rank.
  bool stop_requested() const;
  bool is_done() const noexcept { return position_.epoch >= options_.epochs || stopped_early(); }
  bool has_step() const noexcept { return position_.step < options_.steps_per_epoch; }
  /// Drops the gradients and sets the learning rate of the step.
  void begin_step();
  /// Clips the gradients, updates the parameters and counts the step. Throws DivergedError.
  void end_step(double loss);
  /// Evaluates after the last step of an epoch: evaluate(epoch) returns the metric. Returns false,
  /// without counting the epoch, when an interruption was requested meanwhile.
  template <class Evaluate>
  bool evaluate_epoch(Evaluate&& evaluate);
  TrainingResult finish();
  TrainingResult interrupt();

 private:
  template <class Step, class Evaluate>
  TrainingResult run_epochs(Step&& step, Evaluate&& evaluate);
  template <class Make, class Differentiate, class Evaluate>
  TrainingResult run_batches(Device device, const Make& make, const Differentiate& differentiate,
                             Evaluate& evaluate);
  void expect_one_slice() const;
  void expect_same_ranks() const;
  double agreed(double metric) const;
  DType dtype() const;
  void queue_update(const Tensor& loss);
  void queue_report(const Tensor& loss, const Tensor& norm);
  void set_rate();
  void settle(std::int64_t allowed);
  void report(const StepReport& report);
  void advance();
  bool stopped_early() const noexcept {
    return options_.patience > 0 && position_.worse_evaluations >= options_.patience;
  }
  void begin_epoch();
  void end_epoch(double metric, double evaluation_seconds);
  bool is_better(double metric) const noexcept;
  bool is_on_plateau() const noexcept;
  void remember_best();
  void restore_best();
  std::vector<NamedRandom> randoms() const;
  TrainingResult end_run(TrainingEnd end);
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
  expect_one_slice();
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
  const auto differentiate = [&](const auto& batch) {
    const Variable value = detail::sum_of(detail::terms_of(loss(batch)));
    backward(value);
    return value.value();
  };
  if constexpr (std::is_invocable_v<Make&, std::int64_t, std::int64_t, BatchSlice>) {
    if (options_.slices == 1) {
      return run_batches(
          device,
          [&](std::int64_t epoch, std::int64_t step) { return make(epoch, step, BatchSlice{}); },
          differentiate, evaluate);
    }
    return run_batches(
        device,
        [&, dtype = dtype()](std::int64_t epoch, std::int64_t step) {
          return detail::make_slices(make, epoch, step, SliceTree(options_.slices), dtype,
                                     options_.communicator);
        },
        [&](const auto& batch) {
          return detail::differentiate_slices(batch, loss, optimizer_, randoms(),
                                              options_.communicator);
        },
        evaluate);
  } else {
    expect_one_slice();
    return run_batches(device, make, differentiate, evaluate);
  }
}

template <class Make, class Differentiate, class Evaluate>
TrainingResult Trainer::run_batches(Device device, const Make& make,
                                    const Differentiate& differentiate, Evaluate& evaluate) {
  using Batch = std::decay_t<decltype(make(position_.epoch, position_.step))>;
  BatchFeed<Batch> feed(device);
  const auto next_batch = [&] {
    if (feed.is_empty()) feed.push(make(position_.epoch, position_.step));
    return feed.pop();
  };
  if (options_.pending_losses == 0) {
    return run_epochs(
        [&] {
          begin_step();
          end_step(differentiate(next_batch()).item());
        },
        evaluate);
  }
  CapturedStep<Batch> captured(device, optimizer_, options_.max_norm, options_.capture_after);
  const auto report_capture = [&](const CaptureReport& report) {
    if (on_capture_) on_capture_(report);
  };
  return run_epochs(
      [&] {
        const Batch batch = next_batch();
        set_rate();
        if (captured.run(batch, differentiate, report_capture)) {
          queue_report(captured.loss(), captured.norm());
        } else {
          optimizer_.zero_grad();
          queue_update(differentiate(batch));
        }
        if (position_.step < options_.steps_per_epoch)
          feed.push(make(position_.epoch, position_.step));
        settle(options_.pending_losses);
      },
      evaluate);
}

template <class Step, class Evaluate>
TrainingResult Trainer::run_epochs(Step&& step, Evaluate&& evaluate) {
  start();
  while (!is_done()) {
    while (has_step()) {
      if (stop_requested()) return interrupt();
      step();
    }
    if (!evaluate_epoch(evaluate)) return interrupt();
  }
  return finish();
}

template <class Evaluate>
bool Trainer::evaluate_epoch(Evaluate&& evaluate) {
  settle(0);
  if (stop_requested()) return false;
  model_.eval();
  const double evaluation_began = now_seconds();
  double metric = 0;
  {
    const NoGrad off;
    metric = static_cast<double>(evaluate(position_.epoch));
  }
  if (stop_requested()) return false;  // the evaluation may be incomplete
  end_epoch(agreed(metric), now_seconds() - evaluation_began);
  if (!is_done()) begin_epoch();
  return true;
}

}  // namespace refrain
