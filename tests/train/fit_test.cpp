/// fit() and evaluate(): learning, bit-exact repetition, and errors.

#include <cmath>
#include <filesystem>
#include <sstream>

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

Dataset generated(DatasetOptions options = {.leave_last_out = true}) {
  const ScratchFolder folder;
  return read_dataset(folder.write("ratings.csv", generated_ratings()), options);
}

SmallRecommender made(const Dataset& data, SmallRecommender::Options options = {}) {
  return SmallRecommender(data.vocabulary.size(), options);
}

FitOptions quiet(FitOptions options = {}) {
  options.progress = Progress::Style::quiet;
  return options;
}

/// Ranks by the last item only: its successor in the cycle comes first.
struct Circle final : Module {
  explicit Circle(const Vocabulary& items) : vocabulary(items) {}
  std::int64_t length() const { return 3; }
  Tensor scores(const Tensor& ids) const {
    Tensor all = Tensor::zeros({ids.size(0), vocabulary.size()}, DType::f32);
    for (std::int64_t b = 0; b < ids.size(0); ++b) {
      const std::int32_t last = ids.data<std::int32_t>()[b * ids.size(1) + ids.size(1) - 1];
      const int next = std::stoi(std::string(vocabulary.name(last))) % vocabulary.items() + 1;
      all.data<float>()[b * vocabulary.size() + vocabulary.find(std::to_string(next))] = 1;
    }
    return all;
  }
  void visit_members(Visitor&) override {}
  const Vocabulary& vocabulary;
};

}  // namespace

