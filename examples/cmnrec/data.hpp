#pragma once
/// From files to sequences of T + 1 items, of which the last is what the last step predicts.

#include <cstdint>
#include <string>

#include "cmnrec/options.hpp"
#include "common/output_files.hpp"
#include "refrain/data/batches.hpp"
#include "refrain/data/sequences.hpp"
#include "refrain/data/splits.hpp"
#include "refrain/data/vocabulary.hpp"

namespace refrain::cmnrec {

/// The files that the commands have in common: data and --config, which are read, and --log.
examples::CommandFiles common_files(const Options& options);

/// All files as one; a user of several has the items of one file behind those of the files before
/// it. Throws DataError, OptionError.
Sequences read_behaviour(const DataOptions& options);

/// The items that are frequent enough.  Throws OptionError when there are fewer than two.
Vocabulary vocabulary_of(const Sequences& behaviour, const DataOptions& options);

/// What networks train and are tested on.
struct PreparedData {
  RaggedIds rows;  ///< sequences of training: up to T + 1 items. Held-out ones of leave_last_out: a
                   ///< user's whole history
  Split split;     ///< rows of each part

  /// Identifies items, sequences and parts: equal data under equal options has the same number
  /// everywhere.
  std::uint64_t fingerprint() const;
};

/// Rare items are dropped and the user's others close up; a user's sequence is cut into pieces of T
/// + 1 items counted from its newest, the oldest piece may be shorter; pieces of fewer than
/// min_length items are left out; pieces go to the parts at random. With leave_last_out the last
/// item of each user is the test, the one before it the validation, both predicted from all items
/// before them, and the pieces of the rest are the training. Throws OptionError when a part turns
/// out empty.
PreparedData prepare(const Sequences& behaviour, const Vocabulary& vocabulary,
                     const DataOptions& options);

/// Inputs [B,T] and targets [B,T] of some rows.
inline SequenceBatch batch_of(const PreparedData& data, std::span<const std::int64_t> rows,
                              std::int64_t length) {
  return next_item_batch(data.rows, rows, length + 1);
}

/// The batch without its newest `steps` items: everything moves to later steps, and padding comes
/// in front.
SequenceBatch shifted(const SequenceBatch& batch, std::int64_t steps);

/// The last step's ids: [B,T] -> [B].
Tensor last_column(const Tensor& ids);

/// [B,T] with padding at all steps but the last.
Tensor only_last_column(const Tensor& ids);

}  // namespace refrain::cmnrec
