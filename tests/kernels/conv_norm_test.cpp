/// The residual half against naive loops: sizes around tiles, both paddings, both insertions and
/// choices of gradients.

#include "support/cases/convolution.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

/// Calls body(case, insertion) for every size, insertion and padding.
template <class Body>
void for_halves(Body body) {
  for (HalfCase c :
       {HalfCase{1, 1, 1, 1, 1, 1}, HalfCase{2, 7, 3, 3, 1, 2}, HalfCase{1, 8, 31, 2, 2, 7},
        HalfCase{1, 9, 32, 3, 4, 8}, HalfCase{2, 5, 33, 4, 9, 9}, HalfCase{3, 11, 17, 5, 1, 1},
        HalfCase{2, 19, 5, 18, 1, 3}, HalfCase{7, 41, 16, 3, 2, 33}, HalfCase{0, 3, 4, 3, 1, 2},
        HalfCase{2, 0, 4, 3, 1, 2}}) {
    c.epsilon = 1e-5;
    for (const Insertion insertion : insertions) {
      for (const bool same : {false, true}) {
        c.same = same;
        body(c, insertion);
      }
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("conv_norm: forward equals the naive loop", "[kernel][conv_norm]", float,
                   double) {
  for_halves([](const HalfCase& c, Insertion insertion) {
    for (const bool residual : {false, true}) {
      for (const bool saving : {false, true})
        check_half_forward<CpuBackend, TestType>(c, insertion, residual, saving);
    }
  });
}

TEMPLATE_TEST_CASE("conv_norm: backward equals the naive loop", "[kernel][conv_norm][grad]", float,
                   double) {
  for_halves([](const HalfCase& c, Insertion insertion) {
    check_half_backward<CpuBackend, TestType>(c, insertion, {.choices = Choices::all});
  });
}

TEMPLATE_TEST_CASE(
    "conv_norm: backward computes any choice of gradients, reading only what it needs",
    "[kernel][conv_norm][grad]", float, double) {
  for (const Insertion insertion : insertions) {
    check_half_backward<CpuBackend, TestType>({2, 7, 9, 3, 2, 5}, insertion,
                                              {.choices = Choices::every});
  }
}
