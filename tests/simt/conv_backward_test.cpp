/// Gradients of convolution, residual half and patch on CUDA, emulated, against loops in double:
/// together, each alone, each left out.

#include <string>
#include <vector>

#include "refrain/core/math_mode.hpp"
#include "refrain/kernels/causal_conv.hpp"
#include "refrain/kernels/conv_norm.hpp"
#include "refrain/kernels/patch.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive_conv.hpp"
#include "support/simt/device_array.hpp"
#include "support/simt/orders.hpp"
#include "support/simt/run_emulated.hpp"

using namespace refrain;
using namespace refrain::test;
using kernels::Insertion;
using kernels::Padding;
using naive::ConvSizes;
using naive::Values;
namespace cuda = kernels::cuda;

namespace {

/// One output of an entry: its shape, and what it should be.
struct Expected {
  Shape shape;
  Values values;
};

/// What an entry fills: the outputs of `choice`, bit by bit.
template <class T>
class Outputs {
 public:
  Outputs(const std::vector<Expected>& expected, unsigned choice, int offset) : choice_(choice) {
    for (const Expected& output : expected)
      arrays_.emplace_back(output.shape, std::vector<T>(), offset);
  }
  bool wanted(std::size_t i) const { return (choice_ >> i & 1) != 0; }
  MutableView operator[](std::size_t i) {
    return wanted(i) ? arrays_[i].mutable_view() : MutableView();
  }
  const DeviceArray<T>& array(std::size_t i) const { return arrays_[i]; }

 private:
  unsigned choice_;
  std::vector<DeviceArray<T>> arrays_;
};

/// What a test asks for: all outputs together, or also none, each alone and each left out; and what
/// rounding it allows.
template <class T>
struct Options {
  bool choices = true;
  int offset = 0;  ///< elements that tensors start past a multiple of 16 bytes
  Tolerance allowed = tolerance::sum<T>;
  std::int64_t column_bytes = 0;  ///< a limit of their own for the gathered rows
};

/// run(outputs) with all outputs wanted, in every order: right, and the same bits. Then other
/// choices: the same bits again.
template <class T, class Run>
void check_outputs(const std::vector<Expected>& expected, const Options<T>& options,
                   const Run& run) {
  const unsigned all = (1U << expected.size()) - 1;
  std::vector<Outputs<T>> first;
  const auto compare = [&](unsigned choice) {
    INFO("choice of outputs " << choice);
    Outputs<T> outputs(expected, choice, options.offset);
    run(outputs);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      INFO("output " << i);
      if (!outputs.wanted(i)) continue;
      if (first.empty()) {
        check_close<T>(outputs.array(i).span(), expected[i].values, options.allowed);
      } else {
        CHECK(same_bytes(outputs.array(i), first[0].array(i)));
      }
    }
    if (first.empty()) first.push_back(std::move(outputs));
  };
  for_each_order([&] { compare(all); });
  if (!options.choices) return;
  compare(0);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    compare(1U << i);
    compare(all & ~(1U << i));
  }
}

/// What the rounding of factors allows.
Tolerance rounded_factors(MathMode mode) {
  return mode == MathMode::tf32 ? Tolerance{4e-3, 4e-3} : Tolerance{4e-2, 4e-2};
}

std::string text(const ConvSizes& s) {
  return concat("B ", s.batch, " T ", s.steps, " Cin ", s.in, " Cout ", s.out, " K ", s.taps,
                " dilation ", s.dilation, s.same ? " same" : " causal");
}
Padding padding(const ConvSizes& size) { return size.same ? Padding::same : Padding::causal; }

