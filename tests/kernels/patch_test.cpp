/// The patch against naive loops, for every size class and any choice of gradients.

#include <cstdint>
#include <vector>

#include "refrain/kernels/patch.hpp"
#include "refrain/kernels/run.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive_conv.hpp"
#include "support/tensors.hpp"

namespace {

using namespace refrain;
using test::doubles;
using test::garbage;
using test::random_tensor;
namespace tolerance = test::tolerance;

template <class T>
struct PatchCase {
  std::int64_t rows;
  Tensor x, down, down_bias, up, up_bias;

  PatchCase(std::int64_t row_count, std::int64_t channels, std::int64_t width)
      : rows(row_count),
        x(random_tensor<T>({rows, channels}, 1)),
        down(random_tensor<T>({channels, width}, 2, 0.5)),
        down_bias(random_tensor<T>({width}, 3)),
        up(random_tensor<T>({width, channels}, 4)),
        up_bias(random_tensor<T>({channels}, 5)) {}

  kernels::PatchViews views() const {
    return {down.view(), down_bias.view(), up.view(), up_bias.view()};
  }
  test::naive::PatchValues values() const {
    return {doubles(down), doubles(down_bias), doubles(up), doubles(up_bias)};
  }
};

template <class T>
void check_patch_forward(const PatchCase<T>& c, bool saving) {
  Tensor y = garbage<T>(c.x.shape());
  Tensor bottleneck = garbage<T>({c.rows, c.down.size(1)});
  kernels::run<kernels::PatchForward>(
      {.x = c.x.view(),
       .patch = c.views(),
       .y = y.mutable_view(),
       .bottleneck = saving ? bottleneck.mutable_view() : MutableView()});
  const test::naive::PatchResult expected = test::naive::patch(doubles(c.x), c.values(), c.rows);
  test::check_close<T>(y, expected.y, tolerance::sum<T>);
  if (saving) test::check_close<T>(bottleneck, expected.bottleneck, tolerance::sum<T>);
}

/// Bits of `choice`: dx, down, down_bias, up, up_bias.
template <class T>
void check_patch_backward(const PatchCase<T>& c, unsigned choice) {
  INFO("choice of gradients " << choice);
  const Tensor dy = random_tensor<T>(c.x.shape(), 6);
  const test::naive::PatchResult forward = test::naive::patch(doubles(c.x), c.values(), c.rows);
  const Tensor bottleneck =
      Tensor::from<double>({c.rows, c.down.size(1)}, forward.bottleneck).to(dtype_of<T>);
  const test::naive::PatchBackward expected =
      patch_backward(doubles(c.x), c.values(), doubles(bottleneck), doubles(dy), c.rows);
  std::vector<Tensor> outputs;
  for (const Shape& shape :
       {c.x.shape(), c.down.shape(), c.down_bias.shape(), c.up.shape(), c.up_bias.shape()}) {
    outputs.push_back(garbage<T>(shape));
  }
  const auto out = [&](std::size_t i) {
    return (choice >> i & 1) != 0 ? outputs[i].mutable_view() : MutableView();
  };
  kernels::run<kernels::PatchBackward>({.x = (choice & 2) != 0 ? c.x.view() : View(),
                                        .patch = c.views(),
                                        .bottleneck = bottleneck.view(),
                                        .dy = dy.view(),
                                        .dx = out(0),
                                        .dpatch = {out(1), out(2), out(3), out(4)}});
  const std::vector<const test::naive::Values*> results{
      &expected.dx, &expected.d.down, &expected.d.down_bias, &expected.d.up, &expected.d.up_bias};
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    INFO("gradient " << i);
    if ((choice >> i & 1) != 0) test::check_close<T>(outputs[i], *results[i], tolerance::sum<T>);
  }
}

struct PatchSize {
  std::int64_t rows, channels, width;
};

/// The last but one has more rows than one block of bias sums, the last more than one block of
/// weight sums.
const std::vector<PatchSize>& patch_sizes() {
  static const std::vector<PatchSize> all{
      {1, 1, 1},    {7, 31, 5}, {8, 32, 8},  {9, 33, 9}, {5, 3, 17},  {23, 64, 31}, {17, 2, 32},
      {13, 15, 33}, {0, 4, 2},  {6, 16, 16}, {7, 17, 1}, {257, 5, 3}, {1031, 4, 3}};
  return all;
}

}  // namespace

TEMPLATE_TEST_CASE("patch: forward is the naive loop", "[kernel][patch]", float, double) {
  for (const PatchSize& size : patch_sizes()) {
    INFO("rows " << size.rows << " C " << size.channels << " D " << size.width);
    const PatchCase<TestType> c(size.rows, size.channels, size.width);
    check_patch_forward(c, true);
    check_patch_forward(c, false);
  }
}

TEMPLATE_TEST_CASE("patch: backward is the naive loop, for any choice of gradients",
                   "[kernel][patch][grad]", float, double) {
  for (const PatchSize& size : patch_sizes()) {
    INFO("rows " << size.rows << " C " << size.channels << " D " << size.width);
    const PatchCase<TestType> c(size.rows, size.channels, size.width);
    for (unsigned choice = 0; choice < 32; ++choice) check_patch_backward(c, choice);
  }
}

TEMPLATE_TEST_CASE("patch: gelu stays finite and right far from zero", "[kernel][patch]", float,
                   double) {
  // One channel, one path: y = x + gelu(x) and dy/dx = 1 + gelu'(x), so that gelu itself is seen.
  for (const double value : {-1e4, -300.0, -40.0, -6.0, -0.5, 0.0, 0.5, 6.0, 40.0, 300.0, 1e4}) {
    INFO("x " << value);
    const auto one = [](double v) { return Tensor::full({1, 1}, v, dtype_of<TestType>); };
    PatchCase<TestType> c(1, 1, 1);
    c.x = one(value);
    c.down = one(1);
    c.up = one(1);
    c.down_bias = Tensor::full({1}, 0, dtype_of<TestType>);
    c.up_bias = Tensor::full({1}, 0, dtype_of<TestType>);
    check_patch_forward(c, true);
    check_patch_backward(c, 31);
  }
}
