/// Convolution against naive loops: every size class, padding and choice of gradients.

#include <cstdint>
#include <vector>

#include "conv_sizes.hpp"
#include "refrain/kernels/causal_conv.hpp"
#include "refrain/kernels/run.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/tensors.hpp"

namespace {

using namespace refrain;
using test::doubles;
using test::garbage;
using test::padding;
using test::random_tensor;
using test::text;
using test::naive::ConvSizes;
using test::naive::Values;
namespace tolerance = test::tolerance;

/// Ones and primes, one less, as many and one more than a register tile has rows or columns, a
/// dilation past the end, even widths, more taps than one product takes, more rows than one block
/// of sums, and nothing at all.
std::vector<ConvSizes> conv_sizes() {
  std::vector<ConvSizes> sizes;
  for (const bool same : {false, true}) {
    for (const ConvSizes& size : std::vector<ConvSizes>{{1, 1, 1, 1, 1, 1, same},
                                                        {1, 1, 33, 1, 3, 3, same},
                                                        {2, 7, 3, 5, 3, 1, same},
                                                        {1, 8, 8, 32, 2, 2, same},
                                                        {1, 9, 7, 31, 4, 1, same},
                                                        {1, 6, 5, 15, 4, 3, same},
                                                        {2, 17, 9, 33, 5, 3, same},
                                                        {3, 5, 2, 3, 3, 8, same},
                                                        {2, 5, 2, 16, 2, 5, same},
                                                        {2, 20, 4, 6, 17, 1, same},
                                                        {1, 40, 1, 2, 35, 1, same},
                                                        {5, 61, 16, 17, 3, 4, same},
                                                        {0, 4, 3, 5, 3, 1, same},
                                                        {2, 0, 3, 5, 3, 1, same}}) {
      sizes.push_back(size);
    }
  }
  return sizes;
}

template <class T>
void check_conv_forward(const ConvSizes& size, bool with_bias) {
  const Tensor x = random_tensor<T>({size.batch, size.steps, size.in}, 1);
  const Tensor w = random_tensor<T>({size.taps, size.in, size.out}, 2);
  const Tensor bias = random_tensor<T>({size.out}, 3);
  Tensor y = garbage<T>({size.batch, size.steps, size.out});
  kernels::run<kernels::CausalConvForward>({.x = x.view(),
                                            .w = w.view(),
                                            .bias = with_bias ? bias.view() : View(),
                                            .y = y.mutable_view(),
                                            .dilation = size.dilation,
                                            .padding = padding(size)});
  test::check_close<T>(y, conv(doubles(x), doubles(w), with_bias ? doubles(bias) : Values(), size),
                       tolerance::sum<T>);
}

template <class T>
void check_conv_backward(const ConvSizes& size) {
  const Tensor x = random_tensor<T>({size.batch, size.steps, size.in}, 1);
  const Tensor w = random_tensor<T>({size.taps, size.in, size.out}, 2);
  const Tensor dy = random_tensor<T>({size.batch, size.steps, size.out}, 4);
  const test::naive::ConvGradients expected =
      conv_backward(doubles(x), doubles(w), doubles(dy), size);
  for (int wanted = 0; wanted < 8; ++wanted) {
    const bool want_dx = (wanted & 1) != 0;
    const bool want_dw = (wanted & 2) != 0;
    const bool want_dbias = (wanted & 4) != 0;
    INFO("wanted dx " << want_dx << " dw " << want_dw << " dbias " << want_dbias);
    Tensor dx = garbage<T>(x.shape());
    Tensor dw = garbage<T>(w.shape());
    Tensor dbias = garbage<T>({size.out});
    kernels::run<kernels::CausalConvBackward>(
        {.x = want_dw ? x.view() : View(),
         .w = w.view(),
         .dy = dy.view(),
         .dx = want_dx ? dx.mutable_view() : MutableView(),
         .dw = want_dw ? dw.mutable_view() : MutableView(),
         .dbias = want_dbias ? dbias.mutable_view() : MutableView(),
         .dilation = size.dilation,
         .padding = padding(size)});
    if (want_dx) test::check_close<T>(dx, expected.dx, tolerance::sum<T>);
    if (want_dw) test::check_close<T>(dw, expected.dw, tolerance::sum<T>);
    if (want_dbias) test::check_close<T>(dbias, expected.dbias, tolerance::sum<T>);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("causal_conv: forward is the naive loop", "[kernel][causal_conv]", float,
                   double) {
  for (const ConvSizes& size : conv_sizes()) {
    for (const bool with_bias : {false, true}) {
      INFO(text(size) << " bias " << with_bias);
      check_conv_forward<TestType>(size, with_bias);
    }
  }
}

TEMPLATE_TEST_CASE("causal_conv: backward is the naive loop, for any choice of gradients",
                   "[kernel][causal_conv][grad]", float, double) {
  for (const ConvSizes& size : conv_sizes()) {
    INFO(text(size));
    check_conv_backward<TestType>(size);
  }
}
