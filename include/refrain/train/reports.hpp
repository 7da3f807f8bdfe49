#pragma once
/// Reports of training.

#include <cstdint>
#include <string>
#include <vector>

namespace refrain {

/// The position of a training run, from which it can resume.
struct TrainingPosition {
  std::int64_t epoch = 0;
  std::int64_t step = 0;         ///< in the epoch
  std::int64_t total_steps = 0;  ///< over all epochs
  double loss_sum = 0;           ///< over the epoch's training steps so far
  double best_metric = 0;        ///< meaningful when best_epoch >= 0
  std::int64_t best_epoch = -1;
  /// Evaluations since the best one; with TrainerOptions::plateau_margin only those after the
  /// plateau.
  std::int64_t worse_evaluations = 0;
  double first_metric = 0;  ///< of the first evaluation; meaningful when best_epoch >= 0
};

/// One training step.
struct StepReport {
  std::int64_t epoch = 0;
  std::int64_t step = 0;  ///< in the epoch
  double loss = 0;
  double gradient_norm = 0;  ///< before clipping; 0 without clipping
};

/// One epoch and the evaluation after it.
struct EpochReport {
  std::int64_t epoch = 0;
  double loss = 0;    ///< mean over the training steps
  double metric = 0;  ///< value of the evaluation
  bool is_best = false;
  /// Measured in this process only: without the part of the epoch before a resume.
  double training_seconds = 0;
  double evaluation_seconds = 0;
  double learning_rate = 0;
};

/// Why a run ended.
enum class TrainingEnd : std::uint8_t { finished, stopped_early, interrupted };

/// The result of a run.
struct TrainingResult {
  TrainingEnd end = TrainingEnd::finished;
  TrainingPosition position;
  std::vector<EpochReport> epochs;  ///< epochs trained by this process

  /// Mean training time of an epoch, without evaluation.
  double seconds_per_epoch() const {
    double sum = 0;
    for (const EpochReport& epoch : epochs) sum += epoch.training_seconds;
    return epochs.empty() ? 0 : sum / static_cast<double>(epochs.size());
  }
};

}  // namespace refrain
