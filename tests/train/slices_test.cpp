/// Training steps in slices: the order of the sums, the random streams of a slice, and runs of the
/// training loop.

#include "refrain/train/slices.hpp"

#include <algorithm>
#include <array>

#include "refrain/ops/dropout.hpp"
#include "refrain/train/content_hash.hpp"
#include "refrain/train/fit.hpp"
#include "support/generated_ratings.hpp"
#include "support/scratch.hpp"
#include "support/small_recommender.hpp"
#include "train/trainer_runs.hpp"

using namespace refrain;
using namespace refrain::test;

namespace slices_test {

/// The sum of leaves [first, first + 2^level) that exist, by the definition of the tree.
std::vector<double> tree_sum(const std::vector<std::vector<float>>& leaves, std::size_t first,
                             int level) {
  std::vector<double> sum;
  if (first >= leaves.size()) return sum;
  if (level == 0) {
    sum.assign(leaves[first].begin(), leaves[first].end());
    return sum;
  }
  sum = tree_sum(leaves, first, level - 1);
  const std::vector<double> right =
      tree_sum(leaves, first + (std::size_t{1} << (level - 1)), level - 1);
  if (sum.empty()) return right;
  for (std::size_t i = 0; i < right.size(); ++i)
    sum[i] = static_cast<float>(sum[i]) + static_cast<float>(right[i]);
  return sum;
}

Gradient dense(Tensor tensor) {
  Gradient gradient;
  gradient.add(std::move(tensor));
  return gradient;
}

Gradient sparse(const Tensor& ids, const Tensor& values) {
  Gradient gradient;
  gradient.add(coalesce(ids, values));
  return gradient;
}

}  // namespace slices_test

using namespace slices_test;

TEST_CASE("slices: dense gradients are added in a tree, row-sparse ones in batch order",
          "[train][slices]") {
  constexpr std::size_t width = 1000;
  for (std::size_t count = 1; count <= 9; ++count) {
    for (const bool has_empty : {false, true}) {
      INFO(count << " slices" << (has_empty ? ", one without gradients" : ""));
      SliceSum sum(SliceTree{static_cast<std::int64_t>(count)});
      std::vector<std::vector<float>> leaves;
      std::vector<std::int32_t> ids;
      std::vector<float> rows;
      std::int64_t most = 0;
      for (std::size_t s = 0; s < count; ++s) {
        if (has_empty && s == count / 2) {
          sum.add({});
          leaves.emplace_back();
          continue;
        }
        const Tensor values = random_tensor<float>({width}, s + 1);
        leaves.emplace_back(values.span<float>().begin(), values.span<float>().end());
        const Tensor at = Tensor::from<std::int32_t>({2}, {3, static_cast<std::int32_t>(s % 3)});
        const Tensor row = random_tensor<float>({2, 1}, s + 100);
        ids.insert(ids.end(), {at.data<std::int32_t>()[0], at.data<std::int32_t>()[1]});
        rows.insert(rows.end(), row.span<float>().begin(), row.span<float>().end());
        std::vector<Gradient> gradients(3);
        gradients[0] = dense(values);
        gradients[1] = sparse(at, row);
        // The third parameter has no gradient, or one in the last slice only.
        if (s + 1 == count) gradients[2] = dense(values);
        sum.add(std::move(gradients));
        most = std::max(most, sum.partial_sums());
      }
      CHECK(most <= static_cast<std::int64_t>(std::log2(count)) + 1);
      const std::vector<Gradient> total = sum.finish();
      if (has_empty && count == 1) {
        CHECK(total.empty());
        continue;
      }
      REQUIRE(total.size() == 3);
      CHECK(doubles(total[0].dense()) == tree_sum(leaves, 0, 4));
      const Gradient joined = sparse(Tensor::from<std::int32_t>({std::ssize(ids)}, ids),
                                     Tensor::from<float>({std::ssize(rows), 1}, rows));
      CHECK(doubles(total[1].to_dense({4, 1})) == doubles(joined.to_dense({4, 1})));
      CHECK(total[2].defined() == !(has_empty && count / 2 + 1 == count));
      CHECK(sum.partial_sums() == 0);
    }
  }
  SliceSum sum(SliceTree(3));
  sum.add(std::vector<Gradient>(2));
  CHECK_THROWS_MATCHES(sum.finish(), OptionError, message_contains("expected 3 slices, got 1"));
  CHECK_THROWS_MATCHES(sum.add(std::vector<Gradient>(3)), OptionError,
                       message_contains("expected 2 gradients, got 3"));
}

