#pragma once
/// From a log to the sequences that a model learns from and the ones that it is measured on.

#include <cstdint>
#include <string>

#include "refrain/core/export.hpp"
#include "refrain/data/readers.hpp"
#include "refrain/data/sequences.hpp"
#include "refrain/data/splits.hpp"
#include "refrain/data/vocabulary.hpp"

namespace refrain {

struct DatasetOptions {
  std::int64_t min_count = 1;   ///< rarer items are left out; the items around them move together
  std::int64_t min_length = 2;  ///< shorter sequences are in no part
  /// true: the test part predicts each user's last item, validation the one before it, both from
  /// all items before, and the rest is the training part. false: whole sequences go to the parts at
  /// random.
  bool leave_last_out = false;
  SplitFractions fractions = {};  ///< of the random split
  std::uint64_t split_seed = 1;   ///< of the random split
  /// The training part, and with a random split every sequence before it is given to a part, is cut
  /// into pieces of at most so many items; 0: one sequence a user.
  std::int64_t piece_length = 0;
  Format format = Format::automatic;  ///< of the file
  std::int64_t skip_bad_lines = 0;    ///< malformed lines of the file to pass over
};

/// A log in three parts, in ids of one vocabulary.
struct REFRAIN_API Dataset {
  Vocabulary vocabulary;
  RaggedIds training;
  HeldOut validation;
  HeldOut test;
  std::string source;       ///< the file, and what it was read as; empty for data from memory
  ReadReport report;        ///< of the file: the lines that were passed over
  std::int64_t users = 0;   ///< sequences of the log
  std::int64_t events = 0;  ///< known items of the log
  bool is_split_in_time = false;

  /// What was read and how it was split: "ratings.csv, read as ratings_csv: user "userId", ...
  /// 943 users, 1,682 items, 100,000 events; training on 943 sequences, validation on 943, test on
  /// 943 (the last two items of each user)".
  std::string text() const;

  /// A hash of all parts, 16 hexadecimal digits: equal data under equal options has the same one on
  /// every machine.
  std::string fingerprint() const;
};

/// Reads a log of any format and splits it. Throws DataError as read_sequences(), and OptionError
/// as make_dataset().
REFRAIN_API Dataset read_dataset(const std::string& path, const DatasetOptions& options = {});

/// Splits a log that is in memory. Throws OptionError when fewer than two items or no training
/// sequence are left, unless 2 <= min_length <= piece_length (where there is one), and for
/// fractions that do not sum to 1.
REFRAIN_API Dataset make_dataset(const Sequences& log, const DatasetOptions& options = {});

/// The same with the vocabulary of a model that exists; other items are left out.
REFRAIN_API Dataset make_dataset(const Sequences& log, Vocabulary vocabulary,
                                 const DatasetOptions& options = {});

}  // namespace refrain
