#pragma once
/// Dilated convolution over time, alone and as half of a residual block.  Dtypes f32, f64.

#include "refrain/ops/check.hpp"

namespace refrain {

using kernels::Insertion;
using kernels::Padding;

struct CausalConvOptions {
  std::int64_t dilation = 1;
  Padding padding = Padding::causal;
};

/// y[b,t,o] = bias[o] + sum_{k,c} weight[k,c,o] * x[b, t + shift - k * dilation, c], reads outside
/// [0,T) being zero; shift = 0 for Padding::causal (step t sees steps <= t only), and half the
/// width of the field (rounded up) for Padding::same.
///
/// x [B,T,Cin], weight [K,Cin,Cout], bias [Cout] or undefined -> [B,T,Cout].
/// Throws ShapeError, DTypeError, DeviceError, OptionError unless dilation >= 1.
inline Variable causal_conv(const Variable& x, const Variable& weight, const Variable& bias = {},
                            CausalConvOptions options = {}) {
  constexpr const char* op = "causal_conv";
  ops::check_rank(op, "x", x, 3);
  ops::check_rank(op, "weight", weight, 3);
  if (weight.size(0) < 1)
    throw ShapeError(concat("causal_conv: expected a weight [K,in,out] of at least one tap, got ",
                            weight.shape()));
  if (weight.size(1) != x.size(2)) {
    throw ShapeError(concat("causal_conv: weight ", weight.shape(), " takes ", weight.size(1),
                            " channels, x is ", x.shape()));
  }
  ops::check_optional(op, "bias", bias, {weight.size(2)});
  ops::check_like(op, x, {&weight, &bias});
  ops::check_dilation(op, options.dilation);
  Tensor y({x.size(0), x.size(1), weight.size(2)}, x.dtype(), x.device());
  kernels::table(x.device())
      .causal_conv_forward({.x = x.value().view(),
                            .w = weight.value().view(),
                            .bias = ops::view_of(bias),
                            .y = y.mutable_view(),
                            .dilation = options.dilation,
                            .padding = options.padding});
  return record(
      op, std::move(y), {x, weight, bias},
      [input = x.value(), w = weight.value(), options](const Tensor& dy, InputGradients& in) {
        const auto wanted = [&](int index, const Shape& shape) {
          return in.wants(index) ? Tensor(shape, dy.dtype(), dy.device()) : Tensor();
        };
        Tensor dx = wanted(0, input.shape());
        Tensor dw = wanted(1, w.shape());
        Tensor dbias = wanted(2, {w.size(2)});
        kernels::table(dy.device())
            .causal_conv_backward({.x = input.view(),
                                   .w = w.view(),
                                   .dy = dy.view(),
                                   .dx = ops::mutable_view_of(dx),
                                   .dw = ops::mutable_view_of(dw),
                                   .dbias = ops::mutable_view_of(dbias),
                                   .dilation = options.dilation,
                                   .padding = options.padding});
        if (dx.defined()) in.add(0, std::move(dx));
        if (dw.defined()) in.add(1, std::move(dw));
        if (dbias.defined()) in.add(2, std::move(dbias));
      });
}

/// The weights of a patch: down [C,D], down_bias [D], up [D,C], up_bias [C].
struct PatchParameters {
  Variable down;
  Variable down_bias;
  Variable up;
  Variable up_bias;
};

namespace ops {

inline void check_patch(const char* op, const PatchParameters& patch, const Variable& x) {
  const std::int64_t channels = x.size(-1);
  check_rank(op, "patch.down", patch.down, 2);
  const std::int64_t bottleneck = patch.down.size(1);
  check_shape(op, "patch.down", patch.down, {channels, bottleneck});
  check_shape(op, "patch.down_bias", patch.down_bias, {bottleneck});
  check_shape(op, "patch.up", patch.up, {bottleneck, channels});
  check_shape(op, "patch.up_bias", patch.up_bias, {channels});
  check_like(op, x, {&patch.down, &patch.down_bias, &patch.up, &patch.up_bias});
}

inline kernels::PatchViews patch_weights(const PatchParameters& patch) {
  return {view_of(patch.down), view_of(patch.down_bias), view_of(patch.up), view_of(patch.up_bias)};
}

/// The four gradients of a patch whose inputs start at `first` in a recorded operation.
struct PatchGradientTensors {
  Tensor down, down_bias, up, up_bias;

