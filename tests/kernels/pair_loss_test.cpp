/// Pairwise losses against their formulas in double.

#include "row_sizes.hpp"
#include "support/cases/loss.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("pair_loss: loss and gradients equal the naive loops", "[kernel][loss]", float,
                   double) {
  for (const auto kind : {kernels::PairLossKind::bpr, kernels::PairLossKind::logistic}) {
    for (const RowCase& c : row_sizes) check_pair_loss<CpuBackend, TestType>(c, kind);
  }
}

TEST_CASE("pair_loss: scores far apart give finite numbers", "[kernel][loss]") {
  check_pair_loss_far_apart<CpuBackend>();
}
