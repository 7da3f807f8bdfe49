/// Layer normalization on CUDA, emulated, against loops in double.

#include "simt/row_cases.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

/// No rows; one row; numbers of rows around the four warps of a block; each size of register rows,
/// with and without 16-byte packs; rows that need a block; several slices of rows.
constexpr RowCase norm_sizes[] = {{0, 8},    {1, 1},       {3, 64},   {4, 64, 1}, {5, 63},
                                  {17, 100}, {9, 256},     {2, 257},  {3, 640},   {2, 1024},
                                  {2, 1025}, {2, 1300, 1}, {130, 20}, {200, 301}, {1100, 3}};

}  // namespace

TEMPLATE_TEST_CASE("cuda layer_norm: forward equals the naive loop", "[simt][layer_norm]", float,
                   double) {
  for_rows(norm_sizes, check_layer_norm_forward<EmulatedBackend, TestType>);
}

TEMPLATE_TEST_CASE(
    "cuda layer_norm: backward equals the naive chain rule, bit-identical in every order",
    "[simt][layer_norm]", float, double) {
  for_rows(norm_sizes, check_layer_norm_backward<EmulatedBackend, TestType>);
}
