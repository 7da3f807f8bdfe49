#pragma once
/// A dilated convolution as one product over k = (tap, channel): the addresses of the rows of its
/// factors (kernels/tiling/tiles.cuh).
///
/// Slices run tap after tap, each tap in slices_of(channels) slices of the tile's depth; channels
/// past the end of a tap are zeros.

#include <cstdint>

#include "kernels/simt.hpp"
#include "kernels/tiling/tiles.cuh"
#include "refrain/kernels/causal_conv.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// The step that tap k of step t reads: t + ahead + k * per_tap, zeros outside [0, steps).
struct TapSteps {
  std::int64_t steps;
  std::int64_t ahead;
  std::int64_t per_tap;

  /// y[t] reads x[t + look_ahead - k dilation].
  static TapSteps forward(Padding padding, std::int64_t width, std::int64_t dilation,
                          std::int64_t steps) {
    return {steps, look_ahead(padding, width, dilation), -dilation};
  }
  /// dx[t] reads dy[t - look_ahead + k dilation].
  static TapSteps backward(Padding padding, std::int64_t width, std::int64_t dilation,
                           std::int64_t steps) {
    return {steps, -look_ahead(padding, width, dilation), dilation};
  }
  /// t of row p = (b, t). The common case avoids a 64-bit division, which takes about 70
  /// instructions.
  __device__ __forceinline__ std::int64_t step_of(std::int64_t p) const {
    if ((p | steps) >> 32 == 0)
      return static_cast<std::uint32_t>(p) % static_cast<std::uint32_t>(steps);
    return p % steps;
  }
  /// The distance from row p = (b, t) to the row of its tap; sets `inside` to whether that row is
  /// in the sequence.
  __device__ __forceinline__ std::int64_t distance(std::int64_t t, std::int64_t tap,
                                                   bool& inside) const {
    const std::int64_t moved = ahead + tap * per_tap;
    inside = t + moved >= 0 && t + moved < steps;
    return moved;
  }
};

/// Number of slices of one tap.
__host__ __device__ constexpr int slices_of(std::int64_t channels, int depth) {
  return static_cast<int>((channels + depth - 1) / depth);
}

/// Writes the steps t of a tile's rows first, first + 1, ... to shared memory, where TapRows reads
/// them; a barrier must follow.
template <int rows, int threads>
__device__ __forceinline__ void note_steps(std::int32_t (&step_of_row)[rows], std::int64_t first,
                                           const TapSteps& taps) {
  for (int i = static_cast<int>(threadIdx.x); i < rows; i += threads) {
    step_of_row[i] = static_cast<std::int32_t>(taps.step_of(first + i));
  }
}

/// Factor a: panel row `outer` is row first + outer of x [rows,channels] shifted by a tap.
template <class T>
struct TapRows {
  const T* x;
  TapSteps taps;
  std::int64_t first;
  std::int64_t rows;
  std::int64_t channels;
  const std::int32_t* step_of_row;  ///< shared
  int slice_depth;
  __device__ __forceinline__ PanelRow<T> operator()(int slice, int outer) const {
    const int slices = slices_of(channels, slice_depth);
    const std::int64_t channel = static_cast<std::int64_t>(slice % slices) * slice_depth;
    const std::int64_t row = first + outer;
    bool inside = false;
    const std::int64_t moved = taps.distance(step_of_row[outer], slice / slices, inside);
    if (row >= rows || !inside) return {nullptr, 0};
    return {x + (row + moved) * channels + channel, channels - channel};
  }
};

/// Factor b of y = conv(x): row k = (tap, in) of w [K,in,out] from column `first` on.
/// Contiguous::side.
template <class T>
struct TapWeights {
  const T* w;
  std::int64_t in;
  std::int64_t out;
  std::int64_t first;
  int slice_depth;
  __device__ __forceinline__ PanelRow<T> operator()(int slice, int outer) const {
    const int slices = slices_of(in, slice_depth);
    const std::int64_t channel = static_cast<std::int64_t>(slice % slices) * slice_depth + outer;
    if (channel >= in) return {nullptr, 0};
    return {w + (slice / slices * in + channel) * out + first, out - first};
  }
};

/// Factor b of dx: panel row `outer` is input channel first + outer, along k = (tap, out).
/// Contiguous::depth.
template <class T>
struct TransposedTapWeights {
  const T* w;
  std::int64_t in;
  std::int64_t out;
  std::int64_t first;
  int slice_depth;
  __device__ __forceinline__ PanelRow<T> operator()(int slice, int outer) const {
    const int slices = slices_of(out, slice_depth);
    const std::int64_t channel = static_cast<std::int64_t>(slice % slices) * slice_depth;
    const std::int64_t row = first + outer;
    if (row >= in) return {nullptr, 0};
    return {w + (slice / slices * in + row) * out + channel, out - channel};
  }
};

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
