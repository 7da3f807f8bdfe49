#pragma once
/// Layer normalization.  Dtypes f32, f64.

#include "refrain/kernels/layer_norm.hpp"
#include "refrain/ops/check.hpp"

namespace refrain {

/// gamma * (x - mean) / sqrt(var + epsilon) + beta over the last axis, biased variance. x [...,C],
/// gamma, beta [C]. Throws ShapeError, DTypeError, DeviceError, OptionError unless epsilon >= 0.
inline Variable layer_norm(const Variable& x, const Variable& gamma, const Variable& beta,
                           double epsilon = 1e-8) {
  constexpr const char* op = "layer_norm";
  detail::check_has_rows(op, "x", x);
  detail::check_shape(op, "gamma", gamma, {x.size(-1)});
  detail::check_shape(op, "beta", beta, {x.size(-1)});
  detail::check_like(op, x, gamma, beta);
  detail::check_epsilon(op, epsilon);
  const bool recorded = is_recorded(x, gamma, beta);
  Tensor y = empty_like(x.value());
  Tensor normalized = recorded ? empty_like(y) : Tensor();
  Tensor inv_std = recorded ? empty_like(y, {y.shape().rows()}) : Tensor();
  kernels::run(kernels::LayerNormForward{.x = x,
                                         .gamma = gamma,
                                         .beta = beta,
                                         .y = y,
                                         .normalized = normalized,
                                         .inv_std = inv_std,
                                         .epsilon = epsilon});
  return record(op, std::move(y), {x, gamma, beta},
                [normalized, inv_std, gamma = gamma.value()](const Tensor& dy, auto& dx,
                                                             auto& dgamma, auto& dbeta) {
                  kernels::run(kernels::LayerNormBackward{.gamma = gamma,
                                                          .normalized = normalized,
                                                          .inv_std = inv_std,
                                                          .dy = dy,
                                                          .dx = dx,
                                                          .dgamma = dgamma,
                                                          .dbeta = dbeta});
                });
}

}  // namespace refrain
