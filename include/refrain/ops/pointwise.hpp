#pragma once
/// Element-by-element operations and full reductions.  Dtypes f32, f64.

#include "refrain/core/random.hpp"
#include "refrain/ops/captured_draws.hpp"
#include "refrain/ops/check.hpp"

namespace refrain {

namespace ops {

inline Tensor combine(const Tensor& a, double alpha, const Tensor& b, double beta) {
  Tensor out(a.shape(), a.dtype(), a.device());
  kernels::table(a.device())
      .linear_combination({.a = a.view(),
                           .b = b.defined() ? b.view() : View(),
                           .out = out.mutable_view(),
                           .alpha = alpha,
                           .beta = beta});
  return out;
}

/// a * b, where b may also be one element.
inline Tensor product(const Tensor& a, const Tensor& b) {
  Tensor out(a.shape(), a.dtype(), a.device());
  kernels::table(a.device()).multiply({.a = a.view(), .b = b.view(), .out = out.mutable_view()});
  return out;
}

/// x times the upstream gradient of one element, without a copy where that is seen to be one.
inline Tensor times_upstream(const Tensor& x, const Tensor& dy, const InputGradients& in) {
  const bool is_one = in.upstream_is_one() || (dy.device() == Device::cpu && dy.item() == 1.0);
  return is_one ? x : product(x, dy);
}

inline Variable unary(const char* op, kernels::UnaryFunction function, const Variable& x) {
  check_defined(op, "x", x);
  check_like(op, x, {});
  Tensor y = empty_like(x);
  kernels::table(x.device())
      .unary_forward({.x = x.value().view(), .y = y.mutable_view(), .function = function});
  return record(op, std::move(y), {x},
                [saved = x.value(), function](const Tensor& dy, InputGradients& in) {
                  Tensor dx(saved.shape(), saved.dtype(), saved.device());
                  kernels::table(saved.device())
                      .unary_backward({.x = saved.view(),
                                       .dy = dy.view(),
                                       .dx = dx.mutable_view(),
                                       .function = function});
                  in.add(0, std::move(dx));
                });
}

inline Variable linear_combination(const char* op, const Variable& a, double alpha,
                                   const Variable& b, double beta) {
  check_defined(op, "a", a);
  check_shape(op, "b", b, a.shape());
  check_like(op, a, {&b});
  return record(op, combine(a.value(), alpha, b.value(), beta), {a, b},
                [alpha, beta](const Tensor& dy, InputGradients& in) {
                  if (in.wants(0)) in.add(0, alpha == 1 ? dy : combine(dy, alpha, {}, 0));
                  if (in.wants(1)) in.add(1, beta == 1 ? dy : combine(dy, beta, {}, 0));
                });
}

}  // namespace ops

/// max(x, 0), any shape; its derivative at 0 is taken as 0.
inline Variable relu(const Variable& x) {
  return ops::unary("relu", kernels::UnaryFunction::relu, x);
}

/// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), any shape.
inline Variable gelu(const Variable& x) {
  return ops::unary("gelu", kernels::UnaryFunction::gelu, x);
}

/// 1 / (1 + exp(-x)), any shape.
inline Variable sigmoid(const Variable& x) {
  return ops::unary("sigmoid", kernels::UnaryFunction::sigmoid, x);
}

/// tanh(x), any shape.
inline Variable tanh(const Variable& x) {
  return ops::unary("tanh", kernels::UnaryFunction::tanh, x);
}

/// a + b; shapes must be equal.  Throws ShapeError, DTypeError, DeviceError.
inline Variable add(const Variable& a, const Variable& b) {
  return ops::linear_combination("add", a, 1, b, 1);
}

/// a - b; shapes must be equal.
inline Variable subtract(const Variable& a, const Variable& b) {
  return ops::linear_combination("subtract", a, 1, b, -1);
}

inline Variable operator+(const Variable& a, const Variable& b) { return add(a, b); }
inline Variable operator-(const Variable& a, const Variable& b) { return subtract(a, b); }

/// factor * x.
inline Variable scale(const Variable& x, double factor) {
  ops::check_defined("scale", "x", x);
  ops::check_like("scale", x, {});
  return record("scale", ops::combine(x.value(), factor, {}, 0), {x},
                [factor](const Tensor& dy, InputGradients& in) {
                  in.add(0, ops::combine(dy, factor, {}, 0));
                });
}

/// a * b, element by element; shapes must be equal.
inline Variable multiply(const Variable& a, const Variable& b) {
  ops::check_defined("multiply", "a", a);
  ops::check_shape("multiply", "b", b, a.shape());
  ops::check_like("multiply", a, {&b});
  return record("multiply", ops::product(a.value(), b.value()), {a, b},
                [left = a.value(), right = b.value()](const Tensor& dy, InputGradients& in) {
                  if (in.wants(0)) in.add(0, ops::product(dy, right));
                  if (in.wants(1)) in.add(1, ops::product(dy, left));
                });
}

/// sum_i a_i b_i over all elements, as a scalar of shape [].
inline Variable dot(const Variable& a, const Variable& b) {
  ops::check_defined("dot", "a", a);
  ops::check_shape("dot", "b", b, a.shape());
  ops::check_like("dot", a, {&b});
  Tensor out({}, a.dtype(), a.device());
  kernels::table(a.device())
      .dot({.a = a.value().view(), .b = b.value().view(), .out = out.mutable_view()});
  return record("dot", std::move(out), {a, b},
                [left = a.value(), right = b.value()](const Tensor& dy, InputGradients& in) {
                  // Copies even when dy is one: a gradient must not change with the value that it
                  // was made from.
                  if (in.wants(0)) in.add(0, ops::product(right, dy));
                  if (in.wants(1)) in.add(1, ops::product(left, dy));
                });
}

/// Sum over all elements, as a scalar of shape [].
inline Variable sum(const Variable& x) {
  ops::check_defined("sum", "x", x);
  ops::check_like("sum", x, {});
  Tensor out({}, x.dtype(), x.device());
  kernels::table(x.device()).dot({.a = x.value().view(), .out = out.mutable_view()});
  return record("sum", std::move(out), {x},
                [shape = x.shape()](const Tensor& dy, InputGradients& in) {
                  in.add(0, Tensor::repeated(dy, shape));
                });
}

/// Mean over all elements.  Throws ShapeError when there are none.
inline Variable mean(const Variable& x) {
  ops::check_defined("mean", "x", x);
  if (x.value().numel() == 0)
    throw ShapeError(concat("mean: expected at least one element, got ", x.shape()));
  return scale(sum(x), 1.0 / static_cast<double>(x.value().numel()));
}

/// The same elements with other extents.  Throws ShapeError unless their number is the same.
inline Variable reshape(const Variable& x, const Shape& shape) {
  ops::check_defined("reshape", "x", x);
  return record("reshape", x.value().reshape(shape), {x},
                [before = x.shape()](const Tensor& dy, InputGradients& in) {
                  in.add(0, dy.reshape(before));
                });
}

/// Zeroes each element with probability 1 - keep and divides the rest by keep. Advances `random` by
/// ceil(numel / 4) blocks, so the mask depends on the random state alone. Throws OptionError unless
/// 0 < keep <= 1.
inline Variable dropout(const Variable& x, double keep, Random& random) {
  ops::check_defined("dropout", "x", x);
  ops::check_like("dropout", x, {});
  if (!(keep > 0 && keep <= 1))
    throw OptionError(concat("dropout: expected 0 < keep <= 1, got ", keep));
  if (keep == 1) return x;
  const RandomState state = random.state();
  const Tensor shift = CapturedDraws::shift_of(random, x.device());
  random =
      Random(RandomState{state.seed, state.stream,
                         state.position + static_cast<std::uint64_t>((x.value().numel() + 3) / 4)});
  const auto masked = [keep, state, shift](const Tensor& in) {
    Tensor out(in.shape(), in.dtype(), in.device());
    kernels::table(in.device())
        .dropout({.x = in.view(),
                  .y = out.mutable_view(),
                  .keep = keep,
                  .seed = state.seed,
                  .stream = state.stream,
                  .position = state.position,
                  .shift = shift.defined() ? shift.view() : View()});
    return out;
  };
  return record("dropout", masked(x.value()), {x},
                [masked](const Tensor& dy, InputGradients& in) { in.add(0, masked(dy)); });
}

}  // namespace refrain
