/// fit, evaluate and recommend with a user-defined model on a GPU.

#include "refrain/train/fit.hpp"
#include "cuda/arena.hpp"
#include "refrain/serve/recommend.hpp"
#include "support/generated_ratings.hpp"
#include "support/small_recommender.hpp"

using namespace refrain;

namespace {

struct Fitted {
  TrainingResult result;
  RankingMetrics metrics;
  std::vector<Recommendation> list;
};

Fitted fitted(Device device) {
  const Dataset data = test::generated_dataset();
  test::SmallRecommender model(data.vocabulary.size(), {.keep = 0.9});
  model.to(device);
  TrainingResult result = fit(model, data,
                              {.epochs = 12,
                               .batch = 16,
                               .adam = {.learning_rate = 0.01},
                               .patience = 0,
                               .progress = Progress::Style::quiet});
  return {std::move(result), evaluate(model, data.test, {.cutoffs = {1, 10}}),
          recommend(model, data.vocabulary, {"12", "13"}, 3)};
}

}  // namespace

TEST_CASE("cuda: fit, evaluate and recommend run with the calls for the CPU", "[cuda][train]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  try {
    const Fitted there = fitted(Device::cuda);
    const Fitted here = fitted(Device::cpu);
    REQUIRE(there.result.epochs.size() == here.result.epochs.size());
    CHECK(there.result.epochs.front().loss ==
          Approx(here.result.epochs.front().loss).epsilon(1e-3));
    CHECK(there.metrics.ndcg(10) == Approx(here.metrics.ndcg(10)).margin(0.05));
    CHECK(there.list.size() == 3);
    CHECK(there.list.front().item == here.list.front().item);
  } catch (const Unsupported& error) {
    REFRAIN_SKIP(error.what());
  }
}

TEST_CASE("cuda: the test of fit also runs on the CPU", "[posed]") {
  const Fitted here = fitted(Device::cpu);
  CHECK(here.metrics.hr(1) > 0.4);
  CHECK(here.list.front().item == "14");
}
