/// The training loop: losses, early stopping, its end, signals.

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "support/scratch.hpp"
#include "train/trainer_runs.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("trainer: reading losses later changes only the time of their report",
          "[train][trainer]") {
  struct Reported {
    std::vector<std::int64_t> steps;
    std::vector<double> losses, norms;
    TensorMap parameters;
    double loss_sum = 0;
  };
  const auto run = [](std::int64_t pending, std::optional<std::int64_t> stop_at,
                      const std::string& checkpoint) {
    Reported reported;
    SmallNetwork model(5);
    Adam adam(model, {.learning_rate = 0.01});
    Trainer trainer(model, adam,
                    {.epochs = 3,
                     .steps_per_epoch = 7,
                     .max_norm = 0.5,
                     .checkpoint = checkpoint,
                     .pending_losses = pending});
    CHECK(trainer.resume() == (!checkpoint.empty() && std::filesystem::exists(checkpoint)));
    trainer.on_step([&](const StepReport& step) {
      reported.steps.push_back(7 * step.epoch + step.step);
      reported.losses.push_back(step.loss);
      reported.norms.push_back(step.gradient_norm);
      if (stop_at && trainer.position().total_steps >= *stop_at) InterruptGuard::request();
    });
    trainer.run(
        Device::cpu,
        [](std::int64_t epoch, std::int64_t step) {
          return TensorBatch{
              random_ids(8 + step % 2, 30, static_cast<std::uint64_t>(epoch * 100 + step))};
        },
        [&](const TensorBatch& batch) { return model.loss(batch.tensor); },
        [&](std::int64_t) { return -model.loss(random_ids(20, 30, 999)).item(); });
    reported.parameters = tensors_of(model);
    reported.loss_sum = trainer.position().loss_sum;
    return reported;
  };
  const Reported plain = run(0, {}, "");
  REQUIRE(plain.losses.size() == 21);
  for (std::size_t i = 0; i < 21; ++i) CHECK(plain.steps[i] == static_cast<std::int64_t>(i));
  for (const std::int64_t pending : {1, 3, 100}) {
    const Reported later = run(pending, {}, "");
    CHECK(later.steps == plain.steps);
    CHECK(later.losses == plain.losses);
    // The norm has the dtype of the gradients.
    for (std::size_t i = 0; i < 21; ++i)
      CHECK(later.norms[i] == static_cast<double>(static_cast<float>(plain.norms[i])));
    check_same(later.parameters, plain.parameters);
  }
  // Interrupted within an epoch, when the batch of the next step was already made.
  const ScratchFolder folder;
  const std::string file = folder.path("state");
  const Reported first = run(2, 10, file);
  InterruptGuard::clear();
  CHECK(first.losses.size() >= 10);
  CHECK(first.losses.size() < 14);
  CHECK(std::equal(first.losses.begin(), first.losses.end(), plain.losses.begin()));
  check_same(run(2, {}, file).parameters, plain.parameters);
}

TEST_CASE("trainer: a loss that is not finite is reported, also when it is read late",
          "[train][trainer]") {
  SmallNetwork model(5);
  Adam adam(model, {.learning_rate = 0.01});
  Trainer trainer(model, adam, {.epochs = 1, .steps_per_epoch = 9, .pending_losses = 4});
  std::int64_t reported = 0;
  trainer.on_step([&](const StepReport&) { ++reported; });
  const auto make = [](std::int64_t, std::int64_t step) {
    return TensorBatch{Tensor::full({}, step == 6 ? NAN : 1, DType::f32)};
  };
  CHECK_THROWS_MATCHES(trainer.run(
                           Device::cpu, make,
                           [&](const TensorBatch& batch) {
                             return multiply(model.loss(random_ids(8, 30, 1)),
                                             Variable(batch.tensor));
                           },
                           [](std::int64_t) { return 0.0; }),
                       DivergedError, message_contains("in step 6 of epoch 0"));
  CHECK(reported == 6);
}

