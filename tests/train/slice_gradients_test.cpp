/// The gradient of a training step in slices: the laws that make it that of the whole batch.

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "refrain/data/samplers.hpp"
#include "refrain/train/slices.hpp"
#include "refrain_models/cmnrec.hpp"
#include "refrain_models/nextitnet.hpp"
#include "refrain_models/peterrec.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace slice_gradients_test {

/// A batch that can be cut into slices; the candidates of a sampled softmax belong to all rows.
struct Rows {
  Tensor ids;
  Tensor targets;
  Tensor negatives{};  ///< one for each row
  Candidates fixed{};  ///< log_q_true: one for each element of targets

  std::int64_t counted() const { return counted_ids(targets); }
  template <class Function>
  void visit(Function&& function) {
    for (Tensor* tensor : {&ids, &targets, &negatives, &fixed.log_q_true}) function(*tensor);
  }

  Rows cut(BatchSlice slice) const {
    const std::int64_t rows = ids.size(0);
    const std::int64_t begin = rows * slice.index / slice.count;
    const std::int64_t end = rows * (slice.index + 1) / slice.count;
    Rows part{.ids = ids.slice(begin, end), .targets = targets.slice(begin, end), .fixed = fixed};
    if (negatives.defined()) part.negatives = negatives.slice(begin, end);
    if (fixed.log_q_true.defined()) {
      const std::int64_t per_row = fixed.log_q_true.numel() / rows;
      part.fixed.log_q_true = fixed.log_q_true.slice(begin * per_row, end * per_row);
    }
    return part;
  }
};

constexpr std::int64_t items = 40;
constexpr std::int64_t batch_rows = 11;
constexpr std::int64_t steps = 9;

/// Rows of very different lengths: row b has b + 2 items, at most `steps` of which are inputs.
RaggedIds ragged_rows() {
  RaggedIds rows;
  Random random(3);
  for (std::int64_t b = 0; b < batch_rows; ++b) {
    for (std::int64_t i = 0; i < b + 2; ++i)
      rows.add(special_ids + static_cast<std::int32_t>(random.below(items - special_ids)));
    rows.end_row();
  }
  return rows;
}

std::vector<std::int64_t> all_rows() {
  std::vector<std::int64_t> rows;
  for (std::int64_t b = 0; b < batch_rows; ++b) rows.push_back(b);
  return rows;
}

Rows next_items() {
  const SequenceBatch batch = next_item_batch(ragged_rows(), all_rows(), steps + 1);
  return {.ids = batch.ids, .targets = batch.targets};
}

std::vector<Tensor> dense_gradients(Module& module) {
  std::vector<Tensor> gradients;
  for (const NamedParameter& named : module.parameters()) {
    const Parameter& parameter = *named.parameter;
    if (parameter.is_frozen()) continue;
    gradients.push_back(parameter.gradient().defined()
                            ? parameter.gradient().to_dense(parameter.shape()).clone()
                            : Tensor::zeros(parameter.shape(), parameter.dtype()));
  }
  return gradients;
}

/// Largest difference between gradients, relative to the largest element of the expected ones.
double distance(const std::vector<Tensor>& got, const std::vector<Tensor>& expected) {
  REQUIRE(got.size() == expected.size());
  double largest = 0, worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const std::vector<double> a = doubles(got[i]), b = doubles(expected[i]);
    REQUIRE(a.size() == b.size());
    for (std::size_t e = 0; e < a.size(); ++e) {
      largest = std::max(largest, std::abs(b[e]));
      worst = std::max(worst, std::abs(a[e] - b[e]));
    }
  }
  REQUIRE(largest > 0);
  return worst / largest;
}

/// The law of a step in slices, in double precision: loss and gradient are those of the batch.
template <class Batch>
void check_gradient(Module& module, const Batch& batch,
                    const std::function<Variable(const Batch&)>& loss) {
  Adam adam(module);
  const Variable whole = loss(batch);
  backward(whole);
  const double expected_loss = whole.item();
  const std::vector<Tensor> expected = dense_gradients(module);
  const auto make = [&](std::int64_t, std::int64_t, BatchSlice slice) { return batch.cut(slice); };
  for (const std::int64_t count : {1, 2, 3, 4, 7, 8, 11, 16}) {
    INFO(count << " slices");
    adam.zero_grad();
    const auto slices = detail::make_slices(make, 0, 0, SliceTree(count), DType::f64);
    const Tensor value = detail::differentiate_slices(slices, loss, adam, module.randoms());
    CHECK(value.item() == Approx(expected_loss).epsilon(1e-12));
    CHECK(distance(dense_gradients(module), expected) < 1e-12);
  }
  adam.zero_grad();
}

constexpr Placement f64{.dtype = DType::f64};

models::NextItNet network(bool is_tied, Padding padding = Padding::causal, bool relu = true) {
  Random random(1);
  return {{.items = items,
           .channels = 8,
           .dilations = {1, 2},
           .padding = padding,
           .relu = relu,
           .deviation = 0.3,
           .tied = is_tied},
          random,
          f64};
}

Variable full_loss(models::NextItNet& model, const Rows& batch) {
  return model.loss(batch.ids, batch.targets, padding_id);
}

