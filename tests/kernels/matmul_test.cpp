/// Matrix product against the triple loop in double.

#include "refrain/kernels/matmul.hpp"
#include "refrain/kernels/run.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

struct MatmulSize {
  std::int64_t m, n, k;
};

template <class T>
void check_matmul(const MatmulSize& size, bool transpose_a, bool transpose_b, bool with_bias) {
  const auto [m, n, k] = size;
  INFO("[" << m << "," << k << "] x [" << k << "," << n << "]"
           << (transpose_a ? ", a transposed" : "") << (transpose_b ? ", b transposed" : "")
           << (with_bias ? ", bias" : ""));
  const Tensor a = random_tensor<T>(transpose_a ? Shape{k, m} : Shape{m, k}, 1);
  const Tensor b = random_tensor<T>(transpose_b ? Shape{n, k} : Shape{k, n}, 2);
  const Tensor bias = random_tensor<T>({n}, 3);
  const Shape output{m, n};
  const auto got = same_for_any_threads([&] {
    Tensor c = garbage<T>(output);
    kernels::Matmul args{.a = a, .b = b, .c = c};
    if (with_bias) args.bias = bias;
    args.transpose_a = transpose_a;
    args.transpose_b = transpose_b;
    kernels::run(args);
    return std::vector<Tensor>{c};
  });
  const auto expected =
      naive::matmul(doubles(a), doubles(b), with_bias ? doubles(bias) : std::vector<double>(), m, n,
                    k, transpose_a, transpose_b);
  check_close<T>(got[0], expected, tolerance::sum<T>);
}

}  // namespace

TEMPLATE_TEST_CASE("matmul: equals the triple loop, transposed or not, with and without bias",
                   "[kernel][matmul]", float, double) {
  // Empty axes, single rows and columns, primes, sizes around a tile, and a long inner axis, which
  // is split.
  const MatmulSize cases[] = {{0, 3, 2},      {3, 0, 2},      {3, 2, 0},     {1, 1, 1},
                              {1, 64, 31},    {67, 1, 13},    {5, 7, 11},    {31, 32, 33},
                              {64, 64, 64},   {255, 257, 19}, {256, 256, 8}, {300, 70, 5},
                              {17, 13, 5003}, {1, 1, 5000}};
  for (const MatmulSize& size : cases) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true})
        check_matmul<TestType>(size, transpose_a, transpose_b, transpose_b);
    }
    check_matmul<TestType>(size, false, false, true);
  }
}

TEMPLATE_TEST_CASE("matmul: many tiles and a long inner axis", "[kernel][matmul]", float, double) {
  check_matmul<TestType>({600, 530, 70}, false, false, true);
  check_matmul<TestType>({64, 96, 8192}, true, false, true);
  check_matmul<TestType>({257, 31, 1025}, false, true, false);
}

TEST_CASE("matmul: NaN in other rows does not change a row of the result", "[kernel][matmul]") {
  Tensor a = random_tensor<float>({40, 9}, 1);
  const Tensor b = random_tensor<float>({9, 21}, 2);
  const auto run = [&] {
    Tensor c({40, 21}, DType::f32);
    kernels::run<kernels::Matmul>({.a = a, .b = b, .c = c});
    return c;
  };
  const Tensor before = run();
  a.data<float>()[9 * 20] = std::nanf("");
  const Tensor after = run();
  CHECK(same_bytes(before.slice(0, 20), after.slice(0, 20)));
  CHECK(same_bytes(before.slice(21, 40), after.slice(21, 40)));
  for (const double value : doubles(after.slice(20, 21))) CHECK(std::isnan(value));
}