TEST_CASE("trainer: frozen parameters keep their bytes through a run", "[train][trainer]") {
  InterruptGuard::clear();
  TrainerRun run;
  run.model.freeze("middle.*");
  const SmallNetwork start(5);
  run.go();
  CHECK(same_bytes(run.model.middle.weight().value(), start.middle.weight().value()));
  CHECK_FALSE(same_bytes(run.model.head.weight().value(), start.head.weight().value()));
}

TEST_CASE("trainer: early stopping keeps the best parameters", "[train][trainer]") {
  InterruptGuard::clear();
  ScriptedRun run({.epochs = 10, .steps_per_epoch = 2, .patience = 2});
  const TrainingResult result = run.go({0.1, 0.3, 0.2, 0.3, 0.9});  // an equal one is not better
  CHECK(result.end == TrainingEnd::stopped_early);
  CHECK(result.position.epoch == 4);
  CHECK(result.position.best_epoch == 1);
  CHECK(result.position.best_metric == 0.3);
  REQUIRE(run.hashes.size() == 4);
  CHECK(content_hash(run.model) == run.hashes[1]);
  CHECK(run.hashes[1] != run.hashes[3]);
  CHECK_FALSE(run.model.is_training());

  ScriptedRun smaller({.epochs = 3, .steps_per_epoch = 1, .larger_is_better = false});
  CHECK(smaller.go({0.5, 0.2, 0.4}).position.best_epoch == 1);
  CHECK(content_hash(smaller.model) == smaller.hashes[1]);

  ScriptedRun last({.epochs = 3, .steps_per_epoch = 1, .restore_best = false});
  CHECK(last.go({0.5, NAN, 0.4}).end == TrainingEnd::finished);
  CHECK(last.trainer.position().best_epoch == 0);
  CHECK(content_hash(last.model) == last.hashes[2]);
}

TEST_CASE("trainer: its pieces give the results of run()", "[train][trainer]") {
  InterruptGuard::clear();
  const auto ids = [](std::int64_t epoch, std::int64_t step) {
    return random_ids(8, 30, static_cast<std::uint64_t>(epoch * 100 + step));
  };
  const TrainerOptions options{
      .epochs = 6, .steps_per_epoch = 5, .max_norm = 0.5, .patience = 1, .larger_is_better = false};
  const auto train = [&](bool in_pieces) {
    SmallNetwork model(5);
    Adam adam(model, {.learning_rate = 0.05});
    Trainer trainer(model, adam, options);
    std::vector<double> losses;
    trainer.on_step([&](const StepReport& step) { losses.push_back(step.loss); });
    const auto evaluate = [&](std::int64_t) { return model.loss(random_ids(20, 30, 999)).item(); };
    TrainingResult result;
    if (in_pieces) {
      trainer.start();
      while (!trainer.is_done()) {
        CHECK(model.is_training());
        while (trainer.has_step()) {
          trainer.begin_step();
          const Variable loss = model.loss(ids(trainer.position().epoch, trainer.position().step));
          backward(loss);
          trainer.end_step(loss.item());
        }
        CHECK(trainer.evaluate_epoch(evaluate));
      }
      result = trainer.finish();
    } else {
      result = trainer.run(
          [&](std::int64_t epoch, std::int64_t step) { return model.loss(ids(epoch, step)); },
          evaluate);
    }
    CHECK_FALSE(model.is_training());
    CHECK(losses.size() == 5 * result.epochs.size());
    return std::tuple(content_hash(model), losses, result.end, result.position.best_epoch);
  };
  CHECK(train(true) == train(false));
}

