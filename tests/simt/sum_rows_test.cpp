/// Column sums by CUDA kernels, emulated, against plain loops.

#include "simt/row_cases.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("cuda sum_rows: column sums, bit-identical in every order", "[simt][sum_rows]",
                   float, double) {
  for_rows(row_cases, check_sum_rows<EmulatedBackend, TestType>);
}
