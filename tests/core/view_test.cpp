/// Tensors and Variables as arguments of kernels.

#include <type_traits>

#include "refrain/autograd/variable.hpp"
#include "support/catch.hpp"

namespace {

using namespace refrain;

// Everything can be read; only a non-const, named tensor can be written.
static_assert(std::is_convertible_v<const Tensor&, View>);
static_assert(std::is_convertible_v<Tensor, View>);
static_assert(std::is_convertible_v<const Variable&, View>);
static_assert(std::is_convertible_v<MutableView, View>);
static_assert(std::is_convertible_v<Tensor&, MutableView>);
static_assert(!std::is_convertible_v<const Tensor&, MutableView>);
static_assert(!std::is_convertible_v<Tensor, MutableView>);
static_assert(!std::is_convertible_v<Variable&, MutableView>);
static_assert(!std::is_convertible_v<View, MutableView>);
// There is no conversion to bool, nor from a Tensor to a Variable.
static_assert(!std::is_constructible_v<bool, const Tensor&>);
static_assert(!std::is_constructible_v<bool, const Variable&>);
static_assert(!std::is_convertible_v<const Tensor&, Variable>);

struct Arguments {
  View a{};
  View b{};
  MutableView c{};
};

}  // namespace

TEST_CASE("views: tensors convert to arguments of kernels", "[core]") {
  const Tensor a = Tensor::full({2, 3}, 1, DType::f32);
  Tensor c({6}, DType::f64);
  const Arguments args{.a = a, .b = c.slice(2, 4), .c = c};
  CHECK(args.a.data == a.raw());
  CHECK(args.a.shape == Shape{2, 3});
  CHECK(args.a.dtype == DType::f32);
  CHECK(args.b.data == c.data<double>() + 2);
  CHECK(args.b.shape == Shape{2});
  CHECK(args.c.data == c.raw());
  CHECK(args.c.dtype == DType::f64);
}

TEST_CASE("views: an undefined tensor converts to an empty view", "[core]") {
  Tensor undefined;
  Tensor moved({2}, DType::f64);
  const Tensor taken = std::move(moved);
  const Arguments args{.a = undefined, .b = Variable(), .c = undefined};
  CHECK_FALSE(args.a);
  CHECK_FALSE(args.b);
  CHECK_FALSE(args.c);
  CHECK_FALSE(View(moved));
  CHECK_FALSE(View(Variable(Tensor())));
  CHECK(View(taken));
  CHECK(View(Variable(taken)).data == taken.raw());
}

TEST_CASE("tensors: empty_like and as_matrix", "[core]") {
  const Tensor x({2, 3, 4}, DType::f32);
  CHECK(empty_like(x).shape() == x.shape());
  CHECK_FALSE(empty_like(x).shares_storage_with(x));
  CHECK(empty_like(x).dtype() == DType::f32);
  CHECK(empty_like(x, {5}).shape() == Shape{5});
  CHECK_FALSE(empty_like(Tensor()).defined());
  CHECK(x.as_matrix().shape() == Shape{6, 4});
  CHECK(x.as_matrix().shares_storage_with(x));
  CHECK(Tensor({4}, DType::f32).as_matrix().shape() == Shape{1, 4});
  CHECK_THROWS_AS(Tensor({}, DType::f32).as_matrix(), ShapeError);
}
