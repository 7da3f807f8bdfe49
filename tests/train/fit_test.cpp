/// fit(): learning, bit-exact repetition, and errors.

#include <cmath>
#include <filesystem>
#include <sstream>

#include "refrain/data/sequence_store.hpp"
#include "refrain/train/content_hash.hpp"
#include "refrain/train/fit.hpp"
#include "support/catch.hpp"
#include "support/generated_ratings.hpp"
#include "support/scratch.hpp"
#include "support/skip.hpp"
#include "support/small_recommender.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

SmallRecommender made(const Dataset& data, SmallRecommender::Options options = {}) {
  return SmallRecommender(data.vocabulary.size(), options);
}

FitOptions quiet(FitOptions options = {}) {
  options.progress = Progress::Style::quiet;
  return options;
}

}  // namespace

TEST_CASE("fit: a model learns the patterns of a log", "[train][fit]") {
  const Dataset data = generated_dataset();
  SmallRecommender model = made(data);
  const double before = evaluate(model, data.test).ndcg(10);
  std::vector<double> losses;
  const TrainingResult result =
      fit(model, data,
          quiet({.epochs = 30,
                 .batch = 16,
                 .adam = {.learning_rate = 0.01},
                 .on_epoch = [&](const EpochReport& epoch) { losses.push_back(epoch.loss); }}));
  CHECK(losses.size() == result.epochs.size());
  CHECK(losses.back() < losses.front());
  CHECK_FALSE(model.is_training());
  // The pattern determines the next item in 85 of 100 cases; a random ranking hits 10 of 40.
  const RankingMetrics metrics = evaluate(model, data.test, {.cutoffs = {1, 10}});
  CHECK(metrics.hr(1) > 0.5);
  CHECK(metrics.ndcg(10) > 2 * before);
  CHECK(metrics.count() == data.test.rows.rows());
  CHECK_THAT(metrics.text(), contains("NDCG@10"));
  CHECK_THAT(metrics.text(), contains("(full, 40 items; 120 examples)"));
}

TEST_CASE("fit: one seed gives one result, at any number of threads and after a resume at any step",
          "[train][fit][reliability][determinism]") {
  const Dataset data = generated_dataset();
  const auto run = [&](int thread_count, const std::string& checkpoint,
                       std::int64_t stop_at) -> std::string {
    const ThreadCount scope(thread_count);
    InterruptGuard::clear();
    SmallRecommender model = made(data, {.keep = 0.7});
    std::int64_t steps = 0;
    const TrainingResult result = fit(model, data,
                                      quiet({.epochs = 3,
                                             .batch = 40,
                                             .patience = 0,
                                             .checkpoint = checkpoint,
                                             .on_step = [&](const StepReport&) {
                                               if (++steps == stop_at) InterruptGuard::request();
                                             }}));
    InterruptGuard::clear();
    if (stop_at > 0) CHECK(result.end == TrainingEnd::interrupted);
    return content_hash(model);
  };
  const std::string expected = run(1, "", 0);
  CHECK(run(2, "", 0) == expected);
  CHECK(run(3, "", 0) == expected);
  for (std::int64_t stop_at = 1; stop_at <= 9; ++stop_at) {
    INFO(stop_at);
    const ScratchFolder folder;
    const std::string state = folder.path("state");
    run(1 + static_cast<int>(stop_at % 3), state, stop_at);
    CHECK(run(1 + static_cast<int>((stop_at + 1) % 3), state, 0) == expected);
    // A finished run is not trained again.
    CHECK(run(1, state, 0) == expected);
  }
}

TEST_CASE("fit: a sequence store gives the parameters of its log", "[train][fit][store]") {
  const ScratchFolder folder;
  const std::string log = folder.write("ratings.csv", generated_ratings());
  prepare_store(log, folder.path("s"));
  const auto fitted = [](const std::string& path, Shuffle shuffle) {
    const Dataset data = read_dataset(path, {.min_count = 20, .leave_last_out = true});
    SmallRecommender model = made(data, {.keep = 0.7});
    fit(model, data, quiet({.epochs = 2, .batch = 16, .shuffle = shuffle}));
    return content_hash(model);
  };
  for (const Shuffle shuffle : {Shuffle::full, Shuffle::blocks})
    CHECK(fitted(folder.path("s"), shuffle) == fitted(log, shuffle));
  CHECK(fitted(log, Shuffle::full) != fitted(log, Shuffle::blocks));
}

