/// The residual half against naive loops: every size class, padding, insertion and choice of
/// gradients.

#include <cstdint>
#include <vector>

#include "conv_sizes.hpp"
#include "refrain/kernels/conv_norm.hpp"
#include "refrain/kernels/patch.hpp"
#include "refrain/kernels/run.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/tensors.hpp"

namespace {

using namespace refrain;
using kernels::Insertion;
using test::doubles;
using test::garbage;
using test::padding;
using test::random_tensor;
using test::text;
using test::naive::ConvSizes;
using test::naive::Values;
namespace tolerance = test::tolerance;

/// One residual half: its inputs as tensors, and what the naive loops make of exactly those values.
template <class T>
struct Half {
  ConvSizes size;
  std::int64_t width;
  Insertion insertion;
  bool with_residual;
  double epsilon = 1e-5;
  Tensor x, w, bias, gamma, beta, residual, down, down_bias, up, up_bias;

  Half(const ConvSizes& sizes, std::int64_t bottleneck, Insertion place, bool add_residual)
      : size(sizes), width(bottleneck), insertion(place), with_residual(add_residual) {
    const std::int64_t channels = size.out;
    x = random_tensor<T>({size.batch, size.steps, channels}, 11);
    w = random_tensor<T>({size.taps, channels, channels}, 12);
    bias = random_tensor<T>({channels}, 13);
    gamma = random_tensor<T>({channels}, 14);
    beta = random_tensor<T>({channels}, 15);
    residual = random_tensor<T>(x.shape(), 16);
    down = random_tensor<T>({channels, width}, 17, 0.5);
    down_bias = random_tensor<T>({width}, 18);
    up = random_tensor<T>({width, channels}, 19);
    up_bias = random_tensor<T>({channels}, 20);
  }

  bool patched() const { return insertion != Insertion::none; }
  test::naive::Place place() const {
    return insertion == Insertion::serial     ? test::naive::Place::serial
           : insertion == Insertion::parallel ? test::naive::Place::parallel
                                              : test::naive::Place::none;
  }
  test::naive::HalfWeights weights() const {
    return {doubles(w),
            doubles(bias),
            doubles(gamma),
            doubles(beta),
            {doubles(down), doubles(down_bias), doubles(up), doubles(up_bias)}};
  }
  test::naive::HalfResult expected() const {
    return half(doubles(x), weights(), with_residual ? doubles(residual) : Values(), size, place(),
                epsilon);
  }
  kernels::PatchViews patch_views() const {
    if (!patched()) return {};
    return {down.view(), down_bias.view(), up.view(), up_bias.view()};
  }
  Shape bottleneck_shape() const { return {size.rows(), width}; }
};

template <class T>
Tensor rounded(const Shape& shape, const Values& values) {
  return Tensor::from<double>(shape, values).to(dtype_of<T>);
}

template <class T>
void check_half_forward(const Half<T>& c, bool saving) {
  Tensor y = garbage<T>(c.x.shape());
  Tensor normalized = garbage<T>(c.x.shape());
  Tensor inv_std = garbage<T>({c.size.batch, c.size.steps});
  Tensor conv = garbage<T>(c.x.shape());
  Tensor bottleneck = garbage<T>(c.bottleneck_shape());
  const auto saved = [&](Tensor& tensor) { return saving ? tensor.mutable_view() : MutableView(); };
  kernels::run<kernels::ConvNormForward>(
      {.x = c.x.view(),
       .w = c.w.view(),
       .bias = c.bias.view(),
       .gamma = c.gamma.view(),
       .beta = c.beta.view(),
       .residual = c.with_residual ? c.residual.view() : View(),
       .patch = c.patch_views(),
       .y = y.mutable_view(),
       .normalized = saved(normalized),
       .inv_std = saved(inv_std),
       .conv = saved(conv),
       .bottleneck = c.patched() ? saved(bottleneck) : MutableView(),
       .epsilon = c.epsilon,
       .dilation = c.size.dilation,
       .padding = padding(c.size),
       .insertion = c.insertion});
  const test::naive::HalfResult expected = c.expected();
  test::check_close<T>(y, expected.y, tolerance::sum<T>);
  if (!saving) return;
  test::check_close<T>(normalized, expected.normalized, tolerance::sum<T>);
  test::check_close<T>(inv_std, expected.inv_std, tolerance::sum<T>);
  test::check_close<T>(conv, expected.conv, tolerance::sum<T>);
  if (c.patched()) test::check_close<T>(bottleneck, expected.bottleneck, tolerance::sum<T>);
}

/// Bits of a choice of gradients.
enum Wanted : unsigned {
  dx = 1,
  dw = 2,
  dbias = 4,
  dgamma = 8,
  dbeta = 16,
  ddown = 32,
  ddown_bias = 64,
  dup = 128,
  dup_bias = 256
};

/// Runs the kernel for one choice and compares what was asked for. What the choice has no use for
/// is not given.
template <class T>
void check_half_backward(const Half<T>& c, const std::vector<unsigned>& choices) {
  const Tensor dy = random_tensor<T>(c.x.shape(), 21);
  test::naive::HalfResult forward = c.expected();
  // Both sides start from the same, rounded, saved tensors.
  const Tensor normalized = rounded<T>(c.x.shape(), forward.normalized);
  const Tensor inv_std = rounded<T>({c.size.batch, c.size.steps}, forward.inv_std);
  const Tensor conv = rounded<T>(c.x.shape(), forward.conv);
  const Tensor bottleneck =
      c.patched() ? rounded<T>(c.bottleneck_shape(), forward.bottleneck) : Tensor();
  forward.normalized = doubles(normalized);
  forward.inv_std = doubles(inv_std);
  forward.conv = doubles(conv);
  if (c.patched()) forward.bottleneck = doubles(bottleneck);
  const test::naive::HalfGradients expected =
      half_backward(doubles(c.x), c.weights(), forward, doubles(dy), c.size, c.place());

  for (const unsigned choice : choices) {
    INFO("choice of gradients " << choice);
    std::vector<Tensor> outputs;
    for (const Shape& shape :
         {c.x.shape(), c.w.shape(), c.bias.shape(), c.gamma.shape(), c.beta.shape(), c.down.shape(),
          c.down_bias.shape(), c.up.shape(), c.up_bias.shape()}) {
      outputs.push_back(garbage<T>(shape));
    }
    const auto out = [&](std::size_t i) {
      return (choice >> i & 1) != 0 ? outputs[i].mutable_view() : MutableView();
    };
    const bool needs_x =
        (choice & dw) != 0 || (c.insertion == Insertion::parallel && (choice & ddown) != 0);
    const bool needs_conv = c.insertion == Insertion::serial && (choice & ddown) != 0;
    kernels::run<kernels::ConvNormBackward>({.x = needs_x ? c.x.view() : View(),
                                             .w = c.w.view(),
                                             .gamma = c.gamma.view(),
                                             .beta = c.beta.view(),
                                             .patch = c.patch_views(),
                                             .normalized = normalized.view(),
                                             .inv_std = inv_std.view(),
                                             .conv = needs_conv ? conv.view() : View(),
                                             .bottleneck = c.patched() ? bottleneck.view() : View(),
                                             .dy = dy.view(),
                                             .dx = out(0),
                                             .dw = out(1),
                                             .dbias = out(2),
                                             .dgamma = out(3),
                                             .dbeta = out(4),
                                             .dpatch = {out(5), out(6), out(7), out(8)},
                                             .dilation = c.size.dilation,
                                             .padding = padding(c.size),
                                             .insertion = c.insertion});
    const std::vector<const Values*> results{
        &expected.dx,           &expected.dw,         &expected.dbias,           &expected.dgamma,
        &expected.dbeta,        &expected.patch.down, &expected.patch.down_bias, &expected.patch.up,
        &expected.patch.up_bias};
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      INFO("gradient " << i);
      if ((choice >> i & 1) != 0) test::check_close<T>(outputs[i], *results[i], tolerance::sum<T>);
    }
  }
}

