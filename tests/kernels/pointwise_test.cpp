/// Element-wise kernels against scalar formulas in double.

#include <functional>
#include <limits>

#include "refrain/kernels/pointwise.hpp"
#include "refrain/kernels/run.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;
using kernels::UnaryFunction;

namespace {

const std::int64_t lengths[] = {0, 1, 3, 15, 16, 17, 127, 128, 129, 1009, 100003};

std::vector<double> mapped(const std::vector<double>& x,
                           const std::function<double(double)>& function) {
  std::vector<double> y;
  for (const double value : x) y.push_back(function(value));
  return y;
}

struct Known {
  UnaryFunction function;
  const char* name;
  double (*value)(double);
};

const Known functions[] = {
    {UnaryFunction::relu, "relu", [](double x) { return x > 0 ? x : 0.0; }},
    {UnaryFunction::gelu, "gelu", naive::gelu},
    {UnaryFunction::sigmoid, "sigmoid", naive::sigmoid},
    {UnaryFunction::tanh, "tanh", [](double x) { return std::tanh(x); }},
};

template <class T>
Tensor unary(const Tensor& x, UnaryFunction function) {
  Tensor y = garbage<T>(x.shape());
  kernels::run<kernels::UnaryForward>({.x = x.view(), .y = y.mutable_view(), .function = function});
  return y;
}

template <class T>
Tensor unary_gradient(const Tensor& x, const Tensor& dy, UnaryFunction function) {
  Tensor dx = garbage<T>(x.shape());
  kernels::run<kernels::UnaryBackward>(
      {.x = x.view(), .dy = dy.view(), .dx = dx.mutable_view(), .function = function});
  return dx;
}

}  // namespace

TEMPLATE_TEST_CASE("unary: values are the formula's", "[kernel][pointwise]", float, double) {
  using T = TestType;
  for (const Known& known : functions) {
    for (const std::int64_t count : lengths) {
      INFO(known.name << " of " << count);
      const Tensor x = random_tensor<T>({count}, 1, 3);
      const auto got =
          same_for_any_threads([&] { return std::vector<Tensor>{unary<T>(x, known.function)}; });
      check_close<T>(got[0], mapped(doubles(x), known.value), tolerance::element<T>);
    }
  }
}

TEMPLATE_TEST_CASE("unary: gradients are the central differences of the formula",
                   "[kernel][pointwise][grad]", float, double) {
  using T = TestType;
  for (const Known& known : functions) {
    for (const std::int64_t count : lengths) {
      INFO(known.name << " of " << count);
      const Tensor x = random_tensor<T>({count}, 2, 2);
      const Tensor dy = random_tensor<T>({count}, 3);
      const auto got = same_for_any_threads(
          [&] { return std::vector<Tensor>{unary_gradient<T>(x, dy, known.function)}; });
      const auto upstream = doubles(dy);
      const auto at = doubles(x);
      std::vector<double> expected;
      for (std::size_t i = 0; i < at.size(); ++i) {
        const double step = 1e-5;
        // At the kink of relu the two sides differ; the kernel's convention there has its own test.
        const bool kink = known.function == UnaryFunction::relu && std::abs(at[i]) <= step;
        const double slope = (known.value(at[i] + step) - known.value(at[i] - step)) / (2 * step);
        expected.push_back(upstream[i] * (kink ? (at[i] > 0 ? 1.0 : 0.0) : slope));
      }
      check_close<T>(
          got[0], expected,
          tolerance::pick<T>({5e-6, 1e-6}, {1e-9, 1e-9}));  // f64: the differences' own error
    }
  }
}