TEST_CASE("slices: a table with dense and row-sparse gradients gets their sum", "[train][slices]") {
  SliceSum sum(SliceTree(3));
  const Tensor ids = Tensor::from<std::int32_t>({1}, {2});
  const auto of = [](Gradient gradient) {
    std::vector<Gradient> gradients;
    gradients.push_back(std::move(gradient));
    return gradients;
  };
  sum.add(of(sparse(ids, Tensor::full({1, 2}, 1, DType::f32))));
  sum.add(of(dense(Tensor::full({3, 2}, 10, DType::f32))));
  sum.add(of(sparse(ids, Tensor::full({1, 2}, 2, DType::f32))));
  CHECK(doubles(sum.finish()[0].dense()) == std::vector<double>{10, 10, 10, 10, 13, 13});
}

TEST_CASE(
    "slices: the draws of a slice depend on the state at the start of the step and its number",
    "[train][slices]") {
  Random a(1), b(1);
  a.bits();
  b.bits();
  const std::uint64_t start = a.state().position;
  std::array<std::uint32_t, 3> together{};
  {
    SliceStreams streams({{"a", &a}});
    for (std::int64_t slice = 0; slice < 3; ++slice) {
      streams.begin(slice);
      for (std::int64_t i = 0; i < 5 * slice; ++i) a.bits();
      streams.begin(slice);
      together[static_cast<std::size_t>(slice)] = a.bits();
    }
  }
  {
    SliceStreams streams({{"b", &b}});
    streams.begin(2);  // another process owns the first two slices
    CHECK(b.bits() == together[2]);
  }
  CHECK(together[0] != together[1]);
  CHECK(together[1] != together[2]);
  for (const Random* stream : {&a, &b}) {
    CHECK(stream->state().position == start + SliceStreams::blocks_per_step);
    CHECK(stream->state().stream == Random(1).state().stream);
  }
}

TEST_CASE("slices: a captured step draws the numbers of an uncaptured one", "[train][slices]") {
  const Variable x(Tensor::full({9}, 1, DType::f32));
  Random random(1, 10), plain(1, 10);
  const auto step = [&](Random& stream) {
    std::vector<Tensor> masks;
    SliceStreams streams({{"stream", &stream}});
    for (std::int64_t slice = 0; slice < 3; ++slice) {
      streams.begin(slice);
      dropout(x, 0.5, stream);
      masks.push_back(dropout(x, 0.5, stream).value());
    }
    return masks;
  };
  detail::CapturedDraws draws;
  Tensor shift;
  {
    const detail::CapturedDraws::Scope scope(draws);
    step(random);
    shift = detail::CapturedDraws::shift_of(random, Device::cpu);
  }
  CHECK(random.state().position == 0);
  for (std::uint64_t run = 0; run < 3; ++run) {
    draws.advance();
    const std::vector<Tensor> expected = step(plain);
    CHECK(random.state().position == plain.state().position);
    CHECK(random.state().stream == plain.state().stream);
    for (std::uint64_t slice = 0; slice < 3; ++slice) {
      // The captured call: the stream of its slice, 3 blocks after its start, and the shift.
      Random of_slice(1, 10);
      {
        SliceStreams streams({{"stream", &of_slice}});
        streams.begin(static_cast<std::int64_t>(slice));
        const RandomState state = of_slice.state();
        Tensor y({9}, DType::f32);
        kernels::run(kernels::Dropout{.x = x,
                                      .y = y,
                                      .keep = 0.5,
                                      .seed = state.seed,
                                      .stream = state.stream,
                                      .position = state.position + 3,
                                      .shift = shift});
        CHECK(same_bytes(y, expected[slice]));
      }
    }
  }
}

