// The k largest scores of each row on the GPU.  Device: f32, f64.
//   values[row,:], indices[row,:] = the k largest scores of the row in descending order; equal
//   scores: lower index first; NaN last
// Shapes: scores [rows,V]; values, indices [rows,k].  k up to 1,024.
//
// A block of 256 threads selects the best k of a segment of up to 8,192 scores (f64: 4,096), 32
// (16) in the registers of each thread, and writes their indices in ascending order. The
// concatenated lists of the segments are the row of the next launch, which reads the scores of
// these indices again, so only indices are stored. A launch reduces a segment of 8,192 entries to
// k; the last launch, whose list is one segment, also ranks them. There is one launch up to V =
// 8,192, and two up to about 8,192^2 / k.
//
// Memory traffic: V elements of each row once, and k indices per segment. Comparisons: a dozen to
// 32 (f64: 64) per score. Bound about equally by memory bandwidth and these comparisons; rows
// without ties and k up to 256 need the fewest.

#include <algorithm>
#include <utility>

#include "kernels/kernel.hpp"
#include "kernels/top_k/top_k.cuh"
#include "refrain/kernels/top_k.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

template <class T>
inline constexpr int long_items = 128 / static_cast<int>(sizeof(T));
inline constexpr int short_items = 8;

/// The lists of a row, one per launch.
struct TopPlan {
  TopPlan(const TopK& args, std::int64_t segment_length)
      : rows(args.scores.shape.rows()),
        length(args.scores.shape[-1]),
        k(args.values.shape[-1]),
        segment(segment_length) {}

  std::int64_t segments(std::int64_t count) const { return (count + segment - 1) / segment; }
  /// Length of the list after one of `count` entries, when that list is longer than a segment.
  std::int64_t next(std::int64_t count) const {
    const std::int64_t before_last = segments(count) - 1;
    return before_last * k + std::min(k, count - before_last * segment);
  }
  /// Length of the second list of all rows, the longest that is written, and of the third.
  std::int64_t first_kept() const { return length > segment ? rows * next(length) : 0; }
  std::int64_t second_kept() const {
    return length > segment && next(length) > segment ? rows * next(next(length)) : 0;
  }

  std::int64_t rows;
  std::int64_t length;
  std::int64_t k;
  std::int64_t segment;
};

template <class T>
TopPlan plan_of(const TopK& args) {
  return {args, top_segment<long_items<T>>};
}

template <class T, int items, bool last>
void launch_select(const TopPlan& plan, const TopLists& lists, const TopK& args) {
  const simt::Launch how{.name = TopK::name,
                         .grid = simt::blocks_for(plan.rows * lists.segments, 1),
                         .block = top_threads};
  simt::launch(how, select_best<T, items, last>, lists, args.scores.as<T>(), args.values.as<T>(),
               args.indices.as<std::int32_t>());
}

template <class T>
void select(const TopK& args, Scratch& scratch) {
  const TopPlan plan = plan_of<T>(args);
  if (plan.k > max_top_k)
    throw Unsupported(refrain::detail::concat(TopK::name, ": expected k up to ", max_top_k,
                                              " on CUDA, got ", plan.k));
  std::int32_t* to = scratch.take<std::int32_t>(plan.first_kept());
  std::int32_t* other = scratch.take<std::int32_t>(plan.second_kept());
  if (scratch.is_counting() || plan.rows == 0 || plan.k == 0) return;
  TopLists lists{.length = plan.length,
                 .from = nullptr,
                 .count = plan.length,
                 .segments = 1,
                 .to = nullptr,
                 .next_count = 0,
                 .k = static_cast<int>(plan.k)};
  while (lists.count > plan.segment) {
    lists.segments = plan.segments(lists.count);
    lists.to = to;
    lists.next_count = plan.next(lists.count);
    launch_select<T, long_items<T>, false>(plan, lists, args);
    lists.from = to;
    lists.count = lists.next_count;
    std::swap(to, other);
  }
  lists.segments = 1;
  if (lists.count <= top_segment<short_items>) {
    launch_select<T, short_items, true>(plan, lists, args);
  } else {
    launch_select<T, long_items<T>, true>(plan, lists, args);
  }
}

}  // namespace

template <>
void kernel(const TopK& args, Scratch& scratch) {
  for_floating<TopK>(args.scores.dtype, [&]<class T>(T) { select<T>(args, scratch); });
}

template void entry(const TopK&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
