#pragma once
/// Contracts: losses with their gradients in one pass. The gradients are for an upstream gradient
/// of one; an empty gradient is not computed. Device: cpu, cuda (f32, f64).

#include <cstdint>

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// Mean over the rows p with targets[p] != ignored of
///   logsumexp_v(z[p,v]) - (1 - smoothing) z[p, targets[p]] - smoothing / V sum_v z[p,v],
///   z[p,v] = h[p,:] . weight[v,:] + bias[v],   h = relu(hidden) with `relu`, else hidden.
/// The scores are computed in blocks and never exist as a whole. Without rows to count, loss and
/// gradients are zero.
struct SoftmaxLoss {
  static constexpr const char* name = "softmax_loss";
  View hidden{};       ///< [P,C]
  View weight{};       ///< [V,C]
  View bias{};         ///< [V], or empty
  View targets{};      ///< [P] i32
  MutableView loss{};  ///< one element
  MutableView dhidden{};
  MutableView dweight{};
  MutableView dbias{};
  std::int64_t ignored = -1;  ///< targets with this id are not counted
  bool relu = false;
  double smoothing = 0;  ///< share of the uniform distribution in the target distribution, [0,1)
  /// CUDA: limit in bytes of the scores that exist at a time, at least 16 rows. Large slices are
  /// faster although they exceed the second-level cache: 6,400 rows of 256 channels and 10,670
  /// items take 2.7 ms in one slice on an H100, and 3.1 ms in slices of 32 MiB.
  std::int64_t max_score_bytes = 384 << 20;

  Device device() const noexcept { return hidden.device; }
};

/// Mean over the rows p with targets[p] != ignored of log(exp(z_true) + sum_j exp(z_j)) - z_true,
///   z_true = hidden[p,:] . weight[t] + bias[t] - log_q_true[p],       t = targets[p]
///   z_j    = hidden[p,:] . weight[v] + bias[v] - log_q_negative[j],   v = negatives[j]
/// With remove_hits, negatives equal to the row's target are excluded.
struct SampledSoftmaxLoss {
  static constexpr const char* name = "sampled_softmax_loss";
  View hidden{};          ///< [P,C]
  View weight{};          ///< [V,C]
  View bias{};            ///< [V], or empty
  View targets{};         ///< [P] i32
  View negatives{};       ///< [S] i32, shared by all rows
  View log_q_true{};      ///< [P], or empty for no correction
  View log_q_negative{};  ///< [S], or empty
  MutableView loss{};
  MutableView dhidden{};       ///< [P,C]
  MutableView dweight_rows{};  ///< [S+P,C]: of the negatives, then of each row's target
  MutableView dbias_rows{};    ///< [S+P]
  std::int64_t ignored = -1;
  bool remove_hits = true;
  std::int64_t max_score_bytes = 384 << 20;  ///< as for SoftmaxLoss

  Device device() const noexcept { return hidden.device; }
};

/// The softmax loss of the heads of many tasks, rows k of a bank, with a number of classes each:
///   z[p,v] = hidden[p,:] . weight[k,v,:] + bias[k,v],  v < classes[k],  k = bank_rows[p]
///   losses[g] = weights[k] times the mean over the rows p of the g-th row k of
///     logsumexp_v(z[p,v]) - (1 - smoothing) z[p, targets[p]] - smoothing / classes[k] sum_v z[p,v]
/// for the G rows in bank_rows that are not 0, ascending. The gradients are those of the sum of
/// `losses`. Rows p of row 0, or of one without classes, have no loss, and a gradient of zero.
struct SoftmaxLossOfBank {
  static constexpr const char* name = "softmax_loss_of_bank";
  View hidden{};         ///< [P,C]
  View weight{};         ///< [K,V,C]; a row begins with the elements of its head, [classes[k],C]
  View bias{};           ///< [K,V]
  View classes{};        ///< [K] i32, in [0,V]
  View bank_rows{};      ///< [P] i32, ascending, in [0,K)
  View targets{};        ///< [P] i32, each below the classes of its row
  View weights{};        ///< [K], or empty: 1
  MutableView losses{};  ///< [G]
  MutableView dhidden{};
  MutableView dweight{};  ///< [G,V,C]
  MutableView dbias{};    ///< [G,V]
  double smoothing = 0;   ///< as for SoftmaxLoss

  Device device() const noexcept { return hidden.device; }
};

enum class PairLossKind : std::uint8_t { bpr, logistic };

/// Mean over rows of -log sigmoid(p - n) (bpr) or -log sigmoid(p) - log(1 - sigmoid(n)) (logistic),
///   p = user . table[positive],  n = user . table[negative].
struct PairLoss {
  static constexpr const char* name = "pair_loss";
  View user{};       ///< [B,C]
  View table{};      ///< [V,C]
  View positives{};  ///< [B] i32
  View negatives{};  ///< [B] i32
  MutableView loss{};
  MutableView duser{};        ///< [B,C]
  MutableView dtable_rows{};  ///< [2B,C]: of the positives, then of the negatives
  PairLossKind kind = PairLossKind::bpr;

  Device device() const noexcept { return user.device; }
};

}  // namespace refrain::kernels
