#pragma once
/// An item table that is divided by rows among the ranks of a communicator, for tables that are too
/// large for one machine.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "refrain/distributed/communicator.hpp"
#include "refrain/distributed/row_shards.hpp"
#include "refrain/nn/module.hpp"
#include "refrain/ops/loss.hpp"
#include "refrain/ops/top_k.hpp"
#include "refrain/train/metrics.hpp"
#include "refrain/train/optimizer.hpp"

namespace refrain {

/// Options of ShardedItems.
struct ShardedItemsOptions {
  std::int64_t count = 0;   ///< V, number of items
  std::int64_t width = 0;   ///< C, elements of an item's vector
  double deviation = 0.02;  ///< standard deviation of the initial vectors
  DType dtype = DType::f32;
  AdamOptions adam = {};
};

/// The vectors and biases of some items, as leaves.
struct ItemRows {
  Variable weight;  ///< [..., C] for ids [...]
  Variable bias;    ///< [...]
};

/// A table weight [V,C] and bias [V] with its Adam state. Every rank has the rows of its shards
/// (RowShards) and the moments of these rows.
///
/// A training step on slices of a batch, where rank r has the slices SliceTree::slices_of(r, R):
///
///   std::vector<Variable> x = items.look_up(ids);          // ids of each own slice
///   ... hidden vectors h of each own slice ...
///   Variable loss = softmax_loss(h, items, targets);
///   backward(loss);                                        // gradients of h and of the own rows
///   ... backward(h[s], ...) ...                            // gradients of x
///   items.step();
///
/// With fixed slices and hidden vectors whose bits do not depend on the number of ranks, loss,
/// table, bias and moments have the same bits for any number of ranks and threads: every shard is
/// computed for the rows of the whole batch, sums over shards are folded in a tree over the 64
/// shards, and gradients of looked-up rows are added in the order of the calls, ranks and rows.
///
/// Functions that say "collective" are called by all ranks in the same order. A rank may have no
/// slices or no rows. Dtypes f32, f64; on the CPU. Collective functions throw CommunicationError;
/// a rank that throws another error must end the others (Communicator::abort).
class REFRAIN_API ShardedItems {
 public:
  /// Rows of one shard of this rank, "shard.07.weight" and "shard.07.bias".
  struct Shard {
    std::int64_t number;
    Parameter weight;  ///< [n,C]
    Parameter bias;    ///< [n]
  };

  /// Collective. Initially vectors are truncated normal, one random stream for each block of rows,
  /// and biases zero, with the same bits for any number of ranks. The communicator must outlive
  /// this object. Throws CommunicationError when build, options or `random` differ between ranks,
  /// OptionError unless 1 <= V <= 2^31 - 1, C >= 1 and there are at most 64 ranks, DTypeError
  /// unless the dtype is f32 or f64.
  ShardedItems(Communicator& communicator, const ShardedItemsOptions& options, Random& random);
  ~ShardedItems();
  ShardedItems(const ShardedItems&) = delete;
  ShardedItems& operator=(const ShardedItems&) = delete;

  std::int64_t count() const noexcept { return options_.count; }
  std::int64_t width() const noexcept { return options_.width; }
  DType dtype() const noexcept { return options_.dtype; }
  const RowShards& shards() const noexcept { return shards_; }
  Communicator& communicator() const noexcept { return communicator_; }

  /// The own shards that have rows, in order.
  std::span<Shard> own() noexcept { return own_; }
  /// The optimizer of the own rows: learning rate and state.
  Adam& optimizer() noexcept { return *optimizer_; }
  /// Bytes of the own rows and their moments: 3 n (C + 1) e for n rows of e bytes an element once
  /// every own row has moments.
  std::int64_t bytes() const;

  /// Collective. The vectors of items: ids i32 [...] in [0,V), one tensor for each own slice ->
  /// [...,C] for each. The results are leaves. Where recording is on they require a gradient, which
  /// step() sends to the owners: a looked-up row has a gradient in that step, zero if backward()
  /// did not reach it. A rank that asks other ranks for a rows and answers b sends
  ///   16 (R - 1) + (4 + C e) a + C e b  bytes, C e a of them in step().
  /// Throws ShapeError and DTypeError for other ids, CommunicationError when only some ranks
  /// record.
  std::vector<Variable> look_up(std::span<const Tensor> ids);
  Variable look_up(const Tensor& ids) { return look_up(std::span(&ids, 1)).front(); }

  /// look_up() of vectors and biases, with C + 1 for C in the number of bytes.
  std::vector<ItemRows> look_up_with_bias(std::span<const Tensor> ids);

  /// Collective. Optimizer::clip_gradients() of the table and biases together with other
  /// parameters, whose gradients have the sum of squares `other_squares`: scales the gradients of
  /// all rows by max_norm / norm when norm > max_norm. Returns the norm of all, with the same bits
  /// for any number of ranks; one that is not finite scales nothing. Sends the gradients of
  /// looked-up rows in place of step(), and 8 bytes for each own shard to each rank. Throws
  /// OptionError unless max_norm > 0, and for other_squares < 0.
  double clip_gradients(double max_norm, double other_squares = 0);

  /// Collective. Adds the gradients of looked-up rows to those of the own shards, updates the own
  /// rows and drops the gradients. As in Optimizer::step(), a step with row-sparse gradients only
  /// changes only rows that were looked up; after softmax_loss() all rows change.
  void step();

  /// Sets the rows of this rank from a whole table: weight [V,C], bias [V]. Not collective. Throws
  /// ShapeError and DTypeError.
  void assign(const Tensor& weight, const Tensor& bias);

