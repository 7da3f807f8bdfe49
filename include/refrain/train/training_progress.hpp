#pragma once
/// Progress line of a training run.

#include <optional>
#include <string>

#include "refrain/core/export.hpp"
#include "refrain/train/progress.hpp"
#include "refrain/train/reports.hpp"

namespace refrain {

/// Shows the reports of a Trainer: one line per epoch with the current loss, and at its end the
/// mean loss and the metric, with a * for the best value so far.
///
///   TrainingProgress progress({.label = "gru", .steps_per_epoch = n, .metric = "NDCG@10"});
///   trainer.on_step([&](const StepReport& step) { progress.show(step); });
///   trainer.on_epoch([&](const EpochReport& epoch) { progress.show(epoch); });
class REFRAIN_API TrainingProgress {
 public:
  struct Options {
    std::string label = "";  ///< name of the run; may be empty
    std::int64_t steps_per_epoch = 0;
    std::string metric = "metric";  ///< name of the value of the evaluation
    Progress::Style style = Progress::Style::automatic;
    /// Without a bar, all epochs share one line every few seconds; for one run of many.
    bool is_brief = false;
    std::ostream* out = nullptr;  ///< null: std::cerr
  };

  explicit TrainingProgress(Options options);

  /// Shows a training step.
  void show(const StepReport& step);
  /// Ends the line of an epoch.
  void show(const EpochReport& epoch);
  /// Ends the line of a run that was interrupted inside an epoch.
  void finish();

 private:
  bool shares_line() const noexcept;

  Options options_;
  std::optional<Progress> line_;
};

}  // namespace refrain
