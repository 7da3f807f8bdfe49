/// Laws for any weights: causality, identity patches, frozen parameters, independence of threads
/// and of the batch.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "refrain/nn/conv_block.hpp"
#include "refrain/nn/embedding.hpp"
#include "refrain/nn/loss.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/steps.hpp"
#include "refrain/train/optimizer.hpp"
#include "support/catch.hpp"
#include "support/variables.hpp"

namespace {

using namespace refrain;
using test::random_ids;
using test::random_tensor;
using test::redraw;
using test::same_bytes;

constexpr Insertion insertions[] = {Insertion::none, Insertion::serial, Insertion::parallel};

/// Steps [0, end) of batch row b of y [B,T,C], as bytes.
std::string past(const Tensor& y, std::int64_t b, std::int64_t end) {
  const std::size_t row_bytes = static_cast<std::size_t>(y.size(2)) * size_bytes(y.dtype());
  const char* from =
      static_cast<const char*>(y.raw()) + static_cast<std::size_t>(b * y.size(1)) * row_bytes;
  return std::string(from, static_cast<std::size_t>(end) * row_bytes);
}

/// Runs y = f(x) on x and on copies that differ from time step t on, and compares all time steps
/// before t.
template <class T, class Function>
void check_causal(const Shape& shape, Function f) {
  const Tensor x = random_tensor<T>(shape, 1);
  const Tensor y = f(x);
  for (std::int64_t t = 0; t < shape[1]; ++t) {
    Tensor changed = x.clone();
    for (std::int64_t b = 0; b < shape[0]; ++b) {
      T* row = changed.template data<T>() + (b * shape[1] + t) * shape[2];
      for (std::int64_t i = 0; i < (shape[1] - t) * shape[2]; ++i)
        row[i] = static_cast<T>(1e3 - static_cast<double>(i));
    }
    const Tensor other = f(changed);
    bool kept = true;
    for (std::int64_t b = 0; b < shape[0]; ++b) kept = kept && past(other, b, t) == past(y, b, t);
    INFO("changed from step " << t);
    CHECK(kept);
    CHECK_FALSE(same_bytes(other, y));  // the change has an effect
  }
}

/// A small NextItNet with patches, which covers every fused path.
struct Network final : Module {
  Embedding embedding;
  ConvBlock block1, block2;
  Patch first, second;
  Linear items;
  Insertion insertion;

  Network(Insertion place, Random& random, Placement placement)
      : embedding({.count = 300, .width = 24}, random, placement),
        block1({.channels = 24, .dilation = 1}, random, placement),
        block2({.channels = 24, .dilation = 4}, random, placement),
        first({.channels = 24, .start = PatchStart::random}, random, placement),
        second({.channels = 24, .start = PatchStart::random}, random, placement),
        items({.in = 24, .out = 300}, random, placement),
        insertion(place) {}

  void visit_members(Visitor& visitor) override {
    visitor.module("embedding", embedding);
    visitor.module("block1", block1);
    visitor.module("block2", block2);
    visitor.module("first", first);
    visitor.module("second", second);
    visitor.module("items", items);
  }

  Variable hidden(const Tensor& ids) const {
    const BlockPatches patches{.first = &first, .second = &second, .insertion = insertion};
    const Variable h = block1(embedding(ids));
    return insertion == Insertion::none ? block2(h) : block2(h, patches);
  }
};

}  // namespace

TEMPLATE_TEST_CASE("law: changing the future leaves the past of causal_conv unchanged, bit for bit",
                   "[law]", float, double) {
  for (const std::int64_t width : {1, 2, 3, 18}) {
    for (const std::int64_t dilation : {1, 2, 5}) {
      if (width == 1 && dilation > 1) continue;
      INFO("width " << width << " dilation " << dilation);
      const Variable w(random_tensor<TestType>({width, 5, 7}, 2));
      const Variable bias(random_tensor<TestType>({7}, 3));
      check_causal<TestType>({2, 13, 5}, [&](const Tensor& x) {
        return causal_conv(Variable(x), w, bias, {.dilation = dilation}).value();
      });
    }
  }
}

