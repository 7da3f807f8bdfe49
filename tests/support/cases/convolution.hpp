#pragma once
/// Convolutions, halves of residual blocks and patches on every backend, and the results of the
/// loops of naive_conv.hpp.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "refrain/kernels/causal_conv.hpp"
#include "refrain/kernels/conv_norm.hpp"
#include "refrain/kernels/patch.hpp"
#include "support/cases/backend.hpp"
#include "support/cases/outputs.hpp"
#include "support/naive_conv.hpp"

namespace refrain::test {

using kernels::Insertion;

inline constexpr Insertion insertions[] = {Insertion::none, Insertion::serial, Insertion::parallel};

inline std::string text(const naive::ConvSizes& s) {
  return detail::concat("B ", s.batch, " T ", s.steps, " Cin ", s.in, " Cout ", s.out, " K ",
                        s.taps, " dilation ", s.dilation, s.same ? " same" : " causal");
}
inline kernels::Padding padding(const naive::ConvSizes& size) {
  return size.same ? kernels::Padding::same : kernels::Padding::causal;
}
inline naive::Place place_of(Insertion insertion) {
  return insertion == Insertion::none     ? naive::Place::none
         : insertion == Insertion::serial ? naive::Place::serial
                                          : naive::Place::parallel;
}
/// The standard deviation of factors for which a sum of `terms` products is near one.
inline double near_one(std::int64_t terms) {
  return 1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(1, terms)));
}

struct ConvCase : naive::ConvSizes {
  bool bias = true;
  int offset = 0;
  std::int64_t max_bytes = 0;  ///< limit for gathered rows, or 0 for the default
};

template <class Backend, class T>
struct ConvProblem {
  static constexpr Device where = Backend::device;
  using Array = GuardedArray<T, where>;

  explicit ConvProblem(const ConvCase& of)
      : c(of),
        x(random_array<T, where>({c.batch, c.steps, c.in}, 1, 1, c.offset)),
        w(random_array<T, where>({c.taps, c.in, c.out}, 2, near_one(c.taps * c.in), c.offset)),
        bias(random_array<T, where>({c.out}, 3)),
        expected(
            naive::conv(x.doubles(), w.doubles(), c.bias ? bias.doubles() : naive::Values(), c)) {}

  kernels::CausalConvForward args(MutableView y) const {
    kernels::CausalConvForward made{.x = x,
                                    .w = w,
                                    .bias = c.bias ? bias.view() : View(),
                                    .y = y,
                                    .dilation = c.dilation,
                                    .padding = padding(c)};
    if (c.max_bytes != 0) made.max_gathered_bytes = c.max_bytes;
    return made;
  }
  Shape shape() const { return {c.batch, c.steps, c.out}; }
  Array output() const { return Array(shape(), {}, c.offset); }

  ConvCase c;
  Array x, w, bias;
  naive::Values expected;
};

template <class Backend, class T>
void check_conv_forward(const ConvCase& c, Tolerance allowed = tolerance::sum<T>) {
  INFO(text(c) << " bias " << c.bias << past(c.offset));
  const ConvProblem<Backend, T> problem(c);
  check_outputs<Backend, T>({{problem.shape(), problem.expected, true}},
                            {.choices = Choices::all, .offset = c.offset, .allowed = allowed},
                            [&](auto& outputs) { Backend::run(problem.args(outputs[0])); });
}

