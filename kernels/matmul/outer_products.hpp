#pragma once
/// The gradient of a weight that multiplies many rows.

#include <algorithm>
#include <cstdint>

#include "kernels/tiling/gemm.hpp"
#include "refrain/core/parallel.hpp"

namespace refrain::kernels::cpu {

/// out [inner, columns] += a^T b over `count` rows; a [count, inner] with the given row stride, b
/// [count, columns].
///
/// Parallel over blocks of `inner`; the rows are summed in blocks, in order, for any number of
/// threads. Both operands are copied into panels first, a block of rows at a time: read in place,
/// rows of a power of two of bytes would map to few sets of the first-level cache and evict each
/// other.
template <class T>
void add_outer(const T* a, std::int64_t a_stride, std::int64_t inner, const T* b,
               std::int64_t columns, std::int64_t count, T* out) {
  constexpr std::int64_t block = 8 * tile_rows;  // columns of a per task
  constexpr std::int64_t block_rows = 128;
  constexpr std::int64_t panel = 2 * Lanes<T>::count;
  parallel_tasks((inner + block - 1) / block, [&](std::int64_t task, int) {
    const std::int64_t first = task * block;
    const std::int64_t tiles = std::min(block, inner - first) / tile_rows;
    const std::int64_t rest = std::min(block, inner - first) - tiles * tile_rows;
    alignas(64) T a_panels[static_cast<std::size_t>(block * block_rows)];  // [tile][row][tile_rows]
    alignas(64) T b_panel[static_cast<std::size_t>(panel * block_rows)];   // [row][panel]
    for (std::int64_t row = 0; row < count; row += block_rows) {
      const std::int64_t rows = std::min(block_rows, count - row);
      for (std::int64_t r = 0; r < rows; ++r) {
        const T* const from = a + (row + r) * a_stride + first;
        for (std::int64_t i = 0; i < tiles; ++i) {
          std::copy_n(from + i * tile_rows, tile_rows, a_panels + (i * block_rows + r) * tile_rows);
        }
      }
      for (std::int64_t o = 0; o < columns; o += panel) {
        const std::int64_t valid = std::min(panel, columns - o);
        for (std::int64_t r = 0; r < rows; ++r) {
          typename Lanes<T>::Vector copy[2];
          detail::load_row<T, 2>(b + (row + r) * columns + o, valid, copy);
          for (int v = 0; v < 2; ++v)
            Lanes<T>::store(b_panel + r * panel + v * Lanes<T>::count, copy[v]);
        }
        for (std::int64_t i = 0; i < tiles; ++i) {
          detail::outer_tile<T, tile_rows, 2, true>(
              a_panels + i * block_rows * tile_rows, tile_rows, b_panel, panel, rows,
              out + (first + i * tile_rows) * columns + o, columns, valid);
        }
      }
      if (rest > 0) {
        const std::int64_t at = first + tiles * tile_rows;
        sum_of_outer<T>(a + row * a_stride + at, a_stride, b + row * columns, columns, rows,
                        out + at * columns, columns, rest, columns);
      }
    }
  });
}

}  // namespace refrain::kernels::cpu
