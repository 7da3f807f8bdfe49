#pragma once
/// Device template of the patch; formulas, grids and bytes: cuda_forward.cu.

#include <cstdint>

#include "kernels/patch/patch_tile.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// y [rows,C] = base + gelu(x down + down_bias) up + up_bias; a null x is base. A block takes
/// conv_tile_rows rows, with a bank of one sequence, and keeps them in shared memory.
template <class T, MathMode mode, int columns, bool aligned>
__global__ void __launch_bounds__(PatchTile<T, mode, columns, aligned>::threads,
                                  blocks_per_processor<T>(columns))
    patch_tile(Patch<T> patch, const T* x, const T* base, T* y) {
  using Patched = PatchTile<T, mode, columns, aligned>;
  using Row = TileRow<T, columns, aligned>;
  const RowTile at = patch.bank.template tile<conv_tile_rows>(blockIdx.x);
  const std::int64_t first = at.first;
  const std::int64_t width = patch.channels;
  simt::SharedCarver carver;
  T* const tile = carver.take<T>(conv_tile_rows * Patched::stride);
  for (int m = simt::warp(); m < conv_tile_rows; m += Patched::threads / 32) {
    Row row;
    row.load(base + (first + m) * width, first + m < at.end ? width : 0);
    row.store(tile + m * Patched::stride, columns);
  }
  __syncthreads();
  Patched::add(patch, x, at, carver, tile);
  for_tile_rows<Patched::threads>(first, at.end, [&](int m, std::int64_t row) {
    Row out;
    out.load(tile + m * Patched::stride, width);
    out.store(y + row * width, width);
  });
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
