#pragma once
/// Device templates of the forward convolution; formulas, grids and bytes: cuda_forward.cu.

#include <cstdint>

#include "kernels/causal_conv/conv_tile.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// y [rows,out] = the convolution (+ added, which may be y). A block per tile; those of one row of
/// tiles are neighbours, so that the rows of x that they share are in the second-level cache.
template <class T, MathMode mode, int columns, bool aligned>
__global__ void __launch_bounds__(ConvTile<T, mode, columns, aligned>::threads,
                                  blocks_per_processor<T>(columns))
    convolve_tile(Convolution<T> conv, const T* added, T* y) {
  using Tile = ConvTile<T, mode, columns, aligned>;
  const std::int64_t column_tiles = (conv.out + columns - 1) / columns;
  const std::int64_t first_row =
      static_cast<std::int64_t>(blockIdx.x) / column_tiles * conv_tile_rows;
  const std::int64_t first_column = static_cast<std::int64_t>(blockIdx.x) % column_tiles * columns;
  simt::SharedCarver carver;
  T* const tile = carver.take<T>(Tile::elements);
  Tile::make(conv, first_row, first_column, tile);
  for_tile_rows<Tile::threads>(first_row, conv.rows, [&](int m, std::int64_t row) {
    const std::int64_t at = row * conv.out + first_column;
    const std::int64_t width = conv.out - first_column;
    typename Tile::Row out;
    out.load(tile + m * Tile::stride, width);
    if (added != nullptr) {
      typename Tile::Row other;
      other.load(added + at, width);
      out.add(other);
    }
    out.store(y + at, width);
  });
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
