#pragma once
/// The arithmetic of layer normalization on the GPU, shared by all kernels that normalize rows:
///
///   normalized = (x - mean) * inv_std,   inv_std = 1 / sqrt(var + epsilon), var of the centred row
///   dx = inv_std * (g - mean(g) - normalized * mean(g * normalized)),   g = d normalized
///
/// A row is in the registers of a warp, or a block reads it several times.

#include <cmath>
#include <cstdint>

#include "kernels/simt.hpp"
#include "kernels/tiling/register_row.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

inline constexpr int norm_warps = 4;       // warps of a block, one row each
inline constexpr int wide_norm_warps = 8;  // warps of a block that takes one row

// ---- a row in the registers of a warp; all lanes call these ----

/// Replaces the row's `width` elements by their normalized values and returns inv_std. Elements
/// past the end of the row are undefined afterwards.
template <class T, int n, int items>
__device__ __forceinline__ T normalize(WarpRow<T, n, items>& row, std::int64_t width, T epsilon) {
  T sum = 0;
  REFRAIN_UNROLL
  for (int i = 0; i < items; ++i) {
    REFRAIN_UNROLL
    for (int j = 0; j < n; ++j) sum += row.at[i][j];
  }
  const T mean = simt::warp_sum(sum) / static_cast<T>(width);
  T squares = 0;
  REFRAIN_UNROLL
  for (int i = 0; i < items; ++i) {
    REFRAIN_UNROLL
    for (int j = 0; j < n; ++j) {
      row.at[i][j] -= mean;
      if (row.column(i) < width) squares += row.at[i][j] * row.at[i][j];
    }
  }
  const T inv_std = T{1} / std::sqrt(simt::warp_sum(squares) / static_cast<T>(width) + epsilon);
  row.map([&](int, int, T centred) { return centred * inv_std; });
  return inv_std;
}

/// mean(g) and mean(g * normalized) of a row.
template <class T>
struct GradientMeans {
  T g;
  T along;
};

/// g and normalized are zero past the row's end.
template <class T, int n, int items>
__device__ __forceinline__ GradientMeans<T> gradient_means(const WarpRow<T, n, items>& g,
                                                           const WarpRow<T, n, items>& normalized,
                                                           std::int64_t width) {
  GradientMeans<T> sums{0, 0};
  REFRAIN_UNROLL
  for (int i = 0; i < items; ++i) {
    REFRAIN_UNROLL
    for (int j = 0; j < n; ++j) {
      sums.g += g.at[i][j];
      sums.along += g.at[i][j] * normalized.at[i][j];
    }
  }
  return {simt::warp_sum(sums.g) / static_cast<T>(width),
          simt::warp_sum(sums.along) / static_cast<T>(width)};
}

/// Replaces g by dx. Elements past the end of the row are undefined afterwards.
template <class T, int n, int items>
__device__ __forceinline__ void normalize_backward(WarpRow<T, n, items>& g,
                                                   const WarpRow<T, n, items>& normalized,
                                                   T inv_std, std::int64_t width) {
  const GradientMeans<T> means = gradient_means(g, normalized, width);
  g.map([&](int i, int j, T value) {
    return inv_std * (value - means.g - normalized.at[i][j] * means.along);
  });
}

// ---- a row of any length, read by a block; all threads call these ----

/// The block's threads take elements threadIdx.x, threadIdx.x + threads, ... in turn.
template <int warps, class Function>
__device__ __forceinline__ void for_row_elements(std::int64_t width, Function&& function) {
  for (std::int64_t c = static_cast<std::int64_t>(threadIdx.x); c < width; c += warps * 32)
    function(c);
}

template <class T>
struct RowMoments {
  T mean;
  T inv_std;
  __device__ __forceinline__ T normalized(T x) const { return (x - mean) * inv_std; }
};

/// Mean and inv_std of the row x(0) .. x(width - 1), which is read twice.
template <int warps, class T, class Row>
__device__ __forceinline__ RowMoments<T> block_moments(std::int64_t width, T epsilon, T* scratch,
                                                       const Row& x) {
  T sum = 0;
  for_row_elements<warps>(width, [&](std::int64_t c) { sum += x(c); });
  const T mean = simt::block_sum<warps>(sum, scratch) / static_cast<T>(width);
  T squares = 0;
  for_row_elements<warps>(width, [&](std::int64_t c) {
    const T centred = x(c) - mean;
    squares += centred * centred;
  });
  const T variance = simt::block_sum<warps>(squares, scratch) / static_cast<T>(width);
  return {mean, T{1} / std::sqrt(variance + epsilon)};
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