TEST_CASE("slices: the weight of a slice is its share of the counted targets", "[train][slices]") {
  const Tensor weights = detail::slice_weights({{3, 0}, {}, {1, 0}}, DType::f64);
  CHECK(weights.shape() == Shape{3, 2});
  CHECK(doubles(weights) == std::vector<double>{0.75, 0, 0, 0, 0.25, 0});
}

TEST_CASE("slices: one slice gives the bits of a loop without slices", "[train][slices]") {
  const Dataset data = generated_dataset();
  const auto made = [&] { return SmallRecommender(data.vocabulary.size(), {.keep = 0.7}); };
  const NextItemBatches::Options options{.length = 8, .batch_size = 40, .seed = 1};
  SmallRecommender plain = made();
  {
    NextItemBatches batches(data.training, options);
    Adam adam(plain, {.learning_rate = 0.01});
    for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
      for (std::int64_t step = 0; step < batches.steps_per_epoch(); ++step) {
        adam.zero_grad();
        backward(plain.loss(batches(epoch, step)));
        adam.clip_gradients(5);
        adam.step();
      }
    }
  }
  SmallRecommender trained = made();
  NextItemBatches batches(data.training, options);
  Adam adam(trained, {.learning_rate = 0.01});
  Trainer trainer(trained, adam,
                  {.epochs = 2,
                   .steps_per_epoch = batches.steps_per_epoch(),
                   .max_norm = 5,
                   .slices = 1,
                   .restore_best = false});
  trainer.run(
      Device::cpu,
      [&](std::int64_t epoch, std::int64_t step, BatchSlice slice) {
        return batches(epoch, step, slice);
      },
      [&](const SequenceBatch& batch) { return trained.loss(batch); },
      [](std::int64_t) { return 0.0; });
  CHECK(content_hash(trained) == content_hash(plain));
}

TEST_CASE(
    "slices: one seed gives one result, at any number of threads and after a resume at any "
    "step",
    "[train][slices][reliability][determinism]") {
  const Dataset data = generated_dataset();
  const ScratchFolder folder;
  const auto run = [&](int thread_count, std::int64_t slices, const std::string& checkpoint,
                       std::int64_t stop_at) {
    const ThreadCount scope(thread_count);
    InterruptGuard::clear();
    SmallRecommender model(data.vocabulary.size(), {.keep = 0.7});
    std::int64_t done = 0;
    fit(model, data,
        {.epochs = 2,
         .batch = 40,
         .slices = slices,
         .patience = 0,
         .checkpoint = checkpoint,
         .progress = Progress::Style::quiet,
         .on_step = [&](const StepReport&) {
           if (++done == stop_at) InterruptGuard::request();
         }});
    InterruptGuard::clear();
    return content_hash(model);
  };
  const std::string expected = run(1, 8, "", 0);
  CHECK(run(2, 8, "", 0) == expected);
  CHECK(run(1, 4, "", 0) != expected);
  for (std::int64_t stop_at = 1; stop_at <= 5; ++stop_at) {
    INFO(stop_at);
    const std::string state = folder.path("state" + std::to_string(stop_at));
    run(2, 8, state, stop_at);
    CHECK_THROWS_MATCHES(
        run(1, 1, state, 0), DataError,
        message_contains("was saved by a run with 8 slices per batch, expected 1"));
    CHECK_THROWS_MATCHES(run(1, 4, state, 0), DataError, message_contains("expected 4"));
    CHECK(run(1, 8, state, 0) == expected);
  }
  const std::string whole = folder.path("whole");
  run(1, 1, whole, 2);
  CHECK_THROWS_MATCHES(run(1, 8, whole, 0), DataError,
                       message_contains("was saved by a run with 1 slice per batch, expected 8"));
}

