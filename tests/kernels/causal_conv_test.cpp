/// Convolution against naive loops: sizes around tiles, both paddings and choices of gradients.

#include "support/cases/convolution.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

/// Sizes of one, primes, and sizes around the rows and columns of a register tile; a dilation past
/// the end; even widths; more taps than one product takes; more rows than one block of sums; no
/// rows.
std::vector<naive::ConvSizes> conv_sizes() {
  std::vector<naive::ConvSizes> sizes{
      {1, 1, 1, 1, 1, 1, false},   {1, 1, 33, 1, 3, 3, false},  {2, 7, 3, 5, 3, 1, false},
      {1, 8, 8, 32, 2, 2, false},  {1, 9, 7, 31, 4, 1, false},  {1, 6, 5, 15, 4, 3, false},
      {2, 17, 9, 33, 5, 3, false}, {3, 5, 2, 3, 3, 8, false},   {2, 5, 2, 16, 2, 5, false},
      {2, 20, 4, 6, 17, 1, false}, {1, 40, 1, 2, 35, 1, false}, {5, 61, 16, 17, 3, 4, false},
      {0, 4, 3, 5, 3, 1, false},   {2, 0, 3, 5, 3, 1, false}};
  const std::size_t count = sizes.size();
  for (std::size_t i = 0; i < count; ++i) {
    sizes.push_back(sizes[i]);
    sizes.back().same = true;
  }
  return sizes;
}

}  // namespace

TEMPLATE_TEST_CASE("causal_conv: forward equals the naive loop", "[kernel][causal_conv]", float,
                   double) {
  for (const naive::ConvSizes& size : conv_sizes()) {
    for (const bool bias : {false, true}) check_conv_forward<CpuBackend, TestType>({size, bias});
  }
}

TEMPLATE_TEST_CASE("causal_conv: backward equals the naive loop, for any choice of gradients",
                   "[kernel][causal_conv][grad]", float, double) {
  for (const naive::ConvSizes& size : conv_sizes())
    check_conv_backward<CpuBackend, TestType>(size, {.choices = Choices::every});
}
