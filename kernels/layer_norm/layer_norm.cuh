#pragma once
/// Device templates of layer normalization; formulas, grids and bytes: cuda.cu.

#include <cstdint>

#include "kernels/layer_norm/normalize.cuh"
#include "kernels/simt.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

template <class T>
struct LayerNormTensors {
  const T* x;
  const T* gamma;
  const T* beta;
  T* y;
  T* normalized;  ///< or null
  T* inv_std;     ///< or null
};

/// A warp per row of at most 32 n items elements, which are read once: mean, then the variance of
/// the centred values, then y.
template <class T, int n, int items>
__global__ void __launch_bounds__(norm_warps * 32)
    layer_norm_rows(LayerNormTensors<T> tensors, std::int64_t rows, std::int64_t width, T epsilon) {
  using Row = WarpRow<T, n, items>;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * norm_warps + simt::warp();
  if (row >= rows) return;  // the whole warp
  Row x;
  x.load(tensors.x + row * width, width);
  const T inv_std = normalize(x, width, epsilon);
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

/// A block per row of any length, which reads the row three times, the second and third time from
/// the caches.
template <class T>
__global__ void __launch_bounds__(wide_norm_warps * 32)
    layer_norm_wide(LayerNormTensors<T> tensors, std::int64_t width, T epsilon) {
  REFRAIN_SHARED_ARRAY(T, scratch, wide_norm_warps);
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x);
  const T* const x = tensors.x + row * width;
  const RowMoments<T> moments =
      block_moments<wide_norm_warps>(width, epsilon, scratch, [&](std::int64_t c) { return x[c]; });
  if (tensors.inv_std != nullptr && threadIdx.x == 0) tensors.inv_std[row] = moments.inv_std;
  for_row_elements<wide_norm_warps>(width, [&](std::int64_t c) {
    const T normalized = moments.normalized(x[c]);
    if (tensors.normalized != nullptr) tensors.normalized[row * width + c] = normalized;
    tensors.y[row * width + c] = tensors.gamma[c] * normalized + tensors.beta[c];
  });
}

template <class T>
struct LayerNormGradients {
  const T* gamma;
  const T* normalized;
  const T* inv_std;
  const T* dy;
  T* dx;                ///< or null
  T* dgamma;            ///< [blocks,width], this block's sums over its rows, or null
  T* dbeta;             ///< the same for beta
  std::int64_t stride;  ///< elements between the sums of two blocks
};

/// A block takes rows_per_block rows of at most 32 n items elements, a warp every fourth row; dy
/// and normalized are read once for all three gradients. Each warp keeps the sums of its columns in
/// registers; the sums of the four warps are added in order.
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
    dgamma.map([&](int i, int j, T sum) { return sum + dy.at[i][j] * normalized.at[i][j]; });
    dbeta.add(dy);
    if (tensors.dx == nullptr) continue;
    dy.map([&](int i, int j, T value) { return value * gamma.at[i][j]; });
    normalize_backward(dy, normalized, tensors.inv_std[row], width);
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

/// dx, one block per row of any length.
template <class T>
__global__ void __launch_bounds__(wide_norm_warps * 32)
    layer_norm_gradient_wide(LayerNormGradients<T> tensors, std::int64_t width) {
  REFRAIN_SHARED_ARRAY(T, scratch, wide_norm_warps);
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x);
  const T* const dy = tensors.dy + row * width;
  const T* const normalized = tensors.normalized + row * width;
  T mean = 0;
  T along = 0;
  for_row_elements<wide_norm_warps>(width, [&](std::int64_t c) {
    const T g = dy[c] * tensors.gamma[c];
    mean += g;
    along += g * normalized[c];
  });
  mean = simt::block_sum<wide_norm_warps>(mean, scratch) / static_cast<T>(width);
  along = simt::block_sum<wide_norm_warps>(along, scratch) / static_cast<T>(width);
  for_row_elements<wide_norm_warps>(width, [&](std::int64_t c) {
    tensors.dx[row * width + c] =
        tensors.inv_std[row] * (dy[c] * tensors.gamma[c] - mean - normalized[c] * along);
  });
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
