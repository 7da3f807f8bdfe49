#pragma once
/// Contracts on time-major sequences [T,B,C].  Device: cpu (f32, f64).

#include <cstdint>

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// y[j,i,:] = x[i,j,:]: batch-major to time-major and back.
struct SwapAxes {
  static constexpr const char* name = "swap_axes";
  View x{};         ///< [I,J,C]
  MutableView y{};  ///< [J,I,C]
  MutableView workspace{};
};

/// y[t] = x[t] + spans[k] for the steps ends[k-1] <= t < ends[k] of span k, ends[-1] = 0; ends rise
/// to T.
struct AddSpans {
  static constexpr const char* name = "add_spans";
  View x{};         ///< [T,B,C]
  View spans{};     ///< [S,B,C]
  View ends{};      ///< [S] i32
  MutableView y{};  ///< [T,B,C]
  MutableView workspace{};
};

/// Gradient of AddSpans: dspans[k] = sum of dy[t] over the steps of span k, in rising order.
struct SumSpans {
  static constexpr const char* name = "sum_spans";
  View dy{};             ///< [T,B,C]
  View ends{};           ///< [S] i32
  MutableView dspans{};  ///< [S,B,C]
  MutableView workspace{};
};

}  // namespace refrain::kernels
