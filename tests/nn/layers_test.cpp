/// Modules: names, freezing, modes, counts, initial weights, and errors.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "refrain/nn/conv_block.hpp"
#include "refrain/nn/dropout.hpp"
#include "refrain/nn/embedding.hpp"
#include "refrain/nn/linear.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/steps.hpp"
#include "refrain/ops/top_k.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

namespace {

using namespace refrain;
using test::doubles;
using test::message_contains;
using test::random_tensor;
using test::same_bytes;

/// A list, a nested module, a layer without one of its parameters, and a layer that behaves
/// differently in training.
class Model final : public Module {
 public:
  explicit Model(Random& random)
      : embedding({.count = 7, .width = 4}, random),
        head({.in = 4, .out = 7, .bias = false}, random) {
    for (int i = 0; i < 2; ++i) blocks.emplace_back(ConvBlock::Options{.channels = 4}, random);
  }

  void visit_members(Visitor& visitor) override {
    visitor.module("embedding", embedding);
    visitor.module("dropout", dropout);
    visitor.modules("blocks", blocks);
    visitor.module("head", head);
  }

  Embedding embedding;
  Dropout dropout{{.keep = 0.5}, Random(1)};
  std::vector<ConvBlock> blocks;
  Linear head;
};

std::vector<std::string> names(const Module& module) {
  std::vector<std::string> all;
  for (const ConstNamedParameter& named : module.parameters()) all.push_back(named.name);
  return all;
}

std::vector<std::string> trainable(const Module& module) {
  std::vector<std::string> all;
  for (const ConstNamedParameter& named : module.parameters()) {
    if (!named.parameter->is_frozen()) all.push_back(named.name);
  }
  return all;
}

Model make_model() {
  Random random(3);
  return Model(random);
}

}  // namespace

TEST_CASE("module: parameters have names by position, in order, without absent ones", "[nn]") {
  const Model model = make_model();
  CHECK(names(model) == std::vector<std::string>{
                            "embedding.weight", "blocks.0.conv1.weight", "blocks.0.conv1.bias",
                            "blocks.0.norm1.gamma", "blocks.0.norm1.beta", "blocks.0.conv2.weight",
                            "blocks.0.conv2.bias", "blocks.0.norm2.gamma", "blocks.0.norm2.beta",
                            "blocks.1.conv1.weight", "blocks.1.conv1.bias", "blocks.1.norm1.gamma",
                            "blocks.1.norm1.beta", "blocks.1.conv2.weight", "blocks.1.conv2.bias",
                            "blocks.1.norm2.gamma", "blocks.1.norm2.beta", "head.weight"});
}

TEST_CASE("module: a parameter found by name shares the layer's storage", "[nn]") {
  Model model = make_model();
  CHECK(model.parameter("head.weight").is(model.head.weight()));
  CHECK_THROWS_MATCHES(model.parameter("head.bias"), OptionError,
                       message_contains("unknown parameter 'head.bias'; expected one of "));
  Random any(1);
  CHECK_THROWS_MATCHES(Linear({.out = 4}, any), OptionError,
                       message_contains("expected in and out of at least 1, got 0 and 4"));
  model.parameter("head.weight").value().fill(2);
  CHECK(doubles(model.head.weight().value()) == std::vector<double>(28, 2.0));
}

TEST_CASE("module: a moved module keeps its parameters", "[nn]") {
  Model model = make_model();
  const Parameter weight = model.parameter("blocks.1.conv2.weight");
  Model moved = std::move(model);
  CHECK(moved.parameter("blocks.1.conv2.weight").is(weight));
}

TEST_CASE("module: counts of scalars", "[nn]") {
  Model model = make_model();
  const std::int64_t block = 2 * (3 * 4 * 4 + 4 + 4 + 4);
  CHECK(model.parameter_count() == 7 * 4 + 2 * block + 7 * 4);
  CHECK(model.trainable_count() == model.parameter_count());
  CHECK(model.freeze("blocks.*") == 16);
  CHECK(model.trainable_count() == 7 * 4 + 7 * 4);
  CHECK(model.parameter_count() == 7 * 4 + 2 * block + 7 * 4);
}

TEST_CASE("module: patterns freeze and unfreeze", "[nn]") {
  Model model = make_model();
  CHECK(model.freeze() == 18);
  CHECK(trainable(model).empty());
  CHECK(model.unfreeze("blocks.*.norm2.*") == 4);
  CHECK(trainable(model) == std::vector<std::string>{"blocks.0.norm2.gamma", "blocks.0.norm2.beta",
                                                     "blocks.1.norm2.gamma",
                                                     "blocks.1.norm2.beta"});
  CHECK(model.freeze("*.gamma") == 4);
  CHECK(model.unfreeze("blocks.?.conv1.bias") == 2);
  CHECK(trainable(model) == std::vector<std::string>{"blocks.0.conv1.bias", "blocks.0.norm2.beta",
                                                     "blocks.1.conv1.bias", "blocks.1.norm2.beta"});
  CHECK_THROWS_MATCHES(model.freeze("block.*"), OptionError,
                       message_contains("no parameter matches 'block.*'"));
  CHECK_THROWS_AS(model.unfreeze(""), OptionError);
}

