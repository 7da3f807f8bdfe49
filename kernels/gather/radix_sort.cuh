#pragma once
/// Sorts ids with their positions, equal ids by ascending position: eight bits a pass, the lowest
/// first, each pass stable.
///
/// In a pass every block takes a tile of the pairs. The counts of all blocks determine where its
/// pairs go: after those of smaller digits and, for the same digit, after those of earlier blocks.
/// While a block places its pairs it also counts the digits of the next pass at the new positions;
/// these are integers, so the order of the additions does not matter. One launch counts the first
/// digits, four launches place pairs. There are at most 256 blocks, which bounds the counts; longer
/// lists have longer tiles.

#include <algorithm>
#include <cstdint>

#include "kernels/simt.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

inline constexpr int sort_warps = 8;
inline constexpr int sort_threads = sort_warps * 32;
inline constexpr int sort_rounds = 8;                          // pairs that a thread holds at once
inline constexpr int sort_batch = sort_threads * sort_rounds;  // pairs that a block holds at once
inline constexpr int digit_bits = 8;
inline constexpr int digits = 1 << digit_bits;  // one per thread when counts are summed
inline constexpr int sort_passes = 32 / digit_bits;
static_assert(digits == sort_threads);

/// An id and its position, in one word that sorts by id, then position.  Negative ids come last.
__device__ __forceinline__ std::uint64_t id_pair(std::int32_t id, std::int64_t position) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(id)) << 32 |
         static_cast<std::uint64_t>(position);
}
__device__ __forceinline__ std::int32_t id_of(std::uint64_t pair) {
  return static_cast<std::int32_t>(pair >> 32);
}
__device__ __forceinline__ std::int64_t position_of(std::uint64_t pair) {
  return static_cast<std::int64_t>(pair & 0xffffffffu);
}
__device__ __forceinline__ int digit_of(std::uint64_t pair, int pass) {
  return static_cast<int>(pair >> (32 + digit_bits * pass) & (digits - 1));
}

/// Tiles of a list of fewer than 2^31 pairs.
struct SortGrid {
  explicit SortGrid(std::int64_t pairs, std::int64_t max_blocks = 256)
      : count(static_cast<unsigned>(pairs)),
        tile(static_cast<unsigned>(std::max<std::int64_t>(1, batches_per_block(pairs, max_blocks)) *
                                   sort_batch)),
        blocks(static_cast<unsigned>((pairs + tile - 1) / tile)) {}

  unsigned count;
  unsigned tile;  ///< a multiple of sort_batch
  unsigned blocks;

  __device__ __forceinline__ unsigned begin() const { return blockIdx.x * tile; }
  __device__ __forceinline__ unsigned end() const {
    return count - begin() < tile ? count : begin() + tile;
  }

 private:
  static std::int64_t batches_per_block(std::int64_t pairs, std::int64_t max_blocks) {
    return (pairs + max_blocks * sort_batch - 1) / (max_blocks * sort_batch);
  }
};

/// The pairs of a pass; the first pass builds them from the ids.
struct PairSource {
  const std::int32_t* ids;
  const std::uint64_t* pairs;  ///< null: built from the ids
  __device__ __forceinline__ std::uint64_t operator[](unsigned i) const {
    return pairs != nullptr ? pairs[i] : id_pair(ids[i], i);
  }
};

/// Sum of the values of the threads before this one; `total` is that of the block. All threads call
/// it; `scratch` is shared and holds one element per warp.
__device__ __forceinline__ unsigned block_sum_before(unsigned value, unsigned* scratch,
                                                     unsigned& total) {
  unsigned sum = value;
  REFRAIN_UNROLL
  for (int distance = 1; distance < 32; distance *= 2) {
    const unsigned other = __shfl_up_sync(simt::full_mask, sum, static_cast<unsigned>(distance));
    if (simt::lane() >= distance) sum += other;
  }
  if (simt::lane() == 31) scratch[simt::warp()] = sum;
  __syncthreads();
  unsigned before = sum - value;
  total = 0;
  REFRAIN_UNROLL
  for (int w = 0; w < sort_warps; ++w) {
    if (w < simt::warp()) before += scratch[w];
    total += scratch[w];
  }
  __syncthreads();
  return before;
}

/// The lanes of the warp with the same digit; no lanes when not `valid`.
__device__ __forceinline__ unsigned lanes_with_digit(int digit, bool valid) {
  unsigned same = __ballot_sync(simt::full_mask, valid ? 1 : 0);
  REFRAIN_UNROLL
  for (int bit = 0; bit < digit_bits; ++bit) {
    const bool set = (digit >> bit & 1) != 0;
    const unsigned lanes = __ballot_sync(simt::full_mask, set ? 1 : 0);
    same &= set ? lanes : ~lanes;
  }
  return valid ? same : 0;
}

/// The shared memory for placing pairs.
struct SortScratch {
  unsigned* next;    ///< [digits], where the next pair of each digit goes
  unsigned* counts;  ///< [sort_warps][digits]
};