TEST_CASE("trainer: a run that continues after a raise of its epochs equals one longer run",
          "[train][trainer]") {
  InterruptGuard::clear();
  const TrainerOptions options{
      .epochs = 5, .steps_per_epoch = 2, .patience = 2, .restore_best = false};
  const std::vector<double> metrics{0.1, 0.4, 0.3, 0.5, 0.2};
  ScriptedRun whole(options);
  whole.go(metrics);
  ScriptedRun parts(options);
  for (const std::int64_t epochs : {1, 3, 3, 5}) {
    parts.trainer.set_epochs(epochs);
    const TrainingResult result = parts.go(metrics);
    CHECK(result.end == TrainingEnd::finished);
    CHECK(result.position.epoch == epochs);
  }
  CHECK(parts.hashes == whole.hashes);
  CHECK(content_hash(parts.model) == content_hash(whole.model));
  CHECK(parts.trainer.position().best_metric == 0.5);
  // Early stopping ends a run for good.
  ScriptedRun stopped(options);
  stopped.trainer.set_epochs(3);
  stopped.go({0.3, 0.2, 0.1});
  stopped.trainer.set_epochs(9);
  CHECK(stopped.go({}).position.epoch == 3);
  CHECK_THROWS_MATCHES(parts.trainer.set_epochs(-1), OptionError,
                       message_contains("expected epochs >= 0, got -1"));
}

