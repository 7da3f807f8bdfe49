/// CUDA kernels that gather and add rows, emulated, against plain loops.

#include "simt/row_cases.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("cuda gather_rows: copies the rows of the ids", "[simt][gather]", float,
                   double) {
  for_rows(row_cases, check_gather_rows<EmulatedBackend, TestType>);
}

TEMPLATE_TEST_CASE("cuda add_rows: adds only to the named rows", "[simt][gather]", float, double) {
  for_rows(row_cases, check_add_rows<EmulatedBackend, TestType>);
}
