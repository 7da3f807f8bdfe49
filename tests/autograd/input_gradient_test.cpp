/// Arguments of a backward function: gradients as outputs of kernels.

#include <array>
#include <cstdint>
#include <type_traits>

#include "refrain/kernels/pointwise.hpp"
#include "refrain/ops/pointwise.hpp"
#include "support/catch.hpp"
#include "support/variables.hpp"

namespace {

using namespace refrain;
using test::doubles;
using test::leaf_of;

using Numbers = std::vector<double>;

void add_scaled(const Tensor& dy, double factor, MutableView to) {
  kernels::run(kernels::LinearCombination{.a = dy, .out = to, .alpha = factor});
}

// A gradient is written in place, any number of times, and never copied.
static_assert(std::is_convertible_v<InputGradient&, MutableView>);
static_assert(!std::is_convertible_v<InputGradient, MutableView>);
static_assert(!std::is_convertible_v<const InputGradient&, MutableView>);

}  // namespace

TEST_CASE("input gradients: the output of a kernel is added once", "[autograd]") {
  const Variable x = leaf_of({1, 2});
  const auto twice = [&] {
    return record("twice", x.value().clone(), {x}, [](const Tensor& dy, auto& dx) {
      const MutableView first = dx;
      add_scaled(dy, 7, dx);
      add_scaled(dy, 2, dx);  // overwrites the same memory
      CHECK(first.data == MutableView(dx).data);
      CHECK(first.shape == dx.shape());
      CHECK(first.dtype == DType::f64);
    });
  };
  backward(sum(twice()));
  CHECK(doubles(x.grad()) == Numbers{2, 2});
  backward(sum(add(twice(), twice())));
  CHECK(doubles(x.grad()) == Numbers{6, 6});
}

TEST_CASE("input gradients: an unneeded one is an empty view and ignores contributions",
          "[autograd]") {
  const Variable x = leaf_of({1, 2});
  const Variable frozen = leaf_of({3, 4}, false);
  Variable later = leaf_of({5, 6});
  const Variable root =
      sum(record("mixed", x.value().clone(), {x, frozen, Variable(), later},
                 [](const Tensor& dy, auto& dx, auto& dfrozen, auto& dabsent, auto& dlater) {
                   CHECK(dx.needed());
                   for (InputGradient* unneeded : {&dfrozen, &dabsent, &dlater}) {
                     CHECK_FALSE(unneeded->needed());
                     CHECK_FALSE(MutableView(*unneeded));
                     CHECK_FALSE(unneeded->as_matrix());
                     CHECK_FALSE(unneeded->sum());
                     unneeded->add(dy);
                     unneeded->add_slice(0, dy);
                   }
                   CHECK(dfrozen.shape() == Shape{2});  // the shape is known without a gradient
                   add_scaled(dy, 3, dx);
                 }));
  later.set_requires_grad(false);
  backward(root);
  CHECK(doubles(x.grad()) == Numbers{3, 3});
  CHECK_FALSE(frozen.gradient().defined());
  CHECK_FALSE(later.gradient().defined());
}

TEST_CASE("input gradients: an operation whose only input was frozen later does not run",
          "[autograd]") {
  Variable frozen = leaf_of({1, -2});
  const Variable other = leaf_of({3, 4});
  const Variable root = sum(add(relu(frozen), other));
  frozen.set_requires_grad(false);
  backward(root);
  CHECK_FALSE(frozen.gradient().defined());
  CHECK(doubles(other.grad()) == Numbers{1, 1});
}

TEST_CASE("input gradients: matrices, slices and sums in place", "[autograd]") {
  const Variable x(Tensor::zeros({2, 3, 4}, DType::f64), true);
  const Variable y = scale(x, 1);  // gradients of results and of leaves are stored in the same way
  for (const Variable& input : {x, y}) {
    Variable(x).zero_grad();
    const Variable root =
        sum(record("parts", x.value().clone(), {input}, [](const Tensor& dy, auto& dx) {
          CHECK(dx.shape() == Shape{2, 3, 4});
          CHECK(dx.as_matrix().shape == Shape{6, 4});
          CHECK(dx.as_matrix().data == MutableView(dx).data);
          add_scaled(dy, 1, dx);
          dx.add_slice(1, Tensor::full({1, 3, 4}, 10, DType::f64));
          const MutableView sum = dx.sum();
          kernels::run(kernels::LinearCombination{.a = sum, .b = sum, .out = sum});
        }));
    backward(root);
    const Tensor gradient = x.grad();
    CHECK(gradient.data<double>()[0] == 1);
    CHECK(gradient.data<double>()[12] == 21);  // 2 * 10 in the sum, and what the kernel wrote
  }
}

TEST_CASE("input gradients: a backward function that throws adds no gradients", "[autograd]") {
  const Variable x = leaf_of({1});
  const Variable bad = record("bad", x.value().clone(), {x}, [](const Tensor& dy, auto& dx) {
    add_scaled(dy, 1, dx);
    throw ShapeError("refused");
  });
  CHECK_THROWS_AS(backward(sum(bad)), ShapeError);
  CHECK_FALSE(x.gradient().defined());
}

TEST_CASE("input gradients: a leaf whose shape has changed is refused", "[autograd]") {
  Variable x = leaf_of({1, 2, 3});
  const Variable root = sum(relu(x));
  x.value() = Tensor::zeros({2}, DType::f64);
  CHECK_THROWS_AS(backward(root), ShapeError);
}

TEST_CASE("upstream gradients: a loss detects that backward() started at it", "[autograd]") {
  const Variable x = leaf_of({5});
  bool is_one = false;
  const auto loss = [&] {
    return record("loss", Tensor::full({}, 5, DType::f64), {x},
                  [&](const UpstreamGradient& dy, auto& dx) {
                    is_one = dy.is_one();
                    dx.add(dy.reshape({1}));
                  });
  };
  backward(loss());
  CHECK(is_one);
  backward(scale(loss(), 2));
  CHECK_FALSE(is_one);
  backward(scale(loss(), 1));  // read from memory: the CPU does not wait
  CHECK(is_one);
  backward(loss(), Tensor::full({}, 3, DType::f64));
  CHECK_FALSE(is_one);
  CHECK(doubles(x.grad()) == Numbers{1 + 2 + 1 + 3});
}

TEST_CASE("upstream gradients: each result has its own, undefined where nothing depends on it",
          "[autograd]") {
  const Variable x = leaf_of({1, 2});
  const auto split = [&] {
    return record("split", {x.value().clone(), x.value().clone(), x.value().clone()}, {x},
                  [](const Tensor& da, const Tensor& db, const Tensor& dc, auto& dx) {
                    CHECK(View(db).data == nullptr);
                    add_scaled(da, 1, dx);
                    dx.add(dc);
                  });
  };
  const std::array<Variable, 3> parts = split();
  backward(sum(add(scale(parts[0], 10), parts[2])));
  CHECK(doubles(x.grad()) == Numbers{11, 11});
}
