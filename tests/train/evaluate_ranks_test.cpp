/// Evaluation by several ranks: the ranks, figures and losses of one process.

#include <array>
#include <atomic>
#include <string>
#include <tuple>
#include <vector>

#include "refrain/distributed/local_group.hpp"
#include "refrain/train/evaluate.hpp"
#include "support/catch.hpp"
#include "support/generated_ratings.hpp"
#include "support/small_recommender.hpp"

using namespace refrain;
using namespace refrain::test;

namespace evaluate_ranks_test {

void on_ranks(int ranks, const std::function<void(Communicator&)>& body) {
  LocalGroup(ranks, {.deadline = std::chrono::seconds(60), .delay = {}}).run(body);
}

/// What an evaluation calls and returns.
struct Seen {
  std::vector<std::tuple<std::int64_t, std::int64_t, std::vector<Rank>>> calls;
  std::vector<std::vector<std::pair<std::string, double>>> figures;
  std::vector<std::string> texts;
  friend bool operator==(const Seen&, const Seen&) = default;
};

/// 23 examples of 40 ids. Examples 3 and 16 have seen all other items, so that the sampled protocol
/// does not rank them.
class Examples {
 public:
  Examples() {
    Random random(5);
    for (std::int64_t i = 0; i < 23; ++i) {
      targets.push_back(static_cast<std::int32_t>(special_ids + random.below(40 - special_ids)));
      for (std::int64_t s = 0; s < i % 5; ++s)
        seen.add(static_cast<std::int32_t>(special_ids + random.below(40 - special_ids)));
      for (std::int32_t id = special_ids; i % 13 == 3 && id < 40; ++id) seen.add(id);
      seen.end_row();
    }
    random.fill_uniform(scores, 0, 1);
  }

  Seen evaluated(Communicator* communicator, const ScoreExamples& score) const {
    const EvaluateOptions full{.batch = 4, .communicator = communicator};
    EvaluateOptions sampled{.leave_out_seen = true, .negatives = 9, .allow_fewer_negatives = true};
    const EvaluateOptions both[] = {full, sampled};
    Seen seen_calls;
    for (const RankingMetrics& metrics : rank_examples(
             score, {.targets = targets, .seen = [&](std::int64_t i) { return seen[i]; }}, both,
             [&](std::int64_t protocol, std::int64_t begin, std::span<const Rank> ranks) {
               seen_calls.calls.emplace_back(protocol, begin,
                                             std::vector<Rank>(ranks.begin(), ranks.end()));
             })) {
      seen_calls.figures.push_back(metrics.figures());
      seen_calls.texts.push_back(metrics.text());
    }
    return seen_calls;
  }

  std::vector<std::int32_t> targets;
  RaggedIds seen;
  Tensor scores{{23, 40}, DType::f32};
};

}  // namespace evaluate_ranks_test

using namespace evaluate_ranks_test;

TEST_CASE("evaluate: several ranks share the examples and get the figures of one process",
          "[train][evaluate][distributed]") {
  const Examples examples;
  const auto score = [&](std::int64_t begin, std::int64_t end) {
    return examples.scores.slice(begin, end);
  };
  const Seen expected = examples.evaluated(nullptr, score);
  CHECK(std::get<2>(expected.calls.front()).size() == 4);
  CHECK_THAT(expected.texts[1], contains("; 21 examples)"));
  for (const int ranks : {1, 2, 3, 5, 8}) {  // more ranks than the six batches
    INFO(ranks);
    std::array<std::atomic<int>, 23> scored{};
    on_ranks(ranks, [&](Communicator& communicator) {
      const Seen got = examples.evaluated(&communicator, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) ++scored[static_cast<std::size_t>(i)];
        return score(begin, end);
      });
      if (got != expected) throw std::runtime_error("the ranks or figures differ");
    });
    for (const std::atomic<int>& times : scored) CHECK(times == 1);
  }
}

