/// The kernels of chunk attention against naive loops: sizes around vectors and tasks, all choices
/// of gradients, saturated attention.

#include "support/cases/chunk_attention.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE(
    "chunk_attention: kernels equal the naive loops, for any choice of gradients and threads",
    "[kernel][grad]", float, double) {
  // Sizes of one, no sequence, primes, sizes around a vector, several tasks, several blocks of
  // weight sums.
  for (const AttentionSize& size :
       {AttentionSize{1, 1, 1, 1}, AttentionSize{2, 1, 1, 1}, AttentionSize{3, 0, 4, 2},
        AttentionSize{3, 5, 7, 3}, AttentionSize{2, 16, 15, 17}, AttentionSize{4, 8, 16, 8},
        AttentionSize{12, 17, 33, 9}, AttentionSize{1, 33, 31, 16}, AttentionSize{2, 3, 5, 65},
        AttentionSize{7, 67, 6, 5}}) {
    AttentionProblem<CpuBackend, TestType>(size).check(Choices::every);
  }
}

TEMPLATE_TEST_CASE("chunk_attention: saturated attention stays finite and correct",
                   "[kernel][grad]", float, double) {
  AttentionProblem<CpuBackend, TestType> problem({4, 3, 5, 2});
  problem.saturate();
  problem.check(Choices::all);
}
