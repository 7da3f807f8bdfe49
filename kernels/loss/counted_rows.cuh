#pragma once
/// The counted rows of a loss in ascending order, followed by the other rows.
///
///   index[0 .. counted) = rows with targets[row] != ignored,   index[counted .. rows) = the rest
///
/// Two launches. The first counts in each of up to 256 parts of the rows, one block per part; the
/// second adds the counts of earlier parts and places its rows, 256 at a time, one thread each. The
/// count stays in device memory, where later kernels read it.

#include <algorithm>
#include <cstdint>

#include "kernels/simt.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

inline constexpr int counting_warps = 8;
// Also the maximum number of parts: a thread of a block reads one count.
inline constexpr int counting_threads = counting_warps * 32;

struct CountedRows {
  const std::int32_t* targets;  ///< [rows]
  std::int64_t rows;
  std::int64_t ignored;
  std::int32_t* index;    ///< [rows]
  std::int64_t* counted;  ///< one element
  std::int64_t* parts;    ///< [counting_threads] counts of the parts

  __device__ __forceinline__ bool counts(std::int64_t row) const {
    return row < rows && targets[row] != ignored;
  }
};

template <int threads>
__global__ void __launch_bounds__(threads) count_rows(CountedRows all, std::int64_t rows_per_part) {
  REFRAIN_SHARED_ARRAY(std::int64_t, scratch, threads / 32);
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * rows_per_part;
  const std::int64_t end = begin + rows_per_part;
  std::int64_t count = 0;
  for (std::int64_t row = begin + threadIdx.x; row < end; row += threads)
    count += all.counts(row) ? 1 : 0;
  count = simt::block_sum<threads / 32>(count, scratch);
  if (threadIdx.x == 0) all.parts[blockIdx.x] = count;
}

template <int threads>
__global__ void __launch_bounds__(threads) place_rows(CountedRows all, std::int64_t rows_per_part) {
  REFRAIN_SHARED_ARRAY(std::int64_t, scratch, threads / 32);
  REFRAIN_SHARED_ARRAY(int, in_warp, threads / 32);
  const std::int64_t part = threadIdx.x < gridDim.x ? all.parts[threadIdx.x] : 0;
  const std::int64_t counted = simt::block_sum<threads / 32>(part, scratch);
  std::int64_t before =
      simt::block_sum<threads / 32>(threadIdx.x < blockIdx.x ? part : std::int64_t{0}, scratch);
  if (blockIdx.x == 0 && threadIdx.x == 0) *all.counted = counted;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * rows_per_part;
  const std::int64_t end = begin + rows_per_part < all.rows ? begin + rows_per_part : all.rows;
  for (std::int64_t first = begin; first < end; first += threads) {
    const std::int64_t row = first + threadIdx.x;
    const bool counts = all.counts(row);
    const unsigned of_warp = __ballot_sync(simt::full_mask, counts);
    if (simt::lane() == 0) in_warp[simt::warp()] = __popc(of_warp);
    __syncthreads();
    std::int64_t place = before + __popc(of_warp & ((1u << simt::lane()) - 1));
    for (int warp = 0; warp < threads / 32; ++warp) {
      if (warp < simt::warp()) place += in_warp[warp];
      before += in_warp[warp];
    }
    if (row < all.rows)
      all.index[counts ? place : counted + (row - place)] = static_cast<std::int32_t>(row);
    __syncthreads();
  }
}

/// Launches both kernels. Parts are multiples of a block, so no row belongs to two parts.
inline void index_counted_rows(const char* name, const CountedRows& all) {
  const std::int64_t tiles = (all.rows + counting_threads - 1) / counting_threads;
  const std::int64_t rows_per_part =
      std::max<std::int64_t>(2, (tiles + counting_threads - 1) / counting_threads) *
      counting_threads;
  const simt::Launch how{.name = name,
                         .grid = std::max(1u, simt::blocks_for(all.rows, rows_per_part)),
                         .block = counting_threads};
  simt::launch(how, count_rows<counting_threads>, all, rows_per_part);
  simt::launch(how, place_rows<counting_threads>, all, rows_per_part);
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
