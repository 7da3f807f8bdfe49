#include "refrain/train/training_progress.hpp"

#include <cmath>
#include <cstdio>
#include <utility>

#include "refrain/core/error.hpp"

namespace refrain {
namespace {

std::string four_digits(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.4f", value);
  return text;
}

}  // namespace

TrainingProgress::TrainingProgress(Options options) : options_(std::move(options)) {
  if (options_.style == Progress::Style::automatic)
    options_.style = Progress::automatic_style(options_.out);
}

bool TrainingProgress::shares_line() const noexcept {
  return options_.is_brief && options_.style != Progress::Style::bar;
}

void TrainingProgress::show(const StepReport& step) {
  if (options_.style == Progress::Style::quiet) return;
  if (!line_) {
    Progress::Options line{.label = options_.label, .style = options_.style, .out = options_.out};
    if (shares_line()) {
      line.unit = "epochs";
    } else {
      line.label += detail::concat(options_.label.empty() ? "" : ", ", "epoch ", step.epoch + 1);
      line.total = options_.steps_per_epoch;
    }
    line_.emplace(std::move(line));
  }
  if (shares_line()) return;
  line_->set_note("loss " + four_digits(step.loss));
  line_->advance();
}

void TrainingProgress::show(const EpochReport& epoch) {
  if (!line_) return;
  std::string note = "loss " + four_digits(epoch.loss);
  if (!std::isnan(epoch.metric))
    note += detail::concat(", ", options_.metric, " ", four_digits(epoch.metric),
                           epoch.is_best ? " *" : "");
  line_->set_note(std::move(note));
  if (shares_line()) return line_->advance();
  line_->finish();
  line_.reset();
}

void TrainingProgress::finish() {
  if (line_) line_->finish();
  line_.reset();
}

}  // namespace refrain
