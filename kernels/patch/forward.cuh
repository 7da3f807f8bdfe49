#pragma once
/// Device template of the patch; formulas, grids and bytes: cuda_forward.cu.

#include <cstdint>

#include "kernels/patch/patch_tile.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// y [rows,C] = x + gelu(x down + down_bias) up + up_bias. A block takes conv_tile_rows rows and
/// keeps them in shared memory.
template <class T, MathMode mode, int columns, bool aligned>
__global__ void __launch_bounds__(PatchTile<T, mode, columns, aligned>::threads,
                                  blocks_per_processor<T>(columns))
    patch_tile(Patch<T> patch, const T* x, std::int64_t rows, T* y) {
  using Patched = PatchTile<T, mode, columns, aligned>;
  using Row = TileRow<T, columns, aligned>;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * conv_tile_rows;
  const std::int64_t width = patch.channels;
  simt::SharedCarver carver;
  T* const tile = carver.take<T>(conv_tile_rows * Patched::stride);
  for (int m = simt::warp(); m < conv_tile_rows; m += Patched::threads / 32) {
    Row row;
    row.load(x + (first + m) * width, first + m < rows ? width : 0);
    row.store(tile + m * Patched::stride, columns);
  }
  __syncthreads();
  Patched::add(patch, nullptr, first, rows, carver, tile);
  for_tile_rows<Patched::threads>(first, rows, [&](int m, std::int64_t row) {
    Row out;
    out.load(tile + m * Patched::stride, width);
    out.store(y + row * width, width);
  });
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
