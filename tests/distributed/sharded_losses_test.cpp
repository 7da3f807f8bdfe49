/// Losses over sharded item tables: values and gradients.

#include <string>
#include <vector>

#include "distributed/sharded.hpp"
#include "refrain/autograd/gradcheck.hpp"
#include "refrain/data/samplers.hpp"
#include "refrain/ops/gather.hpp"
#include "refrain/ops/pointwise.hpp"
#include "support/close.hpp"
#include "support/naive_loss.hpp"
#include "support/variables.hpp"

using namespace refrain;
using namespace refrain::test;
using namespace refrain::test::sharded;

namespace sharded_losses_test {

/// A batch of hidden vectors with a table; the target of every fifth row is id 3.
template <class T>
struct Batch {
  Batch(std::int64_t items, std::int64_t width, std::int64_t rows)
      : weight(random_tensor<T>({items, width}, 1)),
        bias(random_tensor<T>({items}, 2)),
        hidden(random_tensor<T>({rows, width}, 3)),
        targets(random_ids(rows, items, 4)) {
    for (std::int64_t row = 0; row < rows; row += 5) targets.data<std::int32_t>()[row] = 3;
  }
  Tensor weight, bias, hidden, targets;
};

struct Gradients {
  double loss = 0;
  Tensor hidden, weight, bias;
};

bool same(const Gradients& a, const Gradients& b) {
  return a.loss == b.loss && same_bytes(a.hidden, b.hidden) && same_bytes(a.weight, b.weight) &&
         same_bytes(a.bias, b.bias);
}

constexpr double upstream = 1.5;

/// Loss and gradients by the operation on a whole table.
template <class T>
Gradients whole(const Batch<T>& batch, const SoftmaxLossOptions& options) {
  const Variable hidden(batch.hidden, true), weight(batch.weight, true), bias(batch.bias, true);
  const Variable loss = softmax_loss(hidden, weight, bias, batch.targets, options);
  backward(scale(loss, upstream));
  return {loss.item(), hidden.grad(), weight.grad(), bias.grad()};
}

/// Loss and gradients of a sharded table, with a batch of five slices.
template <class T>
Gradients sharded_gradients(const Batch<T>& batch, int ranks, const SoftmaxLossOptions& options) {
  Gradients all{0, empty_like(batch.hidden), empty_like(batch.weight), empty_like(batch.bias)};
  std::vector<double> losses(static_cast<std::size_t>(ranks));
  on_ranks(ranks, [&](Communicator& communicator) {
    const auto items = filled(communicator, batch.weight, batch.bias);
    const std::vector<Variable> hidden = leaves(own_slices(batch.hidden, 5, communicator));
    const Variable loss =
        softmax_loss(hidden, *items, own_slices(batch.targets, 5, communicator), options);
    backward(scale(loss, upstream));
    losses[static_cast<std::size_t>(communicator.rank())] = loss.item();
    std::vector<Tensor> places = own_slices(all.hidden, 5, communicator);
    for (std::size_t slice = 0; slice < hidden.size(); ++slice)
      places[slice].copy_from(hidden[slice].grad());
    copy_own_rows(*items, all.weight, [](auto& shard) { return shard.weight.grad(); });
    copy_own_rows(*items, all.bias, [](auto& shard) { return shard.bias.grad(); });
  });
  all.loss = losses.front();
  for (const double loss : losses) CHECK(loss == all.loss);
  return all;
}

}  // namespace sharded_losses_test

using namespace sharded_losses_test;

