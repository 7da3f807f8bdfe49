#pragma once
/// Batches: the choice of rows, and their tensors.

#include <cstdint>
#include <span>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/core/random.hpp"
#include "refrain/core/tensor.hpp"
#include "refrain/data/block_order.hpp"
#include "refrain/data/ragged_ids.hpp"
#include "refrain/data/vocabulary.hpp"

namespace refrain {

/// The order of the rows of an epoch.
enum class Shuffle : std::uint8_t {
  none,   ///< that of the rows
  full,   ///< any order, which takes 8 bytes of memory per row
  blocks  ///< BlockOrder: no memory, and rows that are used together are near each other in a file
};

/// A part of a batch of B rows: slice `index` of `count` has the rows [B index / count,
/// B (index + 1) / count), rounded down. Slices are empty where count exceeds B.
struct BatchSlice {
  std::int64_t index = 0;
  std::int64_t count = 1;  ///< 1: the whole batch
};

/// Determines the rows of batch `step` of `epoch` from the seed alone, so that a resumed run gets
/// the same batches as an uninterrupted one.
class REFRAIN_API BatchSampler {
 public:
  struct Options {
    std::int64_t batch_size = 0;  ///< required
    std::uint64_t seed = 0;
    Shuffle shuffle = Shuffle::full;
    bool drop_last = false;  ///< omit the last batch when it is not full
  };

  /// Draws from rows 0 to count - 1. Throws OptionError unless 0 <= count <= max_rows and
  /// batch_size >= 1.
  BatchSampler(std::int64_t count, Options options);

  /// Draws from the given rows, for instance the training part of a split.
  BatchSampler(std::vector<std::int64_t> rows, Options options);

  std::int64_t count() const noexcept { return count_; }
  /// Number of batches of an epoch.
  std::int64_t steps_per_epoch() const noexcept;

  /// Row numbers of one batch, or of a slice of it; valid until the next call. Each row is in one
  /// batch of an epoch. Throws OptionError for an epoch, step or slice out of range.
  std::span<const std::int64_t> rows(std::int64_t epoch, std::int64_t step, BatchSlice slice = {});

  /// Random numbers of one batch, or of a slice of it (masks, negatives), independent of those of
  /// every other batch and slice and of the shuffling.
  Random random(std::int64_t epoch, std::int64_t step, BatchSlice slice = {}) const;

 private:
  std::span<const std::int64_t> shuffled_rows(std::int64_t epoch, std::int64_t begin,
                                              std::int64_t rows);

  std::int64_t count_;
  std::vector<std::int64_t> rows_;  ///< empty: rows 0 to count_ - 1
  /// Shuffle::full: the rows in the order of epoch_; otherwise the rows of the last batch
  std::vector<std::int64_t> order_;
  Options options_;
  std::int64_t epoch_ = -1;
};

/// Number of ids on the host that are not padding_id.
REFRAIN_API std::int64_t counted_ids(const Tensor& ids);

/// Inputs and the target at each of them; the target padding_id means no target. Special ids are
/// never targets.
struct SequenceBatch {
  Tensor ids;      ///< [B,T] i32
  Tensor targets;  ///< [B,T] i32

  /// Number of targets of a batch on the host that are not padding_id: those that count in a loss.
  std::int64_t counted() const { return counted_ids(targets); }

