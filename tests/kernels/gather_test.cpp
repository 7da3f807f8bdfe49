/// Rows gathered, coalesced and added, against loops in double, bit-identical for any number of
/// threads.

#include "row_sizes.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("gather_rows: copies the named rows", "[kernel][gather]", float, double) {
  for_rows(row_sizes, check_gather_rows<CpuBackend, TestType>);
}

TEMPLATE_TEST_CASE("coalesce_rows: sums by id in increasing order of ids", "[kernel][gather]",
                   float, double) {
  using T = TestType;
  // Ids of one, two and three digits of the sort, and at the end of the range; many and few
  // repetitions.
  for (const std::int64_t vocabulary :
       {std::int64_t{1}, std::int64_t{7}, std::int64_t{2048}, std::int64_t{2049},
        std::int64_t{1} << 24, std::int64_t{2147483647}}) {
    INFO("ids below " << vocabulary);
    for_rows(row_sizes, [&](const RowCase& c) {
      // Sums of up to 40,000 terms, added one after the other.
      check_coalesce_rows<CpuBackend, T>(random_id_array<Device::cpu>(c.rows, vocabulary, 3),
                                         random_array<T, Device::cpu>(c.shape(), 4),
                                         tolerance::pick<T>({2e-5, 2e-5}, {1e-13, 1e-13}));
    });
  }
}

TEST_CASE("coalesce_rows: adds in the order of positions", "[kernel][gather]") {
  check_order_of_coalesced_rows<CpuBackend>();
}

TEST_CASE("coalesce_rows: rows with negative ids are omitted", "[kernel][gather]") {
  using Ids = GuardedArray<std::int32_t, Device::cpu>;
  const GuardedArray<float, Device::cpu> dy({7, 2},
                                            {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14});
  check_coalesce_rows<CpuBackend, float>(Ids({7}, {-1, 5, 3, -1, 5, -1, 0}), dy, tolerance::exact);
  check_coalesce_rows<CpuBackend, float>(Ids({7}, std::vector<std::int32_t>(7, -1)), dy,
                                         tolerance::exact);
}

TEMPLATE_TEST_CASE("add_rows: adds to the named rows and leaves the others", "[kernel][gather]",
                   float, double) {
  for_rows(row_sizes, check_add_rows<CpuBackend, TestType>);
}
