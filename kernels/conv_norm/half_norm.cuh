#pragma once
/// Device templates of the second part of conv_norm, where cuBLASLt products compute the
/// first part; formulas, grids and bytes: cuda_forward.cu.

#include <cstdint>

#include "kernels/layer_norm/normalize.cuh"
#include "kernels/simt.hpp"
#include "kernels/tiling/bank_rows.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// h = z (+ patched) (+ up_bias) (+ x), then y. y may be z or patched: a thread reads an element
/// before it writes it. A sequence without a patch of a bank has no x.
struct HalfNormTensors {
  const float* z;  ///< [rows,C] the convolution, or its sum with the second product of the patch
  const float* patched;  ///< [rows,C] the second product of the patch if not in z, or null
  const float* up_bias;  ///< [C] of a patch, or null
  const float* x;        ///< [rows,C] the skip connection of a parallel patch, or null
  const float* gamma;
  const float* beta;
  const float* residual;  ///< or null
  float* y;
  float* normalized;  ///< or null
  float* inv_std;     ///< or null
  float epsilon;
  BankRows bank;       ///< of all rows
  bool has_norm_bank;  ///< gamma and beta are banks [K,C]

  /// Selects what the sequence of a row has of a bank.
  __device__ __forceinline__ void select(std::int64_t row, std::int64_t width) {
    const std::int64_t of_bank = bank.rows[row / bank.steps];
    if (of_bank == 0) x = nullptr;
    if (!has_norm_bank) return;
    gamma += of_bank * width;
    beta += of_bank * width;
  }
};

/// A warp per row of at most 32 n items channels, in registers: every tensor is read or written
/// once. `banked`: with a bank of patches.
template <int n, int items, bool banked>
__global__ void __launch_bounds__(norm_warps * 32)
    half_norm_rows(HalfNormTensors tensors, std::int64_t rows, std::int64_t width) {
  using Row = WarpRow<float, n, items>;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * norm_warps + simt::warp();
  if (row >= rows) return;  // the whole warp
  if constexpr (banked) tensors.select(row, width);
  const std::int64_t at = row * width;
  Row h;
  h.load(tensors.z + at, width);
  const auto add = [&](const float* from) {
    if (from == nullptr) return;
    Row more;
    more.load(from, width);
    h.add(more);
  };
  add(tensors.patched == nullptr ? nullptr : tensors.patched + at);
  add(tensors.up_bias);
  add(tensors.x == nullptr ? nullptr : tensors.x + at);
  const float inv_std = normalize(h, width, tensors.epsilon);
  if (tensors.normalized != nullptr) h.store(tensors.normalized + at, width);
  if (tensors.inv_std != nullptr && simt::lane() == 0) tensors.inv_std[row] = inv_std;
  REFRAIN_UNROLL
  for (int i = 0; i < items; ++i) {
    const std::int64_t c = Row::column(i);
    if (c >= width) continue;
    float gamma[n];
    float beta[n];
    float residual[n] = {};
    simt::load_group(tensors.gamma + c, gamma);
    simt::load_group(tensors.beta + c, beta);
    if (tensors.residual != nullptr) simt::load_group(tensors.residual + at + c, residual);
    REFRAIN_UNROLL
    for (int j = 0; j < n; ++j) {
      const float scaled = gamma[j] * h.at[i][j] + beta[j];
      h.at[i][j] = (scaled < 0.0F ? 0.0F : scaled) + residual[j];
    }
  }
  h.store(tensors.y + at, width);
}

/// A block per row of any length, which reads the row three times, the second and third time from
/// the caches.
template <int warps>
__global__ void __launch_bounds__(warps * 32)
    half_norm_wide(HalfNormTensors tensors, std::int64_t width) {
  REFRAIN_SHARED_ARRAY(float, scratch, warps);
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * width;
  const auto h = [&](std::int64_t c) {
    float sum = tensors.z[at + c];
    if (tensors.patched != nullptr) sum += tensors.patched[at + c];
    if (tensors.up_bias != nullptr) sum += tensors.up_bias[c];
    if (tensors.x != nullptr) sum += tensors.x[at + c];
    return sum;
  };
  const RowMoments<float> moments = block_moments<warps>(width, tensors.epsilon, scratch, h);
  if (tensors.inv_std != nullptr && threadIdx.x == 0) tensors.inv_std[blockIdx.x] = moments.inv_std;
  for_row_elements<warps>(width, [&](std::int64_t c) {
    const float normalized = moments.normalized(h(c));
    if (tensors.normalized != nullptr) tensors.normalized[at + c] = normalized;
    const float scaled = tensors.gamma[c] * normalized + tensors.beta[c];
    float y = scaled < 0.0F ? 0.0F : scaled;
    if (tensors.residual != nullptr) y += tensors.residual[at + c];
    tensors.y[at + c] = y;
  });
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
