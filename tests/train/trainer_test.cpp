/// The training loop: an interrupted and resumed run ends with the bytes of an uninterrupted one.

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "refrain/nn/dropout.hpp"
#include "refrain/nn/embedding.hpp"
#include "refrain/nn/linear.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/train/trainer.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

class SmallNetwork final : public Module {
 public:
  explicit SmallNetwork(std::uint64_t seed) : SmallNetwork(Random(seed)) {}
  Variable loss(const Tensor& ids) {
    const Variable y = head(dropout(relu(middle(table(ids)))));
    const Variable distance = subtract(y, Variable(Tensor::full(y.shape(), 1, DType::f32)));
    return mean(multiply(distance, distance));
  }
  void visit_members(Visitor& visitor) override {
    visitor.module("table", table);
    visitor.module("middle", middle);
    visitor.module("dropout", dropout);
    visitor.module("head", head);
  }
  Embedding table;
  Linear middle;
  Dropout dropout;
  Linear head;

 private:
  explicit SmallNetwork(Random random)
      : table({.count = 30, .width = 6, .deviation = 0.5}, random),
        middle({.in = 6, .out = 5, .deviation = 0.5}, random),
        dropout({.keep = 0.8}, random.split(1)),
        head({.in = 5, .out = 2, .deviation = 0.5}, random) {}
};

/// Draws random numbers and learns nothing.
struct Noisy final : Module {
  Random noise{1};
  void visit_members(Visitor& visitor) override { visitor.random("noise", noise); }
};

/// A batch of one tensor.
struct TensorBatch {
  Tensor tensor;
  template <class Function>
  void visit(Function&& function) {
    function(tensor);
  }
};

/// The objects of one run; the base part is frozen as in fine-tuning.
struct Run {
  explicit Run(const std::string& checkpoint = "", std::int64_t patience = 0)
      : model(5),
        adam((model.freeze("middle.bias"), model), {.learning_rate = 0.01, .l2 = 0.001}),
        trainer(model, adam,
                {.epochs = 4,
                 .steps_per_epoch = 7,
                 .max_norm = 0.5,
                 .patience = patience,
                 .schedule =
                     [](std::int64_t step) { return 0.01 / (1 + 0.1 * static_cast<double>(step)); },
                 .checkpoint = checkpoint,
                 .metadata = {{"who", "test"}}}) {}

  /// Stops before step `stop_at` (counted over the run) when given.
  TrainingResult go(std::optional<std::int64_t> stop_at = {}) {
    trainer.on_step([&, stop_at](const StepReport&) {
      if (stop_at && trainer.position().total_steps >= *stop_at) InterruptGuard::request();
    });
    trainer.on_epoch([&](const EpochReport& report) { epochs.push_back(report); });
    return trainer.run(
        [&](std::int64_t epoch, std::int64_t step) {
          return model.loss(random_ids(8, 30, static_cast<std::uint64_t>(epoch * 100 + step)));
        },
        [&](std::int64_t) { return -model.loss(random_ids(20, 30, 999)).item(); });
  }

  SmallNetwork model;
  Adam adam;
  Trainer trainer;
  std::vector<EpochReport> epochs;
};

void check_same(const TensorMap& a, const TensorMap& b) {
  REQUIRE(a.size() == b.size());
  for (const auto& [name, tensor] : a) {
    INFO(name);
    CHECK(same_bytes(tensor, b.at(name)));
  }
}

/// Evaluations with scripted values; nothing is learned.
struct Scripted {
  explicit Scripted(TrainerOptions options)
      : model(1), sgd(model, {.learning_rate = 0.1}), trainer(model, sgd, std::move(options)) {}
  TrainingResult go(std::vector<double> metrics) {
    return trainer.run([&](std::int64_t, std::int64_t) { return model.loss(random_ids(3, 30, 1)); },
                       [&, metrics](std::int64_t epoch) {
                         hashes.push_back(content_hash(model));
                         return metrics.at(static_cast<std::size_t>(epoch));
                       });
  }
  SmallNetwork model;
  Sgd sgd;
  Trainer trainer;
  std::vector<std::string> hashes;  ///< hash of the model at each evaluation
};

}  // namespace

