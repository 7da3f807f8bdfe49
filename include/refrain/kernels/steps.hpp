#pragma once
/// Contracts on the time steps of sequences: axes swapped, spans added, one step selected. Device:
/// cpu, cuda (f32, f64).

#include <cstdint>

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// y[j,i,:] = x[i,j,:]: batch-major to time-major and back.
struct SwapAxes {
  static constexpr const char* name = "swap_axes";
  View x{};         ///< [I,J,C]
  MutableView y{};  ///< [J,I,C]

  Device device() const noexcept { return x.device; }
};

/// y[t] = x[t] + spans[k] for the time steps ends[k-1] <= t < ends[k] of span k, ends[-1] = 0; ends
/// ascend to T.
struct AddSpans {
  static constexpr const char* name = "add_spans";
  View x{};         ///< [T,B,C]
  View spans{};     ///< [S,B,C]
  View ends{};      ///< [S] i32
  MutableView y{};  ///< [T,B,C]

  Device device() const noexcept { return x.device; }
};

/// Gradient of AddSpans: dspans[k] = sum of dy[t] over the time steps of span k, in ascending
/// order.
struct SumSpans {
  static constexpr const char* name = "sum_spans";
  View dy{};             ///< [T,B,C]
  View ends{};           ///< [S] i32
  MutableView dspans{};  ///< [S,B,C]

  Device device() const noexcept { return dy.device; }
};

/// y[b,:] = x[b,step,:];  x [B,T,C].
struct SelectStep {
  static constexpr const char* name = "select_step";
  View x{};
  MutableView y{};  ///< [B,C]
  std::int64_t step = 0;

  Device device() const noexcept { return x.device; }
};

/// dx[b,step,:] = dy[b,:]; all other elements are zero.
struct SelectStepBackward {
  static constexpr const char* name = "select_step_backward";
  View dy{};
  MutableView dx{};  ///< [B,T,C]
  std::int64_t step = 0;

  Device device() const noexcept { return dy.device; }
};

}  // namespace refrain::kernels
