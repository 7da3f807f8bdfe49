#pragma once
/// Device parts of the step kernels; shapes and grids: cuda.cu.

#include <cstdint>

#include "kernels/simt.hpp"
#include "kernels/tiling/row_moves.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// Source of copy_rows: row b of y [B,C] is one step of sequence b of x [B,T,C].
struct StepOfSequence {
  const void* x;
  std::int64_t steps;
  std::int64_t step;
  template <class Word>
  __device__ __forceinline__ const Word* row(std::int64_t r, std::int64_t words) const {
    return static_cast<const Word*>(x) + (r * steps + step) * words;
  }
};

/// Source of copy_rows: row (b, t) of dx [B,T,C] is row b of dy [B,C] at one step t, else zeros.
struct SequenceOfStep {
  const void* dy;
  std::int64_t steps;
  std::int64_t step;
  template <class Word>
  __device__ __forceinline__ const Word* row(std::int64_t r, std::int64_t words) const {
    return r % steps == step ? static_cast<const Word*>(dy) + r / steps * words : nullptr;
  }
};

/// Source of copy_rows: row j I + i of y [J,I,C] is row i J + j of x [I,J,C].
struct SwappedRow {
  const void* x;
  std::int64_t outer;  ///< I
  std::int64_t inner;  ///< J
  template <class Word>
  __device__ __forceinline__ const Word* row(std::int64_t r, std::int64_t words) const {
    return static_cast<const Word*>(x) + (r % outer * inner + r / outer) * words;
  }
};

/// The span of step t: the first k with t < ends[k].
__device__ __forceinline__ std::int64_t span_of(std::int64_t t, const std::int32_t* ends,
                                                std::int64_t spans) {
  std::int64_t first = 0;
  std::int64_t last = spans - 1;
  while (first < last) {
    const std::int64_t middle = (first + last) / 2;
    if (t < ends[middle]) {
      last = middle;
    } else {
      first = middle + 1;
    }
  }
  return first;
}

struct Spans {
  const std::int32_t* ends;
  std::int64_t count;
  std::int64_t batch;
};

/// y[t,b,:] = x[t,b,:] + spans[k,b,:] in groups of n; the rows of the grid are the T B rows of x.
template <int n, class T>
__global__ void __launch_bounds__(row_threads)
    add_to_steps(RowGrid grid, Spans spans, const T* x, const T* added, T* y) {
  const RowShare share(grid);
  if (share.row >= grid.rows) return;
  const std::int64_t span = span_of(share.row / spans.batch, spans.ends, spans.count);
  const std::int64_t from = (span * spans.batch + share.row % spans.batch) * grid.words;
  const std::int64_t to = share.row * grid.words;
  for (std::int64_t group = share.first; group < grid.words; group += share.step) {
    T sum[n];
    T term[n];
    simt::load_group(x + (to + group) * n, sum);
    simt::load_group(added + (from + group) * n, term);
    REFRAIN_UNROLL
    for (int i = 0; i < n; ++i) sum[i] += term[i];
    simt::store_group(y + (to + group) * n, sum);
  }
}

/// dspans[k,b,:] = sum of dy[t,b,:] over the time steps of span k in ascending order; the rows of
/// the grid are the S B rows of dspans.
template <int n, class T>
__global__ void __launch_bounds__(row_threads)
    sum_of_steps(RowGrid grid, Spans spans, const T* dy, T* dspans) {
  const RowShare share(grid);
  if (share.row >= grid.rows) return;
  const std::int64_t span = share.row / spans.batch;
  const std::int64_t b = share.row % spans.batch;
  const std::int64_t begin = span == 0 ? 0 : spans.ends[span - 1];
  const std::int64_t end = spans.ends[span];
  for (std::int64_t group = share.first; group < grid.words; group += share.step) {
    T sum[n] = {};
    for (std::int64_t t = begin; t < end; ++t) {
      T term[n];
      simt::load_group(dy + ((t * spans.batch + b) * grid.words + group) * n, term);
      REFRAIN_UNROLL
      for (int i = 0; i < n; ++i) sum[i] += term[i];
    }
    simt::store_group(dspans + (share.row * grid.words + group) * n, sum);
  }
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
