/// Sums of rows with the same id on CUDA, emulated, and the sort that they use.

#include <algorithm>

#include "kernels/gather/radix_sort.cuh"
#include "support/cases/rows.hpp"
#include "support/simt/emulated_backend.hpp"

using namespace refrain;
using namespace refrain::test;
namespace cuda = kernels::cuda;

namespace {

/// Ids below `bound`; every `left_out`th one is negative.
DeviceArray<std::int32_t> some_ids(std::int64_t count, std::int64_t bound, std::int64_t left_out) {
  auto ids = random_id_array(count, bound, 3);
  for (std::int64_t i = 0; left_out > 0 && i < count; i += left_out)
    ids.data()[i] = i % 2 == 0 ? -1 : -2147483647 - 1;
  return ids;
}

}  // namespace

TEMPLATE_TEST_CASE(
    "cuda coalesce_rows: sums by id in increasing order of ids, bit-identical in every order",
    "[simt][coalesce]", float, double) {
  using T = TestType;
  struct Case {
    std::int64_t count, bound, left_out, width;
    int offset;
  };
  // No ids, one, sizes around a piece of 32 pairs, a single id in one piece and in several, only
  // negative ids, ids with every digit, teams of all sizes, the longest list of one block and lists
  // of several blocks.
  const Case cases[] = {{0, 5, 0, 3, 0},      {1, 1, 0, 1, 0},     {31, 4, 0, 3, 0},
                        {32, 1, 0, 4, 0},     {33, 1, 0, 4, 1},    {200, 1, 7, 4, 0},
                        {200, 2, 0, 20, 1},   {100, 100, 1, 4, 0}, {300, 2147483647, 5, 20, 0},
                        {90, 30, 0, 1100, 0}, {70, 20, 0, 301, 0}, {2100, 70000, 3, 1, 0},
                        {40, 9, 2, 0, 0},     {4096, 40, 0, 1, 0}, {4097, 2147483647, 9, 1, 0},
                        {4500, 6, 4, 4, 0}};
  for (const auto [count, bound, left_out, width, offset] : cases) {
    INFO(count << " ids below " << bound << ", one of " << left_out << " left out, rows of "
               << width << ", " << offset << " past a multiple of 16 bytes");
    check_coalesce_rows<EmulatedBackend, T>(some_ids(count, bound, left_out),
                                            random_array<T>({count, width}, 4, 1, offset),
                                            tolerance::sum<T>, offset);
  }
}

TEST_CASE("cuda coalesce_rows: adds in the order of positions", "[simt][coalesce]") {
  check_order_of_coalesced_rows<EmulatedBackend>();
  // Order of addition across pieces: 70 rows of one id are summed by pieces, then the three sums in
  // order.
  const DeviceArray<std::int32_t> same({70}, std::vector<std::int32_t>(70, 3));
  std::vector<float> terms(70, 0.0f);
  terms[0] = 1.0f;
  terms[40] = 1e8f;
  terms[69] = -1e8f;
  const DeviceArray<float> dy({70, 1}, terms);
  for_each_order([&] {
    DeviceArray<std::int32_t> rows({70});
    DeviceArray<float> values({70, 1});
    run_emulated<kernels::CoalesceRows>({.ids = same, .dy = dy, .rows = rows, .values = values});
    CHECK(values.data()[0] == 0.0f);
  });
}

TEST_CASE("cuda sort: ids with their positions, tiles of one batch and of several",
          "[simt][coalesce]") {
  struct Case {
    std::int64_t count, bound, max_blocks;
  };
  for (const auto [count, bound, max_blocks] :
       {Case{1, 1, 1}, Case{2048, 256, 1}, Case{2049, 300, 256}, Case{7000, 2147483647, 2},
        Case{5000, 70000, 256}}) {
    INFO(count << " ids below " << bound << ", at most " << max_blocks << " blocks");
    const auto ids = some_ids(count, bound, 11);
    std::vector<std::int64_t> order(naive::at(count));
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int64_t>(i);
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      return static_cast<std::uint32_t>(ids.data()[a]) < static_cast<std::uint32_t>(ids.data()[b]);
    });
    const cuda::SortGrid grid(count, max_blocks);
    CHECK(grid.blocks <= max_blocks);
    for_each_order([&] {
      DeviceArray<std::int64_t> pairs({grid.count}), other({grid.count});
      DeviceArray<std::int32_t> counts({cuda::sort_counts(grid)});
      cuda::sort_ids("sort", grid, ids.data(), reinterpret_cast<std::uint64_t*>(pairs.data()),
                     reinterpret_cast<std::uint64_t*>(other.data()),
                     reinterpret_cast<std::uint32_t*>(counts.data()));
      std::vector<std::int64_t> positions;
      for (const std::int64_t pair : pairs.span()) positions.push_back(pair & 0xffffffff);
      CHECK(positions == order);
    });
  }
}

TEST_CASE("cuda coalesce_rows: refuses too many ids", "[simt][coalesce]") {
  DeviceArray<float> one({1});
  const View many{one.data(), {std::int64_t{1} << 31}, DType::i32, Device::cuda};
  CHECK_THROWS_MATCHES(run_emulated<kernels::CoalesceRows>({.ids = many, .dy = one}), Unsupported,
                       message_contains("fewer than 2^31 ids"));
}