  /// Collective. The whole weight [V,C] or bias [V] on every rank. Sends n C e (R - 1) or n e
  /// (R - 1) bytes for n own rows.
  Tensor gather_weight() const;
  Tensor gather_bias() const;

 private:
  struct LookUp;

  LookUp look_up_rows(std::span<const Tensor> ids, bool with_bias) const;
  /// The leaves of the own slices, filled with rows of `table`, all own rows.
  std::vector<Variable> leaves_of(const LookUp& look_up, std::span<const Tensor> ids,
                                  const Tensor& table) const;
  /// Gradients of looked-up rows of all ranks as those of the own rows; undefined without look-ups.
  RowSparse collect(std::vector<Variable> LookUp::*leaves, const Tensor& table) const;
  void add_to_shards(const RowSparse& gradient, Parameter Shard::*parameter);
  /// Sends the gradients of looked-up rows to their owners.
  void send_gradients();
  Tensor gather(const Tensor& table) const;

  Communicator& communicator_;
  ShardedItemsOptions options_;
  RowShards shards_;
  Tensor weight_;                     ///< [n,C] rows of all own shards, in order
  Tensor bias_;                       ///< [n]
  std::vector<std::int64_t> begins_;  ///< [64] first own row of each shard; of own shards only
  std::vector<Shard> own_;            ///< slices of weight_ and bias_
  std::unique_ptr<Adam> optimizer_;
  std::vector<LookUp> pending_;  ///< look-ups of this step whose leaves require gradients
};

/// Collective. softmax_loss() over all V items for the hidden vectors of all ranks: the mean over
/// the counted targets of all slices of all ranks, with the same bits on every rank.
///
/// hidden [...,C] and targets i32 [...] in [0,V), one of each for each own slice. backward() from
/// the loss on every rank gives the gradients of the own hidden vectors and of the own rows; it
/// sends nothing. Each shard's maximum and sum of exponentials are folded in a tree over the
/// shards; scores exist for one block of hidden vectors and one shard at a time. Memory: the
/// counted hidden vectors of all ranks, up to 8 times while their gradients are folded. A rank with
/// m of M counted vectors and P nodes of shards (SliceTree::nodes, 1 where R is a power of two)
/// sends
///   24 (R - 1) + m (C e + 20) (R - 1) + P (M - m) (C e + 32)  bytes,
/// without recording P (M - m) C e less: independent of V. Throws ShapeError, DTypeError,
/// DeviceError, OptionError, and CommunicationError when recording or label smoothing differ
/// between ranks.
REFRAIN_API Variable softmax_loss(std::span<const Variable> hidden, ShardedItems& items,
                                  std::span<const Tensor> targets,
                                  const SoftmaxLossOptions& options = {});
inline Variable softmax_loss(const Variable& hidden, ShardedItems& items, const Tensor& targets,
                             const SoftmaxLossOptions& options = {}) {
  return softmax_loss(std::span(&hidden, 1), items, std::span(&targets, 1), options);
}

/// Collective. sampled_softmax_loss() for the hidden vectors of all ranks: the mean over the
/// counted targets of all slices, each with its own candidates.
///
/// Arguments as in softmax_loss(), and the candidates of each own slice. The ranks look up the
/// targets and candidates of their slices (look_up_with_bias), and the loss of a slice is computed
/// by its rank, so step() sends gradients. Besides the look-up a rank with n own slices that have
/// counted targets sends (16 + 8 n) (R - 1) bytes. Throws ShapeError, DTypeError, DeviceError,
/// OptionError, and as look_up() does.
REFRAIN_API Variable sampled_softmax_loss(std::span<const Variable> hidden, ShardedItems& items,
                                          std::span<const Tensor> targets,
                                          std::span<const Candidates> candidates,
                                          const SampledSoftmaxLossOptions& options = {});
inline Variable sampled_softmax_loss(const Variable& hidden, ShardedItems& items,
                                     const Tensor& targets, const Candidates& candidates,
                                     const SampledSoftmaxLossOptions& options = {}) {
  return sampled_softmax_loss(std::span(&hidden, 1), items, std::span(&targets, 1),
                              std::span(&candidates, 1), options);
}

/// Collective. The k items with the largest scores weight h + bias for each own hidden vector,
/// without the ids below `first` (special ids): hidden [m,C] -> [m,k], scores descending; ties by
/// ascending id; NaN last. Ranks may have different m. A rank with m of M vectors and k' = min(k,
/// own items) sends 24 (R - 1) + m C e (R - 1) + k' (e + 4) (M - m) bytes. Throws ShapeError unless
/// 0 < k <= V - first, DTypeError, DeviceError, and CommunicationError when k or `first` differ
/// between ranks.
REFRAIN_API TopKResult top_k(const Tensor& hidden, ShardedItems& items, std::int64_t k,
                             std::int64_t first = 0);

/// Collective. The rank of each own target i32 [m] among the items from `first` on, by the scores
/// weight h + bias of the own hidden vectors [m,C]: the integers that rank_rows() gives for the
/// whole table, with the full protocol. A rank with m of M vectors, q of whose M targets it owns,
/// sends 24 (R - 1) + m (C e + 4) (R - 1) + q e (R - 1) + 16 (M - m) bytes. Throws ShapeError,
/// DTypeError, DeviceError, OptionError for a target below `first`, and CommunicationError when
/// `first` differs between ranks.
REFRAIN_API std::vector<Rank> rank_targets(const Tensor& hidden, ShardedItems& items,
                                           const Tensor& targets, std::int64_t first = 0);

}  // namespace refrain
