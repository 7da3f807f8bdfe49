/// Rules of the tape.

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "refrain/autograd/gradcheck.hpp"
#include "refrain/ops/causal_conv.hpp"
#include "refrain/ops/gather.hpp"
#include "refrain/ops/loss.hpp"
#include "refrain/ops/matmul.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/replace_rows.hpp"
#include "support/catch.hpp"
#include "support/variables.hpp"

namespace {

using namespace refrain;
using test::doubles;
using test::integers;
using test::leaf_of;
using test::message_contains;
using test::random_tensor;
using test::same_bytes;

using Numbers = std::vector<double>;

Tensor ids(std::initializer_list<std::int32_t> values) {
  return Tensor::from<std::int32_t>({static_cast<std::int64_t>(values.size())}, values);
}

/// The identity; its backward pass increments `runs`.
Variable counted(const Variable& x, int& runs) {
  return record("counted", x.value(), {x}, [&runs](const Tensor& dy, auto& dx) {
    ++runs;
    dx.add(dy);
  });
}

}  // namespace

TEST_CASE("autograd: gradients add over paths and over backward calls until zero_grad",
          "[autograd]") {
  const Variable x = leaf_of({2, -3});
  const Variable y = multiply(x, x);
  backward(sum(add(y, scale(x, 5))));
  CHECK(doubles(x.grad()) == Numbers{9, -1});
  backward(sum(multiply(x, leaf_of({10, 20}, false))));
  CHECK(doubles(x.grad()) == Numbers{19, 19});
  Variable(x).zero_grad();
  CHECK_FALSE(x.gradient().defined());
  CHECK_THROWS_MATCHES(x.grad(), AutogradError, message_contains("no gradient has been computed"));
}

TEST_CASE("autograd: one value used by several operations, and one input twice", "[autograd]") {
  const Variable x = leaf_of({3});
  const Variable y = scale(x, 2);         // 6
  const Variable z = multiply(y, y);      // 36, dz/dx = 2 y * 2 = 24
  backward(sum(add(z, multiply(y, x))));  // d(2 x^2)/dx = 12
  CHECK(doubles(x.grad()) == Numbers{36});
}

TEST_CASE("autograd: a second backward over consumed operations throws, retain allows it",
          "[autograd]") {
  const Variable x = leaf_of({2, 3});
  const Variable loss = sum(multiply(x, x));
  backward(loss, {.retain = true});
  backward(loss);
  CHECK(doubles(x.grad()) == Numbers{8, 12});
  CHECK_THROWS_MATCHES(backward(loss), AutogradError, message_contains(".retain = true"));
  CHECK(doubles(x.grad()) == Numbers{8, 12});

  // A pass from another root over a consumed part is refused before any gradient is added.
  const Variable shared = multiply(x, x);
  backward(sum(shared));
  const Numbers before = doubles(x.grad());
  const Variable other = sum(add(shared, x));
  CHECK_THROWS_MATCHES(backward(other), AutogradError, message_contains("'multiply'"));
  CHECK(doubles(x.grad()) == before);
}

TEST_CASE("autograd: roots and upstream gradients are checked", "[autograd]") {
  const Variable x = leaf_of({2, 3});
  const Variable y = multiply(x, x);
  CHECK_THROWS_MATCHES(backward(y), AutogradError,
                       message_contains("expected a root of one element, got [2]"));
  CHECK_THROWS_MATCHES(backward(y, Tensor::zeros({3}, DType::f64)), ShapeError,
                       message_contains("expected an upstream gradient of [2], got [3]"));
  CHECK_THROWS_MATCHES(backward(y, Tensor::zeros({2}, DType::f32)), DTypeError,
                       message_contains("got f32"));
  CHECK_THROWS_MATCHES(backward(sum(y), Tensor()), ShapeError,
                       message_contains("upstream gradient is undefined"));
  CHECK_THROWS_MATCHES(backward(sum(leaf_of({1, 2}, false))), AutogradError,
                       message_contains("expected a root that depends on a leaf"));
  CHECK_THROWS_AS(backward(Variable()), AutogradError);
  backward(y, Tensor::from<double>({2}, {1, 10}));
  CHECK(doubles(x.grad()) == Numbers{4, 60});
  const Variable scalar(Tensor::full({}, 3, DType::f64), true);
  backward(scalar);
  CHECK(scalar.grad().item() == 1);
}