  /// Calls function(tensor) for each tensor.
  template <class Function>
  void visit(Function&& function) {
    function(ids);
    function(targets);
  }
};

/// The newest `length` ids of each row as a matrix, right-aligned, padding_id on the left ->
/// [B,length] i32. Throws OptionError when length < 1 or a row does not exist; so do the functions
/// below.
REFRAIN_API Tensor padded_batch(const RaggedIds& sequences, std::span<const std::int64_t> rows,
                                std::int64_t length);

/// Next-item prediction: of the padded rows [B,length], ids are all but the last column and targets
/// all but the first, so T = length - 1. The first item of a short row is the target of the padding
/// before it. Throws OptionError when length < 2.
REFRAIN_API SequenceBatch next_item_batch(const RaggedIds& sequences,
                                          std::span<const std::int64_t> rows, std::int64_t length);

/// Positions of a sequence whose predictions count in a loss.
enum class LossPositions : std::uint8_t {
  all,  ///< every item but the first is predicted from the items before it
  last  ///< only the last item is predicted
};

/// The ids of the last time step: [B,T] -> [B].
REFRAIN_API Tensor last_ids(const Tensor& ids);

/// The ids with padding_id at every time step but the last: as targets, only the last item counts.
REFRAIN_API Tensor only_last_ids(const Tensor& ids);

/// The training batches of next-item prediction. Sequences are cut into pieces of length + 1 items;
/// each piece is in one batch of an epoch, in an order that depends on the seed and the epoch.
class REFRAIN_API NextItemBatches {
 public:
  struct Options {
    std::int64_t length = 0;      ///< T of the batches, required
    std::int64_t batch_size = 0;  ///< required
    std::uint64_t seed = 0;
    LossPositions positions = LossPositions::all;
    std::int64_t min_length = 2;  ///< shorter pieces are omitted
    Shuffle shuffle = Shuffle::full;
  };

  /// Throws OptionError unless length >= 1, 2 <= min_length <= length + 1, batch_size >= 1 and at
  /// least one piece remains.
  NextItemBatches(const RaggedIds& sequences, Options options);

  /// Number of pieces.
  std::int64_t pieces() const noexcept { return sampler_.count(); }
  /// Number of batches of an epoch.
  std::int64_t steps_per_epoch() const noexcept { return sampler_.steps_per_epoch(); }

  /// ids and targets [B,length] of a batch, or the rows of a slice of it. Throws OptionError for an
  /// epoch, step or slice out of range.
  SequenceBatch operator()(std::int64_t epoch, std::int64_t step, BatchSlice slice = {});

  /// Random numbers of one batch or slice, for instance for negatives (BatchSampler::random).
  Random random(std::int64_t epoch, std::int64_t step, BatchSlice slice = {}) const {
    return sampler_.random(epoch, step, slice);
  }

 private:
  RaggedIds pieces_;
  Options options_;
  BatchSampler sampler_;
};

/// Masked prediction for non-causal networks: each item is replaced by mask_id with probability
/// `fraction` and is then the target at its position; T = length. In a row without masked items,
/// one item at random is masked. Throws OptionError unless 0 < fraction <= 1.
REFRAIN_API SequenceBatch masked_batch(const RaggedIds& sequences,
                                       std::span<const std::int64_t> rows, std::int64_t length,
                                       double fraction, Random& random);

/// Position of [TCL] in fine-tuning.
enum class TclPlacement : std::uint8_t {
  end,  ///< last time step (causal networks): T = length + 1
  /// first and last time step, with padding after the first (non-causal networks): T = length + 2
  both,
};

/// Inputs of fine-tuning: the newest `length` ids of each row, padded, and tcl_id -> [B,T] i32.
REFRAIN_API Tensor tcl_batch(const RaggedIds& sequences, std::span<const std::int64_t> rows,
                             std::int64_t length, TclPlacement placement);

/// Fine-tuning examples: source row and target of each.
struct TransferExamples {
  std::vector<std::int64_t> source;
  std::vector<std::int32_t> target;

  std::int64_t size() const noexcept { return static_cast<std::int64_t>(target.size()); }
};

/// One example for each target of each row, in order.
REFRAIN_API TransferExamples transfer_examples(const RaggedIds& targets);

/// transfer_examples() for some of the rows. Throws OptionError when a row does not exist.
REFRAIN_API TransferExamples transfer_examples(const RaggedIds& targets,
                                               std::span<const std::int64_t> rows);

/// A fine-tuning batch.
struct TransferBatch {
  Tensor ids;      ///< [B,T] i32, as tcl_batch
  Tensor targets;  ///< [B] i32

  /// Number of targets.
  std::int64_t counted() const { return targets.numel(); }

  /// Calls function(tensor) for each tensor.
  template <class Function>
  void visit(Function&& function) {
    function(ids);
    function(targets);
  }
};

/// Throws OptionError when an example or source row does not exist.
REFRAIN_API TransferBatch transfer_batch(const RaggedIds& sources, const TransferExamples& examples,
                                         std::span<const std::int64_t> batch, std::int64_t length,
                                         TclPlacement placement);

}  // namespace refrain