  PatchGradientTensors(const InputGradients& in, int first, const PatchParameters& patch)
      : down(empty_like_optional(patch.down, in.wants(first))),
        down_bias(empty_like_optional(patch.down_bias, in.wants(first + 1))),
        up(empty_like_optional(patch.up, in.wants(first + 2))),
        up_bias(empty_like_optional(patch.up_bias, in.wants(first + 3))) {}

  kernels::PatchGradients views() {
    return {mutable_view_of(down), mutable_view_of(down_bias), mutable_view_of(up),
            mutable_view_of(up_bias)};
  }

  void add_to(InputGradients& in, int first) {
    if (down.defined()) in.add(first, std::move(down));
    if (down_bias.defined()) in.add(first + 1, std::move(down_bias));
    if (up.defined()) in.add(first + 2, std::move(up));
    if (up_bias.defined()) in.add(first + 3, std::move(up_bias));
  }

 private:
  static Tensor empty_like_optional(const Variable& x, bool wanted) {
    return wanted ? empty_like(x) : Tensor();
  }
};

}  // namespace ops

struct ConvNormOptions {
  std::int64_t dilation = 1;
  Padding padding = Padding::causal;
  Insertion insertion = Insertion::none;  ///< where `patch` sits
  double epsilon = 1e-8;                  ///< added to the variance
};

namespace ops {

/// What a backward pass through half a block will read, made only where it will.
struct ConvNormSaved {
  bool below, patch_trained, down_trained, recorded, input_needed;
  Tensor normalized, inv_std, conv, bottleneck;

  /// `like`: the half's output.
  ConvNormSaved(const Tensor& like, const Variable& x, const Variable& weight, const Variable& bias,
                const Variable& gamma, const Variable& beta, const PatchParameters& patch,
                Insertion insertion)
      : below(is_recorded({&x, &weight, &bias})),
        patch_trained(insertion != Insertion::none &&
                      is_recorded({&patch.down, &patch.down_bias, &patch.up, &patch.up_bias})),
        down_trained(insertion != Insertion::none && is_recorded({&patch.down})),
        recorded(below || patch_trained || is_recorded({&gamma, &beta})),
        input_needed(is_recorded({&weight}) || (down_trained && insertion == Insertion::parallel)) {
    const auto make = [&](bool needed, const Shape& shape) {
      return needed ? Tensor(shape, like.dtype(), like.device()) : Tensor();
    };
    const std::int64_t rows = like.shape().rows();
    normalized = make(recorded, like.shape());
    inv_std = make(recorded, {rows});
    conv = make(down_trained && insertion == Insertion::serial, like.shape());
    if (insertion != Insertion::none)
      bottleneck = make(patch_trained || below, {rows, patch.down.size(1)});
  }
};

/// The gradients of half a block, inputs in the order x, weight, bias, gamma, beta, residual, patch
/// (4).
struct ConvNormGradients {
  Tensor dx, dw, dbias, dgamma, dbeta;
  PatchGradientTensors dpatch;

  ConvNormGradients(const InputGradients& in, const Tensor& dy, const Shape& x, const Shape& weight,
                    const PatchParameters& patch)
      : dpatch(in, 6, patch) {
    const auto make = [&](int index, const Shape& shape) {
      return in.wants(index) ? Tensor(shape, dy.dtype(), dy.device()) : Tensor();
    };
    const Shape channels{dy.size(2)};
    dx = make(0, x);
    dw = make(1, weight);
    dbias = make(2, channels);
    dgamma = make(3, channels);
    dbeta = make(4, channels);
  }

