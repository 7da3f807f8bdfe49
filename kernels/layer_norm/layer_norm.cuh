#pragma once
/// Device templates of layer normalization; formulas, grids and bytes: cuda_layer_norm.cu.

#include <cmath>
#include <cstdint>

#include "kernels/simt.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

inline constexpr int norm_warps = 4;       // of a block whose warps take a row each
inline constexpr int wide_norm_warps = 8;  // of a block that takes one row

/// A row in the registers of a warp: lane l holds elements n (32 i + l) .. + n of it, i < items;
/// zeros past its end.
template <class T, int n, int items>
struct WarpRow {
  T at[items][n];

  __device__ __forceinline__ static std::int64_t column(int i) {
    return static_cast<std::int64_t>(n) * (32 * i + simt::lane());
  }

  __device__ __forceinline__ void load(const T* row, std::int64_t width) {
    REFRAIN_UNROLL
    for (int i = 0; i < items; ++i) {
      if (column(i) < width) {
        simt::load_group(row + column(i), at[i]);
      } else {
        REFRAIN_UNROLL
        for (int j = 0; j < n; ++j) at[i][j] = 0;
      }
    }
  }

  __device__ __forceinline__ void store(T* row, std::int64_t width) const {
    REFRAIN_UNROLL
    for (int i = 0; i < items; ++i) {
      if (column(i) < width) simt::store_group(row + column(i), at[i]);
    }
  }

  /// Replaces element (i, j) by function(i, j, element).
  template <class Function>
  __device__ __forceinline__ void map(const Function& function) {
    REFRAIN_UNROLL
    for (int i = 0; i < items; ++i) {
      REFRAIN_UNROLL
      for (int j = 0; j < n; ++j) at[i][j] = function(i, j, at[i][j]);
    }
  }
  __device__ __forceinline__ void add(const WarpRow& other) {
    map([&](int i, int j, T value) { return value + other.at[i][j]; });
  }

  /// Subtracts the mean of the row's `width` elements and multiplies by 1 / sqrt(variance +
  /// epsilon), which is returned. All lanes call it; what lies past the row's end is of no use
  /// afterwards.
  __device__ __forceinline__ T normalize(std::int64_t width, T epsilon) {
    T sum = 0;
    REFRAIN_UNROLL
    for (int i = 0; i < items; ++i) {
      REFRAIN_UNROLL
      for (int j = 0; j < n; ++j) sum += at[i][j];
    }
    const T mean = simt::warp_sum(sum) / static_cast<T>(width);
    T squares = 0;
    REFRAIN_UNROLL
    for (int i = 0; i < items; ++i) {
      REFRAIN_UNROLL
      for (int j = 0; j < n; ++j) {
        at[i][j] -= mean;
        if (column(i) < width) squares += at[i][j] * at[i][j];
      }
    }
    const T inv_std = T{1} / std::sqrt(simt::warp_sum(squares) / static_cast<T>(width) + epsilon);
    REFRAIN_UNROLL
    for (int i = 0; i < items; ++i) {
      REFRAIN_UNROLL
      for (int j = 0; j < n; ++j) at[i][j] *= inv_std;
    }
    return inv_std;
  }
};

/// Calls visit.template operator()<n, items>() with the smallest register row of at most `most`
/// groups per lane that holds `width`; returns false, having called nothing, when none does.
template <class T, int most, class Visit>
bool for_register_row(std::int64_t width, bool aligned, Visit&& visit) {
  constexpr int pack = simt::Pack<T>::count;
  const auto pick = [&]<int n>() {
    const auto fits = [&]<int items>() {
      if (width > 32 * n * items) return false;
      visit.template operator()<n, items>();
      return true;
    };
    if (fits.template operator()<1>() || fits.template operator()<2>() ||
        fits.template operator()<4>())
      return true;
    if constexpr (most >= 8) return fits.template operator()<8>();
    return false;
  };
  return aligned && width % pack == 0 ? pick.template operator()<pack>()
                                      : pick.template operator()<1>();
}

