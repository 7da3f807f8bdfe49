#pragma once
/// Dilated convolution over time.  Dtypes f32, f64.

#include "refrain/kernels/causal_conv.hpp"
#include "refrain/ops/check.hpp"

namespace refrain {

using kernels::Padding;

/// Options of causal_conv().
struct CausalConvOptions {
  std::int64_t dilation = 1;
  Padding padding = Padding::causal;
};

/// y[b,t,o] = bias[o] + sum_{k,c} weight[k,c,o] * x[b, t + shift - k * dilation, c]
///
/// Reads outside [0,T) are zero. shift = 0 for Padding::causal (time step t reads steps <= t), and
/// half the receptive field, rounded up, for Padding::same. x [B,T,Cin], weight [K,Cin,Cout], bias
/// [Cout] or undefined -> [B,T,Cout]. Throws ShapeError, DTypeError, DeviceError, OptionError
/// unless dilation >= 1.
inline Variable causal_conv(const Variable& x, const Variable& weight, const Variable& bias = {},
                            CausalConvOptions options = {}) {
  constexpr const char* op = "causal_conv";
  detail::check_rank(op, "x", x, 3);
  detail::check_rank(op, "weight", weight, 3);
  if (weight.size(0) < 1)
    throw ShapeError(detail::concat(
        "causal_conv: expected a weight [K,in,out] of at least one tap, got ", weight.shape()));
  if (weight.size(1) != x.size(2)) {
    throw ShapeError(detail::concat("causal_conv: expected x with a last axis of ", weight.size(1),
                                    " for weight ", weight.shape(), ", got ", x.shape()));
  }
  detail::check_optional(op, "bias", bias, {weight.size(2)});
  detail::check_like(op, x, weight, bias);
  detail::check_dilation(op, options.dilation);
  Tensor y = empty_like(x.value(), x.shape().with(-1, weight.size(2)));
  kernels::run(kernels::CausalConvForward{.x = x,
                                          .w = weight,
                                          .bias = bias,
                                          .y = y,
                                          .dilation = options.dilation,
                                          .padding = options.padding});
  return record(op, std::move(y), {x, weight, bias},
                [x = x.value(), weight = weight.value(), options](const Tensor& dy, auto& dx,
                                                                  auto& dweight, auto& dbias) {
                  kernels::run(kernels::CausalConvBackward{.x = x,
                                                           .w = weight,
                                                           .dy = dy,
                                                           .dx = dx,
                                                           .dw = dweight,
                                                           .dbias = dbias,
                                                           .dilation = options.dilation,
                                                           .padding = options.padding});
                });
}

}  // namespace refrain