/// Two tasks of one network, as in multi-task learning: the second has more rows.
struct Pair {
  Rows first;
  Rows second;
  std::vector<std::int64_t> counted() const { return {first.counted(), second.counted()}; }
  template <class Function>
  void visit(Function&& function) {
    first.visit(function);
    second.visit(function);
  }
};

}  // namespace slice_gradients_test

using namespace slice_gradients_test;

TEST_CASE("slices: the gradient is that of the whole batch", "[train][slices][laws]") {
  SECTION("softmax over all items") {
    models::NextItNet model = network(false);
    check_gradient<Rows>(model, next_items(),
                         [&](const Rows& batch) { return full_loss(model, batch); });
  }
  SECTION("tied tables") {
    models::NextItNet model = network(true);
    check_gradient<Rows>(model, next_items(),
                         [&](const Rows& batch) { return full_loss(model, batch); });
  }
  for (const bool is_tied : {false, true}) {
    DYNAMIC_SECTION("sampled softmax" << (is_tied ? " with tied tables" : "")) {
      models::NextItNet model = network(is_tied, Padding::causal, false);
      Rows batch = next_items();
      CandidateSampler sampler({.first = special_ids, .range = items - special_ids});
      Random random(5);
      const CandidateSample sample = sampler.draw(12, random);
      batch.fixed = {.ids = sample.ids,
                     .log_q_true = sampler.log_expected_count(
                         batch.targets.reshape({batch.targets.numel()}), sample, DType::f64),
                     .log_q_negative = sampler.log_expected_count(sample.ids, sample, DType::f64)};
      check_gradient<Rows>(model, batch, [&](const Rows& part) {
        return model.sampled_loss(part.ids, part.targets, part.fixed, padding_id);
      });
    }
  }
  SECTION("masked items of a non-causal network") {
    models::NextItNet model = network(true, Padding::same);
    Random random(7);
    const SequenceBatch made = masked_batch(ragged_rows(), all_rows(), steps, 0.3, random);
    check_gradient<Rows>(model, {.ids = made.ids, .targets = made.targets},
                         [&](const Rows& batch) { return full_loss(model, batch); });
  }
  for (const models::HeadLoss kind : {models::HeadLoss::softmax, models::HeadLoss::bpr}) {
    DYNAMIC_SECTION("head of a task, loss " << static_cast<int>(kind)) {
      models::NextItNet base = network(false);
      base.freeze();
      Random random(2);
      models::PatchSet task(base,
                            {.patches = {.start = PatchStart::random},
                             .head = {.targets = 5, .loss = kind, .smoothing = 0.1},
                             .tcl_id = tcl_id},
                            random, f64);
      Rows batch{.ids = tcl_batch(ragged_rows(), all_rows(), steps, TclPlacement::end),
                 .targets = random_ids(batch_rows, 4, 8),
                 .negatives = random_ids(batch_rows, 5, 9)};
      // Class 0 is a target like the others here, padding elsewhere.
      for (std::int32_t& target : batch.targets.span<std::int32_t>()) ++target;
      check_gradient<Rows>(task, batch, [&](const Rows& part) {
        return base.with(task).loss(part.ids, part.targets, part.negatives);
      });
    }
  }
  SECTION("CmnRec with time-sensitive chunks") {
    Random random(4);
    models::CmnRec<Lstm> model({.items = items,
                                .embedding = 6,
                                .hidden = 8,
                                .words = 3,
                                .word_size = 4,
                                .attention = 4,
                                .length = steps,
                                .chunks = 3},
                               random, f64);
    check_gradient<Rows>(model, next_items(), [&](const Rows& batch) {
      return model.loss(SequenceBatch{batch.ids, batch.targets});
    });
  }
}

TEST_CASE("slices: the mean of the slices' own means is another gradient",
          "[train][slices][laws]") {
  models::NextItNet model = network(false);
  const Rows batch = next_items();
  backward(full_loss(model, batch));
  const std::vector<Tensor> expected = dense_gradients(model);
  model.zero_grad();
  for (std::int64_t slice = 0; slice < 4; ++slice)
    backward(scale(full_loss(model, batch.cut({slice, 4})), 0.25));
  CHECK(distance(dense_gradients(model), expected) > 1e-3);
}

TEST_CASE("slices: every term of a loss has its own counts", "[train][slices][laws]") {
  models::NextItNet model = network(true);
  const Rows all = next_items();
  const Pair batch{{.ids = all.ids.slice(0, 3), .targets = all.targets.slice(0, 3)}, all};
  backward(full_loss(model, batch.first) + full_loss(model, batch.second));
  const std::vector<Tensor> expected = dense_gradients(model);
  Adam adam(model);
  const auto make = [&](std::int64_t, std::int64_t, BatchSlice slice) {
    return Pair{batch.first.cut(slice), batch.second.cut(slice)};
  };
  const auto loss = [&](const Pair& part) {
    std::vector<Variable> terms(2);
    if (part.first.ids.numel() > 0) terms[0] = full_loss(model, part.first);
    if (part.second.ids.numel() > 0) terms[1] = full_loss(model, part.second);
    return terms;
  };
  for (const std::int64_t count : {2, 5, 8}) {
    adam.zero_grad();
    const auto slices = detail::make_slices(make, 0, 0, SliceTree(count), DType::f64);
    detail::differentiate_slices(slices, loss, adam, model.randoms());
    CHECK(distance(dense_gradients(model), expected) < 1e-12);
  }
}
