/// Learning-rate schedules against their formulas.

#include <cmath>
#include <numbers>

#include "refrain/core/error.hpp"
#include "refrain/train/learning_rate_schedule.hpp"
#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("schedule: linear warm-up, then constant, cosine or linear decay", "[train][schedule]") {
  for (const double fraction : {0.0, 0.1, 1.0}) {
    for (const std::int64_t warmup : {0, 1, 4}) {
      INFO("final fraction " << fraction << ", warm-up " << warmup);
      const LearningRateScheduleOptions options{
          .peak = 0.02, .warmup_steps = warmup, .total_steps = 24, .final_fraction = fraction};
      const LearningRateSchedule constant = warmup_then_constant(options);
      const LearningRateSchedule cosine = warmup_then_cosine(options);
      const LearningRateSchedule linear = warmup_then_linear(options);
      for (std::int64_t t = 0; t < warmup; ++t) {
        const double expected = 0.02 * static_cast<double>(t + 1) / static_cast<double>(warmup);
        for (const LearningRateSchedule& schedule : {constant, cosine, linear})
          CHECK(schedule(t) == Approx(expected));
      }
      const double low = 0.02 * fraction;
      for (std::int64_t t = warmup; t <= 24; ++t) {
        const double x = static_cast<double>(t - warmup) / static_cast<double>(24 - warmup);
        CHECK(constant(t) == 0.02);
        CHECK(linear(t) == Approx(0.02 + (low - 0.02) * x).margin(1e-15));
        CHECK(cosine(t) ==
              Approx(low + (0.02 - low) * std::pow(std::cos(std::numbers::pi * x / 2), 2))
                  .margin(1e-15));
      }
      for (const std::int64_t t : {24, 25, 1000}) {
        CHECK(cosine(t) == Approx(low).margin(1e-15));
        CHECK(linear(t) == Approx(low).margin(1e-15));
      }
    }
  }
  CHECK(warmup_then_constant({.peak = 0.5})(0) == 0.5);
}

TEST_CASE("schedule: options out of range are refused", "[train][schedule]") {
  for (const double peak : {0.0, -1.0, static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    CHECK_THROWS_MATCHES(warmup_then_constant({.peak = peak}), OptionError,
                         message_contains("warmup_then_constant: peak: expected a number > 0"));
    CHECK_THROWS_AS(warmup_then_cosine({.peak = peak, .total_steps = 9}), OptionError);
    CHECK_THROWS_AS(warmup_then_linear({.peak = peak, .total_steps = 9}), OptionError);
  }
  CHECK_THROWS_MATCHES(warmup_then_constant({.warmup_steps = -1}), OptionError,
                       message_contains("expected warmup_steps >= 0, got -1"));
  CHECK_THROWS_MATCHES(warmup_then_cosine({.warmup_steps = 9, .total_steps = 9}), OptionError,
                       message_contains("expected total_steps > warmup_steps (9), got 9"));
  CHECK_THROWS_AS(warmup_then_linear({}), OptionError);
  for (const double fraction : {-0.1, 1.1, static_cast<double>(NAN)}) {
    CHECK_THROWS_MATCHES(warmup_then_linear({.total_steps = 9, .final_fraction = fraction}),
                         OptionError,
                         message_contains("final_fraction: expected a number in [0, 1]"));
  }
}