TEST_CASE("slices: losses that are read later, and streams outside the model", "[train][slices]") {
  const auto run = [](std::int64_t pending) {
    SmallNetwork model(5);
    Random noise(9);
    Adam adam(model, {.learning_rate = 0.01});
    Trainer trainer(model, adam,
                    {.epochs = 2,
                     .steps_per_epoch = 5,
                     .max_norm = 0.5,
                     .slices = 4,
                     .restore_best = false,
                     .pending_losses = pending});
    trainer.keep("noise", noise);
    std::vector<double> losses;
    trainer.on_step([&](const StepReport& step) { losses.push_back(step.loss); });
    trainer.run(
        Device::cpu,
        [](std::int64_t epoch, std::int64_t step, BatchSlice slice) {
          // The last batch has two rows: two of its four slices are empty.
          const std::int64_t rows = step == 4 ? 2 : 10;
          const std::int64_t begin = rows * slice.index / slice.count;
          const std::int64_t end = rows * (slice.index + 1) / slice.count;
          const Tensor all = random_ids(rows, 30, static_cast<std::uint64_t>(epoch * 100 + step));
          return TensorBatch{all.slice(begin, end)};
        },
        [&](const TensorBatch& batch) {
          return scale(model.loss(batch.tensor), 1 + 0.1 * noise.uniform());
        },
        [](std::int64_t) { return 0.0; });
    CHECK(noise.state().position == 10 * SliceStreams::blocks_per_step);
    return std::pair(losses, content_hash(model));
  };
  const auto plain = run(0);
  CHECK(plain.first.size() == 10);
  CHECK(run(3) == plain);
}

TEST_CASE("slices: a feed sends batches of any number of tensors", "[train][slices]") {
  using Batch = detail::SlicedBatch<TensorBatch>;
  BatchFeed<Batch> feed(Device::cpu, true);
  for (const std::int64_t count : {3, 3, 1, 4, 3}) {
    Batch batch;
    for (std::int64_t s = 0; s < count; ++s)
      batch.slices.push_back({random_ids(5, 100, static_cast<std::uint64_t>(count + s))});
    batch.weights = Tensor::full({count, 1}, 0.5, DType::f32);
    feed.push(batch);
    const Batch there = feed.pop();
    REQUIRE(std::ssize(there.slices) == count);
    for (std::size_t s = 0; s < there.slices.size(); ++s) {
      CHECK(same_bytes(there.slices[s].tensor, batch.slices[s].tensor));
      CHECK(there.slices[s].tensor.raw() != batch.slices[s].tensor.raw());
    }
    CHECK(same_bytes(there.weights, batch.weights));
  }
}

TEST_CASE("slices: invalid arguments are rejected", "[train][slices][errors]") {
  SmallNetwork model(5);
  Adam adam(model);
  for (const std::int64_t slices : {-1, 0, 65537}) {
    CHECK_THROWS_MATCHES(Trainer(model, adam, {.steps_per_epoch = 1, .slices = slices}),
                         OptionError, message_contains("expected slices from 1 to 65536, got"));
  }
  Trainer trainer(model, adam, {.epochs = 1, .steps_per_epoch = 1, .slices = 2});
  const auto evaluate = [](std::int64_t) { return 0.0; };
  const auto loss = [&](const TensorBatch& batch) { return model.loss(batch.tensor); };
  CHECK_THROWS_MATCHES(
      trainer.run(
          Device::cpu, [](std::int64_t, std::int64_t) { return TensorBatch{random_ids(8, 30, 1)}; },
          loss, evaluate),
      OptionError, message_contains("expected make(epoch, step, slice) for 2 slices"));
  CHECK_THROWS_AS(
      trainer.run([&](std::int64_t, std::int64_t) { return model.loss(random_ids(8, 30, 1)); },
                  evaluate),
      OptionError);
  CHECK_THROWS_MATCHES(adam.put_gradients({}), OptionError,
                       message_contains("gradients, one for each parameter, got 0"));
}
