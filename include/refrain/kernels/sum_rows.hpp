#pragma once
/// Contract: sums over the rows of a matrix.  Device: cpu, cuda (f32, f64).

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// out[c] = sum over rows of x[row,c]; x [rows,C].
struct SumRows {
  static constexpr const char* name = "sum_rows";
  View x{};
  MutableView out{};

  Device device() const noexcept { return x.device; }
};

}  // namespace refrain::kernels
