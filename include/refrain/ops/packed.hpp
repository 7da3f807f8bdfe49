#pragma once
/// One weight that many products share, laid out once.  Dtypes f32, f64.

#include <utility>

#include "refrain/ops/matmul.hpp"

namespace refrain {

/// A weight [out,in] and its packed forms; good as long as the weight's values stay as they are.
/// Copies share them.
struct PackedWeight {
  Variable weight;
  Tensor forward;   ///< for x weight^T
  Tensor backward;  ///< for dy weight; undefined unless it was packed while recording
};

namespace ops {
inline Tensor packed(const Tensor& weight, bool transpose) {
  const std::int64_t depth = weight.size(transpose ? 1 : 0);
  const std::int64_t columns = weight.size(transpose ? 0 : 1);
  const kernels::Table& table = kernels::table(weight.device());
  if (table.packed_bytes == nullptr) throw Unsupported("pack: this device has no packed weights");
  const std::size_t bytes = table.packed_bytes(depth, columns, weight.dtype());
  Tensor out({static_cast<std::int64_t>(bytes / size_bytes(weight.dtype()))}, weight.dtype(),
             weight.device());
  table.pack_weights({.b = weight.view(), .packed = out.mutable_view(), .transpose_b = transpose});
  return out;
}
}  // namespace ops

/// Lays out a weight [out,in] for packed_linear(); while recording, for the backward pass too.
/// Throws ShapeError, DTypeError.
inline PackedWeight pack(const Variable& weight) {
  ops::check_rank("pack", "weight", weight, 2);
  ops::check_like("pack", weight, {});
  return {weight, ops::packed(weight.value(), true),
          NoGrad::is_recording() ? ops::packed(weight.value(), false) : Tensor()};
}

/// linear(x, weight, bias) with a packed weight, whose gradient is added up in place: for many
/// small products with one weight. A weight without its packed form is packed for this call.
/// Throws ShapeError, DTypeError, DeviceError.
inline Variable packed_linear(const Variable& x, const PackedWeight& weight,
                              const Variable& bias = {}) {
  constexpr const char* op = "packed_linear";
  ops::check_defined(op, "x", x);
  ops::check_rank(op, "weight", weight.weight, 2);
  const std::int64_t out = weight.weight.size(0);
  const std::int64_t in = weight.weight.size(1);
  ops::check_optional(op, "bias", bias, {out});
  ops::check_like(op, x, {&weight.weight, &bias});
  if (x.shape().rank() < 1 || x.size(-1) != in) {
    throw ShapeError(
        concat("packed_linear: expected x with a last axis of ", in, ", got ", x.shape()));
  }
  const Tensor rows = x.value().reshape({x.shape().rows(), in});
  const kernels::Table& table = kernels::table(x.device());
  Tensor y({rows.size(0), out}, x.dtype(), x.device());
  const Tensor form =
      weight.forward.defined() ? weight.forward : ops::packed(weight.weight.value(), true);
  table.packed_matmul(
      {.a = rows.view(), .packed = form.view(), .bias = ops::view_of(bias), .c = y.mutable_view()});
  return record(op, y.reshape(x.shape().with(-1, out)), {x, weight.weight, bias},
                [rows, out, in, shape = x.shape(), raw = weight.weight.value(),
                 packed = weight.backward](const Tensor& gradient, InputGradients& into) {
                  const Tensor dy = gradient.reshape({rows.size(0), out});
                  const kernels::Table& kernels = kernels::table(dy.device());
                  if (into.wants(0)) {
                    Tensor dx({rows.size(0), in}, dy.dtype(), dy.device());
                    const Tensor transposed = packed.defined() ? packed : ops::packed(raw, false);
                    kernels.packed_matmul(
                        {.a = dy.view(), .packed = transposed.view(), .c = dx.mutable_view()});
                    into.add(0, dx.reshape(shape));
                  }
                  if (into.wants(1)) {
                    Tensor& dweight = into.sum(1, {out, in}, dy.dtype(), dy.device());
                    kernels.add_outer_products(
                        {.a = dy.view(), .b = rows.view(), .c = dweight.mutable_view()});
                  }
                  if (into.wants(2)) into.add(2, ops::sum_rows(dy));
                });
}

}  // namespace refrain