TEST_CASE("autograd: NoGrad records nothing and nests", "[autograd]") {
  const Variable x = leaf_of({2});
  CHECK(NoGrad::is_recording());
  {
    const NoGrad off;
    CHECK_FALSE(scale(x, 2).requires_grad());
    {
      const NoGrad again;
      CHECK_FALSE(NoGrad::is_recording());
    }
    CHECK_FALSE(NoGrad::is_recording());
    CHECK_THROWS_AS(backward(sum(x)), AutogradError);
  }
  CHECK(scale(x, 2).requires_grad());
  CHECK_FALSE(scale(x, 2).detach().requires_grad());
}

TEST_CASE("autograd: only floating-point leaves may require gradients", "[autograd]") {
  CHECK_THROWS_MATCHES(Variable(ids({1, 2}), true), DTypeError, message_contains("got i32"));
  Variable y = scale(leaf_of({1}), 2);
  CHECK_FALSE(y.is_leaf());
  CHECK_THROWS_MATCHES(y.set_requires_grad(false), AutogradError,
                       message_contains("expected a leaf"));
  Variable x = leaf_of({4});
  backward(sum(x));
  x.set_requires_grad(false);
  CHECK_FALSE(x.gradient().defined());
  CHECK_THROWS_AS(Variable().value(), AutogradError);
}

TEST_CASE("autograd: saved tensors are freed while backward passes", "[autograd]") {
  constexpr std::int64_t count = 1 << 16;
  constexpr std::int64_t layers = 12;
  const std::int64_t tensor_bytes = count * 4;
  const Variable x(random_tensor<float>({count}, 1), true);
  const std::int64_t before = pool_stats().used_bytes;
  Variable y = x;
  for (int i = 0; i < layers; ++i) y = tanh(scale(y, 0.9));
  Variable loss = sum(y);
  y = Variable();
  const std::int64_t held = pool_stats().used_bytes - before;
  CHECK(held >= layers * tensor_bytes);
  pool_reset_peak();
  backward(loss);
  // At most two gradients in addition to the saved tensors, at any depth: the pass frees each saved
  // tensor after its operation.
  CHECK(pool_stats().peak_used_bytes - before <= held + 3 * tensor_bytes);
  CHECK(pool_stats().used_bytes - before <= 2 * tensor_bytes);  // x's gradient, and small objects
  loss = Variable();
  CHECK(pool_stats().used_bytes - before <= tensor_bytes + tensor_bytes / 2);
}

TEST_CASE("autograd: an operation without gradients is not recorded and keeps nothing alive",
          "[autograd]") {
  const Variable frozen(random_tensor<float>({1 << 16}, 1));
  const std::int64_t before = pool_stats().used_bytes;
  Variable y = frozen;
  for (int i = 0; i < 8; ++i) y = tanh(y);
  CHECK_FALSE(y.requires_grad());
  CHECK(pool_stats().used_bytes - before <= (1 << 16) * 4 + (1 << 16));
}

TEST_CASE("autograd: frozen parameters get no gradient", "[autograd]") {
  const Variable x(random_tensor<double>({2, 5, 3}, 1), true);
  const Variable weight(random_tensor<double>({3, 3, 3}, 2));
  const Variable bias(random_tensor<double>({3}, 3), true);
  backward(sum(causal_conv(x, weight, bias)));
  CHECK(x.gradient().defined());
  CHECK(bias.gradient().defined());
  CHECK_FALSE(weight.gradient().defined());
}