template <class T>
struct LayerNormTensors {
  const T* x;
  const T* gamma;
  const T* beta;
  T* y;
  T* normalized;  ///< or null
  T* inv_std;     ///< or null
};

/// A warp per row of at most 32 n items elements, read once. Mean, then the variance from the
/// centred values, then y.
template <class T, int n, int items>
__global__ void __launch_bounds__(norm_warps * 32)
    layer_norm_rows(LayerNormTensors<T> tensors, std::int64_t rows, std::int64_t width, T epsilon) {
  using Row = WarpRow<T, n, items>;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * norm_warps + simt::warp();
  if (row >= rows) return;  // the whole warp
  Row x;
  x.load(tensors.x + row * width, width);
  const T inv_std = x.normalize(width, epsilon);
  if (tensors.normalized != nullptr) x.store(tensors.normalized + row * width, width);
  if (tensors.inv_std != nullptr && simt::lane() == 0) tensors.inv_std[row] = inv_std;
  REFRAIN_UNROLL
  for (int i = 0; i < items; ++i) {
    if (Row::column(i) >= width) continue;
    T gamma[n];
    T beta[n];
    simt::load_group(tensors.gamma + Row::column(i), gamma);
    simt::load_group(tensors.beta + Row::column(i), beta);
    REFRAIN_UNROLL
    for (int j = 0; j < n; ++j) x.at[i][j] = gamma[j] * x.at[i][j] + beta[j];
  }
  x.store(tensors.y + row * width, width);
}

/// A block per row of any length, which passes the row three times; the later passes find it in the
/// caches.
template <class T>
__global__ void __launch_bounds__(wide_norm_warps * 32)
    layer_norm_wide(LayerNormTensors<T> tensors, std::int64_t width, T epsilon) {
  REFRAIN_SHARED_ARRAY(T, scratch, wide_norm_warps);
  constexpr int threads = wide_norm_warps * 32;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x);
  const std::int64_t first = static_cast<std::int64_t>(threadIdx.x);
  const T* const x = tensors.x + row * width;
  T sum = 0;
  for (std::int64_t c = first; c < width; c += threads) sum += x[c];
  const T mean = simt::block_sum<wide_norm_warps>(sum, scratch) / static_cast<T>(width);
  T squares = 0;
  for (std::int64_t c = first; c < width; c += threads) squares += (x[c] - mean) * (x[c] - mean);
  const T variance = simt::block_sum<wide_norm_warps>(squares, scratch) / static_cast<T>(width);
  const T inv_std = T{1} / std::sqrt(variance + epsilon);
  if (tensors.inv_std != nullptr && threadIdx.x == 0) tensors.inv_std[row] = inv_std;
  for (std::int64_t c = first; c < width; c += threads) {
    const T normalized = (x[c] - mean) * inv_std;
    if (tensors.normalized != nullptr) tensors.normalized[row * width + c] = normalized;
    tensors.y[row * width + c] = tensors.gamma[c] * normalized + tensors.beta[c];
  }
}

template <class T>
struct LayerNormGradients {
  const T* gamma;
  const T* normalized;
  const T* inv_std;
  const T* dy;
  T* dx;                ///< or null
  T* dgamma;            ///< [blocks,width], this block's sums over its rows, or null
  T* dbeta;             ///< likewise
  std::int64_t stride;  ///< elements between the sums of two blocks
};

