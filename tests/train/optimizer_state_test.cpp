/// The state of optimizers: frozen parameters, captured steps, memory, and loaded states.

#include <cmath>
#include <functional>
#include <vector>

#include "refrain/nn/embedding.hpp"
#include "refrain/nn/linear.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/train/optimizer.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"
#include "train/pair_module.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("optimizer: frozen parameters have no state and keep their bytes", "[train][optimizer]") {
  PairModule module(random_tensor<float>({3}, 7), random_tensor<float>({4}, 8));
  Adam adam(module);
  const auto step = [&] {
    adam.zero_grad();
    backward(sum(multiply(module.first, module.first)) +
             sum(multiply(module.second, module.second)));
    adam.step();
  };
  module.freeze("second");
  const Tensor second = module.second.value().clone();
  step();
  CHECK(adam.trainable_count() == 3);
  CHECK(adam.state_bytes() == 2 * 3 * 4);
  CHECK(same_bytes(module.second.value(), second));

  SECTION("freezing later stops updates and drops the state") {
    module.unfreeze("second");
    step();
    CHECK(adam.state_bytes() == 2 * 7 * 4);
    CHECK(*adam.state().at("adam.updates.second").data<std::int64_t>() == 1);
    CHECK(*adam.state().at("adam.updates.first").data<std::int64_t>() == 2);
    module.freeze("first");
    const Tensor first = module.first.value().clone();
    step();
    CHECK(same_bytes(module.first.value(), first));
    CHECK(adam.state_bytes() == 2 * 4 * 4);
    CHECK(adam.state().count("adam.m.first") == 0);
  }
}

TEST_CASE("optimizer: a step with rates from memory equals a step with rates by value",
          "[train][optimizer]") {
  const auto compare = [](auto make) {
    PairModule plain(random_tensor<float>({6, 3}, 1), random_tensor<float>({4}, 2));
    PairModule recorded(random_tensor<float>({6, 3}, 1), random_tensor<float>({4}, 2));
    auto a = make(plain);
    auto b = make(recorded);
    const auto gradients = [](PairModule& pair, std::uint64_t step) {
      set_rows(pair.first, {0, 4, -1}, random_tensor<float>({3, 3}, 10 + step));
      set_gradient(pair.second, random_tensor<float>({4}, 20 + step));
    };
    for (std::uint64_t step = 0; step < 8; ++step) {
      for (auto* optimizer : {&a, &b})
        optimizer->set_learning_rate(0.1 / static_cast<double>(step + 1));
      gradients(plain, step);
      gradients(recorded, step);
      a.step();
      if (step < 2) {
        b.step();
        b.prepare_capture();
      } else {
        b.advance_captured();
        b.step_captured();
      }
      CHECK(same_bytes(plain.first.value(), recorded.first.value()));
      CHECK(same_bytes(plain.second.value(), recorded.second.value()));
    }
    const TensorMap first = a.state(), second = b.state();
    REQUIRE(first.size() == second.size());
    for (const auto& [name, tensor] : first) CHECK(same_bytes(tensor, second.at(name)));
    recorded.second.zero_grad();
    CHECK_THROWS_MATCHES(b.step_captured(), Error, message_contains("'second' has no gradient"));
    b.zero_grad();
    CHECK_THROWS_AS(b.prepare_capture(), Error);
  };
  compare([](PairModule& pair) {
    return Adam(pair, {.learning_rate = 0.1, .l2 = 0.01, .decay = 0.02});
  });
  compare([](PairModule& pair) {
    pair.decay_of_second = WeightDecay::exempt;
    return Adam(pair, {.learning_rate = 0.1, .decay = 0.5});
  });
  compare([](PairModule& pair) { return Sgd(pair, {.learning_rate = 0.1, .l2 = 0.01}); });
  compare([](PairModule& pair) { return Sgd(pair, {.learning_rate = 0.1, .momentum = 0.9}); });
  PairModule fresh(random_tensor<float>({6, 3}, 1), random_tensor<float>({4}, 2));
  Adam adam(fresh);
  set_gradient(fresh.second, random_tensor<float>({4}, 3));
  CHECK_THROWS_MATCHES(adam.prepare_capture(), Error,
                       message_contains("run one step without capture first"));
}

TEST_CASE("optimizer: a gradient that does not fit its parameter is refused",
          "[train][optimizer]") {
  PairModule pair(random_tensor<float>({6, 3}, 1), random_tensor<float>({4}, 2));
  Adam adam(pair, {.learning_rate = 0.1});
  set_gradient(pair.second, random_tensor<float>({5}, 3));
  CHECK_THROWS_MATCHES(adam.step(), ShapeError,
                       message_contains("gradient of second: expected [4], got [5]"));
  set_gradient(pair.second, random_tensor<double>({4}, 3));
  CHECK_THROWS_AS(adam.step(), DTypeError);
  pair.second.zero_grad();
  set_rows(pair.first, {0, 4, -1}, random_tensor<float>({3, 2}, 10));
  CHECK_THROWS_AS(adam.step(), ShapeError);
}

