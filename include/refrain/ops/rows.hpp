#pragma once
/// Operations on the rows of the last axis.  Dtypes f32, f64; ids i32.

#include <limits>

#include "refrain/ops/check.hpp"

namespace refrain {

/// gamma * (x - mean) / sqrt(var + epsilon) + beta over the last axis, biased variance. x [...,C],
/// gamma, beta [C]. Throws ShapeError, DTypeError, DeviceError, OptionError unless epsilon >= 0.
inline Variable layer_norm(const Variable& x, const Variable& gamma, const Variable& beta,
                           double epsilon = 1e-8) {
  constexpr const char* op = "layer_norm";
  ops::check_defined(op, "x", x);
  if (x.shape().rank() < 1)
    throw ShapeError("layer_norm: expected x of rank 1 or more, got a scalar");
  ops::check_shape(op, "gamma", gamma, {x.size(-1)});
  ops::check_shape(op, "beta", beta, {x.size(-1)});
  ops::check_like(op, x, {&gamma, &beta});
  if (!(epsilon >= 0))
    throw OptionError(concat("layer_norm: expected epsilon >= 0, got ", epsilon));
  const bool recorded = is_recorded({&x, &gamma, &beta});
  Tensor y = ops::empty_like(x);
  Tensor normalized = ops::empty_like(x, recorded);
  Tensor inv_std = recorded ? Tensor({x.shape().rows()}, x.dtype(), x.device()) : Tensor();
  kernels::table(x.device())
      .layer_norm_forward({.x = x.value().view(),
                           .gamma = gamma.value().view(),
                           .beta = beta.value().view(),
                           .y = y.mutable_view(),
                           .normalized = ops::mutable_view_of(normalized),
                           .inv_std = ops::mutable_view_of(inv_std),
                           .epsilon = epsilon});
  return record(op, std::move(y), {x, gamma, beta},
                [normalized, inv_std, scale = gamma.value()](const Tensor& dy, InputGradients& in) {
                  const auto wanted = [&](int index, const Shape& shape) {
                    return in.wants(index) ? Tensor(shape, dy.dtype(), dy.device()) : Tensor();
                  };
                  Tensor dx = wanted(0, dy.shape());
                  Tensor dgamma = wanted(1, scale.shape());
                  Tensor dbeta = wanted(2, scale.shape());
                  kernels::table(dy.device())
                      .layer_norm_backward({.gamma = scale.view(),
                                            .normalized = normalized.view(),
                                            .inv_std = inv_std.view(),
                                            .dy = dy.view(),
                                            .dx = ops::mutable_view_of(dx),
                                            .dgamma = ops::mutable_view_of(dgamma),
                                            .dbeta = ops::mutable_view_of(dbeta)});
                  if (dx.defined()) in.add(0, std::move(dx));
                  if (dgamma.defined()) in.add(1, std::move(dgamma));
                  if (dbeta.defined()) in.add(2, std::move(dbeta));
                });
}

/// Rows of a table: table [V,C], ids i32 of any shape [...] -> [...,C]. The table's gradient is
/// row-sparse. Throws ShapeError for an id outside [0,V) (on the CPU; see ops::check_ids),
/// DTypeError, DeviceError.
inline Variable embedding(const Variable& table, const Tensor& ids) {
  constexpr const char* op = "embedding";
  ops::check_rank(op, "table", table, 2);
  ops::check_like(op, table, {});
  ops::check_ids(op, "ids", ids, table.size(0), table.device());
  if (ids.rank() >= Shape::max_rank)
    throw ShapeError(concat("embedding: expected ids of rank ", Shape::max_rank - 1,
                            " or less, got ", ids.shape()));
  std::array<std::int64_t, Shape::max_rank> extents{};
  std::copy(ids.shape().extents().begin(), ids.shape().extents().end(), extents.begin());
  extents[static_cast<std::size_t>(ids.rank())] = table.size(1);
  const Shape shape(
      std::span<const std::int64_t>(extents.data(), static_cast<std::size_t>(ids.rank()) + 1));
  Tensor out(shape, table.dtype(), table.device());
  kernels::table(table.device())
      .gather_rows({.table = table.value().view(), .ids = ids.view(), .out = out.mutable_view()});
  return record(op, std::move(out), {table},
                [ids, width = table.size(1)](const Tensor& dy, InputGradients& in) {
                  in.add(0, coalesce(ids.reshape({ids.numel()}), dy.reshape({ids.numel(), width})));
                });
}

/// x with another row wherever `ids` says so:  y[...,:] = row where ids[...] == id, else x[...,:].
///
/// x [...,C], ids i32 [...], row [1,C] or [C] -> [...,C]. Gives a token a vector of its own while
/// the table that x was gathered from stays frozen. Throws ShapeError, DTypeError, DeviceError.
inline Variable replace_rows(const Variable& x, const Tensor& ids, std::int64_t id,
                             const Variable& row) {
  constexpr const char* op = "replace_rows";
  ops::check_defined(op, "x", x);
  if (x.shape().rank() < 1)
    throw ShapeError("replace_rows: expected x of rank 1 or more, got a scalar");
  ops::check_defined(op, "row", row);
  if (row.value().numel() != x.size(-1)) {
    throw ShapeError(
        concat("replace_rows: expected a row of ", x.size(-1), " elements, got ", row.shape()));
  }
  ops::check_like(op, x, {&row});
  ops::check_id_per_row(op, "ids", ids, "x", x);
  ops::check_ids(op, "ids", ids, std::numeric_limits<std::int32_t>::max(), x.device());
  Tensor y = ops::empty_like(x);
  kernels::table(x.device())
      .replace_rows({.x = x.value().view(),
                     .ids = ids.view(),
                     .row = row.value().view(),
                     .y = y.mutable_view(),
                     .id = id});
  return record(op, std::move(y), {x, row},
                [ids, id, shape = row.shape()](const Tensor& dy, InputGradients& in) {
                  Tensor dx = in.wants(0) ? Tensor(dy.shape(), dy.dtype(), dy.device()) : Tensor();
                  Tensor drow = in.wants(1) ? Tensor(shape, dy.dtype(), dy.device()) : Tensor();
                  kernels::table(dy.device())
                      .replace_rows_backward({.ids = ids.view(),
                                              .dy = dy.view(),
                                              .dx = ops::mutable_view_of(dx),
                                              .drow = ops::mutable_view_of(drow),
                                              .id = id});
                  if (dx.defined()) in.add(0, std::move(dx));
                  if (drow.defined()) in.add(1, std::move(drow));
                });
}

/// x[:, step, :] of x [B,T,C] -> [B,C]; a negative step counts from the end. Throws ShapeError when
/// there is no such step.
inline Variable select_step(const Variable& x, std::int64_t step) {
  constexpr const char* op = "select_step";
  ops::check_rank(op, "x", x, 3);
  ops::check_like(op, x, {});
  const std::int64_t at = step < 0 ? step + x.size(1) : step;
  if (at < 0 || at >= x.size(1))
    throw ShapeError(concat("select_step: expected a step of x ", x.shape(), ", got ", step));
  Tensor y({x.size(0), x.size(2)}, x.dtype(), x.device());
  kernels::table(x.device())
      .select_step({.x = x.value().view(), .y = y.mutable_view(), .step = at});
  return record(op, std::move(y), {x},
                [shape = x.shape(), at](const Tensor& dy, InputGradients& in) {
                  Tensor dx(shape, dy.dtype(), dy.device());
                  kernels::table(dy.device())
                      .select_step_backward({.dy = dy.view(), .dx = dx.mutable_view(), .step = at});
                  in.add(0, std::move(dx));
                });
}

/// Scores and their positions, both [...,k], falling; equal scores by rising position.
struct TopKResult {
  Tensor values;
  Tensor indices;  ///< i32
};

/// The k largest of each row of scores [...,V].  Throws ShapeError unless 0 < k <= V.
inline TopKResult top_k(const Tensor& scores, std::int64_t k) {
  if (!scores.defined() || scores.rank() < 1)
    throw ShapeError("top_k: expected scores of rank 1 or more, got a scalar, or nothing");
  if (k < 1 || k > scores.size(-1)) {
    throw ShapeError(concat("top_k: expected 1 <= k <= ", scores.size(-1), ", got ", k));
  }
  const Shape shape = scores.shape().with(-1, k);
  TopKResult result{Tensor(shape, scores.dtype(), scores.device()),
                    Tensor(shape, DType::i32, scores.device())};
  kernels::table(scores.device())
      .top_k({.scores = scores.view(),
              .values = result.values.mutable_view(),
              .indices = result.indices.mutable_view()});
  return result;
}

}  // namespace refrain
