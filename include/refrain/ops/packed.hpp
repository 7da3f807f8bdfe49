#pragma once
/// A weight packed once for many products. Dtypes f32, f64.

#include <utility>

#include "refrain/ops/matmul.hpp"

namespace refrain {

/// A weight [out,in] and its packed forms, valid while the weight's values do not change. Copies
/// share the elements.
struct PackedWeight {
  Variable weight;
  Tensor forward;   ///< for x weight^T
  Tensor backward;  ///< for dy weight; undefined when recording was off
};

namespace detail {
inline Tensor packed(const Tensor& weight, bool transpose) {
  const std::int64_t depth = weight.size(transpose ? 1 : 0);
  const std::int64_t columns = weight.size(transpose ? 0 : 1);
  Tensor form = empty_like(weight, {kernels::packed_elements(depth, columns)});
  kernels::run(kernels::PackWeights{.b = weight, .packed = form, .transpose_b = transpose});
  return form;
}
}  // namespace detail

/// Packs a weight [out,in] for packed_linear(), and for its backward pass when recording is on.
/// Throws ShapeError, DTypeError.
inline PackedWeight pack(const Variable& weight) {
  detail::check_rank("pack", "weight", weight, 2);
  detail::check_like("pack", weight);
  return {weight, detail::packed(weight.value(), true),
          NoGrad::is_recording() ? detail::packed(weight.value(), false) : Tensor()};
}

/// linear(x, weight, bias) with a packed weight, for many small products with one weight; their
/// gradients of the weight are added in place. A form that is not packed is packed in the call.
/// Throws ShapeError, DTypeError, DeviceError.
inline Variable packed_linear(const Variable& x, const PackedWeight& weight,
                              const Variable& bias = {}) {
  constexpr const char* op = "packed_linear";
  detail::check_defined(op, "x", x);
  detail::check_rank(op, "weight", weight.weight, 2);
  const std::int64_t out = weight.weight.size(0);
  const std::int64_t in = weight.weight.size(1);
  detail::check_optional(op, "bias", bias, {out});
  detail::check_like(op, x, weight.weight, bias);
  if (x.shape().rank() < 1 || x.size(-1) != in) {
    throw ShapeError(
        detail::concat("packed_linear: expected x with a last axis of ", in, ", got ", x.shape()));
  }
  const Tensor rows = x.value().as_matrix();
  const Tensor packed =
      weight.forward.defined() ? weight.forward : detail::packed(weight.weight.value(), true);
  Tensor y = empty_like(rows, {rows.size(0), out});
  kernels::run(kernels::PackedMatmul{.a = rows, .packed = packed, .bias = bias, .c = y});
  return record(
      op, y.reshape(x.shape().with(-1, out)), {x, weight.weight, bias},
      [x = rows, weight = weight.weight.value(), packed = weight.backward](
          const Tensor& upstream, auto& dx, auto& dweight, auto& dbias) {
        const Tensor dy = upstream.as_matrix();
        if (dx.needed()) {
          const Tensor form = packed.defined() ? packed : detail::packed(weight, false);
          kernels::run(kernels::PackedMatmul{.a = dy, .packed = form, .c = dx.as_matrix()});
        }
        if (dweight.needed())
          kernels::run(kernels::AddOuterProducts{.a = dy, .b = x, .c = dweight.sum()});
        if (dbias.needed()) kernels::run(kernels::SumRows{.x = dy, .out = dbias});
      });
}

}  // namespace refrain
