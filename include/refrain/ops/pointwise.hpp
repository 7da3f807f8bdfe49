#pragma once
/// Element-by-element operations and full reductions.  Dtypes f32, f64.

#include "refrain/kernels/pointwise.hpp"
#include "refrain/ops/check.hpp"

namespace refrain {

namespace detail {
inline Variable unary(const char* op, kernels::UnaryFunction function, const Variable& x) {
  check_defined(op, "x", x);
  check_like(op, x);
  Tensor y = empty_like(x.value());
  kernels::run(kernels::UnaryForward{.x = x, .y = y, .function = function});
  return record(op, std::move(y), {x}, [x = x.value(), function](const Tensor& dy, auto& dx) {
    kernels::run(kernels::UnaryBackward{.x = x, .dy = dy, .dx = dx, .function = function});
  });
}
}  // namespace detail

/// max(x, 0), any shape; its derivative at 0 is 0.  Throws ShapeError, DTypeError.
inline Variable relu(const Variable& x) {
  return detail::unary("relu", kernels::UnaryFunction::relu, x);
}

/// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), any shape.  Throws ShapeError, DTypeError.
inline Variable gelu(const Variable& x) {
  return detail::unary("gelu", kernels::UnaryFunction::gelu, x);
}

/// 1 / (1 + exp(-x)), any shape.  Throws ShapeError, DTypeError.
inline Variable sigmoid(const Variable& x) {
  return detail::unary("sigmoid", kernels::UnaryFunction::sigmoid, x);
}

/// tanh(x), any shape.  Throws ShapeError, DTypeError.
inline Variable tanh(const Variable& x) {
  return detail::unary("tanh", kernels::UnaryFunction::tanh, x);
}

/// a + b; shapes must be equal.  Throws ShapeError, DTypeError, DeviceError.
inline Variable add(const Variable& a, const Variable& b) {
  detail::check_pair("add", a, b);
  Tensor y = empty_like(a.value());
  kernels::run(kernels::LinearCombination{.a = a, .b = b, .out = y});
  return record("add", std::move(y), {a, b}, [](const Tensor& dy, auto& da, auto& db) {
    da.add(dy);
    db.add(dy);
  });
}

/// a - b; shapes must be equal.  Throws ShapeError, DTypeError, DeviceError.
inline Variable subtract(const Variable& a, const Variable& b) {
  detail::check_pair("subtract", a, b);
  Tensor y = empty_like(a.value());
  kernels::run(kernels::LinearCombination{.a = a, .b = b, .out = y, .beta = -1});
  return record("subtract", std::move(y), {a, b}, [](const Tensor& dy, auto& da, auto& db) {
    da.add(dy);
    if (db.needed()) kernels::run(kernels::LinearCombination{.a = dy, .out = db, .alpha = -1});
  });
}

inline Variable operator+(const Variable& a, const Variable& b) { return add(a, b); }
inline Variable operator-(const Variable& a, const Variable& b) { return subtract(a, b); }

/// factor * x, any shape.  Throws ShapeError, DTypeError.
inline Variable scale(const Variable& x, double factor) {
  detail::check_defined("scale", "x", x);
  detail::check_like("scale", x);
  Tensor y = empty_like(x.value());
  kernels::run(kernels::LinearCombination{.a = x, .out = y, .alpha = factor});
  return record("scale", std::move(y), {x}, [factor](const Tensor& dy, auto& dx) {
    kernels::run(kernels::LinearCombination{.a = dy, .out = dx, .alpha = factor});
  });
}

/// a * b, element by element; shapes must be equal.  Throws ShapeError, DTypeError, DeviceError.
inline Variable multiply(const Variable& a, const Variable& b) {
  detail::check_pair("multiply", a, b);
  Tensor y = empty_like(a.value());
  kernels::run(kernels::Multiply{.a = a, .b = b, .out = y});
  return record("multiply", std::move(y), {a, b},
                [a = a.value(), b = b.value()](const Tensor& dy, auto& da, auto& db) {
                  if (da.needed()) kernels::run(kernels::Multiply{.a = dy, .b = b, .out = da});
                  if (db.needed()) kernels::run(kernels::Multiply{.a = dy, .b = a, .out = db});
                });
}

/// sum_i a_i b_i over all elements, as a scalar of shape []; shapes must be equal.
/// Throws ShapeError, DTypeError, DeviceError.
inline Variable dot(const Variable& a, const Variable& b) {
  detail::check_pair("dot", a, b);
  Tensor y = empty_like(a.value(), {});
  kernels::run(kernels::Dot{.a = a, .b = b, .out = y});
  // The gradients are copies even when dy is 1: an in-place update of a or b must not change them.
  return record("dot", std::move(y), {a, b},
                [a = a.value(), b = b.value()](const Tensor& dy, auto& da, auto& db) {
                  if (da.needed()) kernels::run(kernels::Multiply{.a = b, .b = dy, .out = da});
                  if (db.needed()) kernels::run(kernels::Multiply{.a = a, .b = dy, .out = db});
                });
}

/// Sum over all elements, as a scalar of shape [].  Throws ShapeError, DTypeError.
inline Variable sum(const Variable& x) {
  detail::check_defined("sum", "x", x);
  detail::check_like("sum", x);
  Tensor y = empty_like(x.value(), {});
  kernels::run(kernels::Dot{.a = x, .out = y});
  return record("sum", std::move(y), {x},
                [](const Tensor& dy, auto& dx) { dx.add(Tensor::repeated(dy, dx.shape())); });
}

/// Mean over all elements, as a scalar of shape [].  Throws ShapeError when there are none.
inline Variable mean(const Variable& x) {
  detail::check_defined("mean", "x", x);
  if (x.value().numel() == 0)
    throw ShapeError(detail::concat("mean: expected at least one element, got ", x.shape()));
  return scale(sum(x), 1.0 / static_cast<double>(x.value().numel()));
}

/// The same elements with other extents.  Throws ShapeError unless their number is the same.
inline Variable reshape(const Variable& x, const Shape& shape) {
  detail::check_defined("reshape", "x", x);
  return record("reshape", x.value().reshape(shape), {x},
                [](const Tensor& dy, auto& dx) { dx.add(dy.reshape(dx.shape())); });
}

}  // namespace refrain