/// dx, dw, dbias.
template <class T>
void check_conv(const ConvSizes& size, const Options<T>& options = {}) {
  const int offset = options.offset;
  INFO(text(size) << ", " << offset << " past a multiple of 16 bytes");
  const auto x = random_array<T>({size.batch, size.steps, size.in}, 1, 1, offset);
  const auto w = random_array<T>({size.taps, size.in, size.out}, 2, 1, offset);
  const auto dy = random_array<T>({size.batch, size.steps, size.out}, 3, 1, offset);
  naive::ConvGradients d = naive::conv_backward(x.doubles(), w.doubles(), dy.doubles(), size);
  const std::vector<Expected> expected{
      {x.view().shape, d.dx}, {w.view().shape, d.dw}, {{size.out}, d.dbias}};
  check_outputs<T>(expected, options, [&](Outputs<T>& outputs) {
    kernels::CausalConvBackward args{.x = outputs.wanted(1) ? x.view() : View(),
                                     .w = w.view(),
                                     .dy = dy.view(),
                                     .dx = outputs[0],
                                     .dw = outputs[1],
                                     .dbias = outputs[2],
                                     .dilation = size.dilation,
                                     .padding = padding(size)};
    if (options.column_bytes != 0) args.max_gathered_bytes = options.column_bytes;
    run_emulated(args);
  });
}

/// A patch's weights on both sides.
template <class T>
struct PatchArrays {
  DeviceArray<T> down, down_bias, up, up_bias;

  PatchArrays(std::int64_t channels, std::int64_t width, int offset)
      : down(random_array<T>({channels, width}, 11, 0.5, offset)),
        down_bias(random_array<T>({width}, 12)),
        up(random_array<T>({width, channels}, 13, 1, offset)),
        up_bias(random_array<T>({channels}, 14)) {}

  kernels::PatchViews views() const {
    return {down.view(), down_bias.view(), up.view(), up_bias.view()};
  }
  naive::PatchValues values() const {
    return {down.doubles(), down_bias.doubles(), up.doubles(), up_bias.doubles()};
  }
  void append(std::vector<Expected>& expected, const naive::PatchValues& d) const {
    expected.push_back({down.view().shape, d.down});
    expected.push_back({down_bias.view().shape, d.down_bias});
    expected.push_back({up.view().shape, d.up});
    expected.push_back({up_bias.view().shape, d.up_bias});
  }
};

struct HalfSizes {
  std::int64_t batch, steps, channels, taps, dilation, width;
  ConvSizes conv(bool same) const {
    return {batch, steps, channels, channels, taps, dilation, same};
  }
};

/// dx, dw, dbias, dgamma, dbeta, and with a patch its four. Saved tensors are any numbers: the
/// chain rule holds for all.
template <class T>
void check_half(const HalfSizes& sizes, bool same, Insertion insertion,
                const Options<T>& options = {}) {
  const int offset = options.offset;
  const ConvSizes size = sizes.conv(same);
  INFO(text(size) << " D " << sizes.width << " insertion " << static_cast<int>(insertion) << ", "
                  << offset << " past a multiple of 16 bytes");
  const std::int64_t channels = sizes.channels;
  const Shape shape{size.batch, size.steps, channels};
  const bool patched = insertion != Insertion::none;
  const auto x = random_array<T>(shape, 1, 1, offset), dy = random_array<T>(shape, 2, 1, offset);
  const auto w = random_array<T>({size.taps, channels, channels}, 3, 1, offset);
  const auto gamma = random_array<T>({channels}, 4), beta = random_array<T>({channels}, 5);
  const auto normalized = random_array<T>(shape, 6, 1, offset),
             inv_std = random_array<T>({size.batch, size.steps}, 7);
  const auto conv = random_array<T>(shape, 8, 1, offset);
  const auto bottleneck = random_array<T>({size.batch, size.steps, sizes.width}, 9, 1, offset);
  const PatchArrays<T> patch(channels, sizes.width, offset);
  const naive::Place place = insertion == Insertion::none     ? naive::Place::none
                             : insertion == Insertion::serial ? naive::Place::serial
                                                              : naive::Place::parallel;
  const naive::HalfGradients d = naive::half_backward(
      x.doubles(), {w.doubles(), {}, gamma.doubles(), beta.doubles(), patch.values()},
      {{}, normalized.doubles(), inv_std.doubles(), conv.doubles(), bottleneck.doubles()},
      dy.doubles(), size, place);
  std::vector<Expected> expected{{shape, d.dx},
                                 {w.view().shape, d.dw},
                                 {{channels}, d.dbias},
                                 {{channels}, d.dgamma},
                                 {{channels}, d.dbeta}};
  if (patched) patch.append(expected, d.patch);
  check_outputs<T>(expected, options, [&](Outputs<T>& outputs) {
    const bool down = patched && outputs.wanted(5);
    kernels::ConvNormBackward args{
        .x = outputs.wanted(1) || (insertion == Insertion::parallel && down) ? x.view() : View(),
        .w = w.view(),
        .gamma = gamma.view(),
        .beta = beta.view(),
        .normalized = normalized.view(),
        .inv_std = inv_std.view(),
        .conv = insertion == Insertion::serial && down ? conv.view() : View(),
        .dy = dy.view(),
        .dx = outputs[0],
        .dw = outputs[1],
        .dbias = outputs[2],
        .dgamma = outputs[3],
        .dbeta = outputs[4],
        .dilation = size.dilation,
        .padding = padding(size),
        .insertion = insertion};
    if (patched) {
      args.patch = patch.views();
      args.bottleneck = bottleneck.view();
      args.dpatch = {outputs[5], outputs[6], outputs[7], outputs[8]};
    }
    if (options.column_bytes != 0) args.max_gathered_bytes = options.column_bytes;
    run_emulated(args);
  });
}

