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
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

/// Modules of one or two bare parameters.
class Pair final : public Module {
 public:
  Pair(const Tensor& a, const Tensor& b) : first(a.clone()), second(b.clone()) {}
  void visit_members(Visitor& visitor) override {
    visitor.parameter("first", first);
    visitor.parameter("second", second);
  }
  Parameter first;
  Parameter second;
};

void set_gradient(Parameter& parameter, const Tensor& gradient) {
  parameter.zero_grad();
  parameter.gradient().add(gradient.clone());
}

void set_rows(Parameter& parameter, const std::vector<std::int32_t>& rows, const Tensor& values) {
  parameter.zero_grad();
  const Tensor ids = Tensor::from<std::int32_t>({static_cast<std::int64_t>(rows.size())},
                                                std::span<const std::int32_t>(rows));
  parameter.gradient().add(RowSparse{ids, values.clone()});
}

/// Adam on one scalar, as in the paper.
struct NaiveAdam {
  AdamOptions options;
  double p = 0;
  double m = 0;
  double v = 0;
  void step(double gradient, int t) {
    const double g = gradient + options.l2 * p;
    m = options.beta1 * m + (1 - options.beta1) * g;
    v = options.beta2 * v + (1 - options.beta2) * g * g;
    const double m_hat = m / (1 - std::pow(options.beta1, t));
    const double v_hat = v / (1 - std::pow(options.beta2, t));
    p = p - options.learning_rate * m_hat / (std::sqrt(v_hat) + options.epsilon) -
        options.learning_rate * options.decay * p;
  }
};

template <class T>
constexpr Tolerance few_steps = tolerance::pick<T>({1e-5, 1e-6}, {1e-12, 1e-13});

