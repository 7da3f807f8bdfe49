/// Every operation and layer: backward() against central differences in f64, for each of its
/// floating inputs and parameters.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "refrain/autograd/gradcheck.hpp"
#include "refrain/nn/conv_block.hpp"
#include "refrain/nn/dropout.hpp"
#include "refrain/nn/embedding.hpp"
#include "refrain/nn/loss.hpp"
#include "refrain/ops/matmul.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/replace_rows.hpp"
#include "refrain/ops/steps.hpp"
#include "support/catch.hpp"
#include "support/variables.hpp"

namespace {

using namespace refrain;
using test::f64;
using test::leaf;
using test::leaves_of;
using test::random_ids;
using test::random_tensor;
using test::redraw;
using test::weighted;

/// Normal numbers with a minimum distance from zero, where relu is not differentiable.
Variable leaf_off_zero(const Shape& shape, std::uint64_t seed) {
  Tensor values = random_tensor<double>(shape, seed);
  for (double& value : values.span<double>()) value += value < 0 ? -0.05 : 0.05;
  return Variable(values, true);
}

/// All parameters of a module, redrawn, then `others`.
std::vector<Variable> redrawn(Module& module, std::uint64_t seed,
                              const std::vector<Variable>& others = {}) {
  redraw(module, seed, 0.7);
  return leaves_of(module, others);
}

PatchParameters random_patch(std::int64_t channels, std::int64_t width, std::uint64_t seed) {
  return {leaf({channels, width}, seed), leaf({width}, seed + 1), leaf({width, channels}, seed + 2),
          leaf({channels}, seed + 3)};
}

}  // namespace

TEST_CASE("gradcheck: element-by-element operations", "[ops][grad]") {
  const Variable a = leaf_off_zero({3, 5}, 1);
  const Variable b = leaf({3, 5}, 2);
  const std::vector<std::pair<std::string, Variable (*)(const Variable&)>> unary{
      {"relu", relu}, {"gelu", gelu}, {"sigmoid", sigmoid}, {"tanh", refrain::tanh}};
  for (const auto& [name, function] : unary) {
    INFO(name);
    CHECK(gradcheck([&, f = function] { return weighted(f(a)); }, {a}) == "");
  }
  CHECK(gradcheck([&] { return weighted(add(a, b)); }, {a, b}) == "");
  CHECK(gradcheck([&] { return weighted(subtract(a, b)); }, {a, b}) == "");
  CHECK(gradcheck([&] { return weighted(multiply(a, b)); }, {a, b}) == "");
  CHECK(gradcheck([&] { return weighted(a + b - scale(multiply(a, a), 0.5)); }, {a, b}) == "");
  CHECK(gradcheck([&] { return weighted(scale(a, -1.7)); }, {a}) == "");
  CHECK(gradcheck([&] { return weighted(reshape(a, {5, 3})); }, {a}) == "");
  const auto dropped = [&] {
    Random random(7);  // the same mask each time
    return weighted(dropout(a, 0.6, random));
  };
  CHECK(gradcheck(dropped, {a}) == "");
}

TEST_CASE("gradcheck: reductions", "[ops][grad]") {
  const Variable a = leaf({3, 5}, 1);
  const Variable b = leaf({3, 5}, 2);
  CHECK(gradcheck([&] { return dot(a, b); }, {a, b}) == "");
  CHECK(gradcheck([&] { return scale(dot(a, a), 0.3); }, {a}) == "");
  CHECK(gradcheck([&] { return sum(multiply(a, b)); }, {a, b}) == "");
  CHECK(gradcheck([&] { return mean(multiply(a, b)); }, {a, b}) == "");
}

TEST_CASE("gradcheck: matrix products", "[ops][grad]") {
  const Variable a = leaf({4, 3}, 1);
  const Variable b = leaf({3, 5}, 2);
  CHECK(gradcheck([&] { return weighted(matmul(a, b)); }, {a, b}) == "");
  const Variable x = leaf({2, 4, 3}, 3);
  const Variable weight = leaf({5, 3}, 4);
  const Variable bias = leaf({5}, 5);
  CHECK(gradcheck([&] { return weighted(linear(x, weight, bias)); }, {x, weight, bias}) == "");
  CHECK(gradcheck([&] { return weighted(linear(x, weight)); }, {x, weight}) == "");
}