TEMPLATE_TEST_CASE(
    "law: changing the future leaves the past of a residual block unchanged, bit for bit", "[law]",
    float, double) {
  Random random(1);
  const Placement placement{.dtype = dtype_of<TestType>};
  ConvBlock block({.channels = 9, .dilation = 2}, random, placement);
  Patch first({.channels = 9, .bottleneck = 4}, random, placement);
  Patch second({.channels = 9, .bottleneck = 4}, random, placement);
  redraw(block, 10, 0.5);
  redraw(first, 30, 0.5);
  redraw(second, 40, 0.5);
  for (const Insertion insertion : insertions) {
    INFO("insertion " << static_cast<int>(insertion));
    BlockPatches patches;
    if (insertion != Insertion::none)
      patches = {.first = &first, .second = &second, .insertion = insertion};
    check_causal<TestType>({3, 11, 9},
                           [&](const Tensor& x) { return block(Variable(x), patches).value(); });
  }
}

TEST_CASE("law: with padding on both sides a change affects the past", "[law]") {
  const Variable w(random_tensor<double>({3, 2, 2}, 1));
  Tensor x = random_tensor<double>({1, 6, 2}, 2);
  const auto run = [&] {
    return causal_conv(Variable(x), w, {}, {.padding = Padding::same}).value();
  };
  const Tensor before = run();
  x.data<double>()[3 * 2] += 1;
  CHECK(past(run(), 0, 2) == past(before, 0, 2));
  CHECK(past(run(), 0, 3) != past(before, 0, 3));
}

TEMPLATE_TEST_CASE("law: an identity patch changes nothing", "[law]", float, double) {
  Random random(1);
  const Placement placement{.dtype = dtype_of<TestType>};
  const Variable x(random_tensor<TestType>({3, 7, 10}, 2));
  const Patch identity({.channels = 10}, random, placement);
  // Separately, and serially in a block, bit for bit: the patch adds exactly zero.
  CHECK(same_bytes(identity(x).value(), x.value()));
  ConvBlock block({.channels = 10, .dilation = 2}, random, placement);
  redraw(block, 10, 0.5);
  const Patch second({.channels = 10, .bottleneck = 3}, random, placement);
  CHECK(same_bytes(
      block(x, {.first = &identity, .second = &second, .insertion = Insertion::serial}).value(),
      block(x).value()));
  // In parallel the patch keeps its own skip connection: h = conv(x) + x. A convolution whose
  // newest tap has the unit matrix added computes the same sum in another order, so the results are
  // equal up to rounding.
  const Variable patched =
      block(x, {.first = &identity, .second = &second, .insertion = Insertion::parallel});
  for (const std::string name : {"conv1.weight", "conv2.weight"}) {
    TestType* newest = block.parameter(name).value().data<TestType>();
    for (std::int64_t c = 0; c < 10; ++c) newest[c * 10 + c] += 1;
  }
  const std::vector<double> expected = test::doubles(block(x).value());
  const std::vector<double> got = test::doubles(patched.value());
  const double margin = sizeof(TestType) == 4 ? 2e-5 : 1e-13;
  for (std::size_t i = 0; i < got.size(); ++i)
    REQUIRE(got[i] == Approx(expected[i]).margin(margin));
}

TEST_CASE("law: a frozen parameter's bytes never change", "[law]") {
  for (const bool adam : {true, false}) {
    Random random(5);
    Network network(Insertion::serial, random, {});
    network.freeze();
    network.unfreeze("first.*");
    network.unfreeze("block2.norm2.*");
    std::vector<Tensor> before;
    for (const NamedParameter& named : network.parameters())
      before.push_back(named.parameter->value().clone());
    std::unique_ptr<Optimizer> optimizer;
    if (adam) {
      optimizer = std::make_unique<Adam>(
          network, AdamOptions{.learning_rate = 0.1, .l2 = 0.1, .decay = 0.1});
    } else {
      optimizer = std::make_unique<Sgd>(
          network, SgdOptions{.learning_rate = 0.1, .momentum = 0.9, .l2 = 0.1});
    }
    const Tensor ids = random_ids(20, 300, 1).reshape({4, 5});
    for (int step = 0; step < 5; ++step) {
      optimizer->zero_grad();
      backward(softmax_loss(network.hidden(ids), network.items, random_ids(20, 300, 2)));
      optimizer->step();
    }
    std::size_t i = 0;
    for (const NamedParameter& named : network.parameters()) {
      INFO(named.name);
      CHECK(same_bytes(named.parameter->value(), before[i++]) == named.parameter->is_frozen());
      CHECK(named.parameter->gradient().defined() != named.parameter->is_frozen());
    }
  }
}