TEST_CASE("trainer: a resumed run ends with the same bytes as an unbroken one",
          "[train][trainer]") {
  InterruptGuard::clear();
  Run whole;
  const TrainingResult end = whole.go();
  CHECK(end.end == TrainingEnd::finished);
  CHECK(end.position.total_steps == 28);
  REQUIRE(whole.epochs.size() == 4);
  CHECK(whole.epochs[3].loss < whole.epochs[0].loss);

  // Within an epoch, at its last step (before the evaluation), after the first step, and twice.
  for (const std::vector<std::int64_t>& stops :
       {std::vector<std::int64_t>{10}, {7}, {1}, {27}, {28}, {3, 15}, {0, 14, 14}}) {
    const ScratchFolder folder;
    const std::string path = folder.path("state");
    std::vector<EpochReport> epochs;
    for (std::size_t leg = 0; leg <= stops.size(); ++leg) {
      InterruptGuard::clear();
      Run part(path);
      if (leg > 0) {
        // The file must restore all of it.
        Random(77).fill_normal(part.model.parameter("table.weight").value());
        part.trainer.resume(path);
      }
      const bool last = leg == stops.size();
      if (!last && stops[leg] <= part.trainer.position().total_steps) InterruptGuard::request();
      const TrainingResult result = last ? part.go() : part.go(stops[leg]);
      epochs.insert(epochs.end(), part.epochs.begin(), part.epochs.end());
      if (!last) {
        REQUIRE(result.end == TrainingEnd::interrupted);
        CHECK(checkpoint_info(path).metadata == Metadata{{"who", "test"}});
        continue;
      }
      CHECK(result.end == TrainingEnd::finished);
      CHECK(result.position.total_steps == 28);
      CHECK(result.position.best_epoch == end.position.best_epoch);
      check_same(tensors_of(part.model), tensors_of(whole.model));
      check_same(part.adam.state(), whole.adam.state());
      CHECK(part.model.dropout.random().state().position ==
            whole.model.dropout.random().state().position);
    }
    REQUIRE(epochs.size() == 4);
    for (std::size_t i = 0; i < 4; ++i) {
      CHECK(epochs[i].loss == whole.epochs[i].loss);
      CHECK(epochs[i].metric == whole.epochs[i].metric);
    }
  }
  InterruptGuard::clear();
}

TEST_CASE("trainer: looking at losses later changes nothing but when they are reported",
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

TEST_CASE("trainer: a loss that is not finite is reported, however late", "[train][trainer]") {
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
                       Error, message_contains("in step 6 of epoch 0"));
  CHECK(reported == 6);
}

TEST_CASE("trainer: a run goes on from its own setting only", "[train][trainer]") {
  InterruptGuard::clear();
  const ScratchFolder folder;
  const std::string path = folder.path("state");
  SmallNetwork model(5);
  Adam adam(model);
  const auto trainer = [&](RunSetting setting) {
    return Trainer(model, adam,
                   {.steps_per_epoch = 7, .checkpoint = path, .setting = std::move(setting)});
  };
  CHECK_FALSE(trainer({}).resume());
  const RunSetting setting{{"batch", "8"}, {"data", "0123456789abcdef"}};
  trainer(setting).save(path);
  CHECK(checkpoint_info(path).metadata.at("setting.batch") == "8");
  CHECK(trainer(setting).resume());
  CHECK(trainer({}).resume());
  CHECK_THROWS_MATCHES(
      trainer({{"batch", "9"}, {"data", "0"}, {"seed", "1"}}).resume(), DataError,
      message_contains("batch: expected 9, got 8; other data: its items, sequences or split; "
                       "seed: expected 1, got nothing"));
  trainer({}).save(path);
  CHECK_THROWS_MATCHES(trainer(setting).resume(), DataError,
                       message_contains("holds no setting of the run that wrote it"));
}

TEST_CASE("trainer: states with numbered streams of dropout are read", "[train][trainer]") {
  InterruptGuard::clear();
  const ScratchFolder folder;
  const std::string path = folder.path("state");
  Run run(path);
  run.go();
  TrainingState state = load_training(path);
  REQUIRE(state.randoms.size() == 1);
  const RandomState place = state.randoms.at("dropout.random");
  CHECK(place.position > 0);
  state.randoms = {{"dropout.0", place}};
  save_training(path, state);
  Run other(path);
  other.trainer.resume(path);
  CHECK(other.model.dropout.random().state().position == place.position);
}

TEST_CASE("trainer: the end of a run walks over the model once", "[train][trainer]") {
  struct Layer final : Module {
    Parameter weight{Tensor::full({2}, 1, DType::f32)};
    void visit_members(Visitor& visitor) override { visitor.parameter("weight", weight); }
  };
  struct Many final : Module {
    std::vector<Layer> layers = std::vector<Layer>(500);
    std::int64_t walks = 0;
    void visit_members(Visitor& visitor) override {
      ++walks;
      visitor.modules("layers", layers);
    }
  };
  Many model;
  Sgd sgd(model);
  Trainer trainer(model, sgd, {.epochs = 1, .steps_per_epoch = 1});
  std::int64_t before = 0;
  trainer.on_epoch([&](const EpochReport&) { before = model.walks; });
  trainer.run([&](std::int64_t, std::int64_t) { return mean(model.layers[0].weight); },
              [](std::int64_t) { return 1.0; });
  CHECK(model.walks - before <= 3);
}

