#pragma once
/// The tolerances of all numeric tests, and the comparison that uses them.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

#include "refrain/core/tensor.hpp"
#include "support/catch.hpp"

namespace refrain::test {

/// Limit of |got - expected|:
///     relative * |expected| + absolute * max(1, largest |expected| of the array).
struct Tolerance {
  double relative;
  double absolute;
};

namespace tolerance {

template <class T>
constexpr Tolerance pick(Tolerance f32, Tolerance f64) {
  return std::is_same_v<T, float> ? f32 : f64;
}

/// Copies, maxima: bit-identical.
inline constexpr Tolerance exact{0, 0};

/// Few operations for each element, including exponentials.
template <class T>
inline constexpr Tolerance element = pick<T>({2e-6, 5e-7}, {4e-15, 1e-15});

/// Sums of up to some thousand terms; the absolute part covers cancellation.
template <class T>
inline constexpr Tolerance sum = pick<T>({5e-6, 5e-6}, {2e-14, 2e-14});

}  // namespace tolerance

/// Checks every element; the failure names the worst one.
template <class T>
void check_close(std::span<const T> got, std::span<const double> expected, Tolerance allowed) {
  REQUIRE(got.size() == expected.size());
  double largest = 1;
  for (const double value : expected) {
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  }
  std::size_t worst = 0;
  double worst_excess = -1;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double value = static_cast<double>(got[i]);
    if (value == expected[i] || (std::isnan(value) && std::isnan(expected[i]))) continue;
    const double bound = allowed.relative * std::abs(expected[i]) + allowed.absolute * largest;
    const double difference = std::abs(value - expected[i]);
    const double excess =
        difference <= bound
            ? 0
            : (bound > 0 && std::isfinite(difference) ? difference / bound : HUGE_VAL);
    if (excess > worst_excess) {
      worst_excess = excess;
      worst = i;
    }
  }
  if (worst_excess > 0) {
    FAIL_CHECK("element " << worst << " of " << got.size() << ": got "
                          << static_cast<double>(got[worst]) << ", expected " << expected[worst]
                          << "; " << worst_excess << " times the tolerance (relative "
                          << allowed.relative << ", absolute " << allowed.absolute << ")");
  } else {
    SUCCEED();
  }
}

template <class T>
void check_close(const Tensor& got, const std::vector<double>& expected, Tolerance allowed) {
  check_close<T>(got.span<T>(), std::span<const double>(expected), allowed);
}

}  // namespace refrain::test