/// Calls place(pair, where) for the pairs [begin, end) of the source, in an order that keeps pairs
/// of equal digits in sequence. All threads of the block call it; ends with a barrier. A warp takes
/// 256 neighbouring pairs of a batch, 32 at a time.
template <class Place>
__device__ __forceinline__ void place_pairs(const PairSource& source, unsigned begin, unsigned end,
                                            int pass, const SortScratch& scratch, Place place) {
  const int thread = static_cast<int>(threadIdx.x);
  unsigned* const own = scratch.counts + simt::warp() * digits;
  const unsigned lanes_before = (1u << simt::lane()) - 1;
  for (unsigned batch = begin; batch < end; batch += sort_batch) {
    REFRAIN_UNROLL
    for (int w = 0; w < sort_warps; ++w) scratch.counts[w * digits + thread] = 0;
    __syncthreads();
    const unsigned first =
        batch + static_cast<unsigned>(simt::warp() * 32 * sort_rounds + simt::lane());
    std::uint64_t pairs[sort_rounds];
    unsigned rank[sort_rounds];  // among the warp's pairs of this digit
    REFRAIN_UNROLL
    for (int r = 0; r < sort_rounds; ++r) {
      const unsigned i = first + 32u * static_cast<unsigned>(r);
      pairs[r] = i < end ? source[i] : 0;
    }
    REFRAIN_UNROLL
    for (int r = 0; r < sort_rounds; ++r) {
      const bool valid = first + 32u * static_cast<unsigned>(r) < end;
      const int digit = digit_of(pairs[r], pass);
      const unsigned same = lanes_with_digit(digit, valid);
      const unsigned seen = own[digit];
      rank[r] = seen + static_cast<unsigned>(__popc(same & lanes_before));
      __syncwarp();
      if (valid && (same & lanes_before) == 0)
        own[digit] = seen + static_cast<unsigned>(__popc(same));
      __syncwarp();
    }
    __syncthreads();
    unsigned next = scratch.next[thread];
    REFRAIN_UNROLL
    for (int w = 0; w < sort_warps; ++w) {
      const unsigned count = scratch.counts[w * digits + thread];
      scratch.counts[w * digits + thread] = next;
      next += count;
    }
    scratch.next[thread] = next;
    __syncthreads();
    REFRAIN_UNROLL
    for (int r = 0; r < sort_rounds; ++r) {
      if (first + 32u * static_cast<unsigned>(r) < end)
        place(pairs[r], own[digit_of(pairs[r], pass)] + rank[r]);
    }
    __syncthreads();
  }
}

/// counts[0][block][digit] = pairs of the block's tile with that first digit; counts of the later
/// passes = 0.
template <class Id>
__global__ void __launch_bounds__(sort_threads)
    count_first_digits(SortGrid grid, const Id* ids, unsigned* counts) {
  REFRAIN_SHARED_ARRAY(unsigned, found, digits);
  const int thread = static_cast<int>(threadIdx.x);
  found[thread] = 0;
  __syncthreads();
  for (unsigned i = grid.begin() + threadIdx.x; i < grid.end(); i += sort_threads) {
    atomicAdd(&found[digit_of(id_pair(ids[i], 0), 0)], 1u);
  }
  __syncthreads();
  REFRAIN_UNROLL
  for (int pass = 0; pass < sort_passes; ++pass) {
    counts[(pass * grid.blocks + blockIdx.x) * digits + thread] = pass == 0 ? found[thread] : 0;
  }
}

/// One pass. counts [blocks][digits] are those of this pass; next_counts those of the next pass, or
/// null.
template <class Pair>
__global__ void __launch_bounds__(sort_threads)
    place_by_digit(SortGrid grid, int pass, PairSource source, Pair* to, const unsigned* counts,
                   unsigned* next_counts) {
  REFRAIN_SHARED_ARRAY(unsigned, next, digits);
  REFRAIN_SHARED_ARRAY(unsigned, warp_counts, sort_warps* digits);  // [warps][digits]
  REFRAIN_SHARED_ARRAY(unsigned, sums, sort_warps);
  const int thread = static_cast<int>(threadIdx.x);
  unsigned all = 0;
  unsigned earlier = 0;
  for (unsigned block = 0; block < grid.blocks; ++block) {
    const unsigned count = counts[block * digits + thread];
    all += count;
    if (block < blockIdx.x) earlier += count;
  }
  unsigned total = 0;
  next[thread] = block_sum_before(all, sums, total) + earlier;
  place_pairs(source, grid.begin(), grid.end(), pass, {next, warp_counts},
              [&](std::uint64_t pair, unsigned where) {
                to[where] = pair;
                if (next_counts != nullptr)
                  atomicAdd(&next_counts[where / grid.tile * digits + digit_of(pair, pass + 1)],
                            1u);
              });
}

/// The number of counts of sort_ids.
inline std::int64_t sort_counts(const SortGrid& grid) {
  return static_cast<std::int64_t>(sort_passes) * grid.blocks * digits;
}

/// pairs [count] = the ids with their positions, sorted; `other` [count] and `counts` are scratch.
/// Five launches.
inline void sort_ids(const char* name, const SortGrid& grid, const std::int32_t* ids,
                     std::uint64_t* pairs, std::uint64_t* other, std::uint32_t* counts) {
  static_assert(sort_passes % 2 == 0, "the last pass writes to `pairs`");
  const simt::Launch how{.name = name, .grid = grid.blocks, .block = sort_threads};
  simt::launch(how, count_first_digits<std::int32_t>, grid, ids, counts);
  PairSource source{.ids = ids, .pairs = nullptr};
  for (int pass = 0; pass < sort_passes; ++pass) {
    std::uint32_t* const next_counts =
        pass + 1 < sort_passes ? counts + grid.blocks * digits : nullptr;
    std::uint64_t* const to = pass % 2 == 0 ? other : pairs;
    simt::launch(how, place_by_digit<std::uint64_t>, grid, pass, source, to, counts, next_counts);
    source.pairs = to;
    counts = next_counts;
  }
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
