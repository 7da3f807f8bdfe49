/// CUDA kernels that replace rows, emulated, against plain loops.

#include "simt/row_cases.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("cuda replace_rows: rows with the id are replaced, and the gradient",
                   "[simt][replace_rows]", float, double) {
  for_rows(row_cases, check_replace_rows<EmulatedBackend, TestType>);
}
