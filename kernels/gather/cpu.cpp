// Gather and sum of rows by id. Copies work on bytes; sums add whole rows, columns in vector
// registers. coalesce_rows sorts (id, position) pairs with a stable radix sort, eleven bits a pass;
// the largest id determines the number of passes, one for a small vocabulary.

#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "kernels/kernel.hpp"
#include "kernels/tiling/row_blocks.hpp"
#include "kernels/tiling/rows.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/kernels/gather.hpp"

namespace refrain::kernels::cpu {
namespace {

/// An id and its position, in one word that sorts by id first: 31 bits of id, 33 bits of position.
constexpr int position_bits = 33;
constexpr std::uint64_t pack(std::int32_t id, std::int64_t position) {
  return (static_cast<std::uint64_t>(id) << position_bits) | static_cast<std::uint64_t>(position);
}
constexpr std::int32_t id_of(std::uint64_t pair) {
  return static_cast<std::int32_t>(pair >> position_bits);
}
constexpr std::int64_t position_of(std::uint64_t pair) {
  return static_cast<std::int64_t>(pair & ((std::uint64_t{1} << position_bits) - 1));
}

/// Sorts `pairs` by id, keeping the order of equal ids; returns the result, which is in `pairs` or
/// `scratch`.
std::uint64_t* sort_by_id(std::uint64_t* pairs, std::uint64_t* scratch, std::int64_t count,
                          std::uint64_t largest_id) {
  constexpr int digit_bits = 11;
  constexpr std::uint64_t digit_mask = (std::uint64_t{1} << digit_bits) - 1;
  for (int shift = position_bits; shift < 64 && (largest_id >> (shift - position_bits)) > 0;
       shift += digit_bits) {
    std::array<std::int64_t, std::size_t{1} << digit_bits> next{};
    for (std::int64_t i = 0; i < count; ++i) ++next[(pairs[i] >> shift) & digit_mask];
    std::int64_t before = 0;
    for (std::int64_t& slot : next) before += std::exchange(slot, before);
    for (std::int64_t i = 0; i < count; ++i)
      scratch[next[(pairs[i] >> shift) & digit_mask]++] = pairs[i];
    std::swap(pairs, scratch);
  }
  return pairs;
}

/// values[j,:] = sum of dy over the run of pairs [starts[j], starts[j+1]). A task takes the runs
/// that start in its range of pairs, so that tasks have equal work however often an id occurs.
template <class T>
void sum_runs(const std::uint64_t* pairs, const std::uint64_t* starts, std::int64_t runs,
              const CoalesceRows& args) {
  const std::int64_t kept = static_cast<std::int64_t>(starts[runs]);
  const std::int64_t count = args.ids.shape[0];
  const std::int64_t width = row_elements(args.dy.shape);
  const T* dy = args.dy.as<T>();
  parallel_for(kept, rows_per_task(width), [&](std::int64_t begin, std::int64_t end) {
    const std::uint64_t* run =
        std::lower_bound(starts, starts + runs, static_cast<std::uint64_t>(begin));
    for (; run != starts + runs && *run < static_cast<std::uint64_t>(end); ++run) {
      T* __restrict to = args.values.as<T>() + (run - starts) * width;
      const std::uint64_t last = run[1];
      const T* __restrict first_row = dy + position_of(pairs[*run]) * width;
      for (std::int64_t c = 0; c < width; ++c) to[c] = first_row[c];
      for (std::uint64_t pair = *run + 1; pair < last; ++pair) {
        const T* __restrict from = dy + position_of(pairs[pair]) * width;
        for (std::int64_t c = 0; c < width; ++c) to[c] += from[c];
      }
    }
  });
  parallel_for(count - runs, rows_per_task(width), [&](std::int64_t begin, std::int64_t end) {
    std::fill_n(args.values.as<T>() + (runs + begin) * width, (end - begin) * width, T{0});
  });
}

}  // namespace

template <>
void kernel(const GatherRows& args) {
  const std::int64_t bytes = row_bytes(args.table);
  const std::int32_t* ids = args.ids.as<std::int32_t>();
  parallel_for(args.ids.shape.numel(), rows_per_task(bytes, copy_bytes_per_task),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t i = begin; i < end; ++i) {
                   std::memcpy(args.out.as<char>() + i * bytes,
                               args.table.as<char>() + ids[i] * bytes,
                               static_cast<std::size_t>(bytes));
                 }
               });
}

template <>
void kernel(const CoalesceRows& args, Scratch& scratch) {
  const std::int64_t count = args.ids.shape[0];
  const std::int32_t* ids = args.ids.as<std::int32_t>();
  std::uint64_t* pairs = scratch.take<std::uint64_t>(count + 1);
  std::uint64_t* spare = scratch.take<std::uint64_t>(count + 1);
  if (scratch.is_counting()) return;
  std::int32_t largest = 0;
  std::int64_t kept = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (ids[i] < 0) continue;
    pairs[kept++] = pack(ids[i], i);
    largest = std::max(largest, ids[i]);
  }
  std::uint64_t* sorted = sort_by_id(pairs, spare, kept, static_cast<std::uint64_t>(largest));
  std::uint64_t* starts = sorted == pairs ? spare : pairs;
  std::int32_t* rows = args.rows.as<std::int32_t>();
  std::int64_t runs = 0;
  for (std::int64_t i = 0; i < kept; ++i) {
    if (i > 0 && id_of(sorted[i]) == id_of(sorted[i - 1])) continue;
    rows[runs] = id_of(sorted[i]);
    starts[runs++] = static_cast<std::uint64_t>(i);
  }
  starts[runs] = static_cast<std::uint64_t>(kept);
  std::fill(rows + runs, rows + count, -1);
  for_floating<CoalesceRows>(args.dy.dtype,
                             [&]<class T>(T) { sum_runs<T>(sorted, starts, runs, args); });
}

template <>
void kernel(const AddRows& args) {
  const std::int64_t width = row_elements(args.to.shape);
  const std::int32_t* rows = args.rows.as<std::int32_t>();
  for_floating<AddRows>(args.to.dtype, [&]<class T>(T) {
    parallel_for(args.rows.shape[0], rows_per_task(width),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t j = begin; j < end; ++j) {
                     if (rows[j] < 0) continue;
                     const T* __restrict from = args.values.as<T>() + j * width;
                     T* __restrict to = args.to.as<T>() + rows[j] * width;
                     for (std::int64_t c = 0; c < width; ++c) to[c] += from[c];
                   }
                 });
  });
}

template void entry(const GatherRows&, ScratchMemory&);
template void entry(const CoalesceRows&, ScratchMemory&);
template void entry(const AddRows&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
