#pragma once
/// The softmax loss of the heads of many classification tasks. Dtypes f32, f64; ids i32.

#include <limits>
#include <utility>

#include "refrain/kernels/sum_rows.hpp"
#include "refrain/ops/bank_rows.hpp"
#include "refrain/ops/loss.hpp"

namespace refrain {

/// The heads of a bank: linear layers of K tasks, of which each row of a batch uses one.
struct HeadParameters {
  Variable weight;        ///< [K,V,C]
  Variable bias;          ///< [K,V]
  BankIndices bank_rows;  ///< [B], ascending, in [0,K): the head of each row; 0: none
  /// [K], in [0,V]: the classes V_k of each head; 0: no head. A row of the bank begins with the
  /// elements of its head, such as weight [V_k,C].
  BankIndices classes;
};

/// The losses of the heads of a batch.
struct BankLosses {
  Variable sum;   ///< of `losses`, a scalar
  Tensor losses;  ///< [G], of the rows of the bank that the batch uses without 0, ascending
};

namespace detail {

/// Checks that the target of each row with a head is one of its classes. Off the CPU the caller
/// guarantees it.
inline void check_targets_of_heads(const char* op, const HeadParameters& heads,
                                   const Tensor& targets) {
  if (targets.device() != Device::cpu) return;
  const Tensor of_bank = heads.classes.host(), of_batch = heads.bank_rows.host();
  const std::span<const std::int32_t> classes = of_bank.span<std::int32_t>();
  const std::span<const std::int32_t> rows = of_batch.span<std::int32_t>();
  const std::span<const std::int32_t> ids = targets.span<std::int32_t>();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::int32_t bound = classes[static_cast<std::size_t>(rows[i])];
    if (rows[i] == 0 || bound == 0 || (ids[i] >= 0 && ids[i] < bound)) continue;
    throw ShapeError(detail::concat(op, ": targets[", i, "] = ", ids[i], " is outside [0, ", bound,
                                    "), the classes of row ", rows[i]));
  }
}

inline void check_heads(const char* op, const HeadParameters& heads, const Variable& hidden) {
  check_rank(op, "hidden", hidden, 2);
  check_rank(op, "heads.weight", heads.weight, 3);
  const std::int64_t count = heads.weight.size(0), widest = heads.weight.size(1);
  check_shape(op, "heads.weight", heads.weight, {count, widest, hidden.size(1)});
  check_shape(op, "heads.bias", heads.bias, {count, widest});
  check_like(op, hidden, heads.weight, heads.bias);
  check_bank_rows(op, "heads.bank_rows", heads.bank_rows, count, hidden);
  check_bank_indices(op, "heads.classes", heads.classes, count, hidden.device());
  const Tensor host = heads.classes.host();
  for (const std::int32_t classes : host.span<std::int32_t>()) {
    if (classes < 0 || classes > widest) {
      throw ShapeError(
          detail::concat(op, ": expected heads.classes from 0 to ", widest, ", got ", classes));
    }
  }
}

}  // namespace detail

/// For each head k of a batch, weights[k] times softmax_loss() of its rows over its classes:
///   z[b,v] = hidden[b] . weight[k,v] + bias[k,v],  v < V_k,  k = bank_rows[b]
///   losses[g] = weights[k] mean_b(logsumexp_v(z) - (1 - s) z[targets[b]] - s / V_k sum_v z),
/// where g counts the heads of the batch and s = smoothing.
///
/// hidden [B,C], targets i32 [B], each in [0,V_k); weights [K] or undefined: 1. On the CPU each
/// head has the bits of softmax_loss() of its rows, on a GPU those that it has in any batch.  Rows
/// of the batch without a head have no loss and the gradient 0. The gradients of the bank are
/// row-sparse. Devices cpu, cuda. Throws ShapeError, DTypeError, DeviceError, and OptionError
/// unless s is in [0,1).
inline BankLosses softmax_loss_of_bank(const Variable& hidden, const HeadParameters& heads,
                                       const Tensor& targets, const Tensor& weights = {},
                                       double smoothing = 0) {
  constexpr const char* op = "softmax_loss_of_bank";
  detail::check_heads(op, heads, hidden);
  detail::check_optional(op, "weights", weights, {heads.weight.size(0)});
  detail::check_like(op, hidden, weights);
  detail::check_id_per_row(op, "targets", targets, "hidden", hidden);
  detail::check_ids(op, "targets", targets, std::numeric_limits<std::int32_t>::max(),
                    hidden.device());
  detail::check_targets_of_heads(op, heads, targets);
  detail::check_smoothing(op, smoothing);
  const Tensor used = heads.bank_rows.used();
  Tensor losses = empty_like(hidden.value(), {used.numel()});
  Tensor dhidden = detail::gradient_of(hidden);
  Tensor dweight = detail::gradient_of(heads.weight, heads.weight.shape().with(0, used.numel()));
  Tensor dbias = detail::gradient_of(heads.bias, heads.bias.shape().with(0, used.numel()));
  kernels::run(kernels::SoftmaxLossOfBank{.hidden = hidden,
                                          .weight = heads.weight,
                                          .bias = heads.bias,
                                          .classes = heads.classes.on(hidden.device()),
                                          .bank_rows = heads.bank_rows.on(hidden.device()),
                                          .targets = targets,
                                          .weights = weights,
                                          .losses = losses,
                                          .dhidden = dhidden,
                                          .dweight = dweight,
                                          .dbias = dbias,
                                          .smoothing = smoothing});
  Tensor sum = empty_like(losses, {});
  kernels::run(kernels::SumRows{.x = losses.reshape({used.numel(), 1}), .out = sum});
  Variable loss =
      record(op, std::move(sum), {hidden, heads.weight, heads.bias},
             [used, dhidden, dweight, dbias](const UpstreamGradient& dy, auto& hidden_gradient,
                                             auto& weight_gradient, auto& bias_gradient) {
               if (hidden_gradient.needed()) hidden_gradient.add(detail::times(dhidden, dy));
               const auto add = [&](auto& gradient, const Tensor& values) {
                 if (gradient.needed())
                   gradient.add(RowSparse{.rows = used, .values = detail::times(values, dy)});
               };
               add(weight_gradient, dweight);
               add(bias_gradient, dbias);
             });
  return {.sum = std::move(loss), .losses = std::move(losses)};
}

}  // namespace refrain