TEST_CASE("fit: a checkpoint of another run is refused with the differences", "[train][fit]") {
  const Dataset data = generated_dataset();
  const ScratchFolder folder;
  const std::string state = folder.path("state");
  SmallRecommender model = made(data);
  const auto fitted = [&](const Dataset& log, FitOptions options) {
    options.checkpoint = state;
    options.epochs = 1;
    fit(model, log, quiet(options));
  };
  fitted(data, {});
  CHECK_THROWS_MATCHES(fitted(data, {.batch = 32, .seed = 2}), DataError,
                       message_contains("batch: expected 32, got 64; seed: expected 2, got 1"));
  CHECK_THROWS_MATCHES(fitted(generated_dataset({.min_length = 8, .leave_last_out = true}), {}),
                       DataError, message_contains("other data: its items, sequences or split"));
  CHECK_THROWS_MATCHES(fitted(data, {.stop_on = StopOn::loss}), DataError,
                       message_contains("stop_on: expected held-out loss, got NDCG@10"));
}

TEST_CASE("fit: early stopping watches the requested metric", "[train][fit]") {
  const Dataset in_time = generated_dataset();
  const Dataset at_random =
      generated_dataset({.fractions = {.train = 0.7, .valid = 0.2, .test = 0.1}});
  for (const Dataset* data : {&in_time, &at_random}) {
    for (const StopOn stop_on :
         {StopOn::ndcg, StopOn::hr, StopOn::mrr, StopOn::auc, StopOn::loss}) {
      SmallRecommender model = made(*data);
      double best = NAN;
      const FitOptions options{.epochs = 3,
                               .batch = 16,
                               .positions = LossPositions::all,
                               .stop_on = stop_on,
                               .validation = {.cutoffs = {4}, .leave_out_seen = true},
                               .progress = Progress::Style::quiet,
                               .on_epoch = [&](const EpochReport& epoch) {
                                 if (epoch.is_best) best = epoch.metric;
                               }};
      fit(model, *data, options);
      const RankingMetrics metrics = evaluate(model, data->validation, options.validation);
      const double expected = stop_on == StopOn::ndcg  ? metrics.ndcg(4)
                              : stop_on == StopOn::hr  ? metrics.hr(4)
                              : stop_on == StopOn::mrr ? metrics.mrr(4)
                              : stop_on == StopOn::auc ? metrics.auc()
                                                       : held_out_loss(model, data->validation);
      CHECK(best == expected);
    }
  }
}

TEST_CASE("fit: positions that contribute to the loss", "[train][fit]") {
  const Dataset data = generated_dataset();
  // A step on one batch: with LossPositions::last the gradient is that of the last targets.
  SmallRecommender last = made(data, {.keep = 1}), masked = made(data, {.keep = 1});
  const AdamOptions adam{.learning_rate = 0.01};
  fit(last, data,
      quiet({.epochs = 1,
             .batch = 1000,
             .adam = adam,
             .positions = LossPositions::last,
             .patience = 0}));
  NextItemBatches batches(data.training, {.length = 8, .batch_size = 1000, .seed = 1});
  REQUIRE(batches.steps_per_epoch() == 1);
  SequenceBatch batch = batches(0, 0);
  batch.targets = only_last_ids(batch.targets);
  Adam optimizer(masked, adam);
  backward(masked.loss(batch));
  optimizer.clip_gradients(5);
  optimizer.step();
  CHECK(content_hash(masked) == content_hash(last));
}

TEST_CASE("fit: without a validation part all epochs are trained", "[train][fit]") {
  Dataset data = generated_dataset();
  data.validation = {};
  SmallRecommender model = made(data);
  CHECK_THROWS_MATCHES(fit(model, data, quiet()), OptionError,
                       message_contains("a validation part for early stopping"));
  std::ostringstream shown;
  const TrainingResult result = fit(model, data, quiet({.epochs = 2, .patience = 0}));
  CHECK(result.end == TrainingEnd::finished);
  CHECK(result.position.epoch == 2);
}

