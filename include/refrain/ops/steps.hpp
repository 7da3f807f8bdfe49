#pragma once
/// Time steps of sequences: selection, slices, concatenation, and vectors that are added to a span
/// of time steps. Dtypes f32, f64.

#include <cstdint>
#include <span>
#include <vector>

#include "refrain/kernels/steps.hpp"
#include "refrain/ops/check.hpp"

namespace refrain {

/// x[:, step, :] of x [B,T,C] -> [B,C]; a negative step counts from the end. Throws ShapeError for
/// a step out of range, DTypeError.
inline Variable select_step(const Variable& x, std::int64_t step) {
  constexpr const char* op = "select_step";
  detail::check_rank(op, "x", x, 3);
  detail::check_like(op, x);
  const std::int64_t at = step < 0 ? step + x.size(1) : step;
  if (at < 0 || at >= x.size(1))
    throw ShapeError(
        detail::concat("select_step: expected a step of x ", x.shape(), ", got ", step));
  Tensor y = empty_like(x.value(), {x.size(0), x.size(2)});
  kernels::run(kernels::SelectStep{.x = x, .y = y, .step = at});
  return record(op, std::move(y), {x}, [at](const Tensor& dy, auto& dx) {
    kernels::run(kernels::SelectStepBackward{.dy = dy, .dx = dx, .step = at});
  });
}

/// Time steps [begin, end) of x [T,...], sharing x's elements. Throws ShapeError for a range
/// outside [0,T].
inline Variable slice_steps(const Variable& x, std::int64_t begin, std::int64_t end) {
  detail::check_defined("slice_steps", "x", x);
  return record("slice_steps", x.value().slice(begin, end), {x},
                [begin](const Tensor& dy, auto& dx) { dx.add_slice(begin, dy); });
}

/// Time step `step` (negative: from the end) of x [T,...] without the time axis, sharing x's
/// elements. Throws ShapeError for a step outside [-T,T).
inline Variable one_step(const Variable& x, std::int64_t step) {
  detail::check_has_rows("one_step", "x", x);
  const std::int64_t steps = x.size(0);
  const std::int64_t at = step < 0 ? step + steps : step;
  if (at < 0 || at >= steps)
    throw ShapeError(detail::concat("one_step: expected a step of x ", x.shape(), ", got ", step));
  return record(
      "one_step", x.value().slice(at, at + 1).reshape(Shape(x.shape().extents().subspan(1))), {x},
      [at](const Tensor& dy, auto& dx) { dx.add_slice(at, dy.reshape(dx.shape().with(0, 1))); });
}

/// Concatenates the pieces [T_i,...]: [sum T_i,...]. Throws ShapeError, also for an empty list,
/// DTypeError, DeviceError.
inline Variable concat_steps(std::span<const Variable> pieces) {
  constexpr const char* op = "concat_steps";
  if (pieces.empty()) throw ShapeError("concat_steps: expected at least one piece, got none");
  std::int64_t steps = 0;
  for (const Variable& piece : pieces) {
    detail::check_has_rows(op, "a piece", piece);
    detail::check_shape(op, "a piece", piece, pieces[0].shape().with(0, piece.size(0)));
    detail::check_like(op, pieces[0], piece);
    steps += piece.size(0);
  }
  if (pieces.size() == 1) return pieces[0];
  Tensor y = empty_like(pieces[0].value(), pieces[0].shape().with(0, steps));
  detail::PooledVector<std::int64_t> begins;  // begin of each piece, and the end of the last
  begins.reserve(pieces.size() + 1);
  begins.push_back(0);
  for (const Variable& piece : pieces) {
    begins.push_back(begins.back() + piece.size(0));
    y.slice(begins.end()[-2], begins.back()).copy_from(piece.value());
  }
  return record(op, std::move(y), pieces,
                [begins = std::move(begins)](const Tensor& dy, InputGradients dpieces) {
                  for (std::size_t i = 0; i < dpieces.size(); ++i)
                    dpieces[i].add(dy.slice(begins[i], begins[i + 1]));
                });
}

/// [I,J,C] -> [J,I,C]: batch-major to time-major and back.  Throws ShapeError, DTypeError.
inline Variable swap_batch_time(const Variable& x) {
  constexpr const char* op = "swap_batch_time";
  detail::check_rank(op, "x", x, 3);
  detail::check_like(op, x);
  Tensor y = empty_like(x.value(), {x.size(1), x.size(0), x.size(2)});
  kernels::run(kernels::SwapAxes{.x = x, .y = y});
  return record(op, std::move(y), {x}, [](const Tensor& dy, auto& dx) {
    kernels::run(kernels::SwapAxes{.x = dy, .y = dx});
  });
}

/// Ids i32 [I,J] -> [J,I].  Throws ShapeError, DTypeError.
inline Tensor swap_batch_time(const Tensor& ids) {
  detail::check_rank("swap_batch_time", "ids", ids, 2);
  if (ids.dtype() != DType::i32)
    throw DTypeError(detail::concat("swap_batch_time: expected ids of i32, got ", ids.dtype()));
  const std::int64_t outer = ids.size(0);
  const std::int64_t inner = ids.size(1);
  Tensor swapped = empty_like(ids, {inner, outer});
  if (ids.device() != Device::cpu) {
    // The kernel copies elements of four bytes without interpreting them.
    kernels::run(
        kernels::SwapAxes{.x = {ids.raw(), {outer, inner, 1}, DType::f32, ids.device()},
                          .y = {swapped.raw(), {inner, outer, 1}, DType::f32, ids.device()}});
    return swapped;
  }
  const std::int32_t* from = ids.data<std::int32_t>();
  std::int32_t* to = swapped.data<std::int32_t>();
  for (std::int64_t i = 0; i < outer; ++i) {
    for (std::int64_t j = 0; j < inner; ++j) to[j * outer + i] = from[i * inner + j];
  }
  return swapped;
}

/// y[t] = x[t] + spans[k] for the time steps ends[k-1] <= t < ends[k] (ends[-1] = 0) of span k.
///
/// x [T,B,C], spans [S,B,C] -> [T,B,C]. Throws ShapeError unless the S ends ascend strictly to T,
/// DTypeError, DeviceError.
inline Variable add_spans(const Variable& x, const Variable& spans,
                          std::span<const std::int64_t> ends) {
  constexpr const char* op = "add_spans";
  detail::check_rank(op, "x", x, 3);
  const auto count = static_cast<std::int64_t>(ends.size());
  detail::check_shape(op, "spans", spans, x.shape().with(0, count));
  detail::check_like(op, x, spans);
  Tensor host_ends({count}, DType::i32);
  std::int64_t before = 0;
  for (std::size_t k = 0; k < ends.size(); ++k) {
    if (ends[k] <= before || ends[k] > x.size(0)) {
      throw ShapeError(detail::concat("add_spans: ends[", k, "] = ", ends[k], " is outside (",
                                      before, ", ", x.size(0), "]"));
    }
    before = ends[k];
    host_ends.data<std::int32_t>()[k] = static_cast<std::int32_t>(ends[k]);
  }
  if (before != x.size(0))
    throw ShapeError(detail::concat("add_spans: expected a last span that ends at ", x.size(0),
                                    ", got ", before));
  const Tensor device_ends = host_ends.to(x.device());
  Tensor y = empty_like(x.value());
  kernels::run(kernels::AddSpans{.x = x, .spans = spans, .ends = device_ends, .y = y});
  return record(op, std::move(y), {x, spans},
                [ends = device_ends](const Tensor& dy, auto& dx, auto& dspans) {
                  dx.add(dy);
                  if (dspans.needed())
                    kernels::run(kernels::SumSpans{.dy = dy, .ends = ends, .dspans = dspans});
                });
}

}  // namespace refrain
