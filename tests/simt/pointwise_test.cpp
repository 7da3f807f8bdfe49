/// Element-by-element CUDA kernels, emulated, against scalar formulas in double. Whole entries run,
/// with their grids and scratch memory.

#include "support/cases/pointwise.hpp"
#include "support/simt/emulated_backend.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

/// Calls body(count, offset) for no element, one, and numbers around a pack, around a block of
/// packs and of several blocks; with aligned and unaligned addresses.
template <class Body>
void for_lengths(Body body) {
  for (const std::int64_t count : {0, 1, 3, 4, 5, 31, 1023, 1024, 1025, 2999}) {
    for (const int offset : {0, 1}) body(count, offset);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("cuda unary: values and slopes equal the formula", "[simt][pointwise]", float,
                   double) {
  for_lengths(check_unary<EmulatedBackend, TestType>);
  for_lengths(check_unary_gradient<EmulatedBackend, TestType>);
}

TEMPLATE_TEST_CASE("cuda unary: far from zero, at zero and for NaN", "[simt][pointwise]", float,
                   double) {
  check_unary_corners<EmulatedBackend, TestType>();
}

TEMPLATE_TEST_CASE("cuda linear_combination and multiply: the formulas, also in place",
                   "[simt][pointwise]", float, double) {
  for_lengths(check_linear_combination_and_multiply<EmulatedBackend, TestType>);
}

TEMPLATE_TEST_CASE("cuda dot: inner product and plain sum, bit-identical in every order",
                   "[simt][pointwise]", float, double) {
  for (const std::int64_t count : {0, 1, 255, 4096, 4097, 10007})
    check_dot<EmulatedBackend, TestType>(count);
}

TEMPLATE_TEST_CASE("cuda dropout: keeps the elements that the words of Philox select",
                   "[simt][pointwise]", float, double) {
  for (const double keep : {0.1, 0.5, 1.0}) {
    for_lengths([keep](std::int64_t count, int offset) {
      check_dropout<EmulatedBackend, TestType>(count, keep, offset);
    });
  }
}

TEST_CASE("cuda pointwise: integers are refused", "[simt][pointwise]") {
  check_integers_are_refused<EmulatedBackend>();
}