TEST_CASE("autograd: a leaf frozen after the operation gets no gradient", "[autograd]") {
  Variable frozen(random_tensor<double>({3}, 1), true);
  const Variable other(random_tensor<double>({3}, 2), true);
  const Variable root = sum(multiply(frozen, other));
  frozen.set_requires_grad(false);
  backward(root);
  CHECK_FALSE(frozen.gradient().defined());
  CHECK(other.gradient().defined());
}

TEST_CASE("autograd: backward stops below the lowest trainable input", "[autograd]") {
  int below = 0;
  int above = 0;
  const Variable input = leaf_of({1, 2}, false);
  const Variable trained = leaf_of({3, 4});
  const Variable h = counted(scale(input, 2), below);
  backward(sum(counted(multiply(h, trained), above)));
  CHECK(above == 1);
  CHECK(below == 0);
  CHECK(doubles(trained.grad()) == Numbers{2, 4});

  // An operation that the root does not depend on does not run.
  int aside = 0;
  const Variable unused = counted(trained, aside);
  backward(sum(trained));
  CHECK(aside == 0);
}

TEST_CASE("autograd: an operation with several results", "[autograd]") {
  const Variable x = leaf_of({1, 2});
  const auto split = [&] {
    return record(
        "split", {x.value().clone(), x.value().clone()}, {x},
        [](const Tensor& dfirst, const Tensor& dsecond, auto& dx) {
          if (dfirst.defined()) dx.add(dfirst);
          if (dsecond.defined())
            kernels::run(kernels::LinearCombination{.a = dsecond, .out = dx, .alpha = 10});
        });
  };
  std::array<Variable, 2> parts = split();
  backward(sum(parts[1]));
  CHECK(doubles(x.grad()) == Numbers{10, 10});
  Variable(x).zero_grad();
  parts = split();
  backward(sum(add(parts[0], parts[1])));
  CHECK(doubles(x.grad()) == Numbers{11, 11});
}

TEST_CASE("autograd: after an exception in a backward function no gradients remain", "[autograd]") {
  const Variable x = leaf_of({1});
  const Variable bad = record("bad", x.value().clone(), {x},
                              [](const Tensor&, auto&) { throw ShapeError("refused"); });
  const Variable root = sum(add(bad, scale(x, 3)));
  CHECK_THROWS_AS(backward(root, {.retain = true}), ShapeError);
  CHECK_THROWS_AS(backward(root, {.retain = true}), ShapeError);
}

TEST_CASE("autograd: gradients of a product do not share storage with the factors", "[autograd]") {
  Variable a = leaf_of({1, 2});
  Variable b = leaf_of({3, 4});
  backward(dot(a, b));
  CHECK_FALSE(a.grad().shares_storage_with(b.value()));
  b.value().fill(0);  // like an in-place update
  CHECK(doubles(a.grad()) == Numbers{3, 4});
}

TEST_CASE("autograd: a leaf's gradient does not change with the caller's upstream gradient",
          "[autograd]") {
  const Variable a = leaf_of({1, 2});
  Tensor upstream = Tensor::from<double>({2}, {3, 4});
  backward(add(a, leaf_of({5, 6}, false)), upstream);
  upstream.copy_from(Tensor::from<double>({2}, {10, 20}));
  backward(add(a, leaf_of({5, 6}, false)), upstream);
  CHECK(doubles(a.grad()) == Numbers{13, 24});
  CHECK(doubles(upstream) == Numbers{10, 20});
}