TEST_CASE("fit: invalid arguments are rejected before training", "[train][fit][errors]") {
  const Dataset data = generated_dataset();
  SmallRecommender model = made(data);
  const std::string before = content_hash(model);
  const auto refused = [&](FitOptions options, const std::string& text) {
    CHECK_THROWS_MATCHES(fit(model, data, quiet(options)), OptionError, message_contains(text));
  };
  refused({.epochs = 0}, "expected epochs of at least 1, got 0");
  refused({.batch = 0}, "expected batch_size >= 1, got 0");
  refused({.max_norm = -1}, "expected max_norm >= 0, got -1");
  refused({.patience = -1}, "expected patience >= 0, got -1");
  refused({.min_length = 10}, "expected min_length from 2 to 9, got 10");
  refused({.validation = {.cutoffs = {}}}, "expected validation.cutoffs of at least one k");
  refused({.validation = {.cutoffs = {5, 0}}}, "expected validation.cutoffs of at least 1, got 0");
  refused({.epochs = 1, .validation = {.negatives = 40}}, "40");
  SmallRecommender endless = made(data, {.length = 0});
  CHECK_THROWS_AS(fit(endless, data, quiet()), OptionError);
  CHECK(content_hash(made(data)) == before);
}

TEST_CASE("data: a user-defined model on ml-100k is far better than the most popular items",
          "[train][fit]") {
  const std::string path = data_folder() + "/ml-100k/u.data";
  if (!std::filesystem::exists(path)) REFRAIN_SKIP("no ml-100k in " + data_folder());
  const Dataset data = read_dataset(path, {.leave_last_out = true});
  CHECK_THAT(data.text(), contains("943 users, 1,682 items, 100,000 events"));
  struct Popular final : Module {
    explicit Popular(const Vocabulary& items) : vocabulary(items) {}
    std::int64_t length() const { return 1; }
    Tensor scores(const Tensor& ids) const {
      Tensor all({ids.size(0), vocabulary.size()}, DType::f32);
      for (std::int64_t i = 0; i < all.numel(); ++i) {
        const std::int32_t id = static_cast<std::int32_t>(i % vocabulary.size());
        all.data<float>()[i] = static_cast<float>(vocabulary.count(id));
      }
      return all;
    }
    void visit_members(Visitor&) override {}
    const Vocabulary& vocabulary;
  } popular(data.vocabulary);
  const EvaluateOptions protocol{.cutoffs = {10}, .leave_out_seen = true};
  const RankingMetrics baseline = evaluate(popular, data.test, protocol);
  SmallRecommender model = made(data, {.length = 50, .width = 32, .keep = 1});
  fit(model, data, quiet({.epochs = 8, .batch = 64, .adam = {.learning_rate = 0.005}}));
  const RankingMetrics metrics = evaluate(model, data.test, protocol);
  INFO(metrics.text() << "\nmost popular: " << baseline.text());
  CHECK(metrics.hr(10) > 1.5 * baseline.hr(10));
  CHECK(metrics.ndcg(10) > 1.5 * baseline.ndcg(10));
}

TEST_CASE("fit: a learning-rate schedule over the training steps of the run", "[train][fit]") {
  const Dataset data = generated_dataset();
  SmallRecommender model = made(data);
  FitOptions options = quiet({.epochs = 3, .batch = 40, .patience = 0});
  const std::int64_t steps = training_steps(model.length(), data, options);
  const LearningRateSchedule schedule = warmup_then_cosine(
      {.peak = 0.01, .warmup_steps = 2, .total_steps = steps, .final_fraction = 0.1});
  options.schedule = schedule;
  std::vector<double> rates;
  options.on_epoch = [&](const EpochReport& epoch) { rates.push_back(epoch.learning_rate); };
  CHECK(fit(model, data, options).position.total_steps == steps);
  REQUIRE(rates.size() == 3);
  for (std::int64_t epoch = 0; epoch < 3; ++epoch)
    CHECK(rates[static_cast<std::size_t>(epoch)] == schedule((epoch + 1) * steps / 3 - 1));
  CHECK(rates[2] < rates[0]);
  options.epochs = 0;
  CHECK_THROWS_AS(training_steps(model.length(), data, options), OptionError);
}

TEST_CASE("fit: the plateau margin reaches the trainer", "[train][fit]") {
  const Dataset data = generated_dataset();
  const auto epochs = [&](double margin) {
    SmallRecommender model = made(data);
    // Without learning every epoch has the figure of the first.
    FitOptions options =
        quiet({.epochs = 6, .adam = {.learning_rate = 0}, .patience = 2, .plateau_margin = margin});
    return fit(model, data, options).position.epoch;
  };
  CHECK(epochs(0) == 3);
  CHECK(epochs(0.1) == 6);
}
