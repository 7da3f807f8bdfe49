#pragma once
/// Device templates of top_k; grids and bytes: cuda.cu.

#include <cstdint>

#include "kernels/simt.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

inline constexpr int top_warps = 8;
inline constexpr int top_threads = top_warps * 32;
inline constexpr int max_top_k = 1024;  ///< the largest k

/// Entries of a list that one block searches, `items` per thread.
template <int items>
inline constexpr std::int64_t top_segment = top_threads* items;

/// Scores as integers of the same order: NaN is 1, all other scores are above it, both zeros are
/// equal; 0 marks entries without a score.
__device__ __forceinline__ std::uint32_t score_key(float score) {
  if (score != score) return 1;
  const std::uint32_t bits = __float_as_uint(score + 0.0f);  // -0 + 0 = 0
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ std::uint64_t score_key(double score) {
  if (score != score) return 1;
  const std::uint64_t bits = static_cast<std::uint64_t>(__double_as_longlong(score + 0.0));
  return (bits >> 63) != 0 ? ~bits : bits | std::uint64_t{1} << 63;
}

/// The input and output lists of a launch. A row has a list of `count` indices in ascending order;
/// the first list contains all indices.
struct TopLists {
  std::int64_t length;       ///< scores in a row
  const std::int32_t* from;  ///< [rows,count]; null: 0, 1, 2, ...
  std::int64_t count;
  std::int64_t segments;  ///< number of segments of a list
  std::int32_t* to;       ///< [rows,next_count], the best k of each segment, in ascending order
  std::int64_t next_count;
  int k;
};

/// Selects the best k of a segment: block `segments` row + s takes entries [s, s + 1) top_segment
/// of the row's list.
///
/// Every thread keeps the keys of its scores in registers. The threshold, the smallest key among
/// the best k, is found by bisection with a count over the block at each step, until exactly k keys
/// reach the middle or the interval contains one key. Every thread has a key at least as large as
/// the minimum over the threads of their maxima, so with k up to the number of threads the search
/// starts there and often takes a dozen steps. Of the keys equal to the threshold the first ones
/// are taken until k are found. With `last`, the list is one segment: the best are ranked, each by
/// counting those before it, and written.
template <class T, int items, bool last>
__global__ void __launch_bounds__(top_threads)
    select_best(TopLists lists, const T* scores, T* values, std::int32_t* indices) {
  using Key = decltype(score_key(T{}));
  REFRAIN_SHARED_ARRAY(Key, key_scratch, top_warps);
  REFRAIN_SHARED_ARRAY(int, scratch, top_warps);
  REFRAIN_SHARED_ARRAY(int, above_of_warp, top_warps);
  REFRAIN_SHARED_ARRAY(int, equal_of_warp, top_warps);
  REFRAIN_SHARED_ARRAY(Key, best_keys, last ? max_top_k : 1);
  REFRAIN_SHARED_ARRAY(std::int32_t, best_indices, last ? max_top_k : 1);
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) / lists.segments;
  const std::int64_t segment = static_cast<std::int64_t>(blockIdx.x) % lists.segments;
  const T* const row_scores = scores + row * lists.length;
  const std::int64_t begin = segment * top_segment<items>;
  const std::int64_t left = lists.count - begin;
  const int wanted = left < lists.k ? static_cast<int>(left) : lists.k;
  const std::int64_t first = begin + simt::warp() * 32 * items + simt::lane();
  const auto index = [&](int i) {
    const std::int64_t place = first + 32 * i;
    return lists.from == nullptr ? static_cast<std::int32_t>(place)
                                 : lists.from[row * lists.count + place];
  };

  Key keys[items];
  Key largest = 0;
  REFRAIN_UNROLL
  for (int i = 0; i < items; ++i) {
    keys[i] = first + 32 * i < lists.count ? score_key(row_scores[index(i)]) : Key{0};
    largest = keys[i] > largest ? keys[i] : largest;
  }

  // low <= threshold < high
  Key high = simt::block_max<top_warps>(largest, key_scratch) + 1;
  Key low = ~simt::block_max<top_warps>(static_cast<Key>(~largest), key_scratch);
  if (wanted > top_threads || low == 0) low = 1;
  while (high - low > 1) {
    const Key middle = low + (high - low) / 2;
    int count = 0;
    REFRAIN_UNROLL
    for (int i = 0; i < items; ++i) count += keys[i] >= middle ? 1 : 0;
    count = simt::block_sum<top_warps>(count, scratch);
    if (count < wanted) {
      high = middle;
    } else {
      low = middle;
      if (count == wanted) break;
    }
  }

  int above = 0;
  int equal = 0;
  REFRAIN_UNROLL
  for (int i = 0; i < items; ++i) {
    above += keys[i] > low ? 1 : 0;
    equal += keys[i] == low ? 1 : 0;
  }
  above = simt::warp_sum(above);
  equal = simt::warp_sum(equal);
  if (simt::lane() == 0) {
    above_of_warp[simt::warp()] = above;
    equal_of_warp[simt::warp()] = equal;
  }
  __syncthreads();
  int above_before = 0;
  int equal_before = 0;
  int equal_wanted = wanted;
  REFRAIN_UNROLL
  for (int w = 0; w < top_warps; ++w) {
    equal_wanted -= above_of_warp[w];
    if (w < simt::warp()) {
      above_before += above_of_warp[w];
      equal_before += equal_of_warp[w];
    }
  }
  int taken_before = above_before + (equal_before < equal_wanted ? equal_before : equal_wanted);
  const unsigned lanes_before = (1u << simt::lane()) - 1;
  REFRAIN_UNROLL
  for (int i = 0; i < items; ++i) {
    const unsigned equals = __ballot_sync(simt::full_mask, keys[i] == low ? 1 : 0);
    const bool takes =
        keys[i] > low ||
        (keys[i] == low && equal_before + __popc(equals & lanes_before) < equal_wanted);
    const unsigned taken = __ballot_sync(simt::full_mask, takes ? 1 : 0);
    if (takes) {
      const int place = taken_before + __popc(taken & lanes_before);
      if constexpr (last) {
        best_keys[place] = keys[i];
        best_indices[place] = index(i);
      } else {
        lists.to[row * lists.next_count + segment * lists.k + place] = index(i);
      }
    }
    equal_before += __popc(equals);
    taken_before += __popc(taken);
  }

  if constexpr (last) {
    __syncthreads();
    for (int own = static_cast<int>(threadIdx.x); own < lists.k; own += top_threads) {
      const Key key = best_keys[own];
      int rank = 0;
      for (int other = 0; other < lists.k; ++other) {
        rank += best_keys[other] > key || (best_keys[other] == key && other < own) ? 1 : 0;
      }
      values[row * lists.k + rank] = row_scores[best_indices[own]];
      indices[row * lists.k + rank] = best_indices[own];
    }
  }
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