TEST_CASE("module: pattern matching", "[nn]") {
  CHECK(refrain::detail::matches("*", ""));
  CHECK(refrain::detail::matches("a*c", "abbbc"));
  CHECK(refrain::detail::matches("a*b*c", "aXbXbc"));
  CHECK(refrain::detail::matches("**x", "x"));
  CHECK(refrain::detail::matches("?", "a"));
  CHECK(refrain::detail::matches("*.weight", "a.weight.weight"));
  CHECK_FALSE(refrain::detail::matches("?", ""));
  CHECK_FALSE(refrain::detail::matches("a*c", "abcb"));
  CHECK_FALSE(refrain::detail::matches("a", "ab"));
  CHECK_FALSE(refrain::detail::matches("", "a"));
}

TEST_CASE("module: freezing drops the gradient, and zero_grad all of them", "[nn]") {
  Model model = make_model();
  const auto step = [&] {
    const Variable h = model.blocks[1](
        model.blocks[0](model.embedding(test::random_ids(10, 7, 1).reshape({2, 5}))));
    backward(sum(model.head(h)));
  };
  step();
  for (const NamedParameter& named : model.parameters())
    CHECK(named.parameter->gradient().defined());
  model.freeze("head.*");
  CHECK_FALSE(model.head.weight().gradient().defined());
  step();
  CHECK_FALSE(model.head.weight().gradient().defined());
  model.zero_grad();
  for (const NamedParameter& named : model.parameters())
    CHECK_FALSE(named.parameter->gradient().defined());
}

TEST_CASE("module: training mode applies to all submodules", "[nn]") {
  Model model = make_model();
  CHECK(model.is_training());
  CHECK(model.dropout.is_training());
  model.eval();
  CHECK_FALSE(model.is_training());
  CHECK_FALSE(model.dropout.is_training());
  CHECK_FALSE(model.blocks[1].is_training());
  model.train();
  CHECK(model.blocks[1].is_training());
}

TEST_CASE(
    "dropout: the identity in evaluation, zeroes and scales in training, resumes from its state",
    "[nn]") {
  Dropout layer({.keep = 0.75}, Random(5));
  const Variable x(Tensor::full({4000}, 3, DType::f64));
  const RandomState start = layer.random().state();
  const std::vector<double> y = doubles(layer(x).value());
  const auto zeros = std::count(y.begin(), y.end(), 0.0);
  CHECK(zeros + std::count(y.begin(), y.end(), 4.0) == 4000);
  CHECK(zeros > 4000 / 4 - 140);  // five standard deviations
  CHECK(zeros < 4000 / 4 + 140);
  CHECK_FALSE(doubles(layer(x).value()) == y);
  layer.random() = Random(start);
  CHECK(doubles(layer(x).value()) == y);
  layer.eval();
  CHECK(same_bytes(layer(x).value(), x.value()));
  CHECK_THROWS_MATCHES(Dropout({.keep = 0}, Random(1)), OptionError,
                       message_contains("expected 0 < keep <= 1, got 0"));
  CHECK_THROWS_AS(Dropout({.keep = 1.5}, Random(1)), OptionError);
}

TEST_CASE("nn: initial weights have the documented distributions", "[nn]") {
  Random random(1);
  const Linear linear({.in = 200, .out = 200}, random);
  double squares = 0;
  for (const double w : doubles(linear.weight().value())) {
    REQUIRE(std::abs(w) <= 0.04f);  // two deviations
    squares += w * w;
  }
  // A normal distribution truncated at two deviations has 0.8796 of its deviation.
  CHECK(std::sqrt(squares / 40000) == Approx(0.02 * 0.8796).epsilon(0.02));
  CHECK(doubles(linear.bias().value()) == std::vector<double>(200, 0.0));
  const LayerNorm norm({.channels = 3});
  CHECK(doubles(norm.gamma().value()) == std::vector<double>(3, 1.0));
  CHECK(doubles(norm.beta().value()) == std::vector<double>(3, 0.0));
  Random again(1);
  CHECK(
      same_bytes(Linear({.in = 200, .out = 200}, again).weight().value(), linear.weight().value()));
  CHECK_FALSE(
      same_bytes(Linear({.in = 200, .out = 200}, again).weight().value(), linear.weight().value()));
  Random f64_random(1);
  CHECK(Linear({.in = 2, .out = 3}, f64_random, {.dtype = DType::f64}).weight().dtype() ==
        DType::f64);
}