/// Compares dx, dw and dbias.
template <class Backend, class T>
void check_conv_backward(const naive::ConvSizes& size, const RunOptions<T>& options = {}) {
  constexpr Device where = Backend::device;
  const int offset = options.offset;
  INFO(text(size) << past(offset));
  const auto x = random_array<T, where>({size.batch, size.steps, size.in}, 1, 1, offset);
  const auto w = random_array<T, where>({size.taps, size.in, size.out}, 2, 1, offset);
  const auto dy = random_array<T, where>({size.batch, size.steps, size.out}, 3, 1, offset);
  const naive::ConvGradients d = conv_backward(x.doubles(), w.doubles(), dy.doubles(), size);
  const std::vector<Expected> expected{{x.shape(), d.dx}, {w.shape(), d.dw}, {{size.out}, d.dbias}};
  check_outputs<Backend, T>(expected, options, [&](auto& outputs) {
    kernels::CausalConvBackward args{.x = outputs.wanted(1) ? x.view() : View(),
                                     .w = w,
                                     .dy = dy,
                                     .dx = outputs[0],
                                     .dw = outputs[1],
                                     .dbias = outputs[2],
                                     .dilation = size.dilation,
                                     .padding = padding(size)};
    if (options.max_bytes != 0) args.max_gathered_bytes = options.max_bytes;
    Backend::run(args);
  });
}

/// The weights of a patch.
template <class T, Device where>
struct PatchArrays {
  PatchArrays(std::int64_t channels, std::int64_t width, int offset)
      : down(random_array<T, where>({channels, width}, 11, near_one(channels), offset)),
        down_bias(random_array<T, where>({width}, 12)),
        up(random_array<T, where>({width, channels}, 13, near_one(width), offset)),
        up_bias(random_array<T, where>({channels}, 14)) {}

  kernels::PatchViews views() const { return {down, down_bias, up, up_bias}; }
  naive::PatchValues values() const {
    return {down.doubles(), down_bias.doubles(), up.doubles(), up_bias.doubles()};
  }
  /// Appends the gradients of the four weights to the expected outputs.
  void append(std::vector<Expected>& expected, const naive::PatchValues& d) const {
    expected.push_back({down.shape(), d.down});
    expected.push_back({down_bias.shape(), d.down_bias});
    expected.push_back({up.shape(), d.up});
    expected.push_back({up_bias.shape(), d.up_bias});
  }

  GuardedArray<T, where> down, down_bias, up, up_bias;
};

struct HalfCase {
  std::int64_t batch, steps, channels, taps, dilation, bottleneck;
  bool same = false;
  int offset = 0;
  std::int64_t max_bytes = 0;
  double epsilon = 1e-2;  ///< large, because a row of one channel has variance 0

  naive::ConvSizes sizes() const {
    return {batch, steps, channels, channels, taps, dilation, same};
  }
  Shape shape() const { return {batch, steps, channels}; }
};

inline std::string text(const HalfCase& c, Insertion insertion) {
  return detail::concat(text(c.sizes()), " D ", c.bottleneck, " insertion ",
                        static_cast<int>(insertion), past(c.offset));
}

/// The forward pass of half a residual block: its inputs, and the results of the naive loops for
/// these values.
template <class Backend, class T>
struct HalfProblem {
  static constexpr Device where = Backend::device;

  HalfProblem(const HalfCase& of, Insertion place)
      : c(of),
        insertion(place),
        x(random_array<T, where>(c.shape(), 1, 1, c.offset)),
        w(random_array<T, where>({c.taps, c.channels, c.channels}, 2, near_one(c.taps * c.channels),
                                 c.offset)),
        residual(random_array<T, where>(c.shape(), 4, 1, c.offset)),
        bias(random_array<T, where>({c.channels}, 3)),
        gamma(random_array<T, where>({c.channels}, 5, 1, c.offset)),
        beta(random_array<T, where>({c.channels}, 6, 1, c.offset)),
        patch(c.channels, c.bottleneck, c.offset) {}

  bool patched() const { return insertion != Insertion::none; }

