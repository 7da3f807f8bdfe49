/// Column sums against loops in double, bit-identical for any number of threads.

#include "row_sizes.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("sum_rows: column sums", "[kernel][sum_rows]", float, double) {
  for_rows(row_sizes, check_sum_rows<CpuBackend, TestType>);
}
