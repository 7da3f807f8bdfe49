#pragma once
/// Training of a model on a data set: batches, early stopping, progress, checkpoints.

#include <cstdint>
#include <functional>
#include <limits>
#include <string>

#include "refrain/core/export.hpp"
#include "refrain/data/dataset.hpp"
#include "refrain/train/evaluate.hpp"
#include "refrain/train/learning_rate_schedule.hpp"
#include "refrain/train/model.hpp"
#include "refrain/train/optimizer.hpp"
#include "refrain/train/trainer.hpp"
#include "refrain/train/training_progress.hpp"

namespace refrain {

/// The figure on the validation part that early stopping compares after each epoch: a ranking
/// metric of FitOptions::validation, or the mean loss of the held-out items.
enum class StopOn : std::uint8_t { ndcg, hr, mrr, auc, loss };

/// Options of fit().
struct FitOptions {
  std::int64_t epochs = 20;  ///< maximum number of epochs
  std::int64_t batch = 64;   ///< sequences of a training step
  /// Slices of a batch, whose gradients are added up (TrainerOptions): with more slices less memory
  /// for activations; another number gives another run.
  std::int64_t slices = 1;
  /// The ranks that train and evaluate together (TrainerOptions); rank 0 alone shows progress.
  Communicator* communicator = nullptr;
  AdamOptions adam = {};  ///< for fit() without an optimizer
  /// Learning rate of a training step, counted from 0 over the whole run; empty: the constant rate
  /// of the optimizer.
  LearningRateSchedule schedule = {};
  double max_norm = 5;  ///< larger gradients are scaled down to this norm; 0: no clipping
  LossPositions positions = LossPositions::all;  ///< positions whose predictions count in the loss
  std::int64_t min_length = 2;                   ///< shorter pieces of sequences are omitted
  /// Stop after this many consecutive epochs without improvement on the validation part; 0: never.
  /// In both cases the model ends with the parameters of its best epoch.
  std::int64_t patience = 3;
  /// Patience counts only after an epoch whose figure is better than that of the first epoch, F, by
  /// at least plateau_margin * |F| (TrainerOptions). 0: from the first epoch.
  double plateau_margin = 0;
  StopOn stop_on = StopOn::ndcg;
  /// The protocol of the validation part; its first cutoff is the k of NDCG, HR and MRR. Its
  /// communicator is that of the training.
  EvaluateOptions validation{.cutoffs = {10}};
  std::uint64_t seed = 1;           ///< seed of the order of the batches
  Shuffle shuffle = Shuffle::full;  ///< order of the pieces; Shuffle::none gives no random order
  /// File of the training state, written after each epoch, every checkpoint_seconds and when an
  /// InterruptGuard has received a signal. If the file exists, training resumes from it and ends
  /// with the same bytes as an uninterrupted run. Empty: no file.
  std::string checkpoint = "";
  double checkpoint_seconds = 600;
  std::string label = "";  ///< label of the progress line
  Progress::Style progress = Progress::Style::automatic;
  std::function<void(const StepReport&)> on_step = {};
  std::function<void(const EpochReport&)> on_epoch = {};
};

namespace detail {

/// The part of fit() that does not depend on the model's type.
class REFRAIN_API Fitting {
 public:
  Fitting(Module& model, Optimizer& optimizer, std::int64_t length, const Dataset& data,
          const FitOptions& options);

  SequenceBatch batch(std::int64_t epoch, std::int64_t step, BatchSlice slice) {
    return batches_(epoch, step, slice);
  }
  Trainer& trainer() noexcept { return trainer_; }
  TrainingResult finish(TrainingResult result);

 private:
  NextItemBatches batches_;
  TrainingProgress progress_;
  Trainer trainer_;
};

REFRAIN_API double figure_of(const RankingMetrics& metrics, const FitOptions& options);

}  // namespace detail

/// Number of training steps of fit() without early stopping: epochs times the batches of an epoch,
/// for a model of the given length. The total_steps of a learning-rate schedule. Throws OptionError
/// as fit() does.
REFRAIN_API std::int64_t training_steps(std::int64_t length, const Dataset& data,
                                        const FitOptions& options);

/// Trains a model to predict the next item of the training part's sequences, on the model's device,
/// and leaves it in evaluation mode with the parameters of its best epoch on the validation part.
///
///   Adam adam(model, {.learning_rate = 0.002});
///   fit(model, adam, data, {.epochs = 20, .batch = 64, .patience = 3});
///
/// Sequences are cut into pieces of model.length() + 1 items. The model is a TrainableModel, and a
/// ScoringModel unless stop_on is StopOn::loss. Results depend on the options, the data, the
/// parameters and the model's random streams, and not on the number of threads. Trainer,
/// NextItemBatches and evaluate() serve custom loops, batches and evaluations. Throws OptionError
/// for options out of range and for a data set without a validation part (unless patience is 0),
/// DataError for a checkpoint of another run, and Error when a loss is not finite.
template <class Model>
TrainingResult fit(Model& model, Optimizer& optimizer, const Dataset& data,
                   const FitOptions& options = {}) {
  detail::expect_trainable_model<Model>();
  TrainingResult result;
  if constexpr (TrainableModel<Model>) {
    detail::Fitting fitting(model, optimizer, model.length(), data, options);
    const auto validate = [&](std::int64_t) -> double {
      if (data.validation.rows.empty()) return std::numeric_limits<double>::quiet_NaN();
      if (options.stop_on == StopOn::loss)
        return held_out_loss(model, data.validation, options.positions, options.validation.batch,
                             options.communicator);
      if constexpr (ScoringModel<Model>) {
        EvaluateOptions protocol = options.validation;
        protocol.communicator = options.communicator;
        return detail::figure_of(evaluate(model, data.validation, protocol), options);
      } else {
        throw OptionError(
            "fit: early stopping by a ranking needs a model with `Tensor scores(const Tensor&)`; "
            "without it use stop_on = StopOn::loss");
      }
    };
    result = fitting.finish(fitting.trainer().run(
        model.device(),
        [&](std::int64_t epoch, std::int64_t step, BatchSlice slice) {
          return fitting.batch(epoch, step, slice);
        },
        [&](const SequenceBatch& batch) -> Variable { return model.loss(batch); }, validate));
  }
  return result;
}

/// fit() with a temporary Adam.
///
///   fit(model, data, {.epochs = 20, .adam = {.learning_rate = 0.002}, .patience = 3});
template <class Model>
TrainingResult fit(Model& model, const Dataset& data, const FitOptions& options = {}) {
  detail::expect_trainable_model<Model>();
  TrainingResult result;
  if constexpr (TrainableModel<Model>) {
    Adam adam(model, options.adam);
    result = fit(model, adam, data, options);
  }
  return result;
}

}  // namespace refrain