  /// y, and with `saving` all values for the backward pass.
  std::vector<Expected> expected(bool with_residual, bool saving) const {
    const naive::HalfResult half = naive::half(
        x.doubles(), {w.doubles(), bias.doubles(), gamma.doubles(), beta.doubles(), patch.values()},
        with_residual ? residual.doubles() : naive::Values(), c.sizes(), place_of(insertion),
        c.epsilon);
    std::vector<Expected> all{{c.shape(), half.y, true}};
    if (!saving) return all;
    all.push_back({c.shape(), half.normalized});
    all.push_back({{c.batch, c.steps}, half.inv_std});
    all.push_back({c.shape(), half.conv});
    if (patched()) all.push_back({{c.batch, c.steps, c.bottleneck}, half.bottleneck});
    return all;
  }
  /// Runs the kernel with the first `count` outputs of `expected`.
  void run(Outputs<T, where>& outputs, std::size_t count, bool with_residual) const {
    kernels::ConvNormForward args{.x = x,
                                  .w = w,
                                  .bias = bias,
                                  .gamma = gamma,
                                  .beta = beta,
                                  .residual = with_residual ? residual.view() : View(),
                                  .patch = patched() ? patch.views() : kernels::PatchViews(),
                                  .y = outputs[0],
                                  .epsilon = c.epsilon,
                                  .dilation = c.dilation,
                                  .padding = padding(c.sizes()),
                                  .insertion = insertion};
    if (count > 1) {
      args.normalized = outputs[1];
      args.inv_std = outputs[2];
      args.conv = outputs[3];
    }
    if (count > 4) args.bottleneck = outputs[4];
    if (c.max_bytes != 0) args.max_gathered_bytes = c.max_bytes;
    Backend::run(args);
  }

  HalfCase c;
  Insertion insertion;
  GuardedArray<T, where> x, w, residual, bias, gamma, beta;
  PatchArrays<T, where> patch;
};

template <class Backend, class T>
void check_half_forward(const HalfCase& c, Insertion insertion, bool residual, bool saving,
                        Tolerance allowed = tolerance::sum<T>) {
  INFO(text(c, insertion) << " residual " << residual << " saving " << saving);
  const HalfProblem<Backend, T> problem(c, insertion);
  const std::vector<Expected> expected = problem.expected(residual, saving);
  check_outputs<Backend, T>(
      expected, {.choices = Choices::all, .offset = c.offset, .allowed = allowed},
      [&](auto& outputs) { problem.run(outputs, expected.size(), residual); });
}

/// Compares dx, dw, dbias, dgamma, dbeta, and with a patch its four gradients. The saved tensors
/// are random: the chain rule holds for any values.
template <class Backend, class T>
void check_half_backward(const HalfCase& c, Insertion insertion,
                         const RunOptions<T>& options = {}) {
  constexpr Device where = Backend::device;
  const int offset = options.offset;
  INFO(text(c, insertion) << past(offset));
  const std::int64_t channels = c.channels;
  const bool patched = insertion != Insertion::none;
  const auto x = random_array<T, where>(c.shape(), 1, 1, offset),
             dy = random_array<T, where>(c.shape(), 2, 1, offset);
  const auto w = random_array<T, where>({c.taps, channels, channels}, 3, 1, offset);
  const auto gamma = random_array<T, where>({channels}, 4),
             beta = random_array<T, where>({channels}, 5);
  const auto normalized = random_array<T, where>(c.shape(), 6, 1, offset),
             inv_std = random_array<T, where>({c.batch, c.steps}, 7);
  const auto conv = random_array<T, where>(c.shape(), 8, 1, offset);
  const auto bottleneck = random_array<T, where>({c.batch, c.steps, c.bottleneck}, 9, 1, offset);
  const PatchArrays<T, where> patch(channels, c.bottleneck, offset);
  const naive::HalfGradients d = naive::half_backward(
      x.doubles(), {w.doubles(), {}, gamma.doubles(), beta.doubles(), patch.values()},
      {{}, normalized.doubles(), inv_std.doubles(), conv.doubles(), bottleneck.doubles()},
      dy.doubles(), c.sizes(), place_of(insertion));
  std::vector<Expected> expected{{c.shape(), d.dx},
                                 {w.shape(), d.dw},
                                 {{channels}, d.dbias},
                                 {{channels}, d.dgamma},
                                 {{channels}, d.dbeta}};
  if (patched) patch.append(expected, d.patch);
  check_outputs<Backend, T>(expected, options, [&](auto& outputs) {
    const bool down = patched && outputs.wanted(5);
    kernels::ConvNormBackward args{
        .x = outputs.wanted(1) || (insertion == Insertion::parallel && down) ? x.view() : View(),
        .w = w,
        .gamma = gamma,
        .beta = beta,
        .normalized = normalized,
        .inv_std = inv_std,
        .conv = insertion == Insertion::serial && down ? conv.view() : View(),
        .dy = dy,
        .dx = outputs[0],
        .dw = outputs[1],
        .dbias = outputs[2],
        .dgamma = outputs[3],
        .dbeta = outputs[4],
        .dilation = c.dilation,
        .padding = padding(c.sizes()),
        .insertion = insertion};
    if (patched) {
      args.patch = patch.views();
      args.bottleneck = bottleneck;
      args.dpatch = {outputs[5], outputs[6], outputs[7], outputs[8]};
    }
    if (options.max_bytes != 0) args.max_gathered_bytes = options.max_bytes;
    Backend::run(args);
  });
}