  void add_to(InputGradients& in) {
    if (dx.defined()) in.add(0, std::move(dx));
    if (dw.defined()) in.add(1, std::move(dw));
    if (dbias.defined()) in.add(2, std::move(dbias));
    if (dgamma.defined()) in.add(3, std::move(dgamma));
    if (dbeta.defined()) in.add(4, std::move(dbeta));
    dpatch.add_to(in, 6);
  }
};

/// Checks what both forms of half a block take.
inline void check_conv_norm(const char* op, const Variable& x, const Variable& weight,
                            const Variable& bias, const Variable& gamma, const Variable& beta,
                            const Variable& residual, const PatchParameters& patch,
                            const ConvNormOptions& options) {
  check_rank(op, "x", x, 3);
  check_rank(op, "weight", weight, 3);
  const std::int64_t channels = x.size(2);
  if (weight.size(0) < 1)
    throw ShapeError(
        concat(op, ": expected a weight [K,C,C] of at least one tap, got ", weight.shape()));
  check_shape(op, "weight", weight, {weight.size(0), channels, channels});
  check_shape(op, "bias", bias, {channels});
  check_shape(op, "gamma", gamma, {channels});
  check_shape(op, "beta", beta, {channels});
  check_like(op, x, {&weight, &bias, &gamma, &beta, &residual});
  if (!(options.epsilon >= 0))
    throw OptionError(concat(op, ": expected epsilon >= 0, got ", options.epsilon));
  if (options.insertion != Insertion::none) check_patch(op, patch, x);
}

}  // namespace ops

/// Half of a NextItNet residual block, fused: relu(layer_norm(h)) (+ residual) with h = conv(x),
/// patch(conv(x)) (serial) or conv(x) + patch(x) (parallel).
///
/// x [B,T,C], weight [K,C,C], bias, gamma, beta [C], residual [B,T,C] or undefined, patch as the
/// insertion asks -> [B,T,C]. Throws ShapeError, DTypeError, DeviceError, OptionError. Source:
/// PeterRec, section 3.2; NextItNet, figure 3.
inline Variable conv_norm(const Variable& x, const Variable& weight, const Variable& bias,
                          const Variable& gamma, const Variable& beta, const Variable& residual,
                          const PatchParameters& patch, ConvNormOptions options) {
  constexpr const char* op = "conv_norm";
  ops::check_conv_norm(op, x, weight, bias, gamma, beta, residual, patch, options);
  ops::check_optional(op, "residual", residual, x.shape());
  ops::check_dilation(op, options.dilation);
  const PatchParameters used = options.insertion != Insertion::none ? patch : PatchParameters();
  Tensor y = ops::empty_like(x);
  ops::ConvNormSaved saved(y, x, weight, bias, gamma, beta, used, options.insertion);
  kernels::table(x.device())
      .conv_norm_forward({.x = x.value().view(),
                          .w = weight.value().view(),
                          .bias = bias.value().view(),
                          .gamma = gamma.value().view(),
                          .beta = beta.value().view(),
                          .residual = ops::view_of(residual),
                          .patch = ops::patch_weights(used),
                          .y = y.mutable_view(),
                          .normalized = ops::mutable_view_of(saved.normalized),
                          .inv_std = ops::mutable_view_of(saved.inv_std),
                          .conv = ops::mutable_view_of(saved.conv),
                          .bottleneck = ops::mutable_view_of(saved.bottleneck),
                          .epsilon = options.epsilon,
                          .dilation = options.dilation,
                          .padding = options.padding,
                          .insertion = options.insertion});
  // Only the values that a wanted gradient reads are kept alive; the patch holds handles on
  // parameters.
  return record(
      op, std::move(y),
      {x, weight, bias, gamma, beta, residual, used.down, used.down_bias, used.up, used.up_bias},
      [input = saved.input_needed ? x.value() : Tensor(), w = weight.value(), scale = gamma.value(),
       shift = beta.value(), used, saved, options](const Tensor& dy, InputGradients& in) {
        if (in.wants(5)) in.add(5, dy);
        if (!saved.recorded) return;
        ops::ConvNormGradients gradients(in, dy, dy.shape(), w.shape(), used);
        kernels::table(dy.device())
            .conv_norm_backward({.x = ops::view_of(input),
                                 .w = w.view(),
                                 .gamma = scale.view(),
                                 .beta = shift.view(),
                                 .patch = ops::patch_weights(used),
                                 .normalized = saved.normalized.view(),
                                 .inv_std = saved.inv_std.view(),
                                 .conv = ops::view_of(saved.conv),
                                 .bottleneck = ops::view_of(saved.bottleneck),
                                 .dy = dy.view(),
                                 .dx = ops::mutable_view_of(gradients.dx),
                                 .dw = ops::mutable_view_of(gradients.dw),
                                 .dbias = ops::mutable_view_of(gradients.dbias),
                                 .dgamma = ops::mutable_view_of(gradients.dgamma),
                                 .dbeta = ops::mutable_view_of(gradients.dbeta),
                                 .dpatch = gradients.dpatch.views(),
                                 .dilation = options.dilation,
                                 .padding = options.padding,
                                 .insertion = options.insertion});
        gradients.add_to(in);
      });
}

/// Which rows conv_norm_at_steps reads; i32, made by ConvSteps (nn/chosen_steps.hpp). In each
/// column a place stands at most once.
struct ConvTaps {
  Tensor taps_at;      ///< [S,K]: step of x that tap k of output step s reads, -1 for zeros
  Tensor own_at;       ///< [S]: step of x that is the output step itself (parallel patch)
  Tensor residual_at;  ///< [S]: step of the residual; undefined without one
};

namespace ops {

/// Places i32 `shape` on the CPU, within [low, end); none but -1 twice in a column.
inline void check_places(const char* op, const char* name, const Tensor& places, const Shape& shape,
                         std::int64_t low, std::int64_t end) {
  if (!places.defined() || places.shape() != shape || places.dtype() != DType::i32 ||
      places.device() != Device::cpu) {
    throw ShapeError(
        concat(op, ": expected ", name, " i32 ", shape, " on the CPU, got ", places.shape()));
  }
  const std::int64_t columns = shape.rank() == 2 ? shape[1] : 1;
  std::vector<std::int64_t> last(static_cast<std::size_t>(end * columns), -1);
  std::int64_t at = 0;
  for (const std::int32_t place : places.span<std::int32_t>()) {
    const std::int64_t column = at++ % columns;
    if (place < low || place >= end) {
      throw ShapeError(
          concat(op, ": ", name, " holds ", place, ", expected ", low, " to ", end - 1));
    }
    if (place < 0) continue;
    std::int64_t& seen = last[static_cast<std::size_t>(place * columns + column)];
    if (seen >= 0)
      throw ShapeError(concat(op, ": ", name, " holds ", place, " twice in column ", column));
    seen = at;
  }
}

}  // namespace ops

/// True when conv_norm_at_steps has kernels on the device, forward and backward.
inline bool has_conv_norm_at_steps(Device device) {
  const kernels::Table& table = kernels::table(device);
  return static_cast<bool>(table.conv_norm_at_steps) &&
         static_cast<bool>(table.conv_norm_at_steps_backward);
}

/// conv_norm() at chosen steps alone: x [B,T,C], residual [B,R,C] or undefined -> [B,S,C].
/// `options.dilation` and `padding` are in the tables already.
///
/// Throws ShapeError, DTypeError, DeviceError, OptionError, Unsupported where the device has no
/// such kernel.
inline Variable conv_norm_at_steps(const Variable& x, const Variable& weight, const Variable& bias,
                                   const Variable& gamma, const Variable& beta,
                                   const Variable& residual, const PatchParameters& patch,
                                   const ConvTaps& taps, ConvNormOptions options) {
  constexpr const char* op = "conv_norm_at_steps";
  ops::check_conv_norm(op, x, weight, bias, gamma, beta, residual, patch, options);
  const std::int64_t steps = taps.own_at.numel();
  ops::check_places(op, "taps_at", taps.taps_at, {steps, weight.size(0)}, -1, x.size(1));
  ops::check_places(op, "own_at", taps.own_at, {steps}, 0, x.size(1));
  if (residual.defined()) {
    ops::check_rank(op, "residual", residual, 3);
    ops::check_shape(op, "residual", residual, {x.size(0), residual.size(1), x.size(2)});
    ops::check_places(op, "residual_at", taps.residual_at, {steps}, 0, residual.size(1));
  }
  const PatchParameters used = options.insertion != Insertion::none ? patch : PatchParameters();
  Tensor y({x.size(0), steps, x.size(2)}, x.dtype(), x.device());
  ops::ConvNormSaved saved(y, x, weight, bias, gamma, beta, used, options.insertion);
  kernels::table(x.device())
      .conv_norm_at_steps({.x = x.value().view(),
                           .w = weight.value().view(),
                           .bias = bias.value().view(),
                           .gamma = gamma.value().view(),
                           .beta = beta.value().view(),
                           .residual = ops::view_of(residual),
                           .taps_at = taps.taps_at.view(),
                           .own_at = taps.own_at.view(),
                           .residual_at = residual.defined() ? taps.residual_at.view() : View(),
                           .patch = ops::patch_weights(used),
                           .y = y.mutable_view(),
                           .normalized = ops::mutable_view_of(saved.normalized),
                           .inv_std = ops::mutable_view_of(saved.inv_std),
                           .conv = ops::mutable_view_of(saved.conv),
                           .bottleneck = ops::mutable_view_of(saved.bottleneck),
                           .epsilon = options.epsilon,
                           .insertion = options.insertion});
  // Copies of what a backward pass would need take a sixth of the time of one served event.
  if (!saved.recorded && !is_recorded({&residual})) return Variable(std::move(y));
  return record(
      op, std::move(y),
      {x, weight, bias, gamma, beta, residual, used.down, used.down_bias, used.up, used.up_bias},
      [input = saved.input_needed ? x.value() : Tensor(), input_shape = x.shape(),
       w = weight.value(), scale = gamma.value(), shift = beta.value(),
       residual_shape = residual.defined() ? residual.shape() : Shape(), used, saved, taps,
       options](const Tensor& dy, InputGradients& in) {
        ops::ConvNormGradients gradients(in, dy, input_shape, w.shape(), used);
        Tensor dresidual = in.wants(5) ? Tensor(residual_shape, dy.dtype(), dy.device()) : Tensor();
        kernels::table(dy.device())
            .conv_norm_at_steps_backward({.x = ops::view_of(input),
                                          .w = w.view(),
                                          .gamma = scale.view(),
                                          .beta = shift.view(),
                                          .taps_at = taps.taps_at.view(),
                                          .own_at = taps.own_at.view(),
                                          .residual_at = ops::view_of(taps.residual_at),
                                          .patch = ops::patch_weights(used),
                                          .normalized = ops::view_of(saved.normalized),
                                          .inv_std = ops::view_of(saved.inv_std),
                                          .conv = ops::view_of(saved.conv),
                                          .bottleneck = ops::view_of(saved.bottleneck),
                                          .dy = dy.view(),
                                          .dx = ops::mutable_view_of(gradients.dx),
                                          .dw = ops::mutable_view_of(gradients.dw),
                                          .dbias = ops::mutable_view_of(gradients.dbias),
                                          .dgamma = ops::mutable_view_of(gradients.dgamma),
                                          .dbeta = ops::mutable_view_of(gradients.dbeta),
                                          .dresidual = ops::mutable_view_of(dresidual),
                                          .dpatch = gradients.dpatch.views(),
                                          .insertion = options.insertion});
        if (dresidual.defined()) in.add(5, std::move(dresidual));
        gradients.add_to(in);
      });
}

}  // namespace refrain
