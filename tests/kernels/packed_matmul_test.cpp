#include <array>

#include "refrain/autograd/gradcheck.hpp"
#include "refrain/ops/packed.hpp"
#include "refrain/ops/pointwise.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

namespace {
using namespace refrain;
using test::doubles;
using test::random_tensor;
}  // namespace

TEMPLATE_TEST_CASE("packed_matmul: against naive loops", "[kernel]", float, double) {
  using T = TestType;
  for (const auto& [rows, in, out] : {std::array<std::int64_t, 3>{1, 1, 1},
                                      {1, 37, 70},
                                      {7, 16, 33},
                                      {8, 3, 32},
                                      {9, 64, 17},
                                      {130, 20, 65},
                                      {64, 300, 12},
                                      {1, 5, 301},
                                      {2, 6, 160},
                                      {4, 40, 129}}) {
    INFO(rows << " x " << in << " x " << out);
    const Tensor x = random_tensor<T>({rows, in}, 1);
    const Tensor w = random_tensor<T>({out, in}, 2);
    const Tensor bias = random_tensor<T>({out}, 3);
    const std::vector<double> xs = doubles(x);
    const std::vector<double> ws = doubles(w);
    const std::vector<double> bs = doubles(bias);
    const std::vector<Tensor> results = test::same_for_any_threads([&] {
      const Variable weight(w, true);
      const PackedWeight packed = pack(weight);
      const Variable input(x, true);
      const Variable with = packed_linear(input, packed, Variable(bias));
      const Variable without = packed_linear(input, packed);
      backward(with, Tensor::full(with.shape(), 1, x.dtype()));
      return std::vector<Tensor>{with.value(), without.value(), input.grad().clone(),
                                 weight.grad().clone()};
    });
    const double tolerance = sizeof(T) == 4 ? 1e-5 * static_cast<double>(in + out + rows) : 1e-12;
    double worst = 0;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t o = 0; o < out; ++o) {
        double sum = 0;
        for (std::int64_t i = 0; i < in; ++i) {
          sum +=
              xs[static_cast<std::size_t>(r * in + i)] * ws[static_cast<std::size_t>(o * in + i)];
        }
        const auto at = static_cast<std::size_t>(r * out + o);
        worst = std::max(worst, std::abs(doubles(results[1])[at] - sum));
        worst = std::max(worst,
                         std::abs(doubles(results[0])[at] - sum - bs[static_cast<std::size_t>(o)]));
      }
    }
    for (std::int64_t i = 0; i < in; ++i) {
      double column = 0;
      for (std::int64_t o = 0; o < out; ++o) column += ws[static_cast<std::size_t>(o * in + i)];
      double sum = 0;
      for (std::int64_t r = 0; r < rows; ++r) sum += xs[static_cast<std::size_t>(r * in + i)];
      worst = std::max(worst, std::abs(doubles(results[2])[static_cast<std::size_t>(i)] - column));
      worst = std::max(worst, std::abs(doubles(results[3])[static_cast<std::size_t>(i)] - sum));
    }
    CHECK(worst <= tolerance);
  }
}

TEST_CASE("gradcheck: packed_linear used several times", "[ops][grad]") {
  const Variable x(random_tensor<double>({2, 3, 4}, 1), true);
  const Variable y(random_tensor<double>({5, 4}, 2), true);
  const Variable weight(random_tensor<double>({6, 4}, 3), true);
  const Variable bias(random_tensor<double>({6}, 4), true);
  const auto weighted = [](const Variable& v) {
    return dot(v, Variable(random_tensor<double>(v.shape(), 99)));
  };
  CHECK(gradcheck(
            [&] {
              const PackedWeight packed = pack(weight);
              return weighted(packed_linear(x, packed, bias)) + weighted(packed_linear(y, packed));
            },
            {x, y, weight, bias}) == "");
}

TEST_CASE("packed_linear: invalid arguments are rejected", "[ops][errors]") {
  const PackedWeight packed = pack(Variable(random_tensor<float>({6, 4}, 3)));
  CHECK_THROWS_AS(packed_linear(Variable(random_tensor<float>({2, 5}, 1)), packed), ShapeError);
  CHECK_THROWS_AS(packed_linear(Variable(random_tensor<double>({2, 4}, 1)), packed), DTypeError);
  CHECK_THROWS_AS(pack(Variable(random_tensor<float>({6}, 3))), ShapeError);
}

TEST_CASE("packed_matmul: a row's bits do not depend on other rows", "[kernel]") {
  const Tensor x = random_tensor<float>({11, 45}, 1);
  const PackedWeight packed = pack(Variable(random_tensor<float>({203, 45}, 2)));
  const Tensor all = packed_linear(Variable(x), packed).value();
  for (const std::int64_t rows : {1, 2, 3, 4, 5, 8}) {
    INFO(rows << " rows");
    CHECK(test::same_bytes(packed_linear(Variable(x.slice(0, rows)), packed).value(),
                           all.slice(0, rows).clone()));
  }
}
