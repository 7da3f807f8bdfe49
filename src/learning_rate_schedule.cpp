#include "refrain/train/learning_rate_schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "refrain/core/error.hpp"

namespace refrain {
namespace {

void check_warmup(const char* name, const LearningRateScheduleOptions& options) {
  if (!(options.peak > 0 && std::isfinite(options.peak)))
    throw OptionError(detail::concat(name, ": peak: expected a number > 0, got ", options.peak));
  if (options.warmup_steps < 0) {
    throw OptionError(
        detail::concat(name, ": expected warmup_steps >= 0, got ", options.warmup_steps));
  }
}

void check_decay(const char* name, const LearningRateScheduleOptions& options) {
  check_warmup(name, options);
  if (options.total_steps <= options.warmup_steps) {
    throw OptionError(detail::concat(name, ": expected total_steps > warmup_steps (",
                                     options.warmup_steps, "), got ", options.total_steps));
  }
  if (!(options.final_fraction >= 0 && options.final_fraction <= 1)) {
    throw OptionError(detail::concat(name, ": final_fraction: expected a number in [0, 1], got ",
                                     options.final_fraction));
  }
}

/// The schedule whose rate after the warm-up is peak * decay(x), x the part of the decay that is
/// over, in [0,1].
template <class Decay>
LearningRateSchedule after_warmup(const LearningRateScheduleOptions& options, Decay decay) {
  return [options, decay](std::int64_t step) {
    const auto warmup = static_cast<double>(options.warmup_steps);
    const auto at = static_cast<double>(step);
    if (step < options.warmup_steps) return options.peak * (at + 1) / warmup;
    const double length = std::max(1.0, static_cast<double>(options.total_steps) - warmup);
    return options.peak * decay(std::min(1.0, (at - warmup) / length));
  };
}

}  // namespace

LearningRateSchedule warmup_then_constant(const LearningRateScheduleOptions& options) {
  check_warmup("warmup_then_constant", options);
  return after_warmup(options, [](double) { return 1.0; });
}

LearningRateSchedule warmup_then_cosine(const LearningRateScheduleOptions& options) {
  check_decay("warmup_then_cosine", options);
  const double end = options.final_fraction;
  return after_warmup(options, [end](double x) {
    return end + (1 - end) * (1 + std::cos(std::numbers::pi * x)) / 2;
  });
}

LearningRateSchedule warmup_then_linear(const LearningRateScheduleOptions& options) {
  check_decay("warmup_then_linear", options);
  const double end = options.final_fraction;
  return after_warmup(options, [end](double x) { return 1 - (1 - end) * x; });
}

}  // namespace refrain
