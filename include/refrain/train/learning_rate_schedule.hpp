#pragma once
/// Learning-rate schedules: warm-up, then a constant rate or a decay.

#include <cstdint>
#include <functional>

#include "refrain/core/export.hpp"

namespace refrain {

/// Learning rate of a training step, counted from 0 over the whole run.
using LearningRateSchedule = std::function<double(std::int64_t step)>;

/// Options of the schedules.
struct LearningRateScheduleOptions {
  double peak = 1e-3;             ///< learning rate after the warm-up
  std::int64_t warmup_steps = 0;  ///< training steps of the warm-up
  /// Training steps of the run, for instance training_steps(); not used by warmup_then_constant().
  std::int64_t total_steps = 0;
  double final_fraction = 0;  ///< rate at the end / peak; not used by warmup_then_constant()
};

/// Linear warm-up over w = warmup_steps, then a constant rate:
///   rate(t) = peak (t + 1) / w for t < w, else peak.
/// Throws OptionError unless peak is a number > 0 and warmup_steps >= 0. Source of the warm-up:
/// Goyal et al. 2017, section 2.2.
REFRAIN_API LearningRateSchedule warmup_then_constant(const LearningRateScheduleOptions& options);

/// Linear warm-up over w = warmup_steps, then half a cosine down to f = final_fraction of the peak:
///   rate(t) = peak (t + 1) / w                                for t < w
///   rate(t) = peak (f + (1 - f) (1 + cos(pi x)) / 2)          else, x = min(1, (t - w) / (T - w))
/// with T = total_steps; from step T on the rate stays f peak.
///
///   FitOptions options{.epochs = 20};
///   options.schedule = warmup_then_cosine(
///       {.peak = 2e-3,
///        .warmup_steps = 500,
///        .total_steps = training_steps(model.length(), data, options)});
///
/// Throws OptionError unless peak is a number > 0, 0 <= warmup_steps < total_steps and
/// final_fraction is in [0,1]. Source of the decay: Loshchilov and Hutter 2017, equation 5, without
/// restarts.
REFRAIN_API LearningRateSchedule warmup_then_cosine(const LearningRateScheduleOptions& options);

/// Linear warm-up over w = warmup_steps, then a linear decay to f = final_fraction of the peak:
///   rate(t) = peak (t + 1) / w            for t < w
///   rate(t) = peak (1 - (1 - f) x)        else, x = min(1, (t - w) / (T - w))
/// with T = total_steps; from step T on the rate stays f peak. Throws OptionError as
/// warmup_then_cosine() does.
REFRAIN_API LearningRateSchedule warmup_then_linear(const LearningRateScheduleOptions& options);

}  // namespace refrain
