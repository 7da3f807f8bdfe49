/// Models trained as in the examples, with dropout and sampled negatives: bit-identical at any
/// number of threads, and after any number of interruptions.

#include <optional>

#include "refrain/core/parallel.hpp"
#include "refrain/data/batches.hpp"
#include "refrain/data/samplers.hpp"
#include "refrain/train/trainer.hpp"
#include "refrain_models/cmnrec.hpp"
#include "refrain_models/nextitnet.hpp"
#include "refrain_models/peterrec.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

constexpr std::int32_t item_count = 200;
constexpr std::int64_t row_length = 13;

RaggedIds make_rows() {
  RaggedIds rows;
  Random random(11);
  for (int row = 0; row < 150; ++row) {
    for (std::int64_t i = 0; i < 5 + random.below(row_length); ++i)
      rows.add(special_ids + static_cast<std::int32_t>(random.below(item_count)));
    rows.end_row();
  }
  return rows;
}

CandidateSampler make_sampler() {
  return CandidateSampler({.first = special_ids, .range = item_count});
}

Candidates draw(CandidateSampler& sampler, const Tensor& targets, Random& random) {
  const CandidateSample sample = sampler.draw(40, random);
  return {sample.ids, sampler.log_expected_count(targets, sample).reshape({targets.numel()}),
          sampler.log_expected_count(sample.ids, sample)};
}

/// A recurrent network with chunked memory; dropout in two places, shared negatives of a sampled
/// softmax.
template <bool is_tied>
struct Recurrent {
  Recurrent()
      : random(1),
        model({.items = special_ids + item_count,
               .embedding = 12,
               .hidden = 16,
               .words = 3,
               .word_size = 8,
               .attention = 6,
               .keep = 0.7,
               .tied = is_tied,
               .dropout = is_tied ? 0.2 : 0},
              random) {}
  Variable loss(const SequenceBatch& batch, Random& batch_random) {
    const Tensor targets = swap_batch_time(batch.targets);
    return model.sampled_loss(batch.ids, targets, draw(sampler, targets, batch_random),
                              ChunkSchedule::tsc(row_length - 1, 3), padding_id);
  }
  Random random;
  models::CmnRec<Lstm> model;
  CandidateSampler sampler = make_sampler();
};

/// Dilated convolutions with the same loss.
template <bool is_tied>
struct Convolution {
  Convolution()
      : random(2),
        model({.items = special_ids + item_count,
               .channels = 16,
               .dilations = {1, 2},
               .relu = false,
               .tied = is_tied,
               .dropout = is_tied ? 0.2 : 0},
              random) {}
  Variable loss(const SequenceBatch& batch, Random& batch_random) {
    return model.sampled_loss(batch.ids, batch.targets, draw(sampler, batch.targets, batch_random),
                              padding_id);
  }
  Random random;
  models::NextItNet model;
  CandidateSampler sampler = make_sampler();
};

/// A recurrent network without memory: one item table, dropout, and a softmax over all items.
struct TiedGru {
  TiedGru()
      : random(4),
        model({.items = special_ids + item_count,
               .embedding = 12,
               .hidden = 16,
               .layers = 2,
               .tied = true,
               .dropout = 0.3},
              random) {}
  Variable loss(const SequenceBatch& batch, Random&) { return model.loss(batch); }
  Random random;
  models::RecurrentRec<Gru> model;
};

/// Patches on a frozen base; one negative for each positive.
struct Patched {
  Patched()
      : random(3),
        base({.items = special_ids + item_count, .channels = 16, .dilations = {1, 2}}, random),
        model(base,
              {.patches = {.start = PatchStart::random},
               .head = {.targets = item_count, .loss = models::HeadLoss::bpr},
               .tcl_id = tcl_id},
              random) {
    base.freeze();
  }
  Variable loss(const SequenceBatch& batch, Random& batch_random) {
    const std::int64_t rows = batch.ids.size(0);
    Tensor positives({rows}, DType::i32);
    for (std::int64_t b = 0; b < rows; ++b) {
      positives.data<std::int32_t>()[b] =
          batch.targets.data<std::int32_t>()[(b + 1) * (row_length - 1) - 1] - special_ids;
    }
    return base.with(model).loss(batch.ids, positives, negatives.draw(positives, batch_random));
  }
  Random random;
  models::NextItNet base;
  models::PatchSet model;
  NegativeSampler negatives{{.items = item_count}};
};

struct Outcome {
  TrainingEnd end;
  std::string hash;  ///< hash of parameters and of the optimizer's state
};

/// Trains two epochs of four steps, from `resume` on, and stops before step `stop_at`.
template <class Setting>
Outcome train(int thread_count, const std::string& checkpoint = "", bool resume = false,
              std::optional<std::int64_t> stop_at = {}) {
  set_threads(thread_count);
  InterruptGuard::clear();
  const RaggedIds rows = make_rows();
  BatchSampler batches(rows.rows(), {.batch_size = 40, .seed = 9});
  Setting setting;
  Adam adam(setting.model, {.learning_rate = 0.01});
  Trainer trainer(setting.model, adam,
                  {.epochs = 2,
                   .steps_per_epoch = batches.steps_per_epoch(),
                   .max_norm = 1,
                   .restore_best = false,
                   .checkpoint = checkpoint});
  if (resume) trainer.resume(checkpoint);
  trainer.on_step([&](const StepReport&) {
    if (stop_at && trainer.position().total_steps >= *stop_at) InterruptGuard::request();
  });
  const TrainingResult result = trainer.run(
      [&](std::int64_t epoch, std::int64_t step) {
        Random random = batches.random(epoch, step);
        return setting.loss(next_item_batch(rows, batches.rows(epoch, step), row_length), random);
      },
      [](std::int64_t) { return 0.0; });
  InterruptGuard::clear();
  set_threads(0);
  return {result.end, content_hash(tensors_of(setting.model)) + content_hash(adam.state())};
}

}  // namespace

TEMPLATE_TEST_CASE(
    "reliability: one seed gives one result, for any number of threads and after a resume at any "
    "step",
    "[train][reliability][determinism]", Recurrent<false>, Recurrent<true>, Convolution<false>,
    Convolution<true>, TiedGru, Patched) {
  const Outcome expected = train<TestType>(1);
  REQUIRE(expected.end == TrainingEnd::finished);
  for (const int thread_count : {2, 3}) CHECK(train<TestType>(thread_count).hash == expected.hash);
  for (std::int64_t stop_at = 1; stop_at < 8; ++stop_at) {
    INFO(stop_at);
    const ScratchFolder folder;
    const std::string state = folder.path("state");
    REQUIRE(train<TestType>(1 + static_cast<int>(stop_at % 3), state, false, stop_at).end ==
            TrainingEnd::interrupted);
    CHECK(train<TestType>(1 + static_cast<int>((stop_at + 1) % 3), state, true).hash ==
          expected.hash);
  }
}