struct PatchCase {
  std::int64_t rows, channels, width;
};

inline std::string text(const PatchCase& c) {
  return detail::concat(c.rows, " rows, C ", c.channels, " D ", c.width);
}

template <class Backend, class T>
struct PatchProblem {
  static constexpr Device where = Backend::device;

  explicit PatchProblem(const PatchCase& of, int offset = 0)
      : c(of),
        patch(c.channels, c.width, offset),
        x(random_array<T, where>({c.rows, c.channels}, 1, 1, offset)) {}

  kernels::PatchForward args(MutableView y, MutableView bottleneck) const {
    return {.x = x, .patch = patch.views(), .y = y, .bottleneck = bottleneck};
  }
  /// Compares y and the bottleneck.
  void check_forward(const RunOptions<T>& options = {}) const {
    INFO(text(c) << past(options.offset));
    const naive::PatchResult expected = naive::patch(x.doubles(), patch.values(), c.rows);
    check_outputs<Backend, T>(
        {{{c.rows, c.channels}, expected.y, true}, {{c.rows, c.width}, expected.bottleneck}},
        options, [&](auto& outputs) { Backend::run(args(outputs[0], outputs[1])); });
  }
  /// Compares dx and the four gradients of the patch, given the saved `bottleneck`.
  void check_backward(const GuardedArray<T, where>& bottleneck,
                      const RunOptions<T>& options = {}) const {
    INFO(text(c) << past(options.offset));
    const auto dy = random_array<T, where>({c.rows, c.channels}, 2, 1, options.offset);
    const naive::PatchBackward d = naive::patch_backward(
        x.doubles(), patch.values(), bottleneck.doubles(), dy.doubles(), c.rows);
    std::vector<Expected> expected{{x.shape(), d.dx}};
    patch.append(expected, d.d);
    check_outputs<Backend, T>(expected, options, [&](auto& outputs) {
      Backend::run(
          kernels::PatchBackward{.x = outputs.wanted(1) ? x.view() : View(),
                                 .patch = patch.views(),
                                 .bottleneck = bottleneck,
                                 .dy = dy,
                                 .dx = outputs[0],
                                 .dpatch = {outputs[1], outputs[2], outputs[3], outputs[4]}});
    });
  }

  PatchCase c;
  PatchArrays<T, where> patch;
  GuardedArray<T, where> x;
};

template <class Backend, class T>
void check_patch_forward(const PatchCase& c, const RunOptions<T>& options = {}) {
  PatchProblem<Backend, T>(c, options.offset).check_forward(options);
}
/// The bottleneck is random.
template <class Backend, class T>
void check_patch_backward(const PatchCase& c, const RunOptions<T>& options = {}) {
  PatchProblem<Backend, T>(c, options.offset)
      .check_backward(random_array<T, Backend::device>({c.rows, c.width}, 3, 1, options.offset),
                      options);
}

}  // namespace refrain::test
