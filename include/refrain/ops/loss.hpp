#pragma once
/// Training losses, each computed in one pass with its gradients. Dtypes f32, f64; ids i32. All
/// return a scalar of shape [].

#include <utility>

#include "refrain/kernels/loss.hpp"
#include "refrain/kernels/pointwise.hpp"
#include "refrain/ops/check.hpp"

namespace refrain {

namespace detail {

/// Uninitialized elements for the gradient of an input, undefined when it is not needed.
inline Tensor gradient_of(const Variable& input, const Shape& shape) {
  return is_recorded(input) ? empty_like(input.value(), shape) : Tensor();
}
inline Tensor gradient_of(const Variable& input) {
  return is_recorded(input) ? empty_like(input.value()) : Tensor();
}

/// gradient * dy for a loss, without a copy when dy is 1.
inline Tensor times(const Tensor& gradient, const UpstreamGradient& dy) {
  if (dy.is_one()) return gradient;
  Tensor product = empty_like(gradient);
  kernels::run(kernels::Multiply{.a = gradient, .b = dy, .out = product});
  return product;
}

/// The ids `first` followed by the ids `second`.
inline Tensor joined_ids(const Tensor& first, const Tensor& second) {
  Tensor ids({first.numel() + second.numel()}, DType::i32, first.device());
  ids.slice(0, first.numel()).copy_from(first.reshape({first.numel()}));
  ids.slice(first.numel(), ids.numel()).copy_from(second.reshape({second.numel()}));
  return ids;
}

/// Checks the arguments common to both softmax losses.
inline void check_scores(const char* op, const Variable& hidden, const Variable& weight,
                         const Variable& bias, const Tensor& targets) {
  check_has_rows(op, "hidden", hidden);
  check_rank(op, "weight", weight, 2);
  check_shape(op, "weight", weight, {weight.size(0), hidden.size(-1)});
  check_optional(op, "bias", bias, {weight.size(0)});
  check_like(op, hidden, weight, bias);
  check_id_per_row(op, "targets", targets, "hidden", hidden);
  check_ids(op, "targets", targets, weight.size(0), hidden.device());
}

/// Checks a share of label smoothing.
inline void check_smoothing(const char* op, double smoothing) {
  if (!(smoothing >= 0 && smoothing < 1)) {
    throw OptionError(
        detail::concat(op, ": smoothing: expected a number in [0, 1), got ", smoothing));
  }
}

}  // namespace detail

/// Options of softmax_loss().
struct SoftmaxLossOptions {
  std::int64_t ignored = -1;  ///< targets with this id are not counted (-1: all are)
  bool relu = false;          ///< apply relu to the hidden vectors before the product
  double smoothing = 0;       ///< label smoothing s, in [0,1)
};

/// Mean over the counted targets t of the cross-entropy of softmax(h weight^T + bias), h = hidden
/// or relu(hidden), with the distribution (1 - s) onehot(t) + s / V, s = options.smoothing:
///   z = h weight^T + bias;  loss = logsumexp_v(z_v) - (1 - s) z_t - s / V sum_v z_v
///
/// hidden [...,C], weight [V,C], bias [V] or undefined, targets i32 [...] in [0,V). The scores
/// [P,V] of all P hidden vectors are computed in blocks and never exist as a whole. Without counted
/// targets the loss is 0. Devices cpu, cuda. Throws ShapeError, DTypeError, DeviceError, and
/// OptionError unless s is in [0,1). Source of label smoothing: Szegedy et al. 2016, section 7.
inline Variable softmax_loss(const Variable& hidden, const Variable& weight, const Variable& bias,
                             const Tensor& targets, SoftmaxLossOptions options = {}) {
  constexpr const char* op = "softmax_loss";
  detail::check_scores(op, hidden, weight, bias, targets);
  detail::check_smoothing(op, options.smoothing);
  Tensor loss = empty_like(hidden.value(), {});
  Tensor dhidden = detail::gradient_of(hidden);
  Tensor dweight = detail::gradient_of(weight);
  Tensor dbias = detail::gradient_of(bias);
  kernels::run(kernels::SoftmaxLoss{.hidden = hidden.value().as_matrix(),
                                    .weight = weight,
                                    .bias = bias,
                                    .targets = targets,
                                    .loss = loss,
                                    .dhidden = dhidden,
                                    .dweight = dweight,
                                    .dbias = dbias,
                                    .ignored = options.ignored,
                                    .relu = options.relu,
                                    .smoothing = options.smoothing});
  return record(op, std::move(loss), {hidden, weight, bias},
                [dhidden, dweight, dbias](const UpstreamGradient& dy, auto& hidden_gradient,
                                          auto& weight_gradient, auto& bias_gradient) {
                  if (hidden_gradient.needed()) hidden_gradient.add(detail::times(dhidden, dy));
                  if (weight_gradient.needed()) weight_gradient.add(detail::times(dweight, dy));
                  if (bias_gradient.needed()) bias_gradient.add(detail::times(dbias, dy));
                });
}

/// Candidates of a sampled softmax, shared by all rows.
struct Candidates {
  Tensor ids;         ///< [S] i32
  Tensor log_q_true;  ///< log expected count of each row's target, [P]; undefined: no correction
  Tensor log_q_negative;  ///< log expected count of each candidate, [S]; undefined: no correction
};

/// Options of sampled_softmax_loss().
struct SampledSoftmaxLossOptions {
  std::int64_t ignored = -1;  ///< targets with this id are not counted
  bool remove_hits = true;    ///< exclude candidates equal to the row's target
};

/// Mean over the counted rows of the cross-entropy of the target against the candidates. The log of
/// the expected count is subtracted from each score.
///
/// hidden [...,C], weight [V,C], bias [V] or undefined, targets i32 [...]. The gradients of weight
/// and bias are row-sparse. Throws ShapeError, DTypeError, DeviceError. Source: Jean et al. 2015;
/// the correction follows the code of PeterRec and CmnRec.
inline Variable sampled_softmax_loss(const Variable& hidden, const Variable& weight,
                                     const Variable& bias, const Tensor& targets,
                                     const Candidates& candidates,
                                     SampledSoftmaxLossOptions options = {}) {
  constexpr const char* op = "sampled_softmax_loss";
  const auto& [negatives, log_q_true, log_q_negative] = candidates;
  detail::check_scores(op, hidden, weight, bias, targets);
  detail::check_ids(op, "candidates.ids", negatives, weight.size(0), hidden.device());
  if (log_q_true.defined() != log_q_negative.defined()) {
    throw ShapeError(detail::concat(
        "sampled_softmax_loss: expected log_q_true and log_q_negative both or neither, got only ",
        log_q_true.defined() ? "log_q_true" : "log_q_negative"));
  }
  const std::int64_t samples = negatives.numel();
  const std::int64_t rows = samples + hidden.shape().rows();
  detail::check_optional(op, "candidates.log_q_true", log_q_true, {hidden.shape().rows()});
  detail::check_optional(op, "candidates.log_q_negative", log_q_negative, {samples});
  detail::check_like(op, hidden, log_q_true, log_q_negative);
  Tensor loss = empty_like(hidden.value(), {});
  Tensor dhidden = detail::gradient_of(hidden);
  Tensor dweight = detail::gradient_of(weight, {rows, hidden.size(-1)});
  Tensor dbias = detail::gradient_of(bias, {rows});
  kernels::run(kernels::SampledSoftmaxLoss{.hidden = hidden.value().as_matrix(),
                                           .weight = weight,
                                           .bias = bias,
                                           .targets = targets,
                                           .negatives = negatives,
                                           .log_q_true = log_q_true,
                                           .log_q_negative = log_q_negative,
                                           .loss = loss,
                                           .dhidden = dhidden,
                                           .dweight_rows = dweight,
                                           .dbias_rows = dbias,
                                           .ignored = options.ignored,
                                           .remove_hits = options.remove_hits});
  return record(op, std::move(loss), {hidden, weight, bias},
                [dhidden, dweight, dbias, targets, negatives = candidates.ids](
                    const UpstreamGradient& dy, auto& hidden_gradient, auto& weight_gradient,
                    auto& bias_gradient) {
                  if (hidden_gradient.needed()) hidden_gradient.add(detail::times(dhidden, dy));
                  if (!weight_gradient.needed() && !bias_gradient.needed()) return;
                  const Tensor ids = detail::joined_ids(negatives, targets);
                  if (weight_gradient.needed())
                    weight_gradient.add(coalesce(ids, detail::times(dweight, dy)));
                  if (bias_gradient.needed())
                    bias_gradient.add(coalesce(ids, detail::times(dbias, dy)));
                });
}

namespace detail {
inline Variable pair_loss(const char* op, kernels::PairLossKind kind, const Variable& user,
                          const Variable& table, const Tensor& positives, const Tensor& negatives) {
  check_rank(op, "user", user, 2);
  check_rank(op, "table", table, 2);
  check_shape(op, "table", table, {table.size(0), user.size(1)});
  check_like(op, user, table);
  const std::int64_t batch = user.size(0);
  if (batch == 0)
    throw ShapeError(detail::concat(op, ": expected at least one user, got ", user.shape()));
  for (const Tensor* ids : {&positives, &negatives}) {
    check_ids(op, ids == &positives ? "positives" : "negatives", *ids, table.size(0),
              user.device());
    if (ids->shape() != Shape{batch})
      throw ShapeError(
          detail::concat(op, ": expected ids of ", Shape{batch}, ", got ", ids->shape()));
  }
  Tensor loss = empty_like(user.value(), {});
  Tensor duser = gradient_of(user);
  Tensor dtable = gradient_of(table, {2 * batch, user.size(1)});
  kernels::run(kernels::PairLoss{.user = user,
                                 .table = table,
                                 .positives = positives,
                                 .negatives = negatives,
                                 .loss = loss,
                                 .duser = duser,
                                 .dtable_rows = dtable,
                                 .kind = kind});
  return record(
      op, std::move(loss), {user, table},
      [duser, dtable, positives, negatives](const UpstreamGradient& dy, auto& user_gradient,
                                            auto& table_gradient) {
        if (user_gradient.needed()) user_gradient.add(times(duser, dy));
        if (table_gradient.needed())
          table_gradient.add(coalesce(joined_ids(positives, negatives), times(dtable, dy)));
      });
}
}  // namespace detail

/// Bayesian personalized ranking: mean of -log sigmoid(p - n) with p = user . table[positive] and
/// n = user . table[negative].
///
/// user [B,C], table [V,C], positives, negatives i32 [B].  The table's gradient is row-sparse.
/// Throws ShapeError, DTypeError, DeviceError.  Source: Rendle et al. 2009; PeterRec, equation 7.
inline Variable bpr_loss(const Variable& user, const Variable& table, const Tensor& positives,
                         const Tensor& negatives) {
  return detail::pair_loss("bpr_loss", kernels::PairLossKind::bpr, user, table, positives,
                           negatives);
}

/// Logistic loss with one negative per positive: mean of -log sigmoid(p) - log(1 - sigmoid(n)),
/// with the arguments and the notation of bpr_loss().
inline Variable logistic_loss(const Variable& user, const Variable& table, const Tensor& positives,
                              const Tensor& negatives) {
  return detail::pair_loss("logistic_loss", kernels::PairLossKind::logistic, user, table, positives,
                           negatives);
}

}  // namespace refrain
