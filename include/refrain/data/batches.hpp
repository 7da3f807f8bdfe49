#pragma once
/// Batches: which rows, and as which tensors.

#include <cstdint>
#include <span>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/core/random.hpp"
#include "refrain/core/tensor.hpp"
#include "refrain/data/ragged_ids.hpp"
#include "refrain/data/vocabulary.hpp"

namespace refrain {

/// Says which rows are in batch `step` of `epoch`, from the seed alone: a run that resumes anywhere
/// sees what an unbroken run would have seen.
class REFRAIN_API BatchSampler {
 public:
  struct Options {
    std::int64_t batch_size = 0;  ///< required
    std::uint64_t seed = 0;
    bool shuffle = true;
    bool drop_last = false;  ///< leave out the last batch when it is not full
  };

  /// Draws from rows 0 to count - 1. Throws OptionError unless 0 <= count <= max_rows and
  /// batch_size >= 1.
  BatchSampler(std::int64_t count, Options options);

  /// Draws from these rows, for instance the training part of a split.
  BatchSampler(std::vector<std::int64_t> rows, Options options);

  std::int64_t count() const noexcept { return static_cast<std::int64_t>(rows_.size()); }
  std::int64_t steps_per_epoch() const noexcept;

  /// Row numbers of one batch; valid until the next call. Each row is in one batch an epoch. Throws
  /// OptionError when there is no such epoch or step.
  std::span<const std::int64_t> rows(std::int64_t epoch, std::int64_t step);

  /// Random numbers of one batch (masks, negatives), independent of those of every other batch and
  /// of the shuffling.
  Random random(std::int64_t epoch, std::int64_t step) const;

 private:
  std::vector<std::int64_t> rows_;
  std::vector<std::int64_t> order_;  ///< rows_ as shuffled for epoch_
  Options options_;
  std::int64_t epoch_ = -1;
};

/// Inputs and what to predict at each of them; padding_id as a target means nothing to predict.
/// Special ids are never a target.
struct SequenceBatch {
  Tensor ids;      ///< [B,T] i32
  Tensor targets;  ///< [B,T] i32

  /// Calls function(tensor) for each tensor.
  template <class Function>
  void visit(Function&& function) {
    function(ids);
    function(targets);
  }
};

/// Rows as a matrix: each row's newest `length` ids, right-aligned, padding_id on the left. ->
/// [B,length] i32. Throws OptionError when length < 1 or there is no such row; so do the functions
/// below.
REFRAIN_API Tensor padded_batch(const RaggedIds& sequences, std::span<const std::int64_t> rows,
                                std::int64_t length);

/// Next-item prediction: of the padded rows [B,length], ids are all but the last column and targets
/// all but the first, so T = length - 1.
/// A short row's first item is the target of the padding before it. Throws OptionError when length
/// < 2.
REFRAIN_API SequenceBatch next_item_batch(const RaggedIds& sequences,
                                          std::span<const std::int64_t> rows, std::int64_t length);

/// Positions of a sequence whose prediction counts in a loss.
enum class LossPositions : std::uint8_t {
  all,  ///< every item but the first is predicted from those before it
  last  ///< only the last item is
};

/// The ids of the last time step: [B,T] -> [B].
REFRAIN_API Tensor last_ids(const Tensor& ids);

/// The ids with padding_id at every time step but the last: as targets, only the last item counts.
REFRAIN_API Tensor only_last_ids(const Tensor& ids);

/// The training batches of next-item prediction: sequences are cut into pieces of length + 1 items,
/// and each piece is in one batch of an epoch, in an order that depends on the seed and the epoch.
class REFRAIN_API NextItemBatches {
 public:
  struct Options {
    std::int64_t length = 0;      ///< T of the batches, required
    std::int64_t batch_size = 0;  ///< required
    std::uint64_t seed = 0;
    LossPositions positions = LossPositions::all;
    std::int64_t min_length = 2;  ///< shorter pieces are left out
  };

  /// Throws OptionError unless length >= 1, 2 <= min_length <= length + 1, batch_size >= 1 and at
  /// least one piece is left.
  NextItemBatches(const RaggedIds& sequences, Options options);

  std::int64_t pieces() const noexcept { return sampler_.count(); }
  std::int64_t steps_per_epoch() const noexcept { return sampler_.steps_per_epoch(); }

  /// ids and targets [B,length]. Throws OptionError when there is no such epoch or step.
  SequenceBatch operator()(std::int64_t epoch, std::int64_t step);

  /// Random numbers of one batch, for negatives and the like (BatchSampler::random).
  Random random(std::int64_t epoch, std::int64_t step) const {
    return sampler_.random(epoch, step);
  }

 private:
  RaggedIds pieces_;
  Options options_;
  BatchSampler sampler_;
};

/// Masked prediction for two-way networks: each item turns into mask_id with probability `fraction`
/// and is then the target at its place; T = length.
/// Where that would mask none of a row's items, one at random is masked. Throws OptionError unless
/// 0 < fraction <= 1.
REFRAIN_API SequenceBatch masked_batch(const RaggedIds& sequences,
                                       std::span<const std::int64_t> rows, std::int64_t length,
                                       double fraction, Random& random);

/// Where fine-tuning puts [TCL].
enum class TclPlacement : std::uint8_t {
  end,   ///< last step (causal networks): T = length + 1
  both,  ///< first and last step, padding after the first (two-way networks): T = length + 2
};

/// Sequences as fine-tuning reads them: each row's newest `length` ids, padded, and tcl_id. ->
/// [B,T] i32.
REFRAIN_API Tensor tcl_batch(const RaggedIds& sequences, std::span<const std::int64_t> rows,
                             std::int64_t length, TclPlacement placement);

/// Fine-tuning examples: the source row and one target each.
struct TransferExamples {
  std::vector<std::int64_t> source;
  std::vector<std::int32_t> target;

  std::int64_t size() const noexcept { return static_cast<std::int64_t>(target.size()); }
};

/// One example for each target of each row, in order.
REFRAIN_API TransferExamples transfer_examples(const RaggedIds& targets);

/// The same for some of the rows.  Throws OptionError when there is no such row.
REFRAIN_API TransferExamples transfer_examples(const RaggedIds& targets,
                                               std::span<const std::int64_t> rows);

/// A fine-tuning batch.
struct TransferBatch {
  Tensor ids;      ///< [B,T] i32, as tcl_batch
  Tensor targets;  ///< [B] i32

  /// Calls function(tensor) for each tensor.
  template <class Function>
  void visit(Function&& function) {
    function(ids);
    function(targets);
  }
};

/// Throws OptionError when there is no such example or source row.
REFRAIN_API TransferBatch transfer_batch(const RaggedIds& sources, const TransferExamples& examples,
                                         std::span<const std::int64_t> batch, std::int64_t length,
                                         TclPlacement placement);

}  // namespace refrain