TEST_CASE("autograd: gradients that do not fit their leaf are refused", "[autograd]") {
  const Variable x = leaf_of({1, 2, 3});
  const auto root = [&](auto gradient) {
    return record("bad", Tensor::zeros({}, DType::f64), {x},
                  [=](const Tensor&, auto& dx) { dx.add(gradient); });
  };
  CHECK_THROWS_MATCHES(backward(root(Tensor::zeros({2}, DType::f64))), ShapeError,
                       message_contains("gradient of a leaf: expected [3], got [2]"));
  CHECK_THROWS_AS(backward(root(Tensor::zeros({3}, DType::f32))), DTypeError);
  CHECK_THROWS_AS(backward(root(RowSparse{ids({0, 2}), Tensor::zeros({3}, DType::f64)})),
                  ShapeError);
  CHECK_THROWS_AS(backward(root(RowSparse{ids({0, 2}), Tensor::zeros({2}, DType::f32)})),
                  DTypeError);
  CHECK_FALSE(x.gradient().defined());
}

TEST_CASE("autograd: values without a tensor are refused", "[autograd]") {
  Tensor moved = Tensor::zeros({2}, DType::f32);
  const Variable kept(std::move(moved));
  const Variable nothing(moved);
  CHECK_THROWS_AS(sum(nothing), ShapeError);
  CHECK_THROWS_AS(relu(nothing), ShapeError);
  CHECK_THROWS_AS(Tensor().copy_from(Tensor::zeros({}, DType::f32)), ShapeError);
  CHECK_THROWS_AS(Tensor::zeros({}, DType::f32).copy_from(Tensor()), ShapeError);
}

TEST_CASE("autograd: ids in another order of axes are refused", "[autograd]") {
  const Variable hidden(random_tensor<double>({4, 2, 3}, 1), true);  // [T,B,H]
  const Variable weight(random_tensor<double>({5, 3}, 2), true), row(random_tensor<double>({3}, 3));
  const Tensor wrong = Tensor::zeros({2, 4}, DType::i32), right = Tensor::zeros({4, 2}, DType::i32);
  const Tensor flat = Tensor::zeros({8}, DType::i32);
  const Candidates candidates{.ids = ids({1, 2}), .log_q_true = {}, .log_q_negative = {}};
  CHECK_THROWS_MATCHES(
      softmax_loss(hidden, weight, {}, wrong), ShapeError,
      message_contains("expected targets of [4, 2] for hidden [4, 2, 3], got [2, 4]"));
  CHECK_THROWS_AS(sampled_softmax_loss(hidden, weight, {}, wrong, candidates), ShapeError);
  CHECK_THROWS_AS(replace_rows(hidden, wrong, 0, row), ShapeError);
  for (const Tensor& fits : {right, flat}) {
    CHECK(softmax_loss(hidden, weight, {}, fits).value().defined());
    CHECK(sampled_softmax_loss(hidden, weight, {}, fits, candidates).value().defined());
    CHECK(replace_rows(hidden, fits, 0, row).shape() == hidden.shape());
  }
  CHECK(softmax_loss(reshape(hidden, {8, 3}), weight, {}, right).value().defined());
  for (const double smoothing : {-0.1, 1.0, std::nan("")}) {
    CHECK_THROWS_MATCHES(
        softmax_loss(hidden, weight, {}, right, {.smoothing = smoothing}), OptionError,
        message_contains("softmax_loss: smoothing: expected a number in [0, 1), got "));
  }
}

TEST_CASE("autograd: gradients of two leaves that share storage stay separate", "[autograd]") {
  const Variable a = leaf_of({1});
  const Variable b = leaf_of({1});
  backward(sum(add(a, b)));    // both gradients share one tensor
  backward(sum(scale(a, 5)));  // adds to one of them
  CHECK(doubles(a.grad()) == Numbers{6});
  CHECK(doubles(b.grad()) == Numbers{1});
}

TEST_CASE("autograd: long chains are freed without deep recursion", "[autograd]") {
  const Variable x = leaf_of({1});
  Variable y = x;
  for (int i = 0; i < 100000; ++i) y = i % 2 == 0 ? scale(y, 1) : subtract(y, y);
  SECTION("never run backwards") { y = Variable(); }
  SECTION("run backwards") { backward(sum(y)); }
  SUCCEED();
}

