/// The header of a layer defines the contracts that the layer uses, and not all contracts.

#include "refrain/nn/linear.hpp"

#include "support/catch.hpp"

using namespace refrain;

namespace {

template <class Args>
concept Defined = requires {
  sizeof(Args);
};

static_assert(Defined<kernels::Matmul>);
static_assert(!Defined<kernels::ConvNormForward>);
static_assert(!Defined<kernels::LstmForward>);
static_assert(!Defined<kernels::MemoryStepForward>);
static_assert(!Defined<kernels::SoftmaxLoss>);
static_assert(!Defined<kernels::AdamMany>);

}  // namespace

TEST_CASE("includes: a kernel runs with the header of its contract", "[nn]") {
  const Tensor a = Tensor::from<float>({1, 2}, {3, 4});
  Tensor c({1, 1}, DType::f32);
  kernels::run(kernels::Matmul{.a = a, .b = a, .c = c, .transpose_b = true});
  CHECK(c.item() == 25);
}
