#pragma once
/// The gradient of a weight that many rows went through.

#include <algorithm>
#include <cstdint>

#include "kernels/gemm.hpp"
#include "refrain/core/parallel.hpp"

namespace refrain::kernels::cpu {

/// out [inner, columns] += a^T b over `count` rows; a [count, inner] with the given row stride, b [count, columns].
/// Parallel over blocks of `inner`; the rows are summed in blocks, in order, whatever the number of threads.
template <class T>
void add_outer(const T* a, std::int64_t a_stride, std::int64_t inner, const T* b, std::int64_t columns, std::int64_t count,
               T* out) {
  constexpr std::int64_t block = 4 * tile_rows;  // columns of a per task
  constexpr std::int64_t block_rows = 128;       // rows of b that stay in cache while the task's columns of a pass over them
  parallel_tasks((inner + block - 1) / block, [&](std::int64_t task, int) {
    const std::int64_t first = task * block;
    const std::int64_t width = std::min(block, inner - first);
    for (std::int64_t row = 0; row < count; row += block_rows) {
      sum_of_outer<T>(a + row * a_stride + first, a_stride, b + row * columns, columns, std::min(block_rows, count - row),
                      out + first * columns, columns, width, columns);
    }
  });
}

}  // namespace refrain::kernels::cpu