constexpr Insertion insertions[] = {Insertion::none, Insertion::serial, Insertion::parallel};

struct HalfSizes {
  std::int64_t batch, steps, channels, taps, dilation, bottleneck;
  ConvSizes conv(bool same) const {
    return {batch, steps, channels, channels, taps, dilation, same};
  }
};

const std::vector<HalfSizes>& half_sizes() {
  static const std::vector<HalfSizes> sizes{
      {1, 1, 1, 1, 1, 1},  {2, 7, 3, 3, 1, 2},   {1, 8, 31, 2, 2, 7},  {1, 9, 32, 3, 4, 8},
      {2, 5, 33, 4, 9, 9}, {3, 11, 17, 5, 1, 1}, {2, 19, 5, 18, 1, 3}, {7, 41, 16, 3, 2, 33},
      {0, 3, 4, 3, 1, 2},  {2, 0, 4, 3, 1, 2}};
  return sizes;
}

}  // namespace

TEMPLATE_TEST_CASE("conv_norm: forward is the naive loop", "[kernel][conv_norm]", float, double) {
  for (const HalfSizes& size : half_sizes()) {
    for (const Insertion insertion : insertions) {
      for (const bool same : {false, true}) {
        for (const bool residual : {false, true}) {
          INFO(text(size.conv(same)) << " D " << size.bottleneck << " insertion "
                                     << static_cast<int>(insertion) << " residual " << residual);
          const Half<TestType> c(size.conv(same), size.bottleneck, insertion, residual);
          check_half_forward(c, true);
          check_half_forward(c, false);
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("conv_norm: backward is the naive loop", "[kernel][conv_norm][grad]", float,
                   double) {
  for (const HalfSizes& size : half_sizes()) {
    for (const Insertion insertion : insertions) {
      for (const bool same : {false, true}) {
        INFO(text(size.conv(same))
             << " D " << size.bottleneck << " insertion " << static_cast<int>(insertion));
        const Half<TestType> c(size.conv(same), size.bottleneck, insertion, false);
        check_half_backward(c, {insertion == Insertion::none ? 31u : 511u});
      }
    }
  }
}

TEMPLATE_TEST_CASE(
    "conv_norm: backward computes any choice of gradients, reading only what it needs",
    "[kernel][conv_norm][grad]", float, double) {
  for (const Insertion insertion : insertions) {
    INFO("insertion " << static_cast<int>(insertion));
    const Half<TestType> c({2, 7, 9, 9, 3, 2, false}, 5, insertion, false);
    std::vector<unsigned> choices;
    for (unsigned choice = 0; choice < (insertion == Insertion::none ? 32u : 512u); ++choice)
      choices.push_back(choice);
    check_half_backward(c, choices);
  }
}