TEST_CASE("gradcheck: operations on rows", "[ops][grad]") {
  const Variable x = leaf({2, 4, 7}, 1);
  const Variable gamma = leaf({7}, 2);
  const Variable beta = leaf({7}, 3);
  CHECK(gradcheck([&] { return weighted(layer_norm(x, gamma, beta)); }, {x, gamma, beta}) == "");
  CHECK(gradcheck([&] { return weighted(select_step(x, -1)); }, {x}) == "");
  CHECK(gradcheck([&] { return weighted(select_step(x, 1)); }, {x}) == "");
  const Variable table = leaf({5, 3}, 4);
  const Tensor ids = random_ids(8, 5, 5).reshape({2, 4});
  CHECK(gradcheck([&] { return weighted(embedding(table, ids)); }, {table}) == "");
  const Variable row = leaf({7}, 6);
  CHECK(gradcheck([&] { return weighted(replace_rows(x, ids, ids.data<std::int32_t>()[3], row)); },
                  {x, row}) == "");
}

TEST_CASE("gradcheck: causal_conv and patch", "[ops][grad]") {
  const Variable x = leaf({2, 6, 3}, 1);
  const Variable bias = leaf({4}, 3);
  for (const Padding padding : {Padding::causal, Padding::same}) {
    for (const std::int64_t width : {1, 2, 3, 4}) {
      INFO("width " << width << (padding == Padding::same ? " same" : " causal"));
      const Variable weight = leaf({width, 3, 4}, 2);
      const auto run = [&] {
        return weighted(causal_conv(x, weight, bias, {.dilation = 2, .padding = padding}));
      };
      CHECK(gradcheck(run, {x, weight, bias}) == "");
    }
  }
  const PatchParameters patch = random_patch(3, 2, 10);
  CHECK(gradcheck([&] { return weighted(apply_patch(x, patch)); },
                  {x, patch.down, patch.down_bias, patch.up, patch.up_bias}) == "");
}

TEST_CASE("gradcheck: conv_norm with every insertion, and with any part frozen", "[ops][grad]") {
  for (const Insertion insertion : {Insertion::none, Insertion::serial, Insertion::parallel}) {
    for (const bool same : {false, true}) {
      INFO("insertion " << static_cast<int>(insertion) << " same " << same);
      std::vector<Variable> all{leaf({2, 5, 4}, 1), leaf({3, 4, 4}, 2), leaf({4}, 3),
                                leaf({4}, 4),       leaf({4}, 5),       leaf({2, 5, 4}, 6)};
      PatchParameters patch;
      if (insertion != Insertion::none) {
        patch = random_patch(4, 3, 20);
        all.insert(all.end(), {patch.down, patch.down_bias, patch.up, patch.up_bias});
      }
      const auto run = [&] {
        return weighted(conv_norm(all[0], all[1], all[2], all[3], all[4], all[5], patch,
                                  {.dilation = 2,
                                   .padding = same ? Padding::same : Padding::causal,
                                   .insertion = insertion}));
      };
      CHECK(gradcheck(run, all) == "");
      // One input alone, then all but one: the saved tensors depend on the inputs that require
      // gradients.
      for (const bool alone : {true, false}) {
        for (std::size_t chosen = 0; chosen < all.size(); ++chosen) {
          std::vector<Variable> wanted;
          for (std::size_t i = 0; i < all.size(); ++i) {
            all[i].set_requires_grad((i == chosen) == alone);
            if ((i == chosen) == alone) wanted.push_back(all[i]);
          }
          INFO((alone ? "only input " : "all but input ") << chosen);
          CHECK(gradcheck(run, wanted) == "");
          for (const Variable& input : all)
            CHECK(input.gradient().defined() == input.requires_grad());
        }
      }
    }
  }
}

TEST_CASE("gradcheck: softmax losses", "[ops][grad]") {
  const Variable hidden = leaf_off_zero({2, 5, 4}, 1);
  const Variable weight = leaf({7, 4}, 2);
  const Variable bias = leaf({7}, 3);
  Tensor targets = random_ids(10, 7, 4);
  targets.data<std::int32_t>()[2] = 0;
  for (const bool relu : {false, true}) {
    for (const double smoothing : {0.0, 0.1, 0.9}) {
      const auto run = [&] {
        return scale(softmax_loss(hidden, weight, bias, targets,
                                  {.ignored = 0, .relu = relu, .smoothing = smoothing}),
                     1.7);
      };
      CHECK(gradcheck(run, {hidden, weight, bias}) == "");
    }
  }
  CHECK(gradcheck([&] { return softmax_loss(hidden, weight, {}, targets); }, {hidden, weight}) ==
        "");

  Candidates candidates{random_ids(6, 7, 5), {}, {}};
  for (const bool corrected : {false, true}) {
    if (corrected) {
      candidates.log_q_true = random_tensor<double>({10}, 6);
      candidates.log_q_negative = random_tensor<double>({6}, 7);
    }
    for (const bool remove_hits : {false, true}) {
      const auto run = [&] {
        return scale(sampled_softmax_loss(hidden, weight, bias, targets, candidates,
                                          {.ignored = 0, .remove_hits = remove_hits}),
                     1.7);
      };
      CHECK(gradcheck(run, {hidden, weight, bias}) == "");
    }
  }
}

