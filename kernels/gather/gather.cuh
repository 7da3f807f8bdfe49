#pragma once
/// Device templates of gather_rows and add_rows; shapes and grids: cuda.cu.

#include <cstdint>

#include "kernels/simt.hpp"
#include "kernels/tiling/row_moves.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// Source of copy_rows: row r of the output is row ids[r] of the table.
struct GatheredRow {
  const void* table;
  const std::int32_t* ids;
  template <class Word>
  __device__ __forceinline__ const Word* row(std::int64_t r, std::int64_t words) const {
    return static_cast<const Word*>(table) + ids[r] * words;
  }
};

/// to[rows[j],:] += values[j,:] in groups of n; rows are distinct, so no element has two writers.
template <int n, class T>
__global__ void __launch_bounds__(row_threads)
    add_to_rows(RowGrid grid, const std::int32_t* rows, const T* values, T* to) {
  const RowShare share(grid);
  if (share.row >= grid.rows || rows[share.row] < 0) return;
  const std::int64_t from_row = share.row * grid.words;
  const std::int64_t to_row = rows[share.row] * grid.words;
  for (std::int64_t group = share.first; group < grid.words; group += share.step) {
    T sum[n];
    T term[n];
    simt::load_group(to + (to_row + group) * n, sum);
    simt::load_group(values + (from_row + group) * n, term);
    REFRAIN_UNROLL
    for (int i = 0; i < n; ++i) sum[i] += term[i];
    simt::store_group(to + (to_row + group) * n, sum);
  }
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