/// dx and the patch's four.
template <class T>
void check_patch(std::int64_t rows, std::int64_t channels, std::int64_t width,
                 const Options<T>& options = {}) {
  const int offset = options.offset;
  INFO(rows << " rows, C " << channels << " D " << width << ", " << offset
            << " past a multiple of 16 bytes");
  const auto x = random_array<T>({rows, channels}, 1, 1, offset),
             dy = random_array<T>({rows, channels}, 2, 1, offset);
  const auto bottleneck = random_array<T>({rows, width}, 3, 1, offset);
  const PatchArrays<T> patch(channels, width, offset);
  const naive::PatchBackward d =
      naive::patch_backward(x.doubles(), patch.values(), bottleneck.doubles(), dy.doubles(), rows);
  std::vector<Expected> expected{{x.view().shape, d.dx}};
  patch.append(expected, d.d);
  check_outputs<T>(expected, options, [&](Outputs<T>& outputs) {
    const kernels::PatchBackward args{.x = outputs.wanted(1) ? x.view() : View(),
                                      .patch = patch.views(),
                                      .bottleneck = bottleneck.view(),
                                      .dy = dy.view(),
                                      .dx = outputs[0],
                                      .dpatch = {outputs[1], outputs[2], outputs[3], outputs[4]}};
    run_emulated(args);
  });
}

constexpr Insertion insertions[] = {Insertion::none, Insertion::serial, Insertion::parallel};

}  // namespace

TEMPLATE_TEST_CASE("cuda causal_conv: gradients are the naive loops", "[simt][causal_conv]", float,
                   double) {
  using T = TestType;
  // Nothing, ones, tiles of 64 less and more one, channels in whole packs and not, a dilation past
  // the end, a second part of dw.
  for (const bool same : {false, true}) {
    for (const ConvSizes& size : std::vector<ConvSizes>{{0, 4, 3, 5, 3, 1, same},
                                                        {2, 0, 4, 5, 3, 1, same},
                                                        {1, 1, 1, 1, 1, 1, same},
                                                        {2, 7, 3, 5, 3, 1, same},
                                                        {3, 21, 65, 4, 4, 2, same},
                                                        {1, 64, 4, 36, 2, 70, same},
                                                        {5, 13, 8, 8, 3, 3, same}}) {
      check_conv<T>(size);
    }
  }
  check_conv<T>({5, 13, 8, 4, 3, 3, false}, {.offset = 1});
  // By the library: one tap, no input channels, no rows; slices of one and of two sequences, single
  // elements.
  for (const bool same : {false, true}) {
    check_conv<T>({2, 3, 4, 66, 1, 1, same}, {.choices = false});
    check_conv<T>({2, 3, 0, 66, 2, 1, same}, {.choices = false});
    check_conv<T>({2, 0, 66, 4, 2, 1, same}, {.choices = false});
    check_conv<T>({3, 5, 68, 4, 3, 2, same}, {.column_bytes = 1});
    check_conv<T>({5, 4, 8, 72, 4, 1, same}, {.choices = false, .column_bytes = 2 * 4 * 4 * 8 * 4});
    check_conv<T>({3, 4, 260, 3, 2, 9, same}, {.choices = false, .offset = 1, .column_bytes = 1});
  }
  check_conv<T>({3, 100, 4, 5, 2, 7, true}, {.choices = false});
}

