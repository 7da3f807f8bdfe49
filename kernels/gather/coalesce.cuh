#pragma once
/// Device templates of coalesce_rows; grids and bytes: cuda_coalesce.cu.
///
/// A run is the sorted pairs of one id. The pairs are cut into pieces of 32; a run that crosses the
/// end of a piece is summed piece by piece, and then the sums of the pieces are added in order.

#include <cstdint>

#include "kernels/gather/radix_sort.cuh"
#include "kernels/simt.hpp"
#include "kernels/tiling/row_moves.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

inline constexpr std::int64_t run_piece = 32;  // one vote of a warp

/// The input of the summation kernels.
struct Runs {
  std::int64_t count;            ///< number of pairs
  const std::uint64_t* pairs;    ///< [count], sorted
  const std::uint32_t* numbers;  ///< [count], of each pair's run
  const std::uint32_t* total;    ///< runs
};

/// True when a run starts at pair i; pairs with negative ids start no run.
__device__ __forceinline__ bool starts_run(const std::uint64_t* pairs, unsigned i) {
  const std::int32_t id = id_of(pairs[i]);
  return id >= 0 && (i == 0 || id_of(pairs[i - 1]) != id);
}

/// Numbers the runs of the pairs [begin, end) from `before`, the number of runs that start earlier:
/// numbers[i] = the run of pair i, rows[run] = its id. All threads of the block call it; returns
/// the number of the next run.
__device__ __forceinline__ unsigned number_runs_between(const std::uint64_t* pairs, unsigned begin,
                                                        unsigned end, unsigned before,
                                                        unsigned* scratch, std::uint32_t* numbers,
                                                        std::int32_t* rows) {
  for (unsigned first = begin; first < end; first += sort_threads) {
    const unsigned i = first + threadIdx.x;
    const bool starts = i < end && starts_run(pairs, i);
    unsigned found = 0;
    const unsigned next = before + block_sum_before(starts ? 1 : 0, scratch, found);
    if (starts) rows[next] = id_of(pairs[i]);
    if (i < end) numbers[i] = starts ? next : next - 1;
    before += found;
  }
  return before;
}

/// starts[block] = runs that start in the block's tile.
template <class Pair>
__global__ void __launch_bounds__(sort_threads)
    count_runs(SortGrid grid, const Pair* pairs, std::uint32_t* starts) {
  REFRAIN_SHARED_ARRAY(unsigned, scratch, sort_warps);
  unsigned found = 0;
  for (unsigned i = grid.begin() + threadIdx.x; i < grid.end(); i += sort_threads)
    found += starts_run(pairs, i) ? 1 : 0;
  found = simt::block_sum<sort_warps>(found, scratch);
  if (threadIdx.x == 0) starts[blockIdx.x] = found;
}

/// Numbers the runs of a tile, fills its part of the rows past the last run with -1, and writes the
/// number of runs.
template <class Pair>
__global__ void __launch_bounds__(sort_threads)
    number_runs(SortGrid grid, const Pair* pairs, const std::uint32_t* starts,
                std::uint32_t* numbers, std::int32_t* rows, std::uint32_t* total) {
  REFRAIN_SHARED_ARRAY(unsigned, scratch, sort_warps);
  unsigned all = 0;
  unsigned earlier = 0;
  for (unsigned block = threadIdx.x; block < grid.blocks; block += sort_threads) {
    all += starts[block];
    if (block < blockIdx.x) earlier += starts[block];
  }
  all = simt::block_sum<sort_warps>(all, scratch);
  earlier = simt::block_sum<sort_warps>(earlier, scratch);
  number_runs_between(pairs, grid.begin(), grid.end(), earlier, scratch, numbers, rows);
  for (unsigned row = grid.begin() + threadIdx.x; row < grid.end(); row += sort_threads) {
    if (row >= all) rows[row] = -1;
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) *total = all;
}

/// Sorts and numbers a short list by one block in one launch. The result is in `pairs`.
template <class Pair>
__global__ void __launch_bounds__(sort_threads)
    sort_and_number(unsigned count, const std::int32_t* ids, Pair* pairs, Pair* other,
                    std::uint32_t* numbers, std::int32_t* rows, std::uint32_t* total) {
  REFRAIN_SHARED_ARRAY(unsigned, all, sort_passes* digits);         // [passes][digits]
  REFRAIN_SHARED_ARRAY(unsigned, warp_counts, sort_warps* digits);  // [warps][digits]
  REFRAIN_SHARED_ARRAY(unsigned, sums, sort_warps);
  static_assert(sort_passes % 2 == 0, "the last pass writes to `pairs`");
  const int thread = static_cast<int>(threadIdx.x);
  for (int pass = 0; pass < sort_passes; ++pass) all[pass * digits + thread] = 0;
  __syncthreads();
  for (unsigned i = threadIdx.x; i < count; i += sort_threads) {
    for (int pass = 0; pass < sort_passes; ++pass)
      atomicAdd(&all[pass * digits + digit_of(id_pair(ids[i], 0), pass)], 1u);
  }
  __syncthreads();
  for (int pass = 0; pass < sort_passes; ++pass) {
    unsigned* const next = all + pass * digits;
    unsigned sum = 0;
    next[thread] = block_sum_before(next[thread], sums, sum);
    const Pair* const from = pass == 0 ? nullptr : (pass % 2 == 0 ? pairs : other);
    Pair* const to = pass % 2 == 0 ? other : pairs;
    place_pairs({ids, from}, 0, count, pass, {next, warp_counts},
                [&](std::uint64_t pair, unsigned where) { to[where] = pair; });
  }
  const unsigned runs = number_runs_between(pairs, 0, count, 0, sums, numbers, rows);
  for (unsigned row = runs + threadIdx.x; row < count; row += sort_threads) rows[row] = -1;
  if (threadIdx.x == 0) *total = runs;
}

