/// Division of rows into tasks: the boundaries of partial sums must not depend on the number of
/// threads.

#include "kernels/tiling/gemm.hpp"
#include "kernels/tiling/row_blocks.hpp"
#include "refrain/core/parallel.hpp"
#include "support/catch.hpp"

using namespace refrain;

TEST_CASE("tiling: blocks of rows depend on the matrix, not on the threads",
          "[kernel][tiling][determinism]") {
  const int before = threads();
  for (const int count : {1, 2, 3, 8, 64}) {
    set_threads(count);
    INFO(count << " threads");
    const kernels::cpu::RowBlocks blocks(2000, 300, 2);
    CHECK(blocks.count() == 38);  // a task has 54 rows of 300 elements, about 16,384 elements
    CHECK(blocks.stride() == 608);
    CHECK(kernels::cpu::RowBlocks(1, 1, 1).count() == 1);
    CHECK(kernels::cpu::RowBlocks(0, 300, 1).count() == 0);
    CHECK(kernels::cpu::RowBlocks(100000, 16384, 1).count() == 64);
  }
  set_threads(before);
}
