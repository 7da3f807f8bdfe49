#pragma once
/// Contracts of element-by-element operations. An output may be one of its inputs. Device: cpu,
/// cuda (f32, f64).

#include <cstdint>

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// gelu(x) = 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
enum class UnaryFunction : std::uint8_t { relu, gelu, sigmoid, tanh };

/// y = function(x).
struct UnaryForward {
  static constexpr const char* name = "unary_forward";
  View x{};
  MutableView y{};
  UnaryFunction function = UnaryFunction::relu;

  Device device() const noexcept { return x.device; }
};

/// dx = dy * function'(x).
struct UnaryBackward {
  static constexpr const char* name = "unary_backward";
  View x{};
  View dy{};
  MutableView dx{};
  UnaryFunction function = UnaryFunction::relu;

  Device device() const noexcept { return dy.device; }
};

/// out = alpha * a + beta * b; without b out = alpha * a.
struct LinearCombination {
  static constexpr const char* name = "linear_combination";
  View a{};
  View b{};
  MutableView out{};
  double alpha = 1;
  double beta = 1;

  Device device() const noexcept { return a.device; }
};

/// out = a * b.
struct Multiply {
  static constexpr const char* name = "multiply";
  View a{};
  View b{};  ///< the shape of a, or one element that multiplies all elements of a
  MutableView out{};

  Device device() const noexcept { return a.device; }
};

/// out[0] = sum_i a[i] * b[i] in a fixed order; without b out[0] = sum_i a[i].
struct Dot {
  static constexpr const char* name = "dot";
  View a{};
  View b{};
  MutableView out{};  ///< one element, same dtype

  Device device() const noexcept { return a.device; }
};

/// y = x * mask / keep, mask = 1 with probability keep, else 0; 0 < keep <= 1. Element i uses
/// 32-bit word i % 4 of Philox block position + i / 4 of (seed, stream) and is kept when word <
/// keep * 2^32. The backward pass is the same call on dy.
struct Dropout {
  static constexpr const char* name = "dropout";
  View x{};
  MutableView y{};
  double keep = 1;
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;
  std::uint64_t position = 0;
  /// empty, or [1] i64: read when the kernel runs and added to position, so that each run of a
  /// captured call draws new numbers
  View shift{};

  Device device() const noexcept { return x.device; }
};

}  // namespace refrain::kernels
