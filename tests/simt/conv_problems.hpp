#pragma once
/// Convolutions, halves of residual blocks and patches as the emulated CUDA entries take them, and
/// what naive_conv.hpp makes of them.

#include <cstdint>
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

namespace refrain::test::convolutions {

using kernels::Insertion;
using kernels::Padding;
namespace cuda = kernels::cuda;

/// Tensor cores round factors; all sums here have factors such that results are near one.
template <class T>
Tolerance tolerance_of(MathMode mode) {
  switch (mode) {
    case MathMode::tf32:
      return {4e-3, 4e-3};
    case MathMode::bf16:
      return {4e-2, 4e-2};
    default:
      return tolerance::sum<T>;
  }
}

struct ConvCase {
  std::int64_t batch, steps, in, out, taps, dilation;
  bool same;
  bool bias = true;
  int offset = 0;
  std::int64_t column_bytes = 0;  ///< a limit of their own for the gathered rows

  naive::ConvSizes sizes() const { return {batch, steps, in, out, taps, dilation, same}; }
  Padding padding() const { return same ? Padding::same : Padding::causal; }
};

inline std::string text(const ConvCase& c) {
  return detail::concat("x [", c.batch, ",", c.steps, ",", c.in, "], w [", c.taps, ",", c.in, ",",
                        c.out, "], dilation ", c.dilation, c.same ? ", same" : ", causal",
                        c.bias ? "" : ", no bias", ", ", c.offset, " past a multiple of 16 bytes");
}

template <class T>
struct ConvProblem {
  explicit ConvProblem(const ConvCase& of)
      : c(of),
        x(random_array<T>({c.batch, c.steps, c.in}, 1, 1, c.offset)),
        w(random_array<T>({c.taps, c.in, c.out}, 2,
                          1 / std::sqrt(static_cast<double>(1 + c.taps * c.in)), c.offset)),
        bias(random_array<T>({c.out}, 3)),
        expected(naive::conv(x.doubles(), w.doubles(), c.bias ? bias.doubles() : naive::Values(),
                             c.sizes())) {}

  kernels::CausalConvForward args(DeviceArray<T>& y) const {
    return {.x = x.view(),
            .w = w.view(),
            .bias = c.bias ? bias.view() : View(),
            .y = y.mutable_view(),
            .dilation = c.dilation,
            .padding = c.padding()};
  }
  void run(DeviceArray<T>& y) const {
    kernels::CausalConvForward limited = args(y);
    if (c.column_bytes != 0) limited.max_gathered_bytes = c.column_bytes;
    run_emulated(limited);
  }
  DeviceArray<T> output() const { return DeviceArray<T>({c.batch, c.steps, c.out}, {}, c.offset); }

  ConvCase c;
  DeviceArray<T> x, w, bias;
  naive::Values expected;
};

/// What a conv_norm_forward or patch_forward is given and should give.
struct HalfCase {
  std::int64_t batch, steps, channels, taps, dilation, bottleneck;
  bool same = false;
  int offset = 0;
  std::int64_t column_bytes = 0;

  naive::ConvSizes sizes() const {
    return {batch, steps, channels, channels, taps, dilation, same};
  }
};

inline std::string text(const HalfCase& c) {
  return detail::concat("x [", c.batch, ",", c.steps, ",", c.channels, "], ", c.taps,
                        " taps, dilation ", c.dilation, ", bottleneck ", c.bottleneck,
                        c.same ? ", same" : ", causal", ", ", c.offset,
                        " past a multiple of 16 bytes");
}

template <class T>
struct PatchArrays {
  PatchArrays(std::int64_t channels, std::int64_t bottleneck, int offset)
      : down(random_array<T>({channels, bottleneck}, 11,
                             1 / std::sqrt(static_cast<double>(channels)), offset)),
        down_bias(random_array<T>({bottleneck}, 12)),
        up(random_array<T>({bottleneck, channels}, 13,
                           1 / std::sqrt(1.0 + static_cast<double>(bottleneck)), offset)),
        up_bias(random_array<T>({channels}, 14)) {}
  kernels::PatchViews views() const {
    return {down.view(), down_bias.view(), up.view(), up_bias.view()};
  }
  naive::PatchValues values() const {
    return {down.doubles(), down_bias.doubles(), up.doubles(), up_bias.doubles()};
  }

