/// Decoupled weight decay of Adam: the parameters on which it acts, and its values.

#include <string>
#include <vector>

#include "refrain/core/parallel.hpp"
#include "refrain/nn/causal_conv.hpp"
#include "refrain/nn/embedding.hpp"
#include "refrain/nn/layer_norm.hpp"
#include "refrain/nn/linear.hpp"
#include "refrain/nn/patch.hpp"
#include "refrain/nn/recurrent.hpp"
#include "refrain/ops/loss.hpp"
#include "refrain/train/content_hash.hpp"
#include "refrain/train/optimizer.hpp"
#include "refrain_models/nextitnet.hpp"
#include "refrain_models/peterrec.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive.hpp"
#include "support/tensors.hpp"
#include "train/pair_module.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

std::vector<std::string> exempt_names(Module& module) {
  std::vector<std::string> names;
  for (const NamedParameter& named : module.parameters()) {
    if (named.decay == WeightDecay::exempt) names.push_back(named.name);
  }
  return names;
}

using Names = std::vector<std::string>;

/// The values of a parameter after one first step of Adam, from its value and gradient.
std::vector<double> after_step(const Tensor& value, const Tensor& gradient, double rate,
                               double decay) {
  std::vector<double> expected = doubles(value);
  const std::vector<double> gradients = doubles(gradient);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    double m = 0, v = 0;
    naive::adam(expected[i], gradients[i], m, v, {rate, 0.9, 0.999, 1e-8, 0, decay, 1});
  }
  return expected;
}

}  // namespace

TEST_CASE("weight decay: biases, norms and inserted vectors are exempt", "[train][optimizer]") {
  Random random(1);
  Linear linear({.in = 3, .out = 2}, random);
  CHECK(exempt_names(linear) == Names{"bias"});
  LayerNorm norm({.channels = 3});
  CHECK(exempt_names(norm) == Names{"gamma", "beta"});
  CausalConv conv({.in = 4, .out = 3}, random);
  CHECK(exempt_names(conv) == Names{"bias"});
  Embedding table({.count = 5, .width = 2}, random);
  CHECK(exempt_names(table).empty());
  Patch patch({.channels = 8}, random);
  CHECK(exempt_names(patch) == Names{"down_bias", "up_bias"});
  Lstm lstm({.in = 3, .hidden = 4}, random);
  CHECK(exempt_names(lstm) == Names{"layers.0.bias"});
  Gru gru({.in = 3, .hidden = 4}, random);
  CHECK(exempt_names(gru) == Names{"layers.0.bias", "layers.0.bias_h"});
  models::NextItNet base({.items = 20, .channels = 8, .dilations = {1, 2}}, random);
  for (const ConstNamedParameter& named : std::as_const(base).parameters()) {
    INFO(named.name);
    const std::string last = named.name.substr(named.name.rfind('.') + 1);
    CHECK((named.decay == WeightDecay::applied) == (last == "weight"));
  }
  models::PatchSet patches(base, {.head = {.targets = 4}, .tcl_id = 1}, random);
  CHECK(patches.parameter("tcl").defined());
  for (const NamedParameter& named : patches.parameters()) {
    if (named.name == "tcl") CHECK(named.decay == WeightDecay::exempt);
  }
}

TEMPLATE_TEST_CASE("weight decay: an exempt parameter does not decay", "[train][optimizer]", float,
                   double) {
  using T = TestType;
  PairModule pair(random_tensor<T>({5, 7}, 1), random_tensor<T>({6}, 2));
  pair.decay_of_second = WeightDecay::exempt;
  Adam adam(pair, {.learning_rate = 0.1, .decay = 0.5});
  const Tensor first = random_tensor<T>({5, 7}, 3), second = random_tensor<T>({6}, 4);
  set_gradient(pair.first, first);
  set_gradient(pair.second, second);
  const std::vector<double> decayed = after_step(pair.first.value(), first, 0.1, 0.5);
  const std::vector<double> kept = after_step(pair.second.value(), second, 0.1, 0);
  adam.step();
  check_close<T>(pair.first.value(), decayed, tolerance::element<T>);
  check_close<T>(pair.second.value(), kept, tolerance::element<T>);
}

TEST_CASE("weight decay: a table decays when it is also the output layer", "[train][optimizer]") {
  const Tensor ids = Tensor::from<std::int32_t>({3}, {1, 4, 4});
  const Tensor targets = Tensor::from<std::int32_t>({3}, {2, 0, 1});
  const auto step = [&](bool tied, double decay) {
    Random random(1);
    Embedding table({.count = 6, .width = 3, .deviation = 0.5}, random, {.dtype = DType::f64});
    Linear head({.in = 3, .out = 6, .deviation = 0.5}, random, {.dtype = DType::f64});
    Adam adam(table, {.learning_rate = 0.1, .decay = decay});
    backward(softmax_loss(table(ids), tied ? table.weight() : head.weight(), {}, targets));
    CHECK(table.weight().gradient().is_sparse() != tied);
    const Tensor before = table.weight().value().clone();
    const Tensor gradient = table.weight().gradient().to_dense({6, 3});
    adam.step();
    // Adam does not move an element without a gradient, so one formula serves both.
    check_close<double>(table.weight().value(), after_step(before, gradient, 0.1, tied ? decay : 0),
                        tolerance::element<double>);
    return content_hash(table);
  };
  CHECK(step(false, 0) == step(false, 0.5));
  CHECK(step(true, 0) != step(true, 0.5));
}

TEST_CASE("weight decay: a parameter named twice is exempt only in both places",
          "[train][optimizer]") {
  using enum WeightDecay;
  for (const WeightDecay first : {applied, exempt}) {
    for (const WeightDecay second : {applied, exempt}) {
      Parameter shared(Tensor::full({1}, 2, DType::f64));
      Adam adam({{"a", &shared, first}, {"b", &shared, second}},
                {.learning_rate = 0.25, .decay = 0.5});
      shared.gradient().add(Tensor::zeros({1}, DType::f64));
      adam.step();
      CHECK(shared.value().item() == (first == exempt && second == exempt ? 2 : 1.75));
    }
  }
}

TEST_CASE("weight decay: one result at any number of threads, and after loading a state",
          "[train][optimizer][determinism]") {
  const auto run = [](int thread_count, bool load) {
    const ThreadCount scope(thread_count);
    PairModule pair(random_tensor<float>({300, 401}, 1), random_tensor<float>({401}, 2));
    pair.decay_of_second = WeightDecay::exempt;
    const AdamOptions options{.learning_rate = 0.1, .decay = 0.1};
    Adam whole(pair, options);
    Adam second(pair, options);
    for (std::uint64_t t = 0; t < 4; ++t) {
      Adam& adam = load && t >= 2 ? second : whole;
      if (load && t == 2) second.load_state(whole.state());
      set_gradient(pair.first, random_tensor<float>({300, 401}, 10 + t));
      set_gradient(pair.second, random_tensor<float>({401}, 20 + t));
      adam.step();
    }
    return content_hash(pair);
  };
  const std::string expected = run(1, false);
  for (const int thread_count : {2, 3, 5}) CHECK(run(thread_count, false) == expected);
  CHECK(run(2, true) == expected);
  // The state of a run without decay loads: options are not part of a state.
  PairModule plain(random_tensor<float>({4}, 1), random_tensor<float>({4}, 2));
  Adam without(plain);
  set_gradient(plain.first, random_tensor<float>({4}, 3));
  without.step();
  Adam with(plain, {.decay = 0.1});
  with.load_state(without.state());
  CHECK(with.state().size() == 3);
}
