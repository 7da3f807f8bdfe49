#pragma once
/// The patch (the "model patch" of PeterRec).  Dtypes f32, f64.

#include "refrain/ops/causal_conv.hpp"

namespace refrain {

/// x + gelu(x down + down_bias) up + up_bias for x [...,C], patch as its type says -> [...,C].
/// Throws ShapeError, DTypeError, DeviceError.  Source: PeterRec, section 3.3.
inline Variable apply_patch(const Variable& x, const PatchParameters& patch) {
  constexpr const char* op = "apply_patch";
  ops::check_defined(op, "x", x);
  if (x.shape().rank() < 1)
    throw ShapeError("apply_patch: expected x of rank 1 or more, got a scalar");
  ops::check_patch(op, patch, x);
  const bool recorded = is_recorded({&x, &patch.down, &patch.down_bias, &patch.up, &patch.up_bias});
  const Shape flat{x.shape().rows(), x.size(-1)};
  Tensor y = ops::empty_like(x);
  Tensor bottleneck =
      recorded ? Tensor({flat[0], patch.down.size(1)}, x.dtype(), x.device()) : Tensor();
  kernels::table(x.device())
      .patch_forward({.x = x.value().view(),
                      .patch = ops::patch_weights(patch),
                      .y = y.mutable_view(),
                      .bottleneck = ops::mutable_view_of(bottleneck)});
  return record(op, std::move(y), {x, patch.down, patch.down_bias, patch.up, patch.up_bias},
                [input = x.value(), patch, bottleneck](const Tensor& dy, InputGradients& in) {
                  Tensor dx = in.wants(0) ? Tensor(dy.shape(), dy.dtype(), dy.device()) : Tensor();
                  ops::PatchGradientTensors dpatch(in, 1, patch);
                  kernels::table(dy.device())
                      .patch_backward({.x = input.view(),
                                       .patch = ops::patch_weights(patch),
                                       .bottleneck = bottleneck.view(),
                                       .dy = dy.view(),
                                       .dx = ops::mutable_view_of(dx),
                                       .dpatch = dpatch.views()});
                  if (dx.defined()) in.add(0, std::move(dx));
                  dpatch.add_to(in, 1);
                });
}

}  // namespace refrain
