#pragma once
/// Matrix products.  Dtypes f32, f64.

#include "refrain/ops/check.hpp"

namespace refrain {

namespace ops {
inline Tensor product(const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b,
                      const Tensor& bias = {}) {
  Tensor c({a.size(transpose_a ? 1 : 0), b.size(transpose_b ? 0 : 1)}, a.dtype(), a.device());
  kernels::table(a.device())
      .matmul({.a = a.view(),
               .b = b.view(),
               .bias = bias.defined() ? bias.view() : View(),
               .c = c.mutable_view(),
               .transpose_a = transpose_a,
               .transpose_b = transpose_b});
  return c;
}

inline Tensor sum_rows(const Tensor& x) {
  Tensor out({x.size(-1)}, x.dtype(), x.device());
  kernels::table(x.device()).sum_rows({.x = x.view(), .out = out.mutable_view()});
  return out;
}
}  // namespace ops

/// a b:  [M,K] x [K,N] -> [M,N].  Throws ShapeError, DTypeError, DeviceError.
inline Variable matmul(const Variable& a, const Variable& b) {
  ops::check_rank("matmul", "a", a, 2);
  ops::check_rank("matmul", "b", b, 2);
  ops::check_like("matmul", a, {&b});
  if (a.size(1) != b.size(0)) {
    throw ShapeError(concat("matmul: the inner extents differ: ", a.shape(), " x ", b.shape()));
  }
  return record("matmul", ops::product(a.value(), false, b.value(), false), {a, b},
                [left = a.value(), right = b.value()](const Tensor& dy, InputGradients& in) {
                  if (in.wants(0)) in.add(0, ops::product(dy, false, right, true));
                  if (in.wants(1)) in.add(1, ops::product(left, true, dy, false));
                });
}

/// x weight^T + bias:  x [...,in], weight [out,in], bias [out] or undefined -> [...,out].
/// Throws ShapeError, DTypeError, DeviceError.
inline Variable linear(const Variable& x, const Variable& weight, const Variable& bias = {}) {
  ops::check_defined("linear", "x", x);
  ops::check_rank("linear", "weight", weight, 2);
  ops::check_optional("linear", "bias", bias, {weight.size(0)});
  ops::check_like("linear", x, {&weight, &bias});
  if (x.shape().rank() < 1 || x.size(-1) != weight.size(1)) {
    throw ShapeError(
        concat("linear: expected x with a last axis of ", weight.size(1), ", got ", x.shape()));
  }
  const Shape flat{x.shape().rows(), x.size(-1)};
  Tensor y = ops::product(x.value().reshape(flat), false, weight.value(), true,
                          bias.defined() ? bias.value() : Tensor());
  return record(
      "linear", y.reshape(x.shape().with(-1, weight.size(0))), {x, weight, bias},
      [input = x.value(), w = weight.value(), flat](const Tensor& dy, InputGradients& in) {
        const Tensor rows = dy.reshape({flat[0], w.size(0)});
        if (in.wants(0)) in.add(0, ops::product(rows, false, w, false).reshape(input.shape()));
        if (in.wants(1)) in.add(1, ops::product(rows, true, input.reshape(flat), false));
        if (in.wants(2)) in.add(2, ops::sum_rows(rows));
      });
}

}  // namespace refrain
