#pragma once
/// Time-major sequences [T,B,C]: taking them apart, putting them together, and vectors that hold
/// for a span of steps. Dtypes f32, f64.

#include <cstdint>
#include <span>
#include <vector>

#include "refrain/ops/check.hpp"

namespace refrain {

/// Steps [begin, end) of x [T,...]: shares x's elements. Throws ShapeError for a range outside
/// [0,T].
inline Variable slice_steps(const Variable& x, std::int64_t begin, std::int64_t end) {
  ops::check_defined("slice_steps", "x", x);
  return record("slice_steps", x.value().slice(begin, end), {x},
                [whole = x.shape(), begin](const Tensor& dy, InputGradients& in) {
                  in.add_slice(0, whole, begin, dy);
                });
}

/// Step `step` (negative: from the end) of x [T,...] without the step axis: shares x's elements.
/// Throws ShapeError for a step outside [-T,T).
inline Variable one_step(const Variable& x, std::int64_t step) {
  ops::check_defined("one_step", "x", x);
  if (x.shape().rank() < 1)
    throw ShapeError("one_step: expected x of rank 1 or more, got a scalar");
  const std::int64_t steps = x.size(0);
  const std::int64_t at = step < 0 ? step + steps : step;
  if (at < 0 || at >= steps)
    throw ShapeError(concat("one_step: step ", step, " is outside ", x.shape()));
  return record("one_step",
                x.value().slice(at, at + 1).reshape(Shape(x.shape().extents().subspan(1))), {x},
                [whole = x.shape(), at](const Tensor& dy, InputGradients& in) {
                  in.add_slice(0, whole, at, dy.reshape(whole.with(0, 1)));
                });
}

/// The pieces [T_i,...] one after the other: [sum T_i,...]. Throws ShapeError, DTypeError,
/// DeviceError, also without a piece.
inline Variable concat_steps(std::span<const Variable> pieces) {
  constexpr const char* op = "concat_steps";
  if (pieces.empty()) throw ShapeError("concat_steps: expected at least one piece");
  std::int64_t steps = 0;
  for (const Variable& piece : pieces) {
    ops::check_defined(op, "a piece", piece);
    if (piece.shape().rank() < 1)
      throw ShapeError("concat_steps: expected pieces of rank 1 or more, got a scalar");
    ops::check_shape(op, "a piece", piece, pieces[0].shape().with(0, piece.size(0)));
    ops::check_like(op, pieces[0], {&piece});
    steps += piece.size(0);
  }
  if (pieces.size() == 1) return pieces[0];
  Tensor y(pieces[0].shape().with(0, steps), pieces[0].dtype(), pieces[0].device());
  PooledVector<std::int64_t> ends;
  ends.reserve(pieces.size());
  for (const Variable& piece : pieces) {
    const std::int64_t begin = ends.empty() ? 0 : ends.back();
    ends.push_back(begin + piece.size(0));
    y.slice(begin, ends.back()).copy_from(piece.value());
  }
  return record(op, std::move(y), pieces,
                [ends = std::move(ends)](const Tensor& dy, InputGradients& in) {
                  for (std::size_t i = 0; i < ends.size(); ++i) {
                    const std::int64_t begin = i == 0 ? 0 : ends[i - 1];
                    if (in.wants(static_cast<int>(i)))
                      in.add(static_cast<int>(i), dy.slice(begin, ends[i]));
                  }
                });
}

namespace ops {
inline Tensor swapped_axes(const Tensor& x) {
  Tensor y({x.size(1), x.size(0), x.size(2)}, x.dtype(), x.device());
  kernels::table(x.device()).swap_axes({.x = x.view(), .y = y.mutable_view()});
  return y;
}
}  // namespace ops

/// [I,J,C] -> [J,I,C]: batch-major to time-major and back.  Throws ShapeError, DTypeError.
inline Variable swap_batch_time(const Variable& x) {
  ops::check_rank("swap_batch_time", "x", x, 3);
  ops::check_like("swap_batch_time", x, {});
  return record("swap_batch_time", ops::swapped_axes(x.value()), {x},
                [](const Tensor& dy, InputGradients& in) { in.add(0, ops::swapped_axes(dy)); });
}

/// Ids i32 [I,J] -> [J,I].  Throws ShapeError, DTypeError.
inline Tensor swap_batch_time(const Tensor& ids) {
  if (!ids.defined() || ids.rank() != 2) {
    throw ShapeError(concat("swap_batch_time: expected ids of rank 2, got ", ids.shape()));
  }
  if (ids.dtype() != DType::i32)
    throw DTypeError(concat("swap_batch_time: expected ids of i32, got ", ids.dtype()));
  const std::int64_t outer = ids.size(0);
  const std::int64_t inner = ids.size(1);
  Tensor swapped({inner, outer}, DType::i32, ids.device());
  if (ids.device() != Device::cpu) {
    // The kernel moves elements of four bytes and does not look at them.
    const View x{ids.raw(), {outer, inner, 1}, DType::f32, ids.device()};
    kernels::table(ids.device())
        .swap_axes({.x = x, .y = {swapped.raw(), {inner, outer, 1}, DType::f32, ids.device()}});
    return swapped;
  }
  const std::int32_t* from = ids.data<std::int32_t>();
  std::int32_t* to = swapped.data<std::int32_t>();
  for (std::int64_t i = 0; i < outer; ++i) {
    for (std::int64_t j = 0; j < inner; ++j) to[j * outer + i] = from[i * inner + j];
  }
  return swapped;
}

/// y[t] = x[t] + spans[k] for the steps ends[k-1] <= t < ends[k] (ends[-1] = 0) of span k.
///
/// x [T,B,C], spans [S,B,C] -> [T,B,C]. Throws ShapeError unless the ends rise strictly to T and
/// there is one a span.
inline Variable add_spans(const Variable& x, const Variable& spans,
                          std::span<const std::int64_t> ends) {
  constexpr const char* op = "add_spans";
  ops::check_rank(op, "x", x, 3);
  ops::check_shape(op, "spans", spans, x.shape().with(0, static_cast<std::int64_t>(ends.size())));
  ops::check_like(op, x, {&spans});
  Tensor host({static_cast<std::int64_t>(ends.size())}, DType::i32);
  std::int64_t before = 0;
  for (std::size_t k = 0; k < ends.size(); ++k) {
    if (ends[k] <= before || ends[k] > x.size(0)) {
      throw ShapeError(concat("add_spans: ends[", k, "] = ", ends[k], " is outside (", before, ", ",
                              x.size(0), "]"));
    }
    before = ends[k];
    host.data<std::int32_t>()[k] = static_cast<std::int32_t>(ends[k]);
  }
  if (before != x.size(0))
    throw ShapeError(
        concat("add_spans: the last span ends at ", before, " of ", x.size(0), " steps"));
  const Tensor device_ends = host.to(x.device());
  Tensor y = ops::empty_like(x);
  kernels::table(x.device())
      .add_spans({.x = x.value().view(),
                  .spans = spans.value().view(),
                  .ends = device_ends.view(),
                  .y = y.mutable_view()});
  return record(
      op, std::move(y), {x, spans},
      [device_ends, shape = spans.shape()](const Tensor& dy, InputGradients& in) {
        if (in.wants(1)) {
          Tensor dspans(shape, dy.dtype(), dy.device());
          kernels::table(dy.device())
              .sum_spans(
                  {.dy = dy.view(), .ends = device_ends.view(), .dspans = dspans.mutable_view()});
          in.add(1, std::move(dspans));
        }
        if (in.wants(0)) in.add(0, dy);
      });
}

}  // namespace refrain