TEMPLATE_TEST_CASE("unary: far from zero, at zero and for NaN", "[kernel][pointwise]", float,
                   double) {
  using T = TestType;
  const T nan = std::numeric_limits<T>::quiet_NaN(), infinity = std::numeric_limits<T>::infinity();
  const Tensor x = Tensor::from<T>({8}, {-1000, -100, -20, 0, 20, 100, 1000, nan});
  check_close<T>(unary<T>(x, UnaryFunction::relu), {0, 0, 0, 0, 20, 100, 1000, nan},
                 tolerance::exact);
  check_close<T>(unary<T>(x, UnaryFunction::sigmoid),
                 {0, 0, 2.0611536181902037e-9, 0.5, 1 - 2.0611536181902037e-9, 1, 1, nan},
                 tolerance::element<T>);
  check_close<T>(unary<T>(x, UnaryFunction::tanh), {-1, -1, -1, 0, 1, 1, 1, nan},
                 tolerance::element<T>);
  check_close<T>(unary<T>(x, UnaryFunction::gelu), {0, 0, 0, 0, 20, 100, 1000, nan},
                 tolerance::element<T>);
  const Tensor ends = Tensor::from<T>({2}, {-infinity, infinity});
  check_close<T>(unary<T>(ends, UnaryFunction::sigmoid), {0, 1}, tolerance::exact);
  check_close<T>(unary<T>(ends, UnaryFunction::tanh), {-1, 1}, tolerance::exact);
  const Tensor zero = Tensor::zeros({1}, dtype_of<T>), one = Tensor::full({1}, 1, dtype_of<T>);
  check_close<T>(unary_gradient<T>(zero, one, UnaryFunction::relu), {0}, tolerance::exact);
  check_close<T>(unary_gradient<T>(zero, one, UnaryFunction::gelu), {0.5}, tolerance::element<T>);
  check_close<T>(unary_gradient<T>(zero, one, UnaryFunction::sigmoid), {0.25},
                 tolerance::element<T>);
  check_close<T>(unary_gradient<T>(zero, one, UnaryFunction::tanh), {1}, tolerance::element<T>);
}

TEMPLATE_TEST_CASE("unary: tanh keeps its relative accuracy near zero", "[kernel][pointwise]",
                   float, double) {
  using T = TestType;
  Tensor x({4001}, dtype_of<T>);
  for (std::int64_t i = 0; i < 4001; ++i)
    x.data<T>()[i] = static_cast<T>(std::pow(10.0, -6 + static_cast<double>(i) / 500));
  const auto expected = mapped(doubles(x), [](double v) { return std::tanh(v); });
  check_close<T>(unary<T>(x, UnaryFunction::tanh), expected, {tolerance::element<T>.relative, 0});
}

TEMPLATE_TEST_CASE("unary: an element's value does not depend on its place", "[kernel][pointwise]",
                   float, double) {
  using T = TestType;
  const Tensor x = random_tensor<T>({37}, 4);
  for (const Known& known : functions) {
    const Tensor all = unary<T>(x, known.function);
    for (std::int64_t i = 0; i < 37; ++i)
      CHECK(same_bytes(unary<T>(x.slice(i, i + 1), known.function), all.slice(i, i + 1)));
  }
}

TEMPLATE_TEST_CASE("linear_combination: alpha a + beta b, also in place", "[kernel][pointwise]",
                   float, double) {
  using T = TestType;
  for (const std::int64_t count : lengths) {
    const Tensor a = random_tensor<T>({count}, 5), b = random_tensor<T>({count}, 6);
    const auto va = doubles(a), vb = doubles(b);
    std::vector<double> both, alone;
    for (std::size_t i = 0; i < va.size(); ++i) {
      both.push_back(0.75 * va[i] - 1.5 * vb[i]);
      alone.push_back(0.75 * va[i]);
    }
    const auto got = same_for_any_threads([&] {
      Tensor out = garbage<T>({count}), scaled = garbage<T>({count}), in_a = a.clone(),
             in_b = b.clone();
      kernels::run<kernels::LinearCombination>(
          {.a = a.view(), .b = b.view(), .out = out.mutable_view(), .alpha = 0.75, .beta = -1.5});
      kernels::run<kernels::LinearCombination>(
          {.a = a.view(), .out = scaled.mutable_view(), .alpha = 0.75});
      kernels::run<kernels::LinearCombination>({.a = in_a.view(),
                                                .b = b.view(),
                                                .out = in_a.mutable_view(),
                                                .alpha = 0.75,
                                                .beta = -1.5});
      kernels::run<kernels::LinearCombination>({.a = a.view(),
                                                .b = in_b.view(),
                                                .out = in_b.mutable_view(),
                                                .alpha = 0.75,
                                                .beta = -1.5});
      return std::vector<Tensor>{out, scaled, in_a, in_b};
    });
    check_close<T>(got[0], both, tolerance::element<T>);
    check_close<T>(got[1], alone, tolerance::element<T>);
    CHECK(same_bytes(got[2], got[0]));
    CHECK(same_bytes(got[3], got[0]));
  }
}