template <class T>
void check_dense_adam(AdamOptions options) {
  const Shape shape{5, 7};
  Pair module(random_tensor<T>(shape, 1), random_tensor<T>({3}, 2));
  std::vector<NaiveAdam> naive;
  for (const double value : doubles(module.first.value()))
    naive.push_back({.options = options, .p = value});
  Adam adam(module, options);
  const Tensor untouched = module.second.value().clone();
  for (int t = 1; t <= 12; ++t) {
    const Tensor gradient = random_tensor<T>(shape, static_cast<std::uint64_t>(100 + t));
    set_gradient(module.first, gradient);
    adam.step();
    for (std::size_t i = 0; i < naive.size(); ++i) naive[i].step(doubles(gradient)[i], t);
  }
  std::vector<double> expected;
  for (const NaiveAdam& one : naive) expected.push_back(one.p);
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

TEMPLATE_TEST_CASE("optimizer: lazy Adam moves the named rows alone", "[train][optimizer]", float,
                   double) {
  using T = TestType;
  const AdamOptions options{.learning_rate = 0.02, .l2 = 0.1, .decay = 0.05};
  const std::int64_t width = 3;
  Pair module(random_tensor<T>({6, width}, 3), random_tensor<T>({1}, 4));
  std::vector<NaiveAdam> naive;
  for (const double value : doubles(module.first.value()))
    naive.push_back({.options = options, .p = value});
  Adam adam(module, options);
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
          naive[static_cast<std::size_t>(row * width + c)].step(
              doubles(values)[j * static_cast<std::size_t>(width) + static_cast<std::size_t>(c)],
              static_cast<int>(s) + 1);
        }
      }
      if (!named)
        CHECK(same_bytes(module.first.value().slice(row, row + 1), before.slice(row, row + 1)));
    }
  }
  std::vector<double> expected, m, v;
  for (const NaiveAdam& one : naive) {
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
    Pair module(random_tensor<T>({4, 2}, 5), random_tensor<T>({4, 2}, 6));
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

TEST_CASE("optimizer: frozen parameters have no state and keep their bytes", "[train][optimizer]") {
  Pair module(random_tensor<float>({3}, 7), random_tensor<float>({4}, 8));
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

TEST_CASE("optimizer: a tied parameter is updated once", "[train][optimizer]") {
  Pair module(Tensor::full({1}, 1, DType::f64), Tensor::full({1}, 1, DType::f64));
  module.second = module.first;
  Sgd sgd(module, {.learning_rate = 1});
  set_gradient(module.first, Tensor::full({1}, 0.25, DType::f64));
  sgd.step();
  CHECK(module.first.value().item() == 0.75);
}

TEST_CASE("optimizer: clipping by the global norm", "[train][optimizer]") {
  Pair module(Tensor::zeros({4, 2}, DType::f64), Tensor::zeros({2}, DType::f64));
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

TEST_CASE("optimizer: clipping without a look at the norm gives the same gradients",
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

TEST_CASE("optimizer: a step that takes its rates from memory is the same step",
          "[train][optimizer]") {
  const auto compare = [](auto make) {
    Pair plain(random_tensor<float>({6, 3}, 1), random_tensor<float>({4}, 2));
    Pair recorded(random_tensor<float>({6, 3}, 1), random_tensor<float>({4}, 2));
    auto a = make(plain);
    auto b = make(recorded);
    const auto gradients = [](Pair& pair, std::uint64_t step) {
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
  compare([](Pair& pair) { return Adam(pair, {.learning_rate = 0.1, .l2 = 0.01, .decay = 0.02}); });
  compare([](Pair& pair) { return Sgd(pair, {.learning_rate = 0.1, .l2 = 0.01}); });
  compare([](Pair& pair) { return Sgd(pair, {.learning_rate = 0.1, .momentum = 0.9}); });
  Pair fresh(random_tensor<float>({6, 3}, 1), random_tensor<float>({4}, 2));
  Adam adam(fresh);
  set_gradient(fresh.second, random_tensor<float>({4}, 3));
  CHECK_THROWS_MATCHES(adam.prepare_capture(), Error,
                       message_contains("run one step without capture first"));
}

TEST_CASE("optimizer: a gradient that is not its parameter's is refused", "[train][optimizer]") {
  Pair pair(random_tensor<float>({6, 3}, 1), random_tensor<float>({4}, 2));
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

TEST_CASE("optimizer: a recording fits until parameters, moments or L2 are others",
          "[train][optimizer]") {
  Pair pair(random_tensor<float>({6, 3}, 1), random_tensor<float>({4}, 2));
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

TEST_CASE("optimizer: clipping copes with gradients that share storage", "[train][optimizer]") {
  Pair module(Tensor::zeros({2}, DType::f64), Tensor::zeros({2}, DType::f64));
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
  Pair module(Tensor::full({1}, 2, DType::f64), Tensor::full({1}, 2, DType::f64));
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

TEST_CASE("optimizer: a step asks the system for no memory once warm", "[train][optimizer]") {
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

TEST_CASE("optimizer: state can be taken over, and is refused when it does not fit",
          "[train][optimizer]") {
  const Tensor a = random_tensor<float>({3, 2}, 10);
  const Tensor b = random_tensor<float>({2}, 11);
  Pair left(a, b);
  Pair right(a, b);
  Adam one(left);
  Adam two(right);
  const auto step = [](Pair& module, Adam& adam, std::uint64_t seed) {
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
  Pair module(Tensor::zeros({1}, DType::f32), Tensor::zeros({1}, DType::f32));
  CHECK_THROWS_AS(Adam(module, {.learning_rate = -1}), OptionError);
  CHECK_THROWS_AS(Adam(module, {.beta1 = 1}), OptionError);
  CHECK_THROWS_AS(Adam(module, {.beta2 = NAN}), OptionError);
  CHECK_THROWS_AS(Adam(module, {.epsilon = 0}), OptionError);
  CHECK_THROWS_AS(Sgd(module, {.momentum = 1.5}), OptionError);
  Adam adam(module);
  CHECK_THROWS_AS(adam.set_learning_rate(INFINITY), OptionError);
}
