/// Layer normalization against loops in double, bit-identical for any number of threads.

#include "row_sizes.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("layer_norm: forward equals the naive loop", "[kernel][layer_norm]", float,
                   double) {
  for_rows(row_sizes, check_layer_norm_forward<CpuBackend, TestType>);
}

TEMPLATE_TEST_CASE("layer_norm: backward equals the naive chain rule", "[kernel][layer_norm]",
                   float, double) {
  for_rows(row_sizes, check_layer_norm_backward<CpuBackend, TestType>);
}
