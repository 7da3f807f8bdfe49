#pragma once
/// From users with targets to the examples that fine-tuning learns from and is measured on.

#include <cstdint>
#include <string>

#include "refrain/core/export.hpp"
#include "refrain/data/batches.hpp"
#include "refrain/data/sequences.hpp"
#include "refrain/data/splits.hpp"
#include "refrain/data/vocabulary.hpp"

namespace refrain {

struct TransferDatasetOptions {
  std::int64_t min_count = 1;  ///< rarer targets are left out
  SplitFractions fractions = {.train = 0.7, .valid = 0.1, .test = 0.2};  ///< of the users
  std::uint64_t split_seed = 1;
};

/// The examples of one task in three parts: a history and one target each.
struct REFRAIN_API TransferDataset {
  Vocabulary targets;  ///< classes or items, without special ids
  RaggedIds sources;   ///< histories, in ids of the source vocabulary
  RaggedIds seen;      ///< by source row: the ids of targets that its user has seen
  TransferExamples training;
  TransferExamples validation;
  TransferExamples test;
  std::int64_t users = 0;  ///< rows of the log
  /// 16 hexadecimal digits that identify the test part, in any order of the log: of its users,
  /// where whole users are split, else of all sequences.
  std::string test_hash;
};

/// The targets of users with their source rows as histories: labels, or items of another domain.
/// Every target is an example; whole users go to one part each, at random, and users without a
/// known source item have no examples. Targets are numbered by falling frequency, or as in
/// `targets`, that of a model which exists. Throws OptionError for fractions that do not sum to 1.
REFRAIN_API TransferDataset make_transfer_dataset(const TransferSequences& users,
                                                  const Vocabulary& source,
                                                  const TransferDatasetOptions& options = {},
                                                  const Vocabulary* targets = nullptr);

/// The next item of the same domain as a target, after the newest `length` items before it: each
/// user's last item is in the test part, the one before it in the validation part, and the
/// `training_places` before those in the training part. The user has seen all items before the
/// target. Users with fewer than four known items have no examples. Throws OptionError unless
/// length >= 1.
REFRAIN_API TransferDataset make_next_item_dataset(const Sequences& log, const Vocabulary& source,
                                                   std::int64_t length,
                                                   std::int64_t training_places = 5);

/// The examples of a share of the source rows, at least one row, chosen at random; they keep their
/// order. Throws OptionError unless 0 < share <= 1.
REFRAIN_API TransferExamples sample_examples(const TransferExamples& examples, double share,
                                             std::uint64_t seed);

}  // namespace refrain
