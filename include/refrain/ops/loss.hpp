#pragma once
/// Training losses, each fused with its gradient. Dtypes f32, f64; ids i32. All return a scalar of
/// shape [].

#include <cmath>

#include "refrain/ops/pointwise.hpp"

namespace refrain {

struct SoftmaxLossOptions {
  std::int64_t ignored = -1;  ///< targets with this id do not count (-1: all count)
  bool relu = false;          ///< apply relu to the hidden vectors first
};

/// Mean over the counted targets of the cross-entropy of softmax(h weight^T + bias), h = hidden or
/// relu(hidden).
///
/// hidden [...,C], weight [V,C], bias [V] or undefined, targets i32 [...] in [0,V). The [P,V]
/// scores are computed in blocks and never held at once; the gradients are computed in the same
/// pass. Without a counted target the loss is 0. Throws ShapeError, DTypeError, DeviceError.
inline Variable softmax_loss(const Variable& hidden, const Variable& weight, const Variable& bias,
                             const Tensor& targets, SoftmaxLossOptions options = {}) {
  constexpr const char* op = "softmax_loss";
  ops::check_defined(op, "hidden", hidden);
  ops::check_rank(op, "weight", weight, 2);
  if (hidden.shape().rank() < 1)
    throw ShapeError("softmax_loss: expected hidden of rank 1 or more, got a scalar");
  const Shape flat{hidden.shape().rows(), hidden.size(-1)};
  ops::check_shape(op, "weight", weight, {weight.size(0), flat[1]});
  ops::check_optional(op, "bias", bias, {weight.size(0)});
  ops::check_like(op, hidden, {&weight, &bias});
  ops::check_id_per_row(op, "targets", targets, "hidden", hidden);
  ops::check_ids(op, "targets", targets, weight.size(0), hidden.device());
  const bool recorded = NoGrad::is_recording();
  Tensor loss({}, hidden.dtype(), hidden.device());
  Tensor dhidden = ops::empty_like(hidden, recorded && hidden.requires_grad());
  Tensor dweight = ops::empty_like(weight, recorded && weight.requires_grad());
  Tensor dbias = recorded && bias.requires_grad() ? ops::empty_like(bias) : Tensor();
  kernels::table(hidden.device())
      .softmax_loss({.hidden = hidden.value().reshape(flat).view(),
                     .weight = weight.value().view(),
                     .bias = ops::view_of(bias),
                     .targets = targets.view(),
                     .loss = loss.mutable_view(),
                     .dhidden = ops::mutable_view_of(dhidden),
                     .dweight = ops::mutable_view_of(dweight),
                     .dbias = ops::mutable_view_of(dbias),
                     .ignored = options.ignored,
                     .relu = options.relu});
  return record(op, std::move(loss), {hidden, weight, bias},
                [dhidden, dweight, dbias](const Tensor& dy, InputGradients& in) {
                  if (in.wants(0)) in.add(0, ops::times_upstream(dhidden, dy, in));
                  if (in.wants(1)) in.add(1, ops::times_upstream(dweight, dy, in));
                  if (in.wants(2)) in.add(2, ops::times_upstream(dbias, dy, in));
                });
}

/// Candidates of a sampled softmax, shared by all rows.
struct Candidates {
  Tensor ids;         ///< [S] i32
  Tensor log_q_true;  ///< log expected count of each row's target, [P]; undefined: no correction
  Tensor log_q_negative;  ///< log expected count of each candidate, [S]; undefined: no correction
};

struct SampledSoftmaxLossOptions {
  std::int64_t ignored = -1;  ///< targets with this id do not count
  bool remove_hits = true;    ///< leave out candidates equal to the row's own target
};

/// Mean over the counted rows of the cross-entropy of the target against the candidates, scores
/// corrected by minus log Q.
///
/// hidden [...,C], weight [V,C], bias [V] or undefined, targets i32 [...]. The gradients of weight
/// and bias are row-sparse. Throws ShapeError, DTypeError, DeviceError. Source: Jean et al. 2015;
/// the sampling correction as in PeterRec's and CmnRec's code.
inline Variable sampled_softmax_loss(const Variable& hidden, const Variable& weight,
                                     const Variable& bias, const Tensor& targets,
                                     const Candidates& candidates,
                                     SampledSoftmaxLossOptions options = {}) {
  constexpr const char* op = "sampled_softmax_loss";
  ops::check_defined(op, "hidden", hidden);
  ops::check_rank(op, "weight", weight, 2);
  if (hidden.shape().rank() < 1)
    throw ShapeError("sampled_softmax_loss: expected hidden of rank 1 or more, got a scalar");
  const Shape flat{hidden.shape().rows(), hidden.size(-1)};
  ops::check_shape(op, "weight", weight, {weight.size(0), flat[1]});
  ops::check_optional(op, "bias", bias, {weight.size(0)});
  ops::check_like(op, hidden, {&weight, &bias});
  ops::check_id_per_row(op, "targets", targets, "hidden", hidden);
  ops::check_ids(op, "targets", targets, weight.size(0), hidden.device());
  ops::check_ids(op, "candidates.ids", candidates.ids, weight.size(0), hidden.device());
  if (candidates.log_q_true.defined() != candidates.log_q_negative.defined()) {
    throw ShapeError(concat(
        "sampled_softmax_loss: expected log_q_true and log_q_negative both or neither, got only ",
        candidates.log_q_true.defined() ? "log_q_true" : "log_q_negative"));
  }
  const std::int64_t samples = candidates.ids.numel();
  if (candidates.log_q_true.defined()) {
    ops::check_shape(op, "candidates.log_q_true", Variable(candidates.log_q_true), {flat[0]});
    ops::check_shape(op, "candidates.log_q_negative", Variable(candidates.log_q_negative),
                     {samples});
    const Variable log_q_true(candidates.log_q_true);
    const Variable log_q_negative(candidates.log_q_negative);
    ops::check_like(op, hidden, {&log_q_true, &log_q_negative});
  }
  const bool recorded = NoGrad::is_recording();
  const std::int64_t rows = samples + flat[0];
  Tensor loss({}, hidden.dtype(), hidden.device());
  Tensor dhidden = ops::empty_like(hidden, recorded && hidden.requires_grad());
  Tensor dweight = recorded && weight.requires_grad()
                       ? Tensor({rows, flat[1]}, hidden.dtype(), hidden.device())
                       : Tensor();
  Tensor dbias =
      recorded && bias.requires_grad() ? Tensor({rows}, hidden.dtype(), hidden.device()) : Tensor();
  const auto optional = [](const Tensor& tensor) {
    return tensor.defined() ? tensor.view() : View();
  };
  kernels::table(hidden.device())
      .sampled_softmax_loss({.hidden = hidden.value().reshape(flat).view(),
                             .weight = weight.value().view(),
                             .bias = ops::view_of(bias),
                             .targets = targets.view(),
                             .negatives = candidates.ids.view(),
                             .log_q_true = optional(candidates.log_q_true),
                             .log_q_negative = optional(candidates.log_q_negative),
                             .loss = loss.mutable_view(),
                             .dhidden = ops::mutable_view_of(dhidden),
                             .dweight_rows = ops::mutable_view_of(dweight),
                             .dbias_rows = ops::mutable_view_of(dbias),
                             .ignored = options.ignored,
                             .remove_hits = options.remove_hits});
  return record(
      op, std::move(loss), {hidden, weight, bias},
      [dhidden, dweight, dbias, targets, negatives = candidates.ids](const Tensor& dy,
                                                                     InputGradients& in) {
        if (in.wants(0)) in.add(0, ops::times_upstream(dhidden, dy, in));
        if (!in.wants(1) && !in.wants(2)) return;
        Tensor ids({negatives.numel() + targets.numel()}, DType::i32, negatives.device());
        ids.slice(0, negatives.numel()).copy_from(negatives.reshape({negatives.numel()}));
        ids.slice(negatives.numel(), ids.numel()).copy_from(targets.reshape({targets.numel()}));
        if (in.wants(1)) in.add(1, coalesce(ids, ops::times_upstream(dweight, dy, in)));
        if (in.wants(2)) in.add(2, coalesce(ids, ops::times_upstream(dbias, dy, in)));
      });
}

namespace ops {

inline Variable pair_loss(const char* op, kernels::PairLossKind kind, const Variable& user,
                          const Variable& table, const Tensor& positives, const Tensor& negatives) {
  check_rank(op, "user", user, 2);
  check_rank(op, "table", table, 2);
  check_shape(op, "table", table, {table.size(0), user.size(1)});
  check_like(op, user, {&table});
  const std::int64_t batch = user.size(0);
  if (batch == 0) throw ShapeError(concat(op, ": expected at least one user, got ", user.shape()));
  for (const Tensor* ids : {&positives, &negatives}) {
    check_ids(op, ids == &positives ? "positives" : "negatives", *ids, table.size(0),
              user.device());
    if (ids->shape() != Shape{batch})
      throw ShapeError(concat(op, ": expected ids of ", Shape{batch}, ", got ", ids->shape()));
  }
  const bool recorded = NoGrad::is_recording();
  Tensor loss({}, user.dtype(), user.device());
  Tensor duser = empty_like(user, recorded && user.requires_grad());
  Tensor dtable = recorded && table.requires_grad()
                      ? Tensor({2 * batch, user.size(1)}, user.dtype(), user.device())
                      : Tensor();
  kernels::table(user.device())
      .pair_loss({.user = user.value().view(),
                  .table = table.value().view(),
                  .positives = positives.view(),
                  .negatives = negatives.view(),
                  .loss = loss.mutable_view(),
                  .duser = mutable_view_of(duser),
                  .dtable_rows = mutable_view_of(dtable),
                  .kind = kind});
  return record(op, std::move(loss), {user, table},
                [duser, dtable, positives, negatives, batch](const Tensor& dy, InputGradients& in) {
                  if (in.wants(0)) in.add(0, times_upstream(duser, dy, in));
                  if (!in.wants(1)) return;
                  Tensor ids({2 * batch}, DType::i32, dy.device());
                  ids.slice(0, batch).copy_from(positives);
                  ids.slice(batch, 2 * batch).copy_from(negatives);
                  in.add(1, coalesce(ids, times_upstream(dtable, dy, in)));
                });
}

}  // namespace ops

/// Bayesian personalized ranking: mean of -log sigmoid(p - n), p = user . table[positive], n = user
/// . table[negative].
///
/// user [B,C], table [V,C], positives, negatives i32 [B].  The table's gradient is row-sparse.
/// Throws ShapeError, DTypeError, DeviceError.  Source: Rendle et al. 2009; PeterRec, equation 7.
inline Variable bpr_loss(const Variable& user, const Variable& table, const Tensor& positives,
                         const Tensor& negatives) {
  return ops::pair_loss("bpr_loss", kernels::PairLossKind::bpr, user, table, positives, negatives);
}

/// Logistic loss with one negative per positive: mean of -log sigmoid(p) - log(1 - sigmoid(n));
/// arguments as for bpr_loss.
inline Variable logistic_loss(const Variable& user, const Variable& table, const Tensor& positives,
                              const Tensor& negatives) {
  return ops::pair_loss("logistic_loss", kernels::PairLossKind::logistic, user, table, positives,
                        negatives);
}

}  // namespace refrain
