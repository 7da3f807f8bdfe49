/// evaluate(): ranking metrics, held-out losses, and errors.

#include <cmath>

#include "refrain/train/evaluate.hpp"
#include "support/catch.hpp"
#include "support/generated_ratings.hpp"
#include "support/small_recommender.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

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

TEST_CASE("evaluate: metrics equal those of ranking examples one by one", "[train][evaluate]") {
  const Dataset data = generated_dataset();
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

TEST_CASE("evaluate: on_ranks receives the rank of each example by each protocol",
          "[train][evaluate]") {
  const Dataset data = generated_dataset();
  Circle model(data.vocabulary);
  const EvaluateOptions full{.cutoffs = {5}, .batch = 17};
  const EvaluateOptions sampled{.cutoffs = {5}, .negatives = 7, .seed = 3, .batch = 17};
  const EvaluateOptions both[] = {full, sampled};
  std::vector<std::vector<Rank>> ranks(2);
  const std::vector<RankingMetrics> metrics =
      evaluate(model, data.test, both,
               [&](std::int64_t protocol, std::int64_t begin, std::span<const Rank> more) {
                 std::vector<Rank>& all = ranks[static_cast<std::size_t>(protocol)];
                 CHECK(begin == std::ssize(all));
                 all.insert(all.end(), more.begin(), more.end());
               });
  for (std::size_t protocol = 0; protocol < 2; ++protocol) {
    REQUIRE(std::ssize(ranks[protocol]) == data.test.rows.rows());
    RankingMetrics expected(metrics[protocol].protocol(), {5});
    expected.add(ranks[protocol]);
    CHECK(expected.figures() == metrics[protocol].figures());
    CHECK(metrics[protocol].figures() == evaluate(model, data.test, both[protocol]).figures());
  }
  CHECK(ranks[0] != ranks[1]);
}

TEST_CASE("evaluate: the held-out loss has only held-out targets", "[train][evaluate]") {
  const Dataset at_random =
      generated_dataset({.fractions = {.train = 0.5, .valid = 0.25, .test = 0.25}});
  SmallRecommender model(at_random.vocabulary.size(), {.length = 20});
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
  CHECK_THROWS_MATCHES(rank_examples(score, examples, {}), OptionError,
                       message_contains("expected at least one protocol"));
  CHECK_THROWS_MATCHES(rank_examples(score, {.targets = targets}, protocols), OptionError,
                       message_contains("leave_out_seen: expected examples with seen items"));
  CHECK(rank_examples(score, {.targets = targets}, std::span(protocols).first(1))[0].figures() ==
        metrics[0].figures());
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
  const Dataset data = generated_dataset();
  Circle model(data.vocabulary);
  CHECK_THROWS_MATCHES(evaluate(model, HeldOut{}), OptionError,
                       message_contains("expected a part with at least one sequence"));
  CHECK_THROWS_MATCHES(evaluate(model, data.test, {.batch = 0}), OptionError,
                       message_contains("batch: expected at least 1, got 0"));
  CHECK_THROWS_MATCHES(evaluate(model, data.test, {.negatives = -1}), OptionError,
                       message_contains("negatives: expected at least 0, got -1"));
  CHECK_THROWS_AS(evaluate(model, data.test, {.cutoffs = {0}}), OptionError);
}
