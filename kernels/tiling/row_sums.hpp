#pragma once
/// Sums over rows in a fixed order: of whole tensors, and of the partial sums of tasks.

#include <algorithm>
#include <cstdint>

#include "kernels/simd.hpp"
#include "refrain/core/parallel.hpp"

namespace refrain::kernels::cpu {

/// out[c] = sum over rows of x[row,c], block by block in a fixed order; `partial` holds
/// blocks(rows) * columns.
inline constexpr std::int64_t sum_block = 256;
inline std::int64_t sum_blocks(std::int64_t rows) { return (rows + sum_block - 1) / sum_block; }

template <class T>
void add_row(T* to, const T* from, std::int64_t count) {
  for_lanes<T>(count, [&]<class L>(L, std::int64_t i) {
    L::store(to + i, L::load(to + i) + L::load(from + i));
  });
}

template <class T>
void sum_partials(const T* partial, std::int64_t blocks, std::int64_t stride, std::int64_t columns,
                  T* out) {
  std::fill_n(out, columns, T(0));
  for (std::int64_t block = 0; block < blocks; ++block)
    add_row(out, partial + block * stride, columns);
}

template <class T>
void sum_rows_blocked(const T* x, std::int64_t rows, std::int64_t columns, T* partial, T* out) {
  const std::int64_t blocks = sum_blocks(rows);
  parallel_tasks(blocks, [&](std::int64_t block, int) {
    T* const sums = partial + block * columns;
    std::fill_n(sums, columns, T(0));
    const std::int64_t end = std::min(rows, (block + 1) * sum_block);
    for (std::int64_t row = block * sum_block; row < end; ++row)
      add_row(sums, x + row * columns, columns);
  });
  sum_partials(partial, blocks, columns, columns, out);
}

}  // namespace refrain::kernels::cpu