TEMPLATE_TEST_CASE("cuda conv_norm: gradients are the naive chain rule", "[simt][causal_conv]",
                   float, double) {
  using T = TestType;
  for (const Insertion insertion : insertions) {
    // Nothing, one, tiles of 32 rows less and more one, each register row, more than one tile of
    // the bottleneck.
    check_half<T>({2, 0, 4, 3, 1, 4}, false, insertion);
    check_half<T>({1, 1, 1, 1, 1, 1}, false, insertion);
    check_half<T>({3, 11, 64, 3, 2, 8}, false, insertion, {.choices = false});
    check_half<T>({2, 16, 68, 2, 20, 36}, false, insertion, {.choices = false});
    check_half<T>({1, 5, 132, 1, 1, 12}, false, insertion, {.choices = false});
    check_half<T>({1, 31, 8, 2, 2, 4}, true, insertion);
    // No whole packs, in channels or addresses; rows too long for registers.
    check_half<T>({2, 7, 9, 4, 1, 5}, true, insertion);
    check_half<T>({2, 7, 8, 3, 1, 4}, true, insertion, {.choices = false, .offset = 1});
    check_half<T>({1, 4, 260, 2, 1, 4}, false, insertion);
    // Slices of one sequence.
    check_half<T>({3, 6, 68, 3, 2, 4}, true, insertion, {.column_bytes = 1});
    check_half<T>({3, 4, 67, 2, 1, 3}, false, insertion,
                  {.choices = false, .offset = 1, .column_bytes = 1});
  }
}

TEST_CASE("cuda conv_norm: gradients of more rows than one slice of sums has",
          "[simt][causal_conv]") {
  check_half<float>({5, 420, 4, 1, 1, 4}, false, Insertion::parallel, {.choices = false});
}

TEMPLATE_TEST_CASE("cuda patch: gradients are the naive chain rule", "[simt][patch]", float,
                   double) {
  using T = TestType;
  // In one launch for f32, then not: odd widths, too many channels, addresses.
  check_patch<T>(0, 4, 4);
  check_patch<T>(32, 8, 4);
  check_patch<T>(33, 64, 8, {.choices = false});
  check_patch<T>(31, 68, 36, {.choices = false});
  check_patch<T>(300, 4, 4, {.choices = false});
  check_patch<T>(1, 1, 1);
  check_patch<T>(7, 31, 5);
  check_patch<T>(5, 3, 70);
  check_patch<T>(3, 260, 4, {.choices = false});
  check_patch<T>(9, 8, 4, {.offset = 1});
}

TEST_CASE("cuda conv_backward: products on tensor cores", "[simt][causal_conv][patch]") {
  for (const MathMode mode : {MathMode::tf32, MathMode::bf16}) {
    const MathScope scope(mode);
    const Options<float> options{.choices = false, .allowed = rounded_factors(mode)};
    check_conv<float>({2, 35, 20, 36, 3, 2, false}, options);
    check_conv<float>({2, 9, 5, 7, 2, 1, true}, options);
    for (const Insertion insertion : insertions) {
      check_half<float>({3, 11, 40, 2, 2, 36}, false, insertion, options);
      check_half<float>({2, 7, 9, 2, 1, 5}, true, insertion, options);
    }
    check_patch<float>(33, 40, 36, options);
    check_patch<float>(9, 7, 5, options);
  }
}
