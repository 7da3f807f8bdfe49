#pragma once
/// Device parts of the row kernels: which row a row comes from, what is added to what; shapes and
/// grids: cuda.cu.

#include <cstdint>

#include "kernels/rows/row_moves.cuh"
#include "kernels/simt.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

// ---- sources of copy_rows: row r of the output is a row of something, or zeros (null) ----

struct GatheredRow {
  const void* table;
  const std::int32_t* ids;
  template <class Word>
  __device__ __forceinline__ const Word* row(std::int64_t r, std::int64_t words) const {
    return static_cast<const Word*>(table) + ids[r] * words;
  }
};

struct StepOfSequence {
  const void* x;
  std::int64_t steps;
  std::int64_t step;
  template <class Word>
  __device__ __forceinline__ const Word* row(std::int64_t r, std::int64_t words) const {
    return static_cast<const Word*>(x) + (r * steps + step) * words;
  }
};

struct SequenceOfStep {
  const void* dy;
  std::int64_t steps;
  std::int64_t step;
  template <class Word>
  __device__ __forceinline__ const Word* row(std::int64_t r, std::int64_t words) const {
    return r % steps == step ? static_cast<const Word*>(dy) + r / steps * words : nullptr;
  }
};

struct ReplacedRow {
  const void* x;
  const void* replacement;  ///< null: zeros
  const std::int32_t* ids;
  std::int64_t id;
  template <class Word>
  __device__ __forceinline__ const Word* row(std::int64_t r, std::int64_t words) const {
    return ids[r] == id ? static_cast<const Word*>(replacement)
                        : static_cast<const Word*>(x) + r * words;
  }
};

/// Terms of drow for sum_columns: dy where the row was replaced.
template <class T>
struct ReplacedTerms {
  using Element = T;
  static constexpr int sums = 1;
  const T* dy;
  const std::int32_t* ids;
  std::int64_t id;
  std::int64_t width;
  __device__ __forceinline__ void read(std::int64_t row, std::int64_t column, T (&terms)[1]) const {
    terms[0] = ids[row] == id ? dy[row * width + column] : T{0};
  }
};

/// to[rows[j],:] += values[j,:] in groups of n; rows are distinct, so no two threads meet.
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