TEST_CASE("evaluate: several ranks get the loss of one process",
          "[train][evaluate][distributed][determinism]") {
  // Batches that draw random numbers, and means whose sum depends on the order of the additions.
  const auto loss = [](Communicator* communicator, std::atomic<int>* computed) {
    Random random(3);
    return mean_loss(
        40, 3,
        [&](std::int64_t begin, std::int64_t end) {
          Tensor ids({end - begin, 2}, DType::i32);
          for (std::int32_t& id : ids.span<std::int32_t>())
            id = static_cast<std::int32_t>(1 + random.below(3));
          if (begin == 12) ids.fill(padding_id);  // a batch without targets
          return SequenceBatch{ids, ids};
        },
        [&](const SequenceBatch& batch) {
          if (computed != nullptr) ++*computed;
          double mean = 0.1;
          for (const std::int32_t id : std::as_const(batch.targets).span<std::int32_t>())
            mean = mean / 3 + id;
          return mean;
        },
        communicator);
  };
  std::atomic<int> batches = 0;
  const double expected = loss(nullptr, &batches);
  CHECK(batches == 13);
  for (const int ranks : {2, 3, 5, 20}) {
    INFO(ranks);
    std::atomic<int> computed = 0;
    on_ranks(ranks, [&](Communicator& communicator) {
      if (loss(&communicator, &computed) != expected) throw std::runtime_error("another loss");
    });
    CHECK(computed == 13);
  }

  const Dataset data = generated_dataset();
  SmallRecommender model(data.vocabulary.size(), {});
  const double held_out = held_out_loss(model, data.test, LossPositions::all, 16);
  const RankingMetrics metrics = evaluate(model, data.test, {.batch = 16});
  for (const int ranks : {2, 3, 5}) {
    on_ranks(ranks, [&](Communicator& communicator) {
      SmallRecommender own(data.vocabulary.size(), {});
      if (held_out_loss(own, data.test, LossPositions::all, 16, &communicator) != held_out)
        throw std::runtime_error("another held-out loss");
      const EvaluateOptions together{.batch = 16, .communicator = &communicator};
      if (evaluate(own, data.test, together).figures() != metrics.figures())
        throw std::runtime_error("other figures");
    });
  }
}

TEST_CASE("evaluate: a rank whose evaluation throws, and other examples, are errors of all ranks",
          "[train][evaluate][distributed][errors]") {
  const Examples examples;
  const auto errors = [](int ranks, const std::function<void(Communicator&)>& body) {
    std::vector<std::string> all(static_cast<std::size_t>(ranks));
    on_ranks(ranks, [&](Communicator& communicator) {
      try {
        body(communicator);
      } catch (const CommunicationError& error) {
        all[static_cast<std::size_t>(communicator.rank())] = error.what();
      }
    });
    for (const std::string& text : all) CHECK(text == all.front());
    return all.front();
  };
  const std::string failed = errors(3, [&](Communicator& communicator) {
    examples.evaluated(&communicator, [&](std::int64_t begin, std::int64_t end) {
      if (begin == 8) throw DataError("table.csv", 7, "is damaged");
      return examples.scores.slice(begin, end);
    });
  });
  CHECK_THAT(failed, contains("evaluate: rank 1 (") && contains("table.csv"));
  CHECK_THAT(failed, !contains("rank 2"));

  const std::string differs = errors(2, [&](Communicator& communicator) {
    Examples other = examples;
    if (communicator.rank() == 1) other.targets[5] ^= 1;
    other.evaluated(&communicator, [&](std::int64_t begin, std::int64_t end) {
      return other.scores.slice(begin, end);
    });
  });
  CHECK_THAT(differs, contains("targets: rank 1 ("));

  const std::string fewer = errors(2, [&](Communicator& communicator) {
    mean_loss(
        8 + communicator.rank(), 4, [](std::int64_t, std::int64_t) { return SequenceBatch{}; },
        [](const SequenceBatch&) { return 0.0; }, &communicator);
  });
  CHECK_THAT(fewer, contains("rows: rank 1 ("));
}