TEMPLATE_TEST_CASE("sharded items: loss and gradients of the softmax over all items",
                   "[distributed][loss][law]", float, double) {
  using T = TestType;
  const Tolerance allowed = tolerance::pick<T>({1e-5, 1e-6}, {1e-12, 1e-13});
  struct Sizes {
    std::int64_t items, width, rows;
    SoftmaxLossOptions options;
  };
  for (const Sizes& sizes :
       {Sizes{1, 3, 4, {}}, Sizes{70, 5, 1100, {.ignored = 3}}, Sizes{9001, 12, 37, {.ignored = 3}},
        Sizes{4097, 8, 33, {.ignored = 3, .relu = true, .smoothing = 0.1}}}) {
    INFO(sizes.items << " items, " << sizes.rows << " rows");
    Batch<T> batch(std::max<std::int64_t>(sizes.items, 4), sizes.width, sizes.rows);
    if (sizes.items < 4) {
      batch.weight = batch.weight.slice(0, 1).clone();
      batch.bias = batch.bias.slice(0, 1).clone();
      batch.targets.zero();
    }
    const Gradients expected = whole(batch, sizes.options);
    const Gradients one = sharded_gradients(batch, 1, sizes.options);
    check_close<T>(Tensor::full({1}, one.loss, dtype_of<T>), {expected.loss}, allowed);
    check_close<T>(one.hidden, doubles(expected.hidden), allowed);
    check_close<T>(one.weight, doubles(expected.weight), allowed);
    check_close<T>(one.bias, doubles(expected.bias), allowed);
    for (const int ranks : {2, 3, 4, 8}) {
      INFO(ranks << " ranks");
      CHECK(same(sharded_gradients(batch, ranks, sizes.options), one));
    }
  }
}

TEST_CASE("sharded items: softmax against naive loops", "[distributed][loss]") {
  const Batch<double> batch(150, 3, 11);
  const naive::SoftmaxLoss expected =
      naive::softmax_loss(doubles(batch.hidden), doubles(batch.weight), doubles(batch.bias),
                          integers(batch.targets), 3, 3, true, 0.2);
  const Gradients got = sharded_gradients(batch, 3, {.ignored = 3, .relu = true, .smoothing = 0.2});
  const auto times = [](std::vector<double> values) {
    for (double& value : values) value *= upstream;
    return values;
  };
  CHECK(got.loss == Approx(expected.loss).epsilon(1e-13));
  check_close<double>(got.hidden, times(expected.dhidden), tolerance::sum<double>);
  check_close<double>(got.weight, times(expected.dweight), tolerance::sum<double>);
  check_close<double>(got.bias, times(expected.dbias), tolerance::sum<double>);
}

TEST_CASE("sharded items: gradients against differences", "[distributed][loss][grad]") {
  const std::unique_ptr<Communicator> communicator = alone();
  const Batch<double> batch(130, 3, 7);
  const auto items = filled(*communicator, batch.weight, batch.bias);
  const Variable hidden(batch.hidden, true);
  std::vector<Variable> inputs{hidden};
  for (const ShardedItems::Shard& shard : items->own()) {
    inputs.push_back(shard.weight);
    inputs.push_back(shard.bias);
  }
  CHECK(inputs.size() == 7);
  CHECK(gradcheck([&] { return softmax_loss(hidden, *items, batch.targets, {.ignored = 3}); },
                  inputs) == "");
  CHECK(gradcheck(
            [&] {
              return softmax_loss(hidden, *items, batch.targets, {.relu = true, .smoothing = 0.3});
            },
            inputs) == "");
  const Candidates candidates{.ids = random_ids(9, 130, 8), .log_q_true = {}, .log_q_negative = {}};
  CHECK(gradcheck([&] { return sampled_softmax_loss(hidden, *items, batch.targets, candidates); },
                  {hidden}) == "");
}

TEST_CASE("sharded items: without counted targets loss and gradients are zero",
          "[distributed][loss]") {
  Batch<float> batch(200, 4, 6);
  std::ranges::fill(batch.targets.span<std::int32_t>(), 3);
  const Gradients got = sharded_gradients(batch, 2, {.ignored = 3});
  CHECK(got.loss == 0);
  for (const Tensor& gradient : {got.hidden, got.weight, got.bias})
    CHECK(same_bytes(gradient, Tensor::zeros(gradient.shape(), DType::f32)));
}