TEST_CASE("gradcheck: pair losses", "[ops][grad]") {
  const Variable user = leaf({5, 3}, 1);
  const Variable table = leaf({6, 3}, 2);
  const Tensor positives = random_ids(5, 6, 3);
  const Tensor negatives = random_ids(5, 6, 4);
  CHECK(gradcheck([&] { return scale(bpr_loss(user, table, positives, negatives), 1.7); },
                  {user, table}) == "");
  CHECK(gradcheck([&] { return scale(logistic_loss(user, table, positives, negatives), 1.7); },
                  {user, table}) == "");
}

TEST_CASE("gradcheck: layers", "[nn][grad]") {
  Random random(1);
  const Variable x = leaf({2, 6, 4}, 30);
  {
    Linear layer({.in = 4, .out = 3}, random, f64);
    CHECK(gradcheck([&] { return weighted(layer(x)); }, redrawn(layer, 1, {x})) == "");
  }
  {
    LayerNorm layer({.channels = 4}, f64);
    CHECK(gradcheck([&] { return weighted(layer(x)); }, redrawn(layer, 1, {x})) == "");
  }
  {
    CausalConv layer({.in = 4, .out = 3, .width = 3, .dilation = 2}, random, f64);
    CHECK(gradcheck([&] { return weighted(layer(x)); }, redrawn(layer, 1, {x})) == "");
  }
  {
    Patch layer({.channels = 4, .bottleneck = 2, .cardinality = 2}, random, f64);
    CHECK(gradcheck([&] { return weighted(layer(x)); }, redrawn(layer, 1, {x})) == "");
  }
  {
    Embedding layer({.count = 5, .width = 3}, random, f64);
    const Tensor ids = random_ids(8, 5, 5);
    CHECK(gradcheck([&] { return weighted(layer(ids)); }, redrawn(layer, 1)) == "");
  }
  {
    const Random place(3);
    CHECK(gradcheck([&] { return weighted(Dropout({.keep = 0.7}, place)(x)); }, {x}) == "");
  }
}

TEST_CASE("gradcheck: residual blocks with and without patches", "[nn][grad]") {
  Random random(1);
  const Variable x = leaf({2, 6, 3}, 30);
  for (const Padding padding : {Padding::causal, Padding::same}) {
    ConvBlock block({.channels = 3, .width = 3, .dilation = 1, .padding = padding}, random, f64);
    Patch first({.channels = 3, .bottleneck = 2}, random, f64);
    Patch second({.channels = 3, .bottleneck = 2}, random, f64);
    const std::vector<Variable> base = redrawn(block, 1, {x});
    CHECK(gradcheck([&] { return weighted(block(x)); }, base) == "");
    std::vector<Variable> leaves = base;
    for (const Variable& leaf_of_patch : redrawn(first, 50)) leaves.push_back(leaf_of_patch);
    for (const Variable& leaf_of_patch : redrawn(second, 60)) leaves.push_back(leaf_of_patch);
    for (const Insertion insertion : {Insertion::serial, Insertion::parallel}) {
      INFO("insertion " << static_cast<int>(insertion));
      const BlockPatches patches{.first = &first, .second = &second, .insertion = insertion};
      CHECK(gradcheck([&] { return weighted(block(x, patches)); }, leaves) == "");
    }
  }
}

TEST_CASE("gradcheck: losses over a layer's table", "[nn][grad]") {
  Random random(1);
  Linear items({.in = 4, .out = 9}, random, f64);
  const Variable hidden = leaf_off_zero({6, 4}, 2);
  const Tensor targets = random_ids(6, 9, 3);
  const Candidates candidates{random_ids(5, 9, 4), {}, {}};
  const std::vector<Variable> leaves = redrawn(items, 7, {hidden});
  CHECK(gradcheck([&] { return softmax_loss(hidden, items, targets); }, leaves) == "");
  CHECK(gradcheck([&] { return sampled_softmax_loss(hidden, items, targets, candidates); },
                  leaves) == "");
}