TEMPLATE_TEST_CASE("law: results do not depend on the number of threads, bit for bit",
                   "[law][determinism]", float, double) {
  // 8 x 37 rows: more than one block of sums, more tasks than threads, and an incomplete last tile.
  const Tensor ids = random_ids(8 * 37, 300, 1).reshape({8, 37});
  const Tensor targets = random_ids(8 * 37, 300, 2);
  const Candidates candidates{random_ids(64, 300, 3), {}, {}};
  for (const Insertion insertion : insertions) {
    INFO("insertion " << static_cast<int>(insertion));
    test::same_for_any_threads([&] {
      Random random(5);
      Network network(insertion, random, {.dtype = dtype_of<TestType>});
      redraw(network, 10);
      const Variable hidden = network.hidden(ids);
      const Variable full = softmax_loss(hidden, network.items, targets, {.relu = true});
      const Variable sampled = sampled_softmax_loss(hidden, network.items, targets, candidates);
      const Variable pair = bpr_loss(select_step(hidden, -1), network.items.weight(),
                                     random_ids(8, 300, 4), random_ids(8, 300, 5));
      backward(add(add(full, sampled), pair));
      std::vector<Tensor> results{hidden.value(), full.value(), sampled.value(), pair.value()};
      for (const NamedParameter& named : network.parameters()) {
        if (!named.parameter->gradient().defined()) continue;
        results.push_back(named.parameter->gradient().to_dense(named.parameter->shape()));
      }
      REQUIRE(results.size() >= 4 + network.parameters().size() - 8);
      return results;
    });
  }
}

TEMPLATE_TEST_CASE("law: a row's result does not depend on the rest of the batch", "[law]", float,
                   double) {
  const std::int64_t steps = 7;
  const Tensor ids = random_ids(5 * steps, 300, 1).reshape({5, steps});
  for (const Insertion insertion : insertions) {
    INFO("insertion " << static_cast<int>(insertion));
    Random random(5);
    Network network(insertion, random, {.dtype = dtype_of<TestType>});
    redraw(network, 10);
    const Tensor together = network.hidden(ids).value();
    for (std::int64_t b = 0; b < 5; ++b) {
      const Tensor alone = network.hidden(ids.slice(b, b + 1)).value();
      CHECK(past(alone, 0, steps) == past(together, b, steps));
    }
  }
}

TEMPLATE_TEST_CASE(
    "law: a sequence's bits are the same in a batch of one and in batches for which kernels pack "
    "weights",
    "[law]", float, double) {
  using T = TestType;
  const std::int64_t batch = 130, steps = 9, channels = 32;
  Random random(3);
  const Placement placement{dtype_of<T>, Device::cpu};
  ConvBlock block({.channels = channels, .dilation = 2}, random, placement);
  Patch first({.channels = channels, .start = PatchStart::random}, random, placement);
  redraw(block, 4, 0.2);
  const Tensor x = random_tensor<T>({batch, steps, channels}, 5);
  const NoGrad off;
  for (const Insertion insertion : insertions) {
    const BlockPatches patches{.first = insertion == Insertion::none ? nullptr : &first,
                               .insertion = insertion};
    const Tensor all = block(Variable(x), patches).value();
    for (const std::int64_t b : {std::int64_t{0}, std::int64_t{64}, batch - 1}) {
      const Tensor alone = block(Variable(x.slice(b, b + 1)), patches).value();
      CHECK(same_bytes(alone, all.slice(b, b + 1).clone()));
    }
  }
}

TEST_CASE("law: two runs from one seed are the same, bit for bit", "[law][determinism]") {
  const auto run = [] {
    Random random(5);
    Network network(Insertion::parallel, random, {});
    Adam optimizer(network);
    const Tensor ids = random_ids(20, 300, 1).reshape({4, 5});
    for (int step = 0; step < 3; ++step) {
      optimizer.zero_grad();
      backward(softmax_loss(network.hidden(ids), network.items, random_ids(20, 300, 2)));
      optimizer.step();
    }
    std::vector<Tensor> values;
    for (const NamedParameter& named : network.parameters())
      values.push_back(named.parameter->value());
    return values;
  };
  test::same_for_any_threads(run);
}
