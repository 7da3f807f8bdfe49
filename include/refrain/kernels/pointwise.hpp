#pragma once
/// Contracts: element-by-element.  An output may be one of its inputs.  Device: cpu (f32, f64).

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
  MutableView workspace{};
};

/// dx = dy * function'(x).
struct UnaryBackward {
  static constexpr const char* name = "unary_backward";
  View x{};
  View dy{};
  MutableView dx{};
  UnaryFunction function = UnaryFunction::relu;
  MutableView workspace{};
};

/// out = alpha * a + beta * b.  b may be empty (then beta is not used).
struct LinearCombination {
  static constexpr const char* name = "linear_combination";
  View a{};
  View b{};
  MutableView out{};
  double alpha = 1;
  double beta = 1;
  MutableView workspace{};
};

/// out = a * b.
struct Multiply {
  static constexpr const char* name = "multiply";
  View a{};
  View b{};  ///< as a, or one element that multiplies all of a
  MutableView out{};
  MutableView workspace{};
};

/// out[0] = sum_i a[i] * b[i], in a fixed order; b may be empty (the plain sum).
struct Dot {
  static constexpr const char* name = "dot";
  View a{};
  View b{};
  MutableView out{};  ///< one element, same dtype
  MutableView workspace{};
};

/// y = x * mask / keep, mask = 1 with probability keep, 0 < keep <= 1. Element i uses 32-bit word i
/// % 4 of Philox block position + i / 4 of (seed, stream): kept when word < keep * 2^32. The
/// backward pass is the same call on dy.
struct Dropout {
  static constexpr const char* name = "dropout";
  View x{};
  MutableView y{};
  double keep = 1;
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;
  std::uint64_t position = 0;
  View shift{};  ///< or empty; [1] i64, read when the kernel runs and added to position: for a
                 ///< recorded call that runs again
  MutableView workspace{};
};

}  // namespace refrain::kernels
