/// The patch against naive loops: sizes around tiles, and choices of gradients.

#include "support/cases/convolution.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

/// The second-to-last case has more rows than one block of bias sums, the last one more than one
/// block of weight sums.
constexpr PatchCase patch_cases[] = {
    {1, 1, 1},    {7, 31, 5}, {8, 32, 8},  {9, 33, 9}, {5, 3, 17},  {23, 64, 31}, {17, 2, 32},
    {13, 15, 33}, {0, 4, 2},  {6, 16, 16}, {7, 17, 1}, {257, 5, 3}, {1031, 4, 3}};

}  // namespace

TEMPLATE_TEST_CASE("patch: forward equals the naive loop", "[kernel][patch]", float, double) {
  for (const PatchCase& c : patch_cases) check_patch_forward<CpuBackend, TestType>(c);
}

TEMPLATE_TEST_CASE("patch: backward equals the naive loop, for any choice of gradients",
                   "[kernel][patch][grad]", float, double) {
  for (const PatchCase& c : patch_cases)
    check_patch_backward<CpuBackend, TestType>(c, {.choices = Choices::every});
}

TEMPLATE_TEST_CASE("patch: gelu stays finite and correct far from zero", "[kernel][patch]", float,
                   double) {
  // One channel and one bottleneck unit: y = x + gelu(x) and dy/dx = 1 + gelu'(x), which exposes
  // gelu.
  for (const double value : {-1e4, -300.0, -40.0, -6.0, -0.5, 0.0, 0.5, 6.0, 40.0, 300.0, 1e4}) {
    INFO("x " << value);
    PatchProblem<CpuBackend, TestType> one({1, 1, 1});
    *one.x.data() = static_cast<TestType>(value);
    *one.patch.down.data() = *one.patch.up.data() = 1;
    *one.patch.down_bias.data() = *one.patch.up_bias.data() = 0;
    one.check_forward();
    one.check_backward(one.x);
  }
}
