#pragma once
/// Matrix products.  Dtypes f32, f64.

#include "refrain/kernels/matmul.hpp"
#include "refrain/kernels/sum_rows.hpp"
#include "refrain/ops/check.hpp"

namespace refrain {

/// a b:  [M,K] x [K,N] -> [M,N].  Throws ShapeError, DTypeError, DeviceError.
inline Variable matmul(const Variable& a, const Variable& b) {
  constexpr const char* op = "matmul";
  detail::check_rank(op, "a", a, 2);
  detail::check_rank(op, "b", b, 2);
  detail::check_like(op, a, b);
  if (a.size(1) != b.size(0)) {
    throw ShapeError(detail::concat("matmul: expected a [M,K] and b [K,N], got ", a.shape(),
                                    " and ", b.shape()));
  }
  Tensor c = empty_like(a.value(), {a.size(0), b.size(1)});
  kernels::run(kernels::Matmul{.a = a, .b = b, .c = c});
  return record(op, std::move(c), {a, b},
                [a = a.value(), b = b.value()](const Tensor& dc, auto& da, auto& db) {
                  if (da.needed())
                    kernels::run(kernels::Matmul{.a = dc, .b = b, .c = da, .transpose_b = true});
                  if (db.needed())
                    kernels::run(kernels::Matmul{.a = a, .b = dc, .c = db, .transpose_a = true});
                });
}

/// x weight^T + bias:  x [...,in], weight [out,in], bias [out] or undefined -> [...,out].
/// Throws ShapeError, DTypeError, DeviceError.
inline Variable linear(const Variable& x, const Variable& weight, const Variable& bias = {}) {
  constexpr const char* op = "linear";
  detail::check_defined(op, "x", x);
  detail::check_rank(op, "weight", weight, 2);
  detail::check_optional(op, "bias", bias, {weight.size(0)});
  detail::check_like(op, x, weight, bias);
  if (x.shape().rank() < 1 || x.size(-1) != weight.size(1)) {
    throw ShapeError(detail::concat("linear: expected x with a last axis of ", weight.size(1),
                                    ", got ", x.shape()));
  }
  const Tensor rows = x.value().as_matrix();
  Tensor y = empty_like(rows, {rows.size(0), weight.size(0)});
  kernels::run(kernels::Matmul{.a = rows, .b = weight, .bias = bias, .c = y, .transpose_b = true});
  return record(
      op, y.reshape(x.shape().with(-1, weight.size(0))), {x, weight, bias},
      [x = rows, weight = weight.value()](const Tensor& upstream, auto& dx, auto& dweight,
                                          auto& dbias) {
        const Tensor dy = upstream.as_matrix();
        if (dx.needed()) kernels::run(kernels::Matmul{.a = dy, .b = weight, .c = dx.as_matrix()});
        if (dweight.needed())
          kernels::run(kernels::Matmul{.a = dy, .b = x, .c = dweight, .transpose_a = true});
        if (dbias.needed()) kernels::run(kernels::SumRows{.x = dy, .out = dbias});
      });
}

}  // namespace refrain