TEST_CASE("trainer: patience counts only after the plateau", "[train][trainer]") {
  InterruptGuard::clear();
  const auto epochs = [](TrainerOptions options, std::vector<double> metrics) {
    options.epochs = static_cast<std::int64_t>(metrics.size());
    options.steps_per_epoch = 1;
    options.patience = 2;
    const TrainingResult result = ScriptedRun(std::move(options)).go(std::move(metrics));
    return std::pair(result.end, result.position.epoch);
  };
  using enum TrainingEnd;
  const std::vector<double> late{0.1, 0.09, 0.105, 0.1, 0.1, 0.1, 0.2, 0.19, 0.18, 0.9};
  CHECK(epochs({}, late) == std::pair(stopped_early, std::int64_t{5}));
  CHECK(epochs({.plateau_margin = 0.01}, late) == std::pair(stopped_early, std::int64_t{5}));
  CHECK(epochs({.plateau_margin = 0.1}, late) == std::pair(stopped_early, std::int64_t{9}));
  CHECK(epochs({.plateau_margin = 2}, late) == std::pair(finished, std::int64_t{10}));
  // Exactly the margin is enough.
  CHECK(epochs({.plateau_margin = 0.5}, {0.5, 0.75, 0.7, 0.7, 0.7}) ==
        std::pair(stopped_early, std::int64_t{4}));
  // A smaller loss is better; a first metric of zero is left by any gain; NaN is never the first.
  CHECK(epochs({.plateau_margin = 0.1, .larger_is_better = false},
               {5, 5.1, 4.9, 5, 5, 4.4, 4.5, 4.5, 1}) == std::pair(stopped_early, std::int64_t{8}));
  CHECK(epochs({.plateau_margin = 0.1}, {0, 0, 0, 0, 0.001, 0, 0, 1}) ==
        std::pair(stopped_early, std::int64_t{7}));
  CHECK(epochs({.plateau_margin = 0.1}, {NAN, NAN, NAN, 0.5, 0.4, 0.4, 0.6, 0.5, 0.5, 1}) ==
        std::pair(stopped_early, std::int64_t{9}));
  for (const double margin : {-0.1, static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    CHECK_THROWS_MATCHES(ScriptedRun({.steps_per_epoch = 1, .plateau_margin = margin}), OptionError,
                         message_contains("plateau_margin: expected a number >= 0"));
  }
}

TEST_CASE("trainer: a resumed run is on the plateau of the run that it continues",
          "[train][trainer]") {
  const std::vector<double> metrics{0.1, 0.1, 0.1, 0.15, 0.1, 0.1, 0.9};
  for (const std::int64_t stop_after : {1, 2, 3, 4, 5}) {
    InterruptGuard::clear();
    const ScratchFolder folder;
    const TrainerOptions options{.epochs = 7,
                                 .steps_per_epoch = 1,
                                 .patience = 2,
                                 .plateau_margin = 0.2,
                                 .checkpoint = folder.path("state")};
    ScriptedRun first(options);
    first.trainer.on_epoch([&](const EpochReport& report) {
      if (report.epoch + 1 == stop_after) InterruptGuard::request();
    });
    CHECK(first.go(metrics).end == TrainingEnd::interrupted);
    InterruptGuard::clear();
    ScriptedRun second(options);
    REQUIRE(second.trainer.resume());
    const TrainingResult result = second.go(metrics);
    CHECK(result.end == TrainingEnd::stopped_early);
    CHECK(result.position.epoch == 6);
    CHECK(result.position.first_metric == 0.1);
  }
  // The state of a run without a plateau holds no first metric; its best one takes the place.
  const ScratchFolder folder;
  const std::string file = folder.path("state");
  ScriptedRun plain({.epochs = 2, .steps_per_epoch = 1, .checkpoint = file});
  plain.go({0.1, 0.2});
  CHECK(load_training(file).figures.count("first_metric") == 0);
  ScriptedRun later({.epochs = 5, .steps_per_epoch = 1, .patience = 1, .plateau_margin = 0.2});
  later.trainer.resume(file);
  CHECK(later.go({0.1, 0.2, 0.22, 0.21, 0.2}).end == TrainingEnd::finished);
}

TEST_CASE("trainer: a loss that is not finite ends the run", "[train][trainer]") {
  InterruptGuard::clear();
  SmallNetwork model(1);
  Sgd sgd(model);
  Trainer trainer(model, sgd, {.epochs = 1, .steps_per_epoch = 3});
  const std::string before = content_hash(model);
  CHECK_THROWS_MATCHES(
      trainer.run([&](std::int64_t,
                      std::int64_t) { return scale(model.loss(random_ids(3, 30, 1)), INFINITY); },
                  [](std::int64_t) { return 0; }),
      DivergedError, message_contains("the loss is inf in step 0 of epoch 0"));
  CHECK(content_hash(model) == before);
}

TEST_CASE(
    "trainer: gradients that are not finite end the run before an update, or at the latest before "
    "a state is saved",
    "[train][trainer]") {
  InterruptGuard::clear();
  const ScratchFolder folder;
  for (const double max_norm : {0.0, 1.0}) {
    INFO("max_norm " << max_norm);
    SmallNetwork model(1);
    Sgd sgd(model);
    Variable bias = model.parameter("middle.bias");
    bias.value().fill(0);
    const std::string before = content_hash(model);
    const std::string file = folder.write("state", "as it was");
    Trainer trainer(model, sgd,
                    {.epochs = 1, .steps_per_epoch = 1, .max_norm = max_norm, .checkpoint = file});
    // The loss is zero, its derivative 1e60.
    CHECK_THROWS_MATCHES(
        trainer.run(
            [&](std::int64_t, std::int64_t) { return scale(scale(mean(bias), 1e30), 1e30); },
            [](std::int64_t) { return 0; }),
        Error,
        message_contains(max_norm > 0 ? "the norm of the gradients is inf in step 0 of epoch 0"
                                      : "middle.bias is no longer finite"));
    CHECK((content_hash(model) == before) == (max_norm > 0));
    std::ifstream in(file);
    CHECK(std::string(std::istreambuf_iterator<char>(in), {}) == "as it was");
  }
}

TEST_CASE("trainer: a signal is reported once and the old handlers are restored",
          "[train][trainer]") {
  static volatile std::sig_atomic_t seen = 0;
  const auto before = std::signal(SIGTERM, [](int) { seen = seen + 1; });
  {
    InterruptGuard::request();
    const InterruptGuard guard;
    CHECK_FALSE(InterruptGuard::requested());
    REQUIRE(std::raise(SIGTERM) == 0);
    CHECK(InterruptGuard::requested());
    CHECK(seen == 0);
  }
  REQUIRE(std::raise(SIGTERM) == 0);
  CHECK(seen == 1);
  std::signal(SIGTERM, before);
  InterruptGuard::clear();
}
