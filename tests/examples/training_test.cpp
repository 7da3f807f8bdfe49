/// Training of the example programs: the learning rate of each training step from the options.

#include "common/training.hpp"

#include <cmath>

#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;
using examples::RateSchedule;
using examples::TrainOptions;

TEST_CASE("example training: the learning rate follows warm-up and schedule", "[example]") {
  constexpr std::int64_t steps = 10;
  TrainOptions options{.epochs = 4, .learning_rate = 0.02};
  CHECK_FALSE(examples::rate_schedule(options, steps));
  options.warmup = 0.5;
  const LearningRateSchedule constant = examples::rate_schedule(options, steps);
  CHECK(constant(0) == Approx(0.02 / 5));
  CHECK(constant(3) == Approx(0.02 * 4 / 5));
  for (const std::int64_t step : {4, 5, 39, 400}) CHECK(constant(step) == 0.02);
  options.rate_schedule = RateSchedule::linear;
  const LearningRateSchedule linear = examples::rate_schedule(options, steps);
  CHECK(linear(3) == constant(3));
  CHECK(linear(5) == 0.02);
  CHECK(linear(12) == Approx(0.02 * (1 - 7.0 / 35)));
  CHECK(linear(40) == Approx(0).margin(1e-12));
  options.rate_schedule = RateSchedule::cosine;
  options.warmup = 0;
  const LearningRateSchedule cosine = examples::rate_schedule(options, steps);
  CHECK(cosine(0) == 0.02);
  CHECK(cosine(10) == Approx(0.02 * (1 + std::sqrt(0.5)) / 2));
  CHECK(cosine(20) == Approx(0.01));
}

TEST_CASE("example training: a warm-up ends before the last training step", "[example]") {
  TrainOptions options{.epochs = 1, .warmup = 0.9, .rate_schedule = RateSchedule::linear};
  CHECK_NOTHROW(examples::expect_warmup(options));
  CHECK(examples::rate_schedule(options, 1)(0) == options.learning_rate);
  options.epochs = 3;
  options.warmup = 2.9;
  const LearningRateSchedule schedule = examples::rate_schedule(options, 2);
  CHECK(schedule(4) == Approx(options.learning_rate));
  CHECK(schedule(5) == Approx(options.learning_rate));
  options.warmup = 3;
  CHECK_THROWS_WITH(examples::expect_warmup(options, "pretrain-"),
                    "--pretrain-warmup: expected less than --pretrain-epochs 3, got 3");
}

TEST_CASE("example training: decay and L2 are settings of a run, decay only where it acts",
          "[example]") {
  RunSetting setting;
  examples::add_regularization(setting, {.l2 = 0.5});
  CHECK(setting == RunSetting{{"l2", "0.5"}});
  examples::add_regularization(setting, {.decay = 0.01});
  CHECK(setting == RunSetting{{"decay", "0.01"}, {"l2", "0"}});
  CHECK(examples::adam_options({.learning_rate = 0.1, .decay = 0.01}).decay == 0.01);
  CHECK(examples::adam_options({.learning_rate = 0.1, .decay = 0.01}).learning_rate == 0.1);
}