TEMPLATE_TEST_CASE("multiply: element by element", "[kernel][pointwise]", float, double) {
  using T = TestType;
  for (const std::int64_t count : lengths) {
    const Tensor a = random_tensor<T>({count}, 7), b = random_tensor<T>({count}, 8);
    const auto va = doubles(a), vb = doubles(b);
    std::vector<double> expected;
    for (std::size_t i = 0; i < va.size(); ++i) expected.push_back(va[i] * vb[i]);
    const auto got = same_for_any_threads([&] {
      Tensor out = garbage<T>({count});
      kernels::run<kernels::Multiply>({.a = a.view(), .b = b.view(), .out = out.mutable_view()});
      return std::vector<Tensor>{out};
    });
    check_close<T>(got[0], expected, tolerance::element<T>);
  }
}

TEST_CASE("dropout: a shift moves the position", "[kernel][pointwise]") {
  const Tensor x = random_tensor<float>({1000}, 1);
  for (const std::int64_t moved :
       {std::int64_t{0}, std::int64_t{5}, std::int64_t{1} << 40, std::int64_t{-3}}) {
    Tensor expected = garbage<float>({1000}), got = garbage<float>({1000});
    const Tensor shift = Tensor::from<std::int64_t>({1}, {moved});
    kernels::run<kernels::Dropout>(
        {.x = x.view(),
         .y = expected.mutable_view(),
         .keep = 0.5,
         .seed = 3,
         .stream = 4,
         .position = std::uint64_t{100} + static_cast<std::uint64_t>(moved)});
    kernels::run<kernels::Dropout>({.x = x.view(),
                                    .y = got.mutable_view(),
                                    .keep = 0.5,
                                    .seed = 3,
                                    .stream = 4,
                                    .position = 100,
                                    .shift = shift.view()});
    CHECK(same_bytes(got, expected));
  }
}

TEMPLATE_TEST_CASE("multiply: by one element", "[kernel][pointwise]", float, double) {
  using T = TestType;
  for (const std::int64_t count : lengths) {
    const Tensor a = random_tensor<T>({count}, 7), factor = random_tensor<T>({}, 8);
    std::vector<double> expected = doubles(a);
    for (double& value : expected) value *= doubles(factor)[0];
    const auto got = same_for_any_threads([&] {
      Tensor out = garbage<T>({count}), in_place = a.clone();
      kernels::run<kernels::Multiply>(
          {.a = a.view(), .b = factor.view(), .out = out.mutable_view()});
      kernels::run<kernels::Multiply>(
          {.a = in_place.view(), .b = factor.view(), .out = in_place.mutable_view()});
      return std::vector<Tensor>{out, in_place};
    });
    check_close<T>(got[0], expected, tolerance::element<T>);
    CHECK(same_bytes(got[0], got[1]));
  }
}

