/// The pairwise loss on CUDA, emulated, against its formula in double.

#include "support/cases/loss.hpp"
#include "support/simt/emulated_backend.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE(
    "cuda pair_loss: loss and gradients equal the formula, bit-identical in every order",
    "[simt][pair_loss]", float, double) {
  // No rows; one; numbers of rows around a block of eight; several blocks; fewer columns than a
  // warp; columns of more than one pass; columns that are no multiple of 16 bytes.
  for (const RowCase& c : {RowCase{0, 4}, RowCase{1, 1}, RowCase{7, 20}, RowCase{8, 20, 1},
                           RowCase{9, 33}, RowCase{50, 8}, RowCase{3, 300}, RowCase{70, 3}}) {
    for (const auto kind : {kernels::PairLossKind::bpr, kernels::PairLossKind::logistic})
      check_pair_loss<EmulatedBackend, TestType>(c, kind);
  }
}

TEST_CASE("cuda pair_loss: scores far apart", "[simt][pair_loss]") {
  check_pair_loss_far_apart<EmulatedBackend>();
}
