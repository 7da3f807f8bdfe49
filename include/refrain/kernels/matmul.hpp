#pragma once
/// Contract: matrix product.  Device: cpu (f32, f64).

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// c = op(a) op(b) (+ bias to every row), op = transpose where asked.  c [M,N]; a [M,K] or [K,M]; b [K,N] or [N,K]; bias [N].
struct Matmul {
  static constexpr const char* name = "matmul";
  View a{};
  View b{};
  View bias{};  ///< or empty
  MutableView c{};
  bool transpose_a = false;
  bool transpose_b = false;
  MutableView workspace{};
};

}  // namespace refrain::kernels
