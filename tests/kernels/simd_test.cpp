/// Vector functions of the CPU kernels against the standard library.

#include "kernels/simd.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/catch.hpp"

namespace {

using refrain::kernels::cpu::Lanes;

float vector_exp(float x) {
  float out[refrain::kernels::cpu::extent(Lanes<float>::count)];
  Lanes<float>::store(out, refrain::kernels::cpu::exp(Lanes<float>::broadcast(x)));
  return out[Lanes<float>::count - 1];
}

}  // namespace

TEST_CASE("simd: exp is within two units in the last place", "[kernel]") {
  double worst = 0;
  for (std::int64_t i = 0; i <= 1'000'000; ++i) {
    const float x = static_cast<float>(-87.3 + 176.0 * static_cast<double>(i) / 1e6);
    const double expected = std::exp(static_cast<double>(x));
    const float rounded = static_cast<float>(expected);
    const double unit =
        static_cast<double>(std::nextafter(rounded, HUGE_VALF)) - static_cast<double>(rounded);
    worst = std::max(worst, std::abs(static_cast<double>(vector_exp(x)) - expected) / unit);
  }
  INFO("worst error in units: " << worst);
  CHECK(worst <= 2.0);
}

TEST_CASE("simd: exp saturates and keeps NaN", "[kernel]") {
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(vector_exp(-infinity) == 0.0f);
  CHECK(vector_exp(-1000.0f) == 0.0f);
  CHECK(vector_exp(0.0f) == 1.0f);
  CHECK(vector_exp(infinity) == infinity);
  CHECK(vector_exp(89.0f) == infinity);
  CHECK(std::isnan(vector_exp(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("simd: GELU and its derivative agree with the tanh form in double", "[kernel]") {
  using refrain::kernels::cpu::gelu;
  using refrain::kernels::cpu::gelu_derivative;
  const auto exact = [](double x) {
    return 0.5 * x *
           (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
  };
  for (double x = -12; x <= 12; x += 0.01) {
    const double slope = (exact(x + 1e-5) - exact(x - 1e-5)) / 2e-5;
    float value[refrain::kernels::cpu::extent(Lanes<float>::count)];
    float derivative[refrain::kernels::cpu::extent(Lanes<float>::count)];
    const auto lanes = Lanes<float>::broadcast(static_cast<float>(x));
    Lanes<float>::store(value, gelu<float>(lanes));
    Lanes<float>::store(derivative, gelu_derivative<float>(lanes));
    INFO("x = " << x);
    CHECK(std::abs(static_cast<double>(value[0]) - exact(x)) <= 2e-6 * (1 + std::abs(x)));
    CHECK(std::abs(static_cast<double>(derivative[0]) - slope) <= 5e-6);
    CHECK(std::abs(gelu<double>(x) - exact(x)) <= 1e-13 * (1 + std::abs(x)));
  }
}

TEMPLATE_TEST_CASE("simd: square blocks are transposed", "[kernel]", float, double) {
  using T = TestType;
  constexpr int count = Lanes<T>::count;
  constexpr int from_stride = count + 3, to_stride = count + 1;
  std::vector<T> from(count * from_stride), to(count * to_stride, T{-1});
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<T>(i);
  refrain::kernels::cpu::transpose_square(from.data(), from_stride, to.data(), to_stride);
  for (int i = 0; i < count; ++i) {
    for (int j = 0; j < count; ++j) {
      CHECK(to[static_cast<std::size_t>(i * to_stride + j)] ==
            from[static_cast<std::size_t>(j * from_stride + i)]);
    }
    CHECK(to[static_cast<std::size_t>(i * to_stride + count)] == T{-1});
  }
}
