#pragma once
/// Half of a NextItNet residual block, fused.  Dtypes f32, f64.

#include <utility>
#include <vector>

#include "refrain/kernels/conv_norm.hpp"
#include "refrain/ops/causal_conv.hpp"
#include "refrain/ops/patch.hpp"

namespace refrain {

using kernels::Insertion;

/// Options of conv_norm() and conv_norm_at_steps().
struct ConvNormOptions {
  std::int64_t dilation = 1;
  Padding padding = Padding::causal;
  Insertion insertion = Insertion::none;  ///< position of `patch`
  double epsilon = 1e-8;                  ///< added to the variance
};

/// The rows that conv_norm_at_steps() reads, i32, created by ConvSteps (nn/chosen_steps.hpp). A
/// column contains no time step twice.
struct ConvTaps {
  Tensor taps_at;      ///< [S,K]: time step of x that tap k of output step s reads, -1 for zeros
  Tensor own_at;       ///< [S]: time step of x at the output step (parallel patch)
  Tensor residual_at;  ///< [S]: time step of the residual; undefined without residual
};

namespace detail {

/// The inputs of half a block.
struct ConvNormInputs {
  const Variable& x;
  const Variable& weight;
  const Variable& bias;
  const Variable& gamma;
  const Variable& beta;
  const Variable& residual;
  const PatchParameters& patch;  ///< undefined parameters with Insertion::none
};

/// Checks gamma and beta: both [C], or banks [K,C] beside a bank of K patches.
inline void check_norm(const char* op, const ConvNormInputs& in, std::int64_t channels,
                       Insertion insertion) {
  const bool is_bank =
      insertion != Insertion::none && in.patch.is_bank() && in.gamma.shape().rank() == 2;
  const Shape shape = is_bank ? Shape({in.patch.down.size(0), channels}) : Shape({channels});
  check_shape(op, "gamma", in.gamma, shape);
  check_shape(op, "beta", in.beta, shape);
}

/// Checks the arguments common to both forms of half a block.
inline void check_conv_norm(const char* op, const ConvNormInputs& in,
                            const ConvNormOptions& options) {
  check_rank(op, "x", in.x, 3);
  check_rank(op, "weight", in.weight, 3);
  const std::int64_t channels = in.x.size(2);
  if (in.weight.size(0) < 1)
    throw ShapeError(detail::concat(op, ": expected a weight [K,C,C] of at least one tap, got ",
                                    in.weight.shape()));
  check_shape(op, "weight", in.weight, {in.weight.size(0), channels, channels});
  check_shape(op, "bias", in.bias, {channels});
  check_norm(op, in, channels, options.insertion);
  check_like(op, in.x, in.weight, in.bias, in.gamma, in.beta, in.residual);
  check_epsilon(op, options.epsilon);
  if (options.insertion != Insertion::none) check_patch(op, in.patch, in.x);
}

/// The tensors that the forward pass of half a block saves, each only if the backward pass reads
/// it.
struct ConvNormSaved {
  bool recorded = false;  ///< a gradient other than the residual's is needed
  Tensor input;           ///< x
  Tensor normalized;
  Tensor inv_std;
  Tensor conv;
  Tensor bottleneck;

