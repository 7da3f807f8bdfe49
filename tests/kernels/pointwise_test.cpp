/// Element-by-element kernels against scalar formulas in double: no element, one, sizes around a
/// vector, several tasks.

#include <cstring>

#include "support/cases/pointwise.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

const std::int64_t lengths[] = {0, 1, 3, 15, 16, 17, 127, 128, 129, 1009, 100003};

}  // namespace

TEMPLATE_TEST_CASE("unary: values equal the formula", "[kernel][pointwise]", float, double) {
  for (const std::int64_t count : lengths) check_unary<CpuBackend, TestType>(count);
}

TEMPLATE_TEST_CASE("unary: gradients are the central differences of the formula",
                   "[kernel][pointwise][grad]", float, double) {
  for (const std::int64_t count : lengths) check_unary_gradient<CpuBackend, TestType>(count);
}

TEMPLATE_TEST_CASE("unary: far from zero, at zero and for NaN", "[kernel][pointwise]", float,
                   double) {
  check_unary_corners<CpuBackend, TestType>();
}

TEMPLATE_TEST_CASE("unary: tanh keeps its relative accuracy near zero", "[kernel][pointwise]",
                   float, double) {
  using T = TestType;
  std::vector<T> x;
  naive::Values expected;
  for (int i = 0; i < 4001; ++i) {
    x.push_back(static_cast<T>(std::pow(10.0, -6 + static_cast<double>(i) / 500)));
    expected.push_back(std::tanh(static_cast<double>(x.back())));
  }
  check_close<T>(unary<CpuBackend, T>(x, UnaryFunction::tanh).span(), expected,
                 {tolerance::element<T>.relative, 0});
}

TEMPLATE_TEST_CASE("unary: an element's value does not depend on its place", "[kernel][pointwise]",
                   float, double) {
  using T = TestType;
  const std::vector<T> x = random_array<T, Device::cpu>({37}, 4).values();
  for (const UnaryFormula& known : unary_formulas) {
    const auto all = unary<CpuBackend, T>(x, known.function);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto one = unary<CpuBackend, T>({x[i]}, known.function);
      CHECK(std::memcmp(one.data(), all.data() + i, sizeof(T)) == 0);
    }
  }
}

TEMPLATE_TEST_CASE("linear_combination and multiply: the formulas, also in place",
                   "[kernel][pointwise]", float, double) {
  for (const std::int64_t count : lengths)
    check_linear_combination_and_multiply<CpuBackend, TestType>(count);
}

TEST_CASE("dropout: a shift is added to the position", "[kernel][pointwise]") {
  const Tensor x = random_tensor<float>({1000}, 1);
  for (const std::int64_t moved :
       {std::int64_t{0}, std::int64_t{5}, std::int64_t{1} << 40, std::int64_t{-3}}) {
    Tensor expected = garbage<float>({1000}), got = garbage<float>({1000});
    const Tensor shift = Tensor::from<std::int64_t>({1}, {moved});
    kernels::run<kernels::Dropout>(
        {.x = x,
         .y = expected,
         .keep = 0.5,
         .seed = 3,
         .stream = 4,
         .position = std::uint64_t{100} + static_cast<std::uint64_t>(moved)});
    kernels::run<kernels::Dropout>(
        {.x = x, .y = got, .keep = 0.5, .seed = 3, .stream = 4, .position = 100, .shift = shift});
    CHECK(same_bytes(got, expected));
  }
}

TEMPLATE_TEST_CASE("dot: inner product and plain sum", "[kernel][pointwise]", float, double) {
  for (const std::int64_t count : lengths) check_dot<CpuBackend, TestType>(count);
}

TEMPLATE_TEST_CASE("dropout: keeps the elements that the words of Philox select",
                   "[kernel][pointwise]", float, double) {
  for (const std::int64_t count : lengths) {
    for (const double keep : {0.1, 0.5, 0.9, 1.0}) check_dropout<CpuBackend, TestType>(count, keep);
  }
}

TEST_CASE("pointwise: an output may be an input", "[kernel][pointwise]") {
  const auto x = random_array<float, Device::cpu>({1009}, 12),
             dy = random_array<float, Device::cpu>({1009}, 13);
  for (const UnaryFormula& known : unary_formulas) {
    auto y = random_array<float, Device::cpu>({1009}, 12),
         dx = random_array<float, Device::cpu>({1009}, 13);
    kernels::run(kernels::UnaryForward{.x = y, .y = y, .function = known.function});
    CHECK(same_bytes(y, unary<CpuBackend, float>(x.values(), known.function)));
    kernels::run(kernels::UnaryBackward{.x = x, .dy = dx, .dx = dx, .function = known.function});
    CHECK(same_bytes(dx, unary<CpuBackend, float>(x.values(), known.function, &dy)));
  }
  GuardedArray<float, Device::cpu> apart({1009});
  auto in_place = random_array<float, Device::cpu>({1009}, 12);
  for (const auto& [from, to] :
       {std::pair{x.view(), apart.mutable_view()}, {in_place.view(), in_place.mutable_view()}})
    kernels::run(kernels::Dropout{.x = from, .y = to, .keep = 0.5, .seed = 3});
  CHECK(same_bytes(in_place, apart));
}

TEST_CASE("pointwise: integers are refused", "[kernel][pointwise]") {
  check_integers_are_refused<CpuBackend>();
}
