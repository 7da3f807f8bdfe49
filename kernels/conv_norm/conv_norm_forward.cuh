#pragma once
/// Device template of the fused half of a residual block; formulas, grids and bytes:
/// cuda_forward.cu.

#include <cstdint>

#include "kernels/causal_conv/conv_tile.cuh"
#include "kernels/layer_norm/normalize.cuh"
#include "kernels/patch/patch_tile.cuh"
#include "refrain/kernels/conv_norm.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

template <class T>
struct ConvNormTensors {
  const T* gamma;
  const T* beta;
  const T* residual;  ///< or null
  T* y;
  T* normalized;  ///< this output and the two below may be null
  T* inv_std;
  T* conv;
  T epsilon;
  bool has_norm_bank;  ///< gamma and beta are banks [K,channels]
};

/// A block computes all channels of conv_tile_rows rows, with a bank of patches those of one
/// sequence. The tile stays in shared memory from the sums of the convolution to the norm.
template <class T, MathMode mode, int columns, bool aligned>
__global__ void __launch_bounds__(ConvTile<T, mode, columns, aligned>::threads,
                                  blocks_per_processor<T>(columns))
    conv_norm_tile(Convolution<T> conv, Insertion insertion, Patch<T> patch,
                   ConvNormTensors<T> tensors) {
  using Conv = ConvTile<T, mode, columns, aligned>;
  using Patched = PatchTile<T, mode, columns, aligned>;
  using Row = typename Conv::Row;
  static_assert(Conv::stride == Patched::stride);
  const RowTile at = patch.bank.template tile<conv_tile_rows>(blockIdx.x);
  const std::int64_t first = at.first;
  conv.rows = at.end;
  const std::int64_t width = conv.out;
  simt::SharedCarver carver;
  T* const tile = carver.take<T>(Conv::elements);
  Conv::make(conv, first, 0, tile);
  if (tensors.conv != nullptr) {
    for_tile_rows<Conv::threads>(first, conv.rows, [&](int m, std::int64_t row) {
      Row h;
      h.load(tile + m * Conv::stride, width);
      h.store(tensors.conv + row * width, width);
    });
  }
  if (insertion != Insertion::none) {
    const bool of_x = insertion == Insertion::parallel;
    Patched::add(patch, of_x ? conv.x : nullptr, at, carver, tile);
  }
  const bool beside = insertion == Insertion::parallel && !patch.bank.is_plain(at.sequence);
  if (tensors.has_norm_bank) {
    const std::int64_t norm = patch.bank.row_of(at.sequence) * width;
    tensors.gamma += norm;
    tensors.beta += norm;
  }
  for_tile_rows<Conv::threads>(first, conv.rows, [&](int m, std::int64_t row) {
    Row h;
    h.load(tile + m * Conv::stride, width);
    if (beside) {  // the skip connection of the patch
      Row x;
      x.load(conv.x + row * width, width);
      h.add(x);
    }
    const T inv_std = normalize(h, width, tensors.epsilon);
    if (tensors.normalized != nullptr) h.store(tensors.normalized + row * width, width);
    if (tensors.inv_std != nullptr && simt::lane() == 0) tensors.inv_std[row] = inv_std;
    Row gamma;
    Row beta;
    gamma.load(tensors.gamma, width);
    beta.load(tensors.beta, width);
    h.map([&](int i, int j, T normalized) {
      const T scaled = gamma.at[i][j] * normalized + beta.at[i][j];
      return scaled < T{0} ? T{0} : scaled;
    });
    if (tensors.residual != nullptr) {
      Row residual;
      residual.load(tensors.residual + row * width, width);
      h.add(residual);
    }
    h.store(tensors.y + row * width, width);
  });
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
