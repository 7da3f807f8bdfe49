/// Chunk attention on CUDA, emulated, against loops in double.

#include "support/cases/chunk_attention.hpp"
#include "support/simt/emulated_backend.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE(
    "cuda chunk_attention: forward and backward equal the naive loops, bit-identical in every "
    "order",
    "[simt][memory]", float, double) {
  // Sizes of one, no sequence, primes, more steps than a block's rows, one and several sequences
  // per block, units and columns past a tile's, columns past a block's threads, several chunks of
  // weight sums.
  for (const AttentionSize& size :
       {AttentionSize{1, 1, 1, 1}, AttentionSize{2, 1, 1, 1}, AttentionSize{3, 0, 4, 2},
        AttentionSize{3, 5, 7, 3, 1}, AttentionSize{2, 16, 15, 17}, AttentionSize{12, 3, 33, 9},
        AttentionSize{1, 9, 31, 16}, AttentionSize{2, 3, 5, 65, 1}, AttentionSize{2, 2, 260, 3},
        AttentionSize{3, 67, 6, 5}}) {
    AttentionProblem<EmulatedBackend, TestType>(size).check(Choices::all);
  }
}

TEMPLATE_TEST_CASE("cuda chunk_attention: any choice of saved values and gradients",
                   "[simt][memory]", float, double) {
  AttentionProblem<EmulatedBackend, TestType>({3, 5, 7, 3}).check(Choices::every);
}

TEST_CASE("cuda chunk_attention: many rows", "[simt][memory]") {
  // Enough rows for tall tiles.
  AttentionProblem<EmulatedBackend, float>({40, 103, 3, 2}).check(Choices::all);
}

TEMPLATE_TEST_CASE("cuda chunk_attention: saturated attention stays finite and correct",
                   "[simt][memory]", float, double) {
  AttentionProblem<EmulatedBackend, TestType> problem({4, 3, 5, 2});
  problem.saturate();
  problem.check(Choices::all);
}

TEST_CASE("cuda chunk_attention: the forward pass is one launch", "[simt][memory]") {
  AttentionProblem<EmulatedBackend, float> problem({3, 5, 40, 33});
  CHECK(launches_of([&] { problem.forward(); }) == 1);
  std::vector<MutableView> wanted(5);  // gradients of the hidden vectors and of the query
  wanted[0] = problem.first;
  wanted[1] = problem.rest;
  wanted[3] = problem.query;
  CHECK(launches_of([&] { problem.backward(wanted); }) == 1);
}

TEST_CASE("cuda chunk_attention: refuses a chunk whose scores exceed the shared memory",
          "[simt][memory]") {
  const AttentionProblem<EmulatedBackend, float> problem({50000, 1, 1, 1});
  DeviceArray<float> out({1, 1});
  CHECK_THROWS_AS(problem.forward(out, {}, {}), Unsupported);
}
