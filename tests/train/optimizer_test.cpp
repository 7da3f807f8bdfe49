/// Optimizers against loops over doubles.

#include <cmath>
#include <functional>
#include <vector>

#include "refrain/nn/embedding.hpp"
#include "refrain/nn/linear.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/train/optimizer.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive.hpp"
#include "support/tensors.hpp"
#include "train/pair_module.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

/// Adam on one scalar.
struct ScalarAdam {
  AdamOptions options;
  double p = 0;
  double m = 0;
  double v = 0;
  void step(double gradient, int t) {
    naive::adam(p, gradient, m, v,
                {options.learning_rate, options.beta1, options.beta2, options.epsilon, options.l2,
                 options.decay, t});
  }
};

template <class T>
constexpr Tolerance few_steps = tolerance::pick<T>({1e-5, 1e-6}, {1e-12, 1e-13});

template <class T>
void check_dense_adam(AdamOptions options) {
  const Shape shape{5, 7};
  PairModule module(random_tensor<T>(shape, 1), random_tensor<T>({3}, 2));
  std::vector<ScalarAdam> scalars;
  for (const double value : doubles(module.first.value()))
    scalars.push_back({.options = options, .p = value});
  Adam adam(module, options);
  const Tensor untouched = module.second.value().clone();
  for (int t = 1; t <= 12; ++t) {
    const Tensor gradient = random_tensor<T>(shape, static_cast<std::uint64_t>(100 + t));
    set_gradient(module.first, gradient);
    adam.step();
    for (std::size_t i = 0; i < scalars.size(); ++i) scalars[i].step(doubles(gradient)[i], t);
  }
  std::vector<double> expected;
  for (const ScalarAdam& one : scalars) expected.push_back(one.p);
  check_close<T>(module.first.value(), expected, few_steps<T>);
  CHECK(same_bytes(module.second.value(), untouched));  // never had a gradient
  CHECK(adam.state().size() == 3);
}

}  // namespace

TEMPLATE_TEST_CASE("optimizer: Adam and AdamW match a loop over doubles", "[train][optimizer]",
                   float, double) {
  check_dense_adam<TestType>({});
  check_dense_adam<TestType>(
      {.learning_rate = 0.05, .beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-4, .l2 = 0.3});
  check_dense_adam<TestType>({.learning_rate = 0.05, .l2 = 0.1, .decay = 0.2});
  check_dense_adam<TestType>({.beta1 = 0});
}

TEMPLATE_TEST_CASE("optimizer: lazy Adam updates only the named rows, without weight decay",
                   "[train][optimizer]", float, double) {
  using T = TestType;
  const AdamOptions options{.learning_rate = 0.02, .l2 = 0.1};
  const std::int64_t width = 3;
  PairModule module(random_tensor<T>({6, width}, 3), random_tensor<T>({1}, 4));
  std::vector<ScalarAdam> scalars;
  for (const double value : doubles(module.first.value()))
    scalars.push_back({.options = options, .p = value});
  AdamOptions decaying = options;
  decaying.decay = 0.5;
  Adam adam(module, decaying);
  // Row 5 never occurs; row 4 first occurs in step 3 and has that step's bias correction; entries
  // of -1 are skipped.
  const std::vector<std::vector<std::int32_t>> steps{
      {0, 2, -1}, {1, 2, 3}, {0, 4, -1}, {4, -1, -1}, {0, 1, 2}};
  const Tensor start = module.first.value().clone();
  for (std::size_t s = 0; s < steps.size(); ++s) {
    const Tensor values = random_tensor<T>({3, width}, 200 + s);
    set_rows(module.first, steps[s], values);
    const Tensor before = module.first.value().clone();
    adam.step();
    for (std::int32_t row = 0; row < 6; ++row) {
      bool named = false;
      for (std::size_t j = 0; j < 3; ++j) {
        if (steps[s][j] != row) continue;
        named = true;
        for (std::int64_t c = 0; c < width; ++c) {
          scalars[static_cast<std::size_t>(row * width + c)].step(
              doubles(values)[j * static_cast<std::size_t>(width) + static_cast<std::size_t>(c)],
              static_cast<int>(s) + 1);
        }
      }
      if (!named)
        CHECK(same_bytes(module.first.value().slice(row, row + 1), before.slice(row, row + 1)));
    }
  }
  std::vector<double> expected, m, v;
  for (const ScalarAdam& one : scalars) {
    expected.push_back(one.p);
    m.push_back(one.m);
    v.push_back(one.v);
  }
  check_close<T>(module.first.value(), expected, few_steps<T>);
  check_close<T>(adam.state().at("adam.m.first"), m, few_steps<T>);
  check_close<T>(adam.state().at("adam.v.first"), v, few_steps<T>);
  CHECK(same_bytes(module.first.value().slice(5, 6), start.slice(5, 6)));
}

