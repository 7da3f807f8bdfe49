#pragma once
/// The patch (the "model patch" of PeterRec).  Dtypes f32, f64.

#include "refrain/kernels/patch.hpp"
#include "refrain/ops/check.hpp"

namespace refrain {

/// The weights of a patch.
struct PatchParameters {
  Variable down;       ///< [C,D]
  Variable down_bias;  ///< [D]
  Variable up;         ///< [D,C]
  Variable up_bias;    ///< [C]

  operator kernels::PatchViews() const {  // NOLINT(google-explicit-constructor): as a Variable
    return {.down = down, .down_bias = down_bias, .up = up, .up_bias = up_bias};
  }
};

namespace detail {
inline void check_patch(const char* op, const PatchParameters& patch, const Variable& x) {
  const std::int64_t channels = x.size(-1);
  check_rank(op, "patch.down", patch.down, 2);
  const std::int64_t bottleneck = patch.down.size(1);
  check_shape(op, "patch.down", patch.down, {channels, bottleneck});
  check_shape(op, "patch.down_bias", patch.down_bias, {bottleneck});
  check_shape(op, "patch.up", patch.up, {bottleneck, channels});
  check_shape(op, "patch.up_bias", patch.up_bias, {channels});
  check_like(op, x, patch.down, patch.down_bias, patch.up, patch.up_bias);
}
}  // namespace detail

/// x + gelu(x down + down_bias) up + up_bias:  x [...,C] -> [...,C].
/// Throws ShapeError, DTypeError, DeviceError.  Source: PeterRec, section 3.3.
inline Variable apply_patch(const Variable& x, const PatchParameters& patch) {
  constexpr const char* op = "apply_patch";
  detail::check_has_rows(op, "x", x);
  detail::check_patch(op, patch, x);
  const bool recorded = is_recorded(x, patch.down, patch.down_bias, patch.up, patch.up_bias);
  Tensor y = empty_like(x.value());
  Tensor bottleneck = recorded ? empty_like(y, {y.shape().rows(), patch.down.size(1)}) : Tensor();
  kernels::run(kernels::PatchForward{.x = x, .patch = patch, .y = y, .bottleneck = bottleneck});
  return record(
      op, std::move(y), {x, patch.down, patch.down_bias, patch.up, patch.up_bias},
      [x = x.value(), patch, bottleneck](const Tensor& dy, auto& dx, auto& ddown, auto& ddown_bias,
                                         auto& dup, auto& dup_bias) {
        kernels::run(kernels::PatchBackward{.x = x,
                                            .patch = patch,
                                            .bottleneck = bottleneck,
                                            .dy = dy,
                                            .dx = dx,
                                            .dpatch = {ddown, ddown_bias, dup, dup_bias}});
      });
}

}  // namespace refrain