/// A block takes rows_per_block rows of at most 32 n items elements, a warp every fourth of them;
/// dy and normalized are read once for all three gradients. A warp keeps its columns' sums in
/// registers; the four warps' are added in order.
template <class T, int n, int items>
__global__ void __launch_bounds__(norm_warps * 32)
    layer_norm_gradients(LayerNormGradients<T> tensors, std::int64_t rows,
                         std::int64_t rows_per_block, std::int64_t width) {
  using Row = WarpRow<T, n, items>;
  constexpr int columns = 32 * n * items;
  REFRAIN_SHARED_ARRAY(T, parts, norm_warps * columns);  // [warps][columns]
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * rows_per_block;
  const std::int64_t end = begin + rows_per_block < rows ? begin + rows_per_block : rows;
  Row gamma;
  Row dgamma;
  Row dbeta;
  gamma.load(tensors.gamma, width);
  REFRAIN_UNROLL
  for (int i = 0; i < items; ++i) {
    REFRAIN_UNROLL
    for (int j = 0; j < n; ++j) dgamma.at[i][j] = dbeta.at[i][j] = 0;
  }
  for (std::int64_t row = begin + simt::warp(); row < end; row += norm_warps) {
    Row dy;
    Row normalized;
    dy.load(tensors.dy + row * width, width);
    normalized.load(tensors.normalized + row * width, width);
    T mean = 0;
    T slope = 0;
    REFRAIN_UNROLL
    for (int i = 0; i < items; ++i) {
      REFRAIN_UNROLL
      for (int j = 0; j < n; ++j) {
        dgamma.at[i][j] += dy.at[i][j] * normalized.at[i][j];
        dbeta.at[i][j] += dy.at[i][j];
        dy.at[i][j] *= gamma.at[i][j];
        mean += dy.at[i][j];
        slope += dy.at[i][j] * normalized.at[i][j];
      }
    }
    if (tensors.dx == nullptr) continue;
    mean = simt::warp_sum(mean) / static_cast<T>(width);
    slope = simt::warp_sum(slope) / static_cast<T>(width);
    const T inv_std = tensors.inv_std[row];
    REFRAIN_UNROLL
    for (int i = 0; i < items; ++i) {
      REFRAIN_UNROLL
      for (int j = 0; j < n; ++j)
        dy.at[i][j] = inv_std * (dy.at[i][j] - mean - normalized.at[i][j] * slope);
    }
    dy.store(tensors.dx + row * width, width);
  }
  const auto add_up = [&](const Row& own, T* to) {
    if (to == nullptr) return;
    own.store(parts + simt::warp() * columns, columns);
    __syncthreads();
    for (int c = static_cast<int>(threadIdx.x); c < columns; c += norm_warps * 32) {
      if (c >= width) continue;
      T sum = 0;
      REFRAIN_UNROLL
      for (int w = 0; w < norm_warps; ++w) sum += parts[w * columns + c];
      to[static_cast<std::int64_t>(blockIdx.x) * tensors.stride + c] = sum;
    }
    __syncthreads();
  };
  add_up(dgamma, tensors.dgamma);
  add_up(dbeta, tensors.dbeta);
}

/// dx of a block per row of any length.
template <class T>
__global__ void __launch_bounds__(wide_norm_warps * 32)
    layer_norm_gradient_wide(LayerNormGradients<T> tensors, std::int64_t width) {
  REFRAIN_SHARED_ARRAY(T, scratch, wide_norm_warps);
  constexpr int threads = wide_norm_warps * 32;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x);
  const std::int64_t first = static_cast<std::int64_t>(threadIdx.x);
  const T* const dy = tensors.dy + row * width;
  const T* const normalized = tensors.normalized + row * width;
  T mean = 0;
  T slope = 0;
  for (std::int64_t c = first; c < width; c += threads) {
    const T scaled = dy[c] * tensors.gamma[c];
    mean += scaled;
    slope += scaled * normalized[c];
  }
  mean = simt::block_sum<wide_norm_warps>(mean, scratch) / static_cast<T>(width);
  slope = simt::block_sum<wide_norm_warps>(slope, scratch) / static_cast<T>(width);
  for (std::int64_t c = first; c < width; c += threads) {
    tensors.dx[row * width + c] =
        tensors.inv_std[row] * (dy[c] * tensors.gamma[c] - mean - normalized[c] * slope);
  }
}

/// Terms of dgamma and dbeta for sum_columns.
template <class T>
struct NormTerms {
  using Element = T;
  static constexpr int sums = 2;
  const T* dy;
  const T* normalized;
  std::int64_t width;
  __device__ __forceinline__ void read(std::int64_t row, std::int64_t column, T (&terms)[2]) const {
    const T upstream = dy[row * width + column];
    terms[0] = upstream * normalized[row * width + column];
    terms[1] = upstream;
  }
};

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