TEMPLATE_TEST_CASE("optimizer: Sgd matches a loop over doubles", "[train][optimizer]", float,
                   double) {
  using T = TestType;
  for (const double momentum : {0.0, 0.9}) {
    const double rate = 0.1;
    const double l2 = 0.2;
    PairModule module(random_tensor<T>({4, 2}, 5), random_tensor<T>({4, 2}, 6));
    std::vector<double> dense = doubles(module.first.value()),
                        rows = doubles(module.second.value());
    std::vector<double> dense_velocity(8, 0.0), rows_velocity(8, 0.0);
    Sgd sgd(module, {.learning_rate = rate, .momentum = momentum, .l2 = l2});
    for (std::uint64_t t = 0; t < 5; ++t) {
      const Tensor gradient = random_tensor<T>({4, 2}, 300 + t);
      const Tensor values = random_tensor<T>({2, 2}, 400 + t);
      set_gradient(module.first, gradient);
      set_rows(module.second, {1, 3}, values);
      sgd.step();
      std::vector<double> full(8, 0.0);
      for (std::size_t i = 0; i < 4; ++i) full[(i < 2 ? 2 : 4) + i] = doubles(values)[i];
      for (std::size_t i = 0; i < 8; ++i) {
        dense_velocity[i] = momentum * dense_velocity[i] + doubles(gradient)[i] + l2 * dense[i];
        dense[i] -= rate * dense_velocity[i];
        const bool named = i / 2 == 1 || i / 2 == 3;
        if (momentum == 0 && !named) continue;  // lazy
        rows_velocity[i] = momentum * rows_velocity[i] + full[i] + l2 * rows[i];
        rows[i] -= rate * rows_velocity[i];
      }
    }
    INFO("momentum " << momentum);
    check_close<T>(module.first.value(), dense, few_steps<T>);
    check_close<T>(module.second.value(), rows, few_steps<T>);
  }
}

TEST_CASE("optimizer: a tied parameter is updated once", "[train][optimizer]") {
  PairModule module(Tensor::full({1}, 1, DType::f64), Tensor::full({1}, 1, DType::f64));
  module.second = module.first;
  Sgd sgd(module, {.learning_rate = 1});
  set_gradient(module.first, Tensor::full({1}, 0.25, DType::f64));
  sgd.step();
  CHECK(module.first.value().item() == 0.75);
}

TEST_CASE("optimizer: clipping by the global norm", "[train][optimizer]") {
  PairModule module(Tensor::zeros({4, 2}, DType::f64), Tensor::zeros({2}, DType::f64));
  Sgd sgd(module, {.learning_rate = 1});
  set_rows(module.first, {0, 3, -1}, Tensor::from<double>({3, 2}, {1, 2, 2, 4, 0, 0}));
  set_gradient(module.second, Tensor::from<double>({2}, {6, 8}));
  const double norm = std::sqrt(1 + 4 + 4 + 16 + 36 + 64);

  CHECK(sgd.clip_gradients(20) == Approx(norm));
  CHECK(module.second.grad().data<double>()[1] == 8);
  CHECK(sgd.clip_gradients(norm / 2) == Approx(norm));
  CHECK(module.second.grad().data<double>()[1] == Approx(4));
  CHECK(module.first.gradient().sparse().values.data<double>()[3] == Approx(2));
  CHECK(sgd.clip_gradients(100) == Approx(norm / 2));
  CHECK_THROWS_AS(sgd.clip_gradients(0), OptionError);

  set_gradient(module.second, Tensor::from<double>({2}, {NAN, 8}));
  CHECK(std::isnan(sgd.clip_gradients(1)));
  CHECK(module.second.grad().data<double>()[1] == 8);
}