TEST_CASE("optimizer: a captured graph is valid until parameters, moments or L2 change",
          "[train][optimizer]") {
  PairModule pair(random_tensor<float>({6, 3}, 1), random_tensor<float>({4}, 2));
  Adam adam(pair, {.learning_rate = 0.1});
  const auto prepare = [&] {
    set_rows(pair.first, {0, 4, -1}, random_tensor<float>({3, 3}, 10));
    set_gradient(pair.second, random_tensor<float>({4}, 20));
    adam.step();
    adam.prepare_capture();
  };
  CHECK_FALSE(adam.capture_fits());
  prepare();
  CHECK(adam.capture_fits());
  adam.advance_captured();
  adam.step_captured();
  pair.second.value().copy_from(Tensor::zeros({4}, DType::f32));
  CHECK(adam.capture_fits());
  pair.freeze("second");
  CHECK_FALSE(adam.capture_fits());
  pair.unfreeze("second");
  CHECK(adam.capture_fits());
  adam.load_state(adam.state());
  CHECK_FALSE(adam.capture_fits());
  prepare();
  adam.set_l2("second", 0.5);
  CHECK_FALSE(adam.capture_fits());
}

TEST_CASE("optimizer: a step after the first allocates no memory", "[train][optimizer]") {
  Random random(1);
  Embedding table({.count = 50, .width = 8}, random);
  Linear head({.in = 8, .out = 3}, random);
  std::vector<NamedParameter> parameters = table.parameters();
  for (const NamedParameter& named : head.parameters())
    parameters.push_back({"head." + named.name, named.parameter});
  Adam adam(parameters);
  const Tensor ids = random_ids(20, 50, 9);
  const auto step = [&] {
    adam.zero_grad();
    const Variable y = head(table(ids));
    backward(sum(multiply(y, y)));
    adam.clip_gradients(1e-3);
    adam.step();
  };
  step();
  step();
  const std::int64_t before = pool_stats().system_allocations;
  for (int i = 0; i < 10; ++i) step();
  CHECK(pool_stats().system_allocations == before);
}

TEST_CASE("optimizer: a state can be loaded, and is refused when it does not fit",
          "[train][optimizer]") {
  const Tensor a = random_tensor<float>({3, 2}, 10);
  const Tensor b = random_tensor<float>({2}, 11);
  PairModule left(a, b);
  PairModule right(a, b);
  Adam one(left);
  Adam two(right);
  const auto step = [](PairModule& module, Adam& adam, std::uint64_t seed) {
    set_gradient(module.first, random_tensor<float>({3, 2}, seed));
    set_gradient(module.second, random_tensor<float>({2}, seed + 1));
    adam.step();
  };
  for (std::uint64_t s = 0; s < 3; ++s) step(left, one, s);
  right.first.value().copy_from(left.first.value());
  right.second.value().copy_from(left.second.value());
  two.load_state(one.state());
  CHECK_FALSE(two.state().at("adam.m.first").shares_storage_with(one.state().at("adam.m.first")));
  step(left, one, 50);
  step(right, two, 50);
  CHECK(same_bytes(left.first.value(), right.first.value()));
  CHECK(same_bytes(left.second.value(), right.second.value()));

  TensorMap state = one.state();
  const Tensor before = two.state().at("adam.m.first").clone();
  SECTION("missing") {
    state.erase("adam.v.second");
    CHECK_THROWS_MATCHES(two.load_state(state), OptionError, message_contains("adam.v.second"));
  }
  SECTION("unknown") {
    state["adam.m.third"] = Tensor::zeros({1}, DType::f32);
    CHECK_THROWS_AS(two.load_state(state), OptionError);
  }
  SECTION("shape") {
    state["adam.m.second"] = Tensor::zeros({3}, DType::f32);
    CHECK_THROWS_MATCHES(two.load_state(state), ShapeError, message_contains("[2], got [3]"));
  }
  SECTION("type") {
    state["adam.m.second"] = Tensor::zeros({2}, DType::f64);
    CHECK_THROWS_AS(two.load_state(state), DTypeError);
  }
  SECTION("another optimizer") {
    Sgd sgd(right);
    CHECK_THROWS_MATCHES(sgd.load_state(state), OptionError, message_contains("sgd"));
  }
  CHECK(same_bytes(two.state().at("adam.m.first"), before));
}

TEST_CASE("optimizer: options out of range are refused", "[train][optimizer]") {
  PairModule module(Tensor::zeros({1}, DType::f32), Tensor::zeros({1}, DType::f32));
  CHECK_THROWS_AS(Adam(module, {.learning_rate = -1}), OptionError);
  CHECK_THROWS_AS(Adam(module, {.beta1 = 1}), OptionError);
  CHECK_THROWS_AS(Adam(module, {.beta2 = NAN}), OptionError);
  CHECK_THROWS_AS(Adam(module, {.epsilon = 0}), OptionError);
  CHECK_THROWS_AS(Sgd(module, {.momentum = 1.5}), OptionError);
  Adam adam(module);
  CHECK_THROWS_AS(adam.set_learning_rate(INFINITY), OptionError);
}