/// to[:] = sum of the rows at(0), at(1), ... at(rows - 1), in this order, in groups of n, by the
/// threads of a team.
template <int n, class T, class At>
__device__ __forceinline__ void sum_in_order(std::int64_t groups, int first, int step,
                                             std::int64_t rows, At at, T* to) {
  for (std::int64_t group = first; group < groups; group += step) {
    T sum[n];
    simt::load_group(at(0) + group * n, sum);
    for (std::int64_t row = 1; row < rows; ++row) {
      T term[n];
      simt::load_group(at(row) + group * n, term);
      REFRAIN_UNROLL
      for (int i = 0; i < n; ++i) sum[i] += term[i];
    }
    simt::store_group(to + group * n, sum);
  }
}

/// A block per piece; teams of threads take its runs in turn. The sum of a run inside the piece
/// goes to values[run,:]; that of a run from an earlier piece to edges[piece][0][:]; that of a run
/// that starts here and crosses the end to edges[piece][1][:]. values past the last run are zeros.
template <int n, class T>
__global__ void __launch_bounds__(row_threads, 4)
    sum_pieces(RowGrid grid, Runs runs, const T* dy, T* values, T* edges) {
  REFRAIN_SHARED_ARRAY(std::uint64_t, pairs, run_piece);
  REFRAIN_SHARED_ARRAY(
      unsigned, starts,
      1);  // bit i: pair i is the first of its id here; set past the end of the list
  const std::int64_t piece = static_cast<std::int64_t>(blockIdx.x);
  const std::int64_t begin = piece * run_piece;
  if (simt::warp() == 0) {
    const std::int64_t i = begin + simt::lane();
    const bool inside = i < runs.count;
    pairs[simt::lane()] = inside ? runs.pairs[i] : id_pair(-1, 0);
    __syncwarp();
    const bool first = !inside || simt::lane() == 0 ||
                       id_of(pairs[simt::lane() - 1]) != id_of(pairs[simt::lane()]);
    const unsigned lanes = __ballot_sync(simt::full_mask, first ? 1 : 0);
    if (simt::lane() == 0) starts[0] = lanes;
  }
  __syncthreads();
  const int teams = row_threads >> grid.team_bits;
  const int team = static_cast<int>(threadIdx.x) >> grid.team_bits;
  const int step = 1 << grid.team_bits;
  const int member = static_cast<int>(threadIdx.x) & (step - 1);
  const std::int64_t width = grid.words * n;
  for (int i = team; i < run_piece; i += teams) {
    const std::int32_t id = id_of(pairs[i]);
    if ((starts[0] >> i & 1) == 0 || id < 0) continue;
    const unsigned later = starts[0] & ~(2u * (1u << i) - 1);
    const int end = later == 0 ? static_cast<int>(run_piece) : __ffs(static_cast<int>(later)) - 1;
    const bool from_before = i == 0 && piece > 0 && id_of(runs.pairs[begin - 1]) == id;
    const bool goes_on =
        end == run_piece && begin + end < runs.count && id_of(runs.pairs[begin + end]) == id;
    T* const to = from_before ? edges + 2 * piece * width
                  : goes_on   ? edges + (2 * piece + 1) * width
                              : values + runs.numbers[begin + i] * width;
    sum_in_order<n>(
        grid.words, member, step, end - i,
        [&](std::int64_t k) { return dy + position_of(pairs[i + k]) * width; }, to);
  }
  for (int i = team; i < run_piece; i += teams) {
    const std::int64_t row = begin + i;
    if (row >= runs.count || row < *runs.total) continue;
    const T zeros[n] = {};
    for (std::int64_t group = member; group < grid.words; group += step)
      simt::store_group(values + row * width + group * n, zeros);
  }
}

/// A team per piece: if a run starts in the piece and crosses its end, values[run,:] = the sums of
/// its pieces.
template <int n, class T>
__global__ void __launch_bounds__(row_threads, 4)
    join_pieces(RowGrid grid, Runs runs, const T* edges, T* values) {
  const RowShare share(grid);
  const std::int64_t end = (share.row + 1) * run_piece;
  if (share.row >= grid.rows || end >= runs.count) return;
  const std::int32_t id = id_of(runs.pairs[end - 1]);
  if (id < 0 || id_of(runs.pairs[end]) != id) return;
  if (share.row > 0 && id_of(runs.pairs[end - run_piece - 1]) == id)
    return;                           // the run started before
  std::int64_t last = share.row + 1;  // the last piece that starts with this id; ids ascend
  for (std::int64_t beyond = grid.rows; beyond - last > 1;) {
    const std::int64_t middle = last + (beyond - last) / 2;
    if (id_of(runs.pairs[middle * run_piece]) == id) {
      last = middle;
    } else {
      beyond = middle;
    }
  }
  const std::int64_t width = grid.words * n;
  const auto part = [&](std::int64_t k) {
    return edges + (2 * (share.row + k) + (k == 0 ? 1 : 0)) * width;
  };
  sum_in_order<n>(grid.words, share.first, share.step, last - share.row + 1, part,
                  values + runs.numbers[end - 1] * width);
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