  /// `y`: the output of half a block.
  ConvNormSaved(const Tensor& y, const ConvNormInputs& in, Insertion insertion) {
    const PatchParameters& patch = in.patch;
    const bool below_recorded = is_recorded(in.x, in.weight, in.bias);
    const bool patch_recorded = is_recorded(patch.down, patch.down_bias, patch.up, patch.up_bias);
    const bool down_recorded = is_recorded(patch.down);
    const std::int64_t rows = y.shape().rows();
    recorded = below_recorded || patch_recorded || is_recorded(in.gamma, in.beta);
    if (recorded) {
      normalized = empty_like(y);
      inv_std = empty_like(y, {rows});
    }
    if (is_recorded(in.weight) || (down_recorded && insertion == Insertion::parallel))
      input = in.x.value();
    if (down_recorded && insertion == Insertion::serial) conv = empty_like(y);
    if (insertion != Insertion::none && (patch_recorded || below_recorded))
      bottleneck = empty_like(y, {rows, patch.down.size(-1)});
  }
};

/// Sets the arguments that only the kernels for all time steps take.
template <class Args>
void place_taps(Args& args, const ConvNormOptions& options) {
  args.dilation = options.dilation;
  args.padding = options.padding;
}
/// Sets the arguments that only the kernels for chosen time steps take.
template <class Args>
void place_taps(Args& args, const ConvTaps& taps) {
  args.taps_at = taps.taps_at;
  args.own_at = taps.own_at;
  args.residual_at = taps.residual_at;
}

/// Both forms of half a block. `taps`: ConvNormOptions for ConvNormForward and ConvNormBackward,
/// ConvTaps for ConvNormAtSteps and ConvNormAtStepsBackward.
template <class Forward, class Backward, class Taps>
Variable conv_norm(const char* op, Tensor y, const ConvNormInputs& in,
                   const ConvNormOptions& options, const Taps& taps) {
  ConvNormSaved saved(y, in, options.insertion);
  Forward forward_args{.x = in.x,
                       .w = in.weight,
                       .bias = in.bias,
                       .gamma = in.gamma,
                       .beta = in.beta,
                       .residual = in.residual,
                       .patch = in.patch,
                       .y = y,
                       .normalized = saved.normalized,
                       .inv_std = saved.inv_std,
                       .conv = saved.conv,
                       .bottleneck = saved.bottleneck,
                       .epsilon = options.epsilon,
                       .insertion = options.insertion};
  place_taps(forward_args, taps);
  kernels::run(forward_args);
  // Copying the tensors of a backward pass would take a sixth of the time of one served event.
  if (!saved.recorded && !is_recorded(in.residual)) return Variable(std::move(y));
  const PatchParameters& patch = in.patch;
  return record(
      op, std::move(y),
      {in.x, in.weight, in.bias, in.gamma, in.beta, in.residual, patch.down, patch.down_bias,
       patch.up, patch.up_bias},
      [saved = std::move(saved), weight = in.weight.value(), gamma = in.gamma.value(),
       beta = in.beta.value(), patch, insertion = options.insertion,
       taps](const Tensor& dy, auto& dx, auto& dweight, auto& dbias, auto& dgamma, auto& dbeta,
             auto& dresidual, auto& ddown, auto& ddown_bias, auto& dup, auto& dup_bias) {
        constexpr bool has_dresidual = requires(Backward backward) { backward.dresidual; };
        if constexpr (!has_dresidual) {
          dresidual.add(dy);
          if (!saved.recorded) return;
        }
        const Tensor rows = patch.is_bank() ? patch.bank_rows.used() : Tensor();
        PatchGradientOutputs dpatch(rows, dy.dtype(), ddown, ddown_bias, dup, dup_bias);
        const Tensor norm_rows = gamma.rank() == 2 ? rows : Tensor();
        BankGradient dgamma_rows(dgamma, norm_rows, dy.dtype());
        BankGradient dbeta_rows(dbeta, norm_rows, dy.dtype());
        Backward args{.x = saved.input,
                      .w = weight,
                      .gamma = gamma,
                      .beta = beta,
                      .patch = patch,
                      .normalized = saved.normalized,
                      .inv_std = saved.inv_std,
                      .conv = saved.conv,
                      .bottleneck = saved.bottleneck,
                      .dy = dy,
                      .dx = dx,
                      .dw = dweight,
                      .dbias = dbias,
                      .dgamma = dgamma_rows,
                      .dbeta = dbeta_rows,
                      .dpatch = dpatch.views(),
                      .insertion = insertion};
        if constexpr (has_dresidual) args.dresidual = dresidual;
        place_taps(args, taps);
        kernels::run(args);
        dpatch.finish();
        dgamma_rows.finish();
        dbeta_rows.finish();
      });
}

}  // namespace detail

/// Half of a NextItNet residual block, fused: relu(layer_norm(h)) (+ residual) with h = conv(x),
/// patch(conv(x)) (serial) or conv(x) + patch(x) (parallel).
///
/// x [B,T,C], weight [K,C,C], bias, gamma, beta [C], residual [B,T,C] or undefined, patch undefined
/// with Insertion::none -> [B,T,C]. With a bank of patches each sequence has its own patch or none,
/// and gamma and beta may be banks [K,C]. The gradients of banks are row-sparse, without row 0. The
/// sequences of a patch have the bits that they have alone. Throws ShapeError, DTypeError,
/// DeviceError, OptionError, and Unsupported for a bank that is too wide for a GPU
/// (docs/kernels.md). Source: PeterRec, section 3.2; NextItNet, figure 3.
inline Variable conv_norm(const Variable& x, const Variable& weight, const Variable& bias,
                          const Variable& gamma, const Variable& beta, const Variable& residual,
                          const PatchParameters& patch, ConvNormOptions options) {
  constexpr const char* op = "conv_norm";
  const PatchParameters none;
  const detail::ConvNormInputs inputs{
      x, weight, bias, gamma, beta, residual, options.insertion == Insertion::none ? none : patch};
  detail::check_conv_norm(op, inputs, options);
  detail::check_optional(op, "residual", residual, x.shape());
  detail::check_dilation(op, options.dilation);
  return detail::conv_norm<kernels::ConvNormForward, kernels::ConvNormBackward>(
      op, empty_like(x.value()), inputs, options, options);
}

namespace detail {

/// Checks an i32 tensor of time steps on the CPU: `shape`, values in [low, end), and no value but
/// -1 twice in a column.
inline void check_places(const char* op, const char* name, const Tensor& places, const Shape& shape,
                         std::int64_t low, std::int64_t end) {
  if (!places.defined() || places.shape() != shape || places.dtype() != DType::i32 ||
      places.device() != Device::cpu) {
    throw ShapeError(detail::concat(op, ": expected ", name, " i32 ", shape, " on the CPU, got ",
                                    places.shape()));
  }
  const std::int64_t columns = shape.rank() == 2 ? shape[1] : 1;
  std::vector<std::int64_t> last(static_cast<std::size_t>(end * columns), -1);
  std::int64_t at = 0;
  for (const std::int32_t place : places.span<std::int32_t>()) {
    const std::int64_t column = at++ % columns;
    if (place < low || place >= end) {
      throw ShapeError(
          detail::concat(op, ": ", name, " holds ", place, ", expected ", low, " to ", end - 1));
    }
    if (place < 0) continue;
    std::int64_t& seen = last[static_cast<std::size_t>(place * columns + column)];
    if (seen >= 0)
      throw ShapeError(
          detail::concat(op, ": ", name, " holds ", place, " twice in column ", column));
    seen = at;
  }
}

}  // namespace detail

/// True when the device has the kernels of conv_norm_at_steps(), forward and backward.
inline bool has_conv_norm_at_steps(Device device) {
  return kernels::has_kernel<kernels::ConvNormAtSteps>(device) &&
         kernels::has_kernel<kernels::ConvNormAtStepsBackward>(device);
}

/// conv_norm() at chosen time steps: x [B,T,C], residual [B,R,C] or undefined -> [B,S,C]. The
/// tables include the effect of `options.dilation` and `options.padding`.
///
/// Throws ShapeError, DTypeError, DeviceError, OptionError, and Unsupported when the device lacks
/// the kernel.
inline Variable conv_norm_at_steps(const Variable& x, const Variable& weight, const Variable& bias,
                                   const Variable& gamma, const Variable& beta,
                                   const Variable& residual, const PatchParameters& patch,
                                   const ConvTaps& taps, ConvNormOptions options) {
  constexpr const char* op = "conv_norm_at_steps";
  const PatchParameters none;
  const detail::ConvNormInputs inputs{
      x, weight, bias, gamma, beta, residual, options.insertion == Insertion::none ? none : patch};
  detail::check_conv_norm(op, inputs, options);
  const std::int64_t steps = taps.own_at.numel();
  detail::check_places(op, "taps_at", taps.taps_at, {steps, weight.size(0)}, -1, x.size(1));
  detail::check_places(op, "own_at", taps.own_at, {steps}, 0, x.size(1));
  if (residual.defined()) {
    detail::check_rank(op, "residual", residual, 3);
    detail::check_shape(op, "residual", residual, {x.size(0), residual.size(1), x.size(2)});
    detail::check_places(op, "residual_at", taps.residual_at, {steps}, 0, residual.size(1));
  }
  return detail::conv_norm<kernels::ConvNormAtSteps, kernels::ConvNormAtStepsBackward>(
      op, empty_like(x.value(), x.shape().with(1, steps)), inputs, options, taps);
}

}  // namespace refrain
