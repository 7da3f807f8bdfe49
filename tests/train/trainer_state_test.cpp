/// States of the training loop: an interrupted and resumed run ends with the bytes of an
/// uninterrupted one.

#include "support/scratch.hpp"
#include "train/trainer_runs.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("trainer: a resumed run ends with the same bytes as an uninterrupted one",
          "[train][trainer]") {
  InterruptGuard::clear();
  TrainerRun whole;
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
      TrainerRun part(path);
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

TEST_CASE("trainer: a run resumes only with the same settings", "[train][trainer]") {
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
  TrainerRun run(path);
  run.go();
  TrainingState state = load_training(path);
  REQUIRE(state.randoms.size() == 1);
  const RandomState place = state.randoms.at("dropout.random");
  CHECK(place.position > 0);
  state.randoms = {{"dropout.0", place}};
  save_training(path, state);
  TrainerRun other(path);
  other.trainer.resume(path);
  CHECK(other.model.dropout.random().state().position == place.position);
}

TEST_CASE("trainer: the end of a run visits the model once", "[train][trainer]") {
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

TEST_CASE("trainer: a state of another run is refused", "[train][trainer]") {
  InterruptGuard::clear();
  const ScratchFolder folder;
  const std::string path = folder.path("state");
  TrainerRun run(path);
  run.go();
  const std::string before = content_hash(run.model);

  SmallNetwork model(5);
  Adam adam(model);
  Trainer fewer(model, adam, {.steps_per_epoch = 6});
  CHECK_THROWS_MATCHES(fewer.resume(path), DataError,
                       message_contains("7 steps per epoch, expected 6"));
  Trainer two_streams(model, adam, {.steps_per_epoch = 7});
  Random random(1);
  two_streams.keep("masks", random);
  CHECK_THROWS_AS(two_streams.keep("masks", random), OptionError);
  CHECK_THROWS_MATCHES(two_streams.resume(path), DataError,
                       message_contains("1 random streams, expected 2"));
  NoisyModule noisy;
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

TEST_CASE("trainer: a run that stopped early is over when resumed", "[train][trainer]") {
  InterruptGuard::clear();
  const ScratchFolder folder;
  const TrainerOptions options{
      .epochs = 10, .steps_per_epoch = 1, .patience = 1, .checkpoint = folder.path("s")};
  ScriptedRun run(options);
  run.go({0.5, 0.4});
  ScriptedRun again(options);
  again.trainer.resume(folder.path("s"));
  CHECK(again.go({}).end == TrainingEnd::stopped_early);
  CHECK(content_hash(again.model) == content_hash(run.model));
}