  DeviceArray<T> down, down_bias, up, up_bias;
};

constexpr double epsilon = 1e-2;  // lest a row of one channel, all epsilon, decide the tolerance

template <class T>
struct HalfProblem {
  HalfProblem(const HalfCase& of, Insertion where)
      : c(of),
        insertion(where),
        x(random_array<T>(shape(), 1, 1, c.offset)),
        w(random_array<T>({c.taps, c.channels, c.channels}, 2,
                          1 / std::sqrt(static_cast<double>(c.taps * c.channels)), c.offset)),
        residual(random_array<T>(shape(), 4, 1, c.offset)),
        bias(random_array<T>({c.channels}, 3)),
        gamma(random_array<T>({c.channels}, 5, 1, c.offset)),
        beta(random_array<T>({c.channels}, 6, 1, c.offset)),
        patch(c.channels, c.bottleneck, c.offset) {}

  Shape shape() const { return {c.batch, c.steps, c.channels}; }
  bool patched() const { return insertion != Insertion::none; }

  naive::HalfResult expected(bool with_residual) const {
    const auto place = insertion == Insertion::none     ? naive::Place::none
                       : insertion == Insertion::serial ? naive::Place::serial
                                                        : naive::Place::parallel;
    return naive::half(
        x.doubles(), {w.doubles(), bias.doubles(), gamma.doubles(), beta.doubles(), patch.values()},
        with_residual ? residual.doubles() : naive::Values(), c.sizes(), place, epsilon);
  }

  struct Outputs {
    explicit Outputs(const HalfProblem& p)
        : y(p.shape(), {}, p.c.offset),
          normalized(p.shape(), {}, p.c.offset),
          conv(p.shape(), {}, p.c.offset),
          inv_std({p.c.batch, p.c.steps}),
          bottleneck({p.c.batch, p.c.steps, p.c.bottleneck}) {}
    DeviceArray<T> y, normalized, conv, inv_std, bottleneck;
  };

  /// Runs with y alone, or with everything that can be saved and the residual.
  void run(Outputs& out, bool all) const {
    kernels::ConvNormForward args{.x = x.view(),
                                  .w = w.view(),
                                  .bias = bias.view(),
                                  .gamma = gamma.view(),
                                  .beta = beta.view(),
                                  .patch = patched() ? patch.views() : kernels::PatchViews(),
                                  .y = out.y.mutable_view(),
                                  .epsilon = epsilon,
                                  .dilation = c.dilation,
                                  .padding = c.same ? Padding::same : Padding::causal,
                                  .insertion = insertion};
    if (all) {
      args.residual = residual.view();
      args.normalized = out.normalized.mutable_view();
      args.inv_std = out.inv_std.mutable_view();
      args.conv = out.conv.mutable_view();
      if (patched()) args.bottleneck = out.bottleneck.mutable_view();
    }
    if (c.column_bytes != 0) args.max_gathered_bytes = c.column_bytes;
    run_emulated(args);
  }

  void check(Tolerance allowed) const {
    const naive::HalfResult all = expected(true), bare = expected(false);
    std::vector<T> first;
    for_each_order([&] {
      Outputs out(*this), alone(*this);
      run(out, true);
      run(alone, false);
      check_close<T>(out.y.span(), all.y, allowed);
      check_close<T>(out.normalized.span(), all.normalized, allowed);
      check_close<T>(out.inv_std.span(), all.inv_std, allowed);
      check_close<T>(out.conv.span(), all.conv, allowed);
      if (patched()) check_close<T>(out.bottleneck.span(), all.bottleneck, allowed);
      check_close<T>(alone.y.span(), bare.y, allowed);
      if (first.empty()) first = out.y.values();
      CHECK(out.y.values() == first);
    });
  }

  HalfCase c;
  Insertion insertion;
  DeviceArray<T> x, w, residual, bias, gamma, beta;
  PatchArrays<T> patch;
};

inline constexpr auto insertions = {Insertion::none, Insertion::serial, Insertion::parallel};

/// Kernels that body() launches.
template <class Body>
std::int64_t launches_of(Body body) {
  const std::int64_t before = simt::emulation::launches();
  body();
  return simt::emulation::launches() - before;
}

}  // namespace refrain::test::convolutions