TEST_CASE("fit: a model learns the patterns of a log", "[train][fit]") {
  const Dataset data = generated();
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
  const Dataset data = generated();
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

TEST_CASE("fit: a checkpoint of another run is refused with the differences", "[train][fit]") {
  const Dataset data = generated();
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
  CHECK_THROWS_MATCHES(fitted(generated({.min_length = 8, .leave_last_out = true}), {}), DataError,
                       message_contains("other data: its items, sequences or split"));
  CHECK_THROWS_MATCHES(fitted(data, {.stop_on = StopOn::loss}), DataError,
                       message_contains("stop_on: expected held-out loss, got NDCG@10"));
}

TEST_CASE("fit: early stopping watches the requested metric", "[train][fit]") {
  const Dataset in_time = generated();
  const Dataset at_random = generated({.fractions = {.train = 0.7, .valid = 0.2, .test = 0.1}});
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
  const Dataset data = generated();
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
  Dataset data = generated();
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
  const Dataset data = generated();
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

TEST_CASE("evaluate: metrics equal those of ranking examples one by one", "[train][evaluate]") {
  const Dataset data = generated();
  Circle model(data.vocabulary);
  for (const bool leave_out_seen : {false, true}) {
    for (const std::int64_t negatives : {0, 7}) {
      const EvaluateOptions options{.cutoffs = {1, 5},
                                    .leave_out_seen = leave_out_seen,
                                    .negatives = negatives,
                                    .seed = 3,
                                    .batch = 17};
      const RankingMetrics metrics = evaluate(model, data.test, options);
      RankingMetrics expected(options.protocol(data.vocabulary.size()), {1, 5});
      for (std::int64_t row = 0; row < data.test.rows.rows(); ++row) {
        const std::span<const std::int32_t> sequence = data.test.rows[row];
        const std::span<const std::int32_t> seen = sequence.first(sequence.size() - 1);
        const std::int64_t rows[] = {row};
        const Tensor scores =
            model.scores(next_item_batch(data.test.rows, rows, model.length() + 1).ids);
        expected.add(rank_of(std::as_const(scores).span<float>(), sequence.back(),
                             expected.protocol(),
                             leave_out_seen ? seen : std::span<const std::int32_t>(), row));
      }
      CHECK(metrics.figures() == expected.figures());
      CHECK(metrics.text() == expected.text());
    }
  }
  // Several protocols take one pass.
  const EvaluateOptions protocols[] = {{.cutoffs = {1}}, {.cutoffs = {1}, .leave_out_seen = true}};
  const std::vector<RankingMetrics> both = evaluate(model, data.test, protocols);
  REQUIRE(both.size() == 2);
  for (std::size_t i = 0; i < 2; ++i)
    CHECK(both[i].text() == evaluate(model, data.test, protocols[i]).text());
  CHECK(both[0].hr(1) > 0.6);
}

TEST_CASE("evaluate: the held-out loss has only held-out targets", "[train][evaluate]") {
  const Dataset at_random = generated({.fractions = {.train = 0.5, .valid = 0.25, .test = 0.25}});
  SmallRecommender model = made(at_random, {.length = 20});
  model.train();
  const HeldOut& part = at_random.test;
  const auto expected = [&](bool only_last) {
    model.eval();
    double sum = 0;
    std::int64_t counted = 0;
    for (std::int64_t row = 0; row < part.rows.rows(); ++row) {
      const std::int64_t rows[] = {row};
      SequenceBatch batch = next_item_batch(part.rows, rows, 21);
      if (only_last) batch.targets = only_last_ids(batch.targets);
      const std::int64_t real = only_last ? 1 : static_cast<std::int64_t>(part.rows[row].size());
      sum += model.loss(batch).item() * static_cast<double>(real);
      counted += real;
    }
    model.train();
    return sum / static_cast<double>(counted);
  };
  CHECK(held_out_loss(model, part) == Approx(expected(false)).epsilon(1e-5));
  CHECK(held_out_loss(model, part, LossPositions::last) == Approx(expected(true)).epsilon(1e-5));
  HeldOut only_last = part;
  only_last.is_unseen = false;
  CHECK(held_out_loss(model, only_last) == Approx(expected(true)).epsilon(1e-5));
  CHECK(held_out_loss(model, only_last, LossPositions::all, 7) ==
        Approx(expected(true)).epsilon(1e-5));
  CHECK(model.is_training());
}

TEST_CASE("evaluate: batches of examples are ranked as single ones", "[train][evaluate]") {
  constexpr std::int64_t count = 23, ids = 40;
  Random random(5);
  Tensor scores({count, ids}, DType::f32);
  random.fill_uniform(scores, 0, 1);
  std::vector<std::int32_t> targets;
  RaggedIds seen;
  for (std::int64_t i = 0; i < count; ++i) {
    targets.push_back(static_cast<std::int32_t>(4 + random.below(ids - 4)));
    for (std::int64_t s = 0; s < i % 5; ++s)
      seen.add(static_cast<std::int32_t>(4 + random.below(ids - 4)));
    seen.end_row();
  }
  const RankedExamples examples{.targets = targets,
                                .seen = [&](std::int64_t i) { return seen[i]; }};
  const auto score = [&](std::int64_t begin, std::int64_t end) { return scores.slice(begin, end); };
  const std::vector<EvaluateOptions> protocols{
      {.batch = 7}, {.leave_out_seen = true}, {.leave_out_seen = true, .negatives = 9}};
  const std::vector<RankingMetrics> metrics = rank_examples(score, examples, protocols);
  REQUIRE(metrics.size() == protocols.size());
  for (std::size_t p = 0; p < protocols.size(); ++p) {
    RankingMetrics expected(protocols[p].protocol(ids), protocols[p].cutoffs);
    for (std::int64_t i = 0; i < count; ++i) {
      const Tensor row = scores.slice(i, i + 1);
      expected.add(
          rank_of(row.span<float>(), targets[static_cast<std::size_t>(i)], expected.protocol(),
                  protocols[p].leave_out_seen ? seen[i] : std::span<const std::int32_t>(), i));
    }
    CHECK(metrics[p].figures() == expected.figures());
    CHECK(metrics[p].text() == expected.text());
  }
  CHECK(metrics[0].figures() != metrics[1].figures());
  CHECK_THROWS_MATCHES(rank_examples(score, {}, protocols), OptionError,
                       message_contains("expected at least one example"));
  CHECK_THROWS_MATCHES(
      rank_examples([&](std::int64_t, std::int64_t) { return scores; }, examples, protocols),
      ShapeError, message_contains("expected scores [7,ids], got [23, 40]"));
}

TEST_CASE("evaluate: the number of negatives is limited by the example with the fewest",
          "[train][evaluate]") {
  // Of the ids 0 to 9, 9, 2, 0 and 4 are neither the target nor seen in the four examples.
  const Tensor scores = Tensor::full({4, 10}, 0.5, DType::f32);
  const std::vector<std::int32_t> targets{0, 1, 2, 9};
  RaggedIds seen;
  for (const std::vector<std::int32_t>& row : {std::vector<std::int32_t>{},
                                               {2, 3, 4, 5, 6, 7, 8, 7},
                                               {0, 1, 3, 4, 5, 6, 7, 8, 9},
                                               {0, 1, 2, 3, 4}})
    seen.push_back(row);
  const RankedExamples examples{.targets = targets,
                                .seen = [&](std::int64_t i) { return seen[i]; }};
  const auto ranked = [&](EvaluateOptions options) {
    options.first_item = 0;
    options.leave_out_seen = true;
    return rank_examples(
               [&](std::int64_t begin, std::int64_t end) { return scores.slice(begin, end); },
               examples, std::span(&options, 1))
        .front();
  };
  CHECK_THROWS_AS(ranked({.negatives = 3}), OptionError);
  for (const std::int64_t batch : {1, 2, 3, 4}) {
    INFO(batch);
    const RankingMetrics fewer =
        ranked({.negatives = 3, .allow_fewer_negatives = true, .batch = batch});
    CHECK(fewer.protocol().negatives == 2);
    CHECK(fewer.count() == 3);
    CHECK(fewer.auc() == Approx(0.5));
    CHECK(ranked({.negatives = 1, .allow_fewer_negatives = true, .batch = batch})
              .protocol()
              .negatives == 1);
    CHECK(ranked({.allow_fewer_negatives = true, .batch = batch}).count() == 4);
  }
}

TEST_CASE("evaluate: a loss of batches is the mean over their targets", "[train][evaluate]") {
  // Rows of 1 to 5 targets; the loss of a batch is the mean of its targets' ids.
  const auto batch_of = [](std::int64_t begin, std::int64_t end) {
    Tensor targets = Tensor::full({end - begin, 5}, padding_id, DType::i32);
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t t = 0; t <= row; ++t)
        targets.data<std::int32_t>()[(row - begin) * 5 + t] = static_cast<std::int32_t>(10 + row);
    }
    return SequenceBatch{targets, targets};
  };
  const auto mean = [](const SequenceBatch& batch) {
    double sum = 0, counted = 0;
    for (const std::int32_t id : std::as_const(batch.targets).span<std::int32_t>()) {
      if (id == padding_id) continue;
      sum += id;
      counted += 1;
    }
    return sum / counted;
  };
  const double expected = (10.0 + 2 * 11 + 3 * 12 + 4 * 13 + 5 * 14) / 15;
  for (const std::int64_t size : {1, 2, 5, 100})
    CHECK(mean_loss(5, size, batch_of, mean) == Approx(expected));
  CHECK(mean_loss(0, 2, batch_of, mean) == 0);
  CHECK_THROWS_AS(mean_loss(5, 0, batch_of, mean), OptionError);
}

TEST_CASE("evaluate: invalid arguments are rejected", "[train][evaluate][errors]") {
  const Dataset data = generated();
  Circle model(data.vocabulary);
  CHECK_THROWS_MATCHES(evaluate(model, HeldOut{}), OptionError,
                       message_contains("expected a part with at least one sequence"));
  CHECK_THROWS_MATCHES(evaluate(model, data.test, {.batch = 0}), OptionError,
                       message_contains("batch: expected at least 1, got 0"));
  CHECK_THROWS_MATCHES(evaluate(model, data.test, {.negatives = -1}), OptionError,
                       message_contains("negatives: expected at least 0, got -1"));
  CHECK_THROWS_AS(evaluate(model, data.test, {.cutoffs = {0}}), OptionError);
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