TEST_CASE("autograd: an embedding's gradient is row-sparse and adds up for repeated ids",
          "[autograd][embedding]") {
  const Variable table(random_tensor<double>({6, 2}, 1), true);
  const Variable upstream(Tensor::from<double>({4, 2}, {1, 2, 10, 20, 100, 200, 1000, 2000}));
  backward(dot(embedding(table, ids({4, 1, 4, 0})), upstream));
  REQUIRE(table.gradient().is_sparse());
  CHECK_THROWS_MATCHES(table.grad(), AutogradError, message_contains("row-sparse"));
  const RowSparse& sparse = table.gradient().sparse();
  CHECK(integers(sparse.rows) == std::vector<std::int32_t>{0, 1, 4, -1});
  CHECK(doubles(sparse.values) == Numbers{1000, 2000, 10, 20, 101, 202, 0, 0});
  CHECK(doubles(table.gradient().to_dense({6, 2})) ==
        Numbers{1000, 2000, 10, 20, 0, 0, 0, 0, 101, 202, 0, 0});

  // A second contribution is merged: the rows of both, once each, ascending.
  backward(sum(embedding(table, ids({5, 1, 5}))));
  REQUIRE(table.gradient().is_sparse());
  const std::vector<std::int32_t> rows = integers(table.gradient().sparse().rows);
  CHECK(std::vector<std::int32_t>(rows.begin(), rows.begin() + 4) ==
        std::vector<std::int32_t>{0, 1, 4, 5});
  for (std::size_t i = 4; i < rows.size(); ++i) CHECK(rows[i] == -1);
  CHECK(doubles(table.gradient().to_dense({6, 2})) ==
        Numbers{1000, 2000, 11, 21, 0, 0, 0, 0, 101, 202, 2, 2});
}

TEST_CASE("autograd: sparse and dense contributions mix in either order", "[autograd][embedding]") {
  for (const bool dense_first : {true, false}) {
    INFO("dense first " << dense_first);
    const Variable table(random_tensor<double>({3, 1}, 1), true);
    const Variable weights(Tensor::from<double>({3, 1}, {1, 2, 3}));
    const auto dense = [&] { backward(dot(table, weights)); };
    const auto sparse = [&] { backward(scale(sum(embedding(table, ids({2, 2}))), 10)); };
    dense_first ? dense() : sparse();
    dense_first ? sparse() : dense();
    CHECK_FALSE(table.gradient().is_sparse());
    CHECK(doubles(table.grad()) == Numbers{1, 2, 23});
    CHECK(doubles(weights.value()) == Numbers{1, 2, 3});
  }
  // A table that is both gathered and multiplied in one pass.
  const Variable table(random_tensor<double>({3, 1}, 1), true);
  backward(add(sum(embedding(table, ids({0}))), sum(table)));
  CHECK(doubles(table.grad()) == Numbers{2, 1, 1});
}

TEST_CASE("autograd: the table of an embedding may be the result of an operation",
          "[autograd][embedding]") {
  const Variable table(random_tensor<double>({3, 2}, 1), true);
  backward(sum(embedding(scale(table, 4), ids({1, 1, 0}))));
  CHECK(doubles(table.gradient().to_dense({3, 2})) == Numbers{4, 4, 8, 8, 0, 0});
}

TEST_CASE("autograd: gradcheck finds a wrong gradient", "[autograd]") {
  const Variable x = leaf_of({0.3, 0.7});
  const auto wrong = [&] {
    return sum(record("wrong", multiply(x, x).value(), {x},
                      [](const Tensor& dy, auto& dx) { dx.add(dy); }));
  };
  CHECK_THAT(gradcheck(wrong, {x}), test::contains("leaf 0 [2] element 0: backward gives 1"));
  CHECK(gradcheck([&] { return sum(multiply(x, x)); }, {x}).empty());
  CHECK_THROWS_AS(gradcheck([&] { return sum(x); }, {Variable(random_tensor<float>({1}, 1), true)}),
                  DTypeError);
}