TEST_CASE("trainer: frozen parameters keep their bytes through a run", "[train][trainer]") {
  InterruptGuard::clear();
  Run run;
  run.model.freeze("middle.*");
  const SmallNetwork start(5);
  run.go();
  CHECK(same_bytes(run.model.middle.weight().value(), start.middle.weight().value()));
  CHECK_FALSE(same_bytes(run.model.head.weight().value(), start.head.weight().value()));
}

TEST_CASE("trainer: a state is refused by another run", "[train][trainer]") {
  InterruptGuard::clear();
  const ScratchFolder folder;
  const std::string path = folder.path("state");
  Run run(path);
  run.go();
  const std::string before = content_hash(run.model);

  SmallNetwork model(5);
  Adam adam(model);
  Trainer fewer(model, adam, {.steps_per_epoch = 6});
  CHECK_THROWS_MATCHES(fewer.resume(path), DataError,
                       message_contains("7 steps an epoch, expected 6"));
  Trainer two_streams(model, adam, {.steps_per_epoch = 7});
  Random random(1);
  two_streams.keep("masks", random);
  CHECK_THROWS_AS(two_streams.keep("masks", random), OptionError);
  CHECK_THROWS_MATCHES(two_streams.resume(path), DataError,
                       message_contains("1 random streams, expected 2"));
  Noisy noisy;
  Adam none(noisy);
  Trainer other_stream(noisy, none, {.steps_per_epoch = 7});
  CHECK_THROWS_MATCHES(other_stream.resume(path), DataError,
                       message_contains("no random stream 'noise'"));
  CHECK_THROWS_MATCHES(other_stream.keep("masks", noisy.noise), OptionError,
                       message_contains("expected each random stream once, got 'noise' again"));

  Sgd sgd(run.model);
  Trainer other_optimizer(run.model, sgd, {.steps_per_epoch = 7});
  CHECK_THROWS_MATCHES(other_optimizer.resume(path), DataError,
                       message_contains("does not fit the optimizer"));
  CHECK(content_hash(run.model) == before);

  CHECK_THROWS_AS(Trainer(model, adam, {.steps_per_epoch = 0}), OptionError);
  CHECK_THROWS_AS(Trainer(model, adam, {.epochs = -1, .steps_per_epoch = 1}), OptionError);
}

TEST_CASE("trainer: early stopping keeps the best parameters", "[train][trainer]") {
  InterruptGuard::clear();
  Scripted run({.epochs = 10, .steps_per_epoch = 2, .patience = 2});
  const TrainingResult result = run.go({0.1, 0.3, 0.2, 0.3, 0.9});  // an equal one is not better
  CHECK(result.end == TrainingEnd::stopped_early);
  CHECK(result.position.epoch == 4);
  CHECK(result.position.best_epoch == 1);
  CHECK(result.position.best_metric == 0.3);
  REQUIRE(run.hashes.size() == 4);
  CHECK(content_hash(run.model) == run.hashes[1]);
  CHECK(run.hashes[1] != run.hashes[3]);
  CHECK_FALSE(run.model.is_training());

  Scripted smaller({.epochs = 3, .steps_per_epoch = 1, .larger_is_better = false});
  CHECK(smaller.go({0.5, 0.2, 0.4}).position.best_epoch == 1);
  CHECK(content_hash(smaller.model) == smaller.hashes[1]);

  Scripted last({.epochs = 3, .steps_per_epoch = 1, .restore_best = false});
  CHECK(last.go({0.5, NAN, 0.4}).end == TrainingEnd::finished);
  CHECK(last.trainer.position().best_epoch == 0);
  CHECK(content_hash(last.model) == last.hashes[2]);
}

TEST_CASE("trainer: a run that stopped early is over when resumed", "[train][trainer]") {
  InterruptGuard::clear();
  const ScratchFolder folder;
  const TrainerOptions options{
      .epochs = 10, .steps_per_epoch = 1, .patience = 1, .checkpoint = folder.path("s")};
  Scripted run(options);
  run.go({0.5, 0.4});
  Scripted again(options);
  again.trainer.resume(folder.path("s"));
  CHECK(again.go({}).end == TrainingEnd::stopped_early);
  CHECK(content_hash(again.model) == content_hash(run.model));
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
      Error, message_contains("the loss is inf in step 0 of epoch 0"));
  CHECK(content_hash(model) == before);
}

TEST_CASE(
    "trainer: gradients that are not finite end the run before they are applied, or at the latest "
    "before a state",
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

TEST_CASE("trainer: a signal is noticed once and the old handlers come back", "[train][trainer]") {
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
