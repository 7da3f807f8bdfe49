#pragma once
/// Data sets for fine-tuning: training, validation and test examples of one task.

#include <cstdint>
#include <string>

#include "refrain/core/export.hpp"
#include "refrain/data/batches.hpp"
#include "refrain/data/sequences.hpp"
#include "refrain/data/splits.hpp"
#include "refrain/data/vocabulary.hpp"

namespace refrain {

struct TransferDatasetOptions {
  std::int64_t min_count = 1;  ///< targets that occur less often are omitted
  SplitFractions fractions = {.train = 0.7, .valid = 0.1, .test = 0.2};  ///< shares of the users
  std::uint64_t split_seed = 1;
};

/// The examples of one task in three parts. An example is a history and one target.
struct REFRAIN_API TransferDataset {
  Vocabulary targets;  ///< classes or items, without special ids
  RaggedIds sources;   ///< histories, in ids of the source vocabulary
  RaggedIds seen;      ///< per source row, the ids of targets that the user has seen
  TransferExamples training;
  TransferExamples validation;
  TransferExamples test;
  std::int64_t users = 0;  ///< rows of the log
  /// 16 hexadecimal digits that identify the test part, independent of the order of the log: a hash
  /// of its users if whole users are split, otherwise of all sequences.
  std::string test_hash;
};

/// Examples that predict users' targets, labels or items of another domain, from their source rows.
///
/// Every target is an example. All examples of a user are in one part, which is chosen at random;
/// users without a known source item have no examples. Targets are numbered by decreasing
/// frequency, or as in `targets`, the vocabulary of an existing model. Throws OptionError for
/// fractions that do not sum to 1.
REFRAIN_API TransferDataset make_transfer_dataset(const TransferSequences& users,
                                                  const Vocabulary& source,
                                                  const TransferDatasetOptions& options = {},
                                                  const Vocabulary* targets = nullptr);

/// Examples that predict an item from at most `length` items before it.
///
/// The last item of each user is a target in the test part, the second-to-last in the validation
/// part, and the `training_places` items before these in the training part. `seen` has all items
/// before the target. Users with fewer than four known items have no examples. Throws OptionError
/// unless length >= 1 and training_places >= 0.
REFRAIN_API TransferDataset make_next_item_dataset(const Sequences& log, const Vocabulary& source,
                                                   std::int64_t length,
                                                   std::int64_t training_places = 5);

/// The examples of a random share of the source rows, at least one row, in their order. Throws
/// OptionError unless 0 < share <= 1.
REFRAIN_API TransferExamples sample_examples(const TransferExamples& examples, double share,
                                             std::uint64_t seed);

}  // namespace refrain