TEST_CASE("patch: widths, and invalid arguments", "[nn]") {
  Random random(1);
  Patch quarter({.channels = 64}, random);
  CHECK(quarter.parameter("down").shape() == Shape{64, 16});
  Patch narrow({.channels = 2}, random);
  CHECK(narrow.parameter("down").shape() == Shape{2, 1});
  Patch paths({.channels = 64, .cardinality = 4}, random);
  CHECK(paths.parameter("up").shape() == Shape{16, 64});
  Patch chosen({.channels = 8, .bottleneck = 3, .cardinality = 2}, random);
  CHECK(chosen.parameter("down_bias").shape() == Shape{6});
  CHECK_THROWS_MATCHES(Patch({.channels = 0}, random), OptionError,
                       message_contains("expected channels >= 1"));
  CHECK_THROWS_AS(Patch({.channels = 4, .cardinality = 0}, random), OptionError);
}

TEST_CASE("nn: layers refuse inputs of another shape, type or range", "[nn]") {
  Random random(1);
  const Linear linear({.in = 4, .out = 3}, random);
  const LayerNorm norm({.channels = 4});
  const CausalConv conv({.in = 4, .out = 3}, random);
  const ConvBlock block({.channels = 4}, random);
  const Patch patch({.channels = 4}, random);
  const Embedding embedding({.count = 5, .width = 4}, random);
  const auto x = [](const Shape& shape) { return Variable(random_tensor<float>(shape, 1)); };
  CHECK_THROWS_MATCHES(linear(x({2, 5})), ShapeError,
                       message_contains("linear: expected x with a last axis of 4, got [2, 5]"));
  CHECK_THROWS_MATCHES(norm(x({2, 5})), ShapeError,
                       message_contains("layer_norm: expected gamma of [5], got [4]"));
  CHECK_THROWS_MATCHES(conv(x({2, 4})), ShapeError,
                       message_contains("causal_conv: expected x of rank 3, got [2, 4]"));
  CHECK_THROWS_MATCHES(
      conv(x({2, 6, 5})), ShapeError,
      message_contains("expected x with a last axis of 4 for weight [3, 4, 3], got "
                       "[2, 6, 5]"));
  CHECK_THROWS_MATCHES(block(x({2, 6, 5})), ShapeError,
                       message_contains("conv_norm: expected weight of [3, 5, 5]"));
  CHECK_THROWS_MATCHES(patch(x({2, 5})), ShapeError,
                       message_contains("apply_patch: expected patch.down of [5, 1], got [4, 1]"));
  CHECK_THROWS_MATCHES(linear(Variable(random_tensor<double>({2, 4}, 1))), DTypeError,
                       message_contains("expected all arguments of f64, got one of f32"));
  CHECK_THROWS_MATCHES(linear(Variable()), ShapeError, message_contains("linear: x is undefined"));
  CHECK_THROWS_MATCHES(embedding(Tensor::full({2}, 5, DType::i32)), ShapeError,
                       message_contains("ids[0] = 5 is outside [0, 5)"));
  CHECK_THROWS_AS(embedding(Tensor::full({2}, -1, DType::i32)), ShapeError);
  CHECK_THROWS_MATCHES(embedding(Tensor::full({2}, 1, DType::i64)), DTypeError,
                       message_contains("of i32, got i64"));
  CHECK_THROWS_MATCHES(CausalConv({.in = 4, .out = 3, .dilation = 0}, random), OptionError,
                       message_contains("expected dilation from 1 to 2147483647, got 0"));
}

TEST_CASE("ops: invalid arguments are rejected", "[ops]") {
  const auto x = [](const Shape& shape) { return Variable(random_tensor<float>(shape, 1)); };
  const Tensor ids = Tensor::full({3}, 1, DType::i32);
  CHECK_THROWS_MATCHES(add(x({2}), x({3})), ShapeError,
                       message_contains("add: expected b of [2], got [3]"));
  CHECK_THROWS_MATCHES(
      matmul(x({2, 3}), x({2, 3})), ShapeError,
      message_contains("matmul: expected a [M,K] and b [K,N], got [2, 3] and [2, 3]"));
  CHECK_THROWS_MATCHES(relu(Variable(ids)), DTypeError,
                       message_contains("relu: expected f32 or f64, got i32"));
  CHECK_THROWS_MATCHES(mean(x({0})), ShapeError,
                       message_contains("expected at least one element, got [0]"));
  CHECK_THROWS_MATCHES(reshape(x({6}), {4}), ShapeError,
                       message_contains("expected a shape of 6 elements for [6], got [4]"));
  CHECK_THROWS_MATCHES(select_step(x({1, 3, 2}), 3), ShapeError,
                       message_contains("expected a step of x [1, 3, 2], got 3"));
  CHECK_THROWS_MATCHES(select_step(x({1, 3, 2}), -4), ShapeError, message_contains("got -4"));
  CHECK_THROWS_AS(top_k(x({3}).value(), 4), ShapeError);
  CHECK_THROWS_AS(layer_norm(x({3}), x({3}), x({3}), -1.0), OptionError);
}