TEST_CASE("sharded items: sampled softmax and look-ups have the gradients of a whole table",
          "[distributed][loss][law]") {
  constexpr std::int64_t items_count = 5000, width = 6, rows = 23, slices = 5, samples = 20;
  // An epsilon that makes the first update nearly proportional to the gradient.
  const AdamOptions adam{.learning_rate = 0.1, .epsilon = 0.1, .l2 = 0.01};
  const Tensor weight = random_tensor<double>({items_count, width}, 1);
  const Tensor bias = random_tensor<double>({items_count}, 2);
  const Tensor ids = random_ids(rows, 200, 3), targets = random_ids(rows, 200, 4);
  CandidateSampler sampler({.first = 4, .range = 300});
  const auto candidates_of = [&](std::int64_t slice, const Tensor& of_slice) {
    CandidateSampler own = sampler;
    Random random(100 + static_cast<std::uint64_t>(slice));
    const CandidateSample sample = own.draw(samples, random);
    return Candidates{.ids = sample.ids,
                      .log_q_true = own.log_expected_count(of_slice, sample, DType::f64),
                      .log_q_negative = own.log_expected_count(sample.ids, sample, DType::f64)};
  };
  const SampledSoftmaxLossOptions options{.ignored = targets.data<std::int32_t>()[2]};

  // The reference: hidden vectors are rows of the same table, for two steps.
  Parameter whole_weight(weight.clone()), whole_bias(bias.clone());
  Adam optimizer({{"weight", &whole_weight}, {"bias", &whole_bias}}, adam);
  std::vector<double> expected_losses;
  for (int step = 0; step < 2; ++step) {
    double total = 0;
    for (const std::int32_t id : targets.span<std::int32_t>()) total += id != options.ignored;
    Variable sum;
    for (std::int64_t slice = 0; slice < slices; ++slice) {
      const std::int64_t begin = rows * slice / slices, end = rows * (slice + 1) / slices;
      const Tensor own = targets.slice(begin, end);
      double counted = 0;
      for (const std::int32_t id : own.span<std::int32_t>()) counted += id != options.ignored;
      const Variable mean =
          sampled_softmax_loss(embedding(whole_weight, ids.slice(begin, end)), whole_weight,
                               whole_bias, own, candidates_of(slice, own), options);
      const Variable part = scale(mean, counted / total);
      sum = sum.defined() ? sum + part : part;
    }
    backward(sum);
    optimizer.step();
    optimizer.zero_grad();
    expected_losses.push_back(sum.item());
  }

  for (const int ranks : {1, 2, 3, 5, 7}) {
    INFO(ranks << " ranks");
    Tensor got_weight, got_bias;
    std::vector<std::vector<double>> losses(static_cast<std::size_t>(ranks));
    on_ranks(ranks, [&](Communicator& communicator) {
      const auto items = filled(communicator, weight, bias, adam);
      const std::vector<Tensor> own_targets = own_slices(targets, slices, communicator);
      const std::int64_t first = SliceTree(slices).slices_of(communicator.rank(), ranks).begin;
      std::vector<Candidates> candidates;
      for (const Tensor& each : own_targets)
        candidates.push_back(candidates_of(first + std::ssize(candidates), each));
      for (int step = 0; step < 2; ++step) {
        const std::vector<Variable> hidden = items->look_up(own_slices(ids, slices, communicator));
        const Variable loss =
            sampled_softmax_loss(hidden, *items, own_targets, candidates, options);
        backward(loss);
        items->step();
        losses[static_cast<std::size_t>(communicator.rank())].push_back(loss.item());
      }
      const Tensor all_weight = items->gather_weight(), all_bias = items->gather_bias();
      if (communicator.rank() == 0) {
        got_weight = all_weight;
        got_bias = all_bias;
      }
    });
    for (const std::vector<double>& of_rank : losses) {
      CHECK(of_rank == losses.front());
      check_close<double>(std::span<const double>(of_rank), expected_losses,
                          {.relative = 1e-12, .absolute = 0});
    }
    check_close<double>(got_weight, doubles(whole_weight.value()), {1e-12, 1e-13});
    check_close<double>(got_bias, doubles(whole_bias.value()), {1e-12, 1e-13});
  }
}