TEMPLATE_TEST_CASE("dot: inner product and plain sum", "[kernel][pointwise]", float, double) {
  using T = TestType;
  for (const std::int64_t count : lengths) {
    const Tensor a = random_tensor<T>({count}, 9), b = random_tensor<T>({count}, 10);
    const auto va = doubles(a), vb = doubles(b);
    const auto got = same_for_any_threads([&] {
      Tensor product = garbage<T>({1}), sum = garbage<T>({1});
      kernels::run<kernels::Dot>({.a = a.view(), .b = b.view(), .out = product.mutable_view()});
      kernels::run<kernels::Dot>({.a = a.view(), .out = sum.mutable_view()});
      return std::vector<Tensor>{product, sum};
    });
    check_close<T>(got[0], {std::inner_product(va.begin(), va.end(), vb.begin(), 0.0)},
                   tolerance::sum<T>);
    check_close<T>(got[1], {std::accumulate(va.begin(), va.end(), 0.0)}, tolerance::sum<T>);
  }
}

TEMPLATE_TEST_CASE("dropout: keeps what the words of Philox say", "[kernel][pointwise]", float,
                   double) {
  using T = TestType;
  const std::uint64_t seed = 42, stream = 7, position = 1000;
  for (const std::int64_t count : lengths) {
    const Tensor x = random_tensor<T>({count}, 11);
    const auto values = doubles(x);
    for (const double keep : {0.1, 0.5, 0.9, 1.0}) {
      const auto got = same_for_any_threads([&] {
        Tensor y = garbage<T>({count});
        kernels::run<kernels::Dropout>({.x = x.view(),
                                        .y = y.mutable_view(),
                                        .keep = keep,
                                        .seed = seed,
                                        .stream = stream,
                                        .position = position});
        return std::vector<Tensor>{y};
      });
      std::vector<double> expected;
      std::int64_t kept = 0;
      for (std::uint64_t i = 0; i < values.size(); ++i) {
        const bool keeps = philox(seed, stream, position + i / 4)[i % 4] < keep * 4294967296.0;
        expected.push_back(keeps ? values[i] / keep : 0.0);
        kept += keeps ? 1 : 0;
      }
      check_close<T>(got[0], expected, tolerance::element<T>);
      if (count > 100000) {
        // Five standard deviations of a binomial share.
        CHECK(std::abs(static_cast<double>(kept) / static_cast<double>(count) - keep) <=
              5 * std::sqrt(keep * (1 - keep) / static_cast<double>(count)));
      }
    }
  }
}

TEST_CASE("pointwise: an output may be an input", "[kernel][pointwise]") {
  const Tensor x = random_tensor<float>({1009}, 12), dy = random_tensor<float>({1009}, 13);
  for (const Known& known : functions) {
    Tensor y = x.clone(), dx = dy.clone();
    kernels::run<kernels::UnaryForward>(
        {.x = y.view(), .y = y.mutable_view(), .function = known.function});
    CHECK(same_bytes(y, unary<float>(x, known.function)));
    kernels::run<kernels::UnaryBackward>(
        {.x = x.view(), .dy = dx.view(), .dx = dx.mutable_view(), .function = known.function});
    CHECK(same_bytes(dx, unary_gradient<float>(x, dy, known.function)));
  }
  Tensor apart({1009}, DType::f32), in_place = x.clone();
  kernels::run<kernels::Dropout>(
      {.x = x.view(), .y = apart.mutable_view(), .keep = 0.5, .seed = 3});
  kernels::run<kernels::Dropout>(
      {.x = in_place.view(), .y = in_place.mutable_view(), .keep = 0.5, .seed = 3});
  CHECK(same_bytes(in_place, apart));
}

TEST_CASE("pointwise: integers are refused", "[kernel][pointwise]") {
  const Tensor a = Tensor::zeros({3}, DType::i32);
  Tensor out({3}, DType::i32);
  CHECK_THROWS_MATCHES(
      kernels::run<kernels::Multiply>({.a = a.view(), .b = a.view(), .out = out.mutable_view()}),
      DTypeError, message_contains("multiply: expected f32 or f64, got i32"));
}
