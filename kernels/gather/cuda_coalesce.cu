// Sums of rows with equal ids on the GPU. Device: f32, f64.
//   rows = the distinct ids in ascending order, then -1; negative ids are skipped
//   values[j,:] = sum of dy[i,:] over ids[i] == rows[j], zero past the last id
// Shapes: ids, rows [n]; dy, values [n,C].  n below 2^31, any ids, any C.
//
// First the pairs (id, position) are sorted and the runs of equal ids are numbered
// (radix_sort.cuh): up to 4,096 ids by one block in one launch, 2,048 at a time; longer lists in
// seven launches over the whole GPU. Then a block takes 32 sorted positions, and each of its teams
// of threads sums a run, in the order of positions, 16 bytes per thread; another launch joins runs
// that cross the end of a piece. The work is therefore balanced however often an id occurs, and the
// order of the additions depends only on the ids.
//
// Memory traffic: 2 n C elements, and for runs that cross at most 2 C per 32 rows; the sort 100 n
// bytes, which stay in the second-level cache up to some million ids. Bound by memory bandwidth for
// wide rows, and by launch latency for short lists.

#include <algorithm>

#include "kernels/gather/coalesce.cuh"
#include "kernels/kernel.hpp"
#include "kernels/tiling/rows.hpp"
#include "refrain/kernels/gather.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

constexpr std::int64_t one_block_ids = 2 * sort_batch;

std::int64_t pieces_of(std::int64_t count) { return (count + run_piece - 1) / run_piece; }

/// The part of the sort in the scratch memory.
struct SortSpace {
  SortSpace(const SortGrid& grid, Scratch& scratch)
      : pairs(scratch.take<std::uint64_t>(grid.count)),
        other(scratch.take<std::uint64_t>(grid.count)),
        numbers(reinterpret_cast<std::uint32_t*>(other)),  // after the sort
        counts(scratch.take<std::uint32_t>(sort_counts(grid))),
        starts(scratch.take<std::uint32_t>(grid.blocks)),
        total(scratch.take<std::uint32_t>(1)) {}

  std::uint64_t* pairs;
  std::uint64_t* other;
  std::uint32_t* numbers;
  std::uint32_t* counts;  ///< [passes][blocks][digits]
  std::uint32_t* starts;  ///< [blocks]
  std::uint32_t* total;
};

/// Sorts the pairs, numbers the runs and writes args.rows.
void find_runs(const CoalesceRows& args, const SortGrid& grid, const SortSpace& space) {
  const std::int32_t* const ids = args.ids.as<std::int32_t>();
  std::int32_t* const rows = args.rows.as<std::int32_t>();
  simt::Launch how{.name = CoalesceRows::name, .grid = 1, .block = sort_threads};
  if (grid.count <= one_block_ids) {
    simt::launch(how, sort_and_number<std::uint64_t>, grid.count, ids, space.pairs, space.other,
                 space.numbers, rows, space.total);
    return;
  }
  sort_ids(CoalesceRows::name, grid, ids, space.pairs, space.other, space.counts);
  how.grid = grid.blocks;
  simt::launch(how, count_runs<std::uint64_t>, grid, space.pairs, space.starts);
  simt::launch(how, number_runs<std::uint64_t>, grid, space.pairs, space.starts, space.numbers,
               rows, space.total);
}

template <int n, class T>
void sum_runs(const CoalesceRows& args, const Runs& runs, std::int64_t words, T* edges) {
  const std::int64_t pieces = pieces_of(runs.count);
  RowGrid grid = row_grid(pieces, words);
  const simt::Launch join = row_launch(CoalesceRows::name, grid);
  RowGrid in_piece = grid;
  in_piece.team_bits = std::max(3, grid.team_bits);  // no more teams than a piece has rows
  const simt::Launch sum{
      .name = CoalesceRows::name, .grid = simt::blocks_for(pieces, 1), .block = row_threads};
  simt::launch(sum, sum_pieces<n, T>, in_piece, runs, args.dy.as<T>(), args.values.as<T>(), edges);
  if (pieces > 1) simt::launch(join, join_pieces<n, T>, grid, runs, edges, args.values.as<T>());
}

void check_count(std::int64_t count) {
  if (count > 0x7fffffff)
    throw Unsupported(refrain::detail::concat(
        CoalesceRows::name, ": expected fewer than 2^31 ids on CUDA, got ", count));
}

}  // namespace

template <>
void kernel(const CoalesceRows& args, Scratch& scratch) {
  for_floating<CoalesceRows>(args.dy.dtype, [&]<class T>(T) {
    constexpr int n = simt::Pack<T>::count;
    const std::int64_t count = args.ids.shape[0];
    const std::int64_t width = row_elements(args.dy.shape);
    check_count(count);
    if (count == 0) return;
    // Sums at the ends of pieces.
    T* const edges = scratch.take<T>(2 * pieces_of(count) * width);
    const SortGrid grid(count);
    const SortSpace space(grid, scratch);
    if (scratch.is_counting()) return;
    find_runs(args, grid, space);
    if (width == 0) return;
    const Runs runs{
        .count = count, .pairs = space.pairs, .numbers = space.numbers, .total = space.total};
    if (width % n == 0 && simt::aligned_16(args.dy.as<T>(), args.values.as<T>(), edges)) {
      sum_runs<n>(args, runs, width / n, edges);
    } else {
      sum_runs<1>(args, runs, width, edges);
    }
  });
}

template void entry(const CoalesceRows&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