TEST_CASE("optimizer: clipping without reading the norm gives the same gradients",
          "[train][optimizer]") {
  for (const double max_norm : {1e-2, 1e3}) {
    Parameter dense(random_tensor<double>({5, 3}, 1)), table(random_tensor<double>({9, 2}, 2)),
        idle(random_tensor<double>({2}, 3));
    const auto fill = [&] {
      dense.zero_grad();
      table.zero_grad();
      dense.gradient().add(random_tensor<double>({5, 3}, 4));
      table.gradient().add(RowSparse{Tensor::from<std::int32_t>({3}, {1, 7, -1}),
                                     Tensor::from<double>({3, 2}, {1, -2, 0.5, 3, 0, 0})});
    };
    Sgd sgd({{"dense", &dense}, {"table", &table}, {"idle", &idle}}, {.learning_rate = 0.1});
    CHECK_FALSE(sgd.clip_gradients_on_device(1).defined());  // no gradient yet
    fill();
    const double norm = sgd.clip_gradients(max_norm);
    const std::vector<double> expected_dense = doubles(dense.grad());
    const std::vector<double> expected_rows = doubles(table.gradient().sparse().values);
    fill();
    CHECK(sgd.clip_gradients_on_device(max_norm).item() == Approx(norm));
    check_close<double>(dense.grad(), expected_dense, tolerance::element<double>);
    check_close<double>(table.gradient().sparse().values, expected_rows,
                        tolerance::element<double>);
    CHECK(integers(table.gradient().sparse().rows) == std::vector<std::int32_t>{1, 7, -1});
    fill();
    dense.gradient().add(Tensor::full({5, 3}, NAN, DType::f64));
    CHECK(std::isnan(sgd.clip_gradients_on_device(max_norm).item()));
    check_close<double>(table.gradient().sparse().values, {1, -2, 0.5, 3, 0, 0}, tolerance::exact);
    CHECK_THROWS_AS(sgd.clip_gradients_on_device(0), OptionError);
  }
}

TEST_CASE("optimizer: clipping of gradients that share storage", "[train][optimizer]") {
  PairModule module(Tensor::zeros({2}, DType::f64), Tensor::zeros({2}, DType::f64));
  Sgd sgd(module, {.learning_rate = 1});
  // Both leaves share the upstream gradient.
  backward(module.first + module.second, Tensor::from<double>({2}, {3, 4}));
  CHECK(sgd.clip_gradients(1) == Approx(std::sqrt(50.0)));
  for (const Parameter* parameter : {&module.first, &module.second}) {
    CHECK(parameter->grad().data<double>()[0] == Approx(3 / std::sqrt(50.0)));
    CHECK(parameter->grad().data<double>()[1] == Approx(4 / std::sqrt(50.0)));
  }
}

TEST_CASE("optimizer: L2 of chosen parameters", "[train][optimizer]") {
  PairModule module(Tensor::full({1}, 2, DType::f64), Tensor::full({1}, 2, DType::f64));
  Sgd sgd(module, {.learning_rate = 1});
  sgd.set_l2("sec*", 0.25);
  set_gradient(module.first, Tensor::full({1}, 1, DType::f64));
  set_gradient(module.second, Tensor::full({1}, 1, DType::f64));
  sgd.step();
  CHECK(module.first.value().item() == 1);
  CHECK(module.second.value().item() == 0.5);
  CHECK_THROWS_AS(sgd.set_l2("third", 1), OptionError);
  CHECK_THROWS_AS(sgd.set_l2("first", -1), OptionError);
}
