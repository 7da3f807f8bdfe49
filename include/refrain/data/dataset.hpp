#pragma once
/// Data sets: from a log to training, validation and test sequences.

#include <cstdint>
#include <string>

#include "refrain/core/export.hpp"
#include "refrain/data/readers.hpp"
#include "refrain/data/sequences.hpp"
#include "refrain/data/splits.hpp"
#include "refrain/data/vocabulary.hpp"

namespace refrain {

/// Options of read_dataset() and make_dataset().
struct DatasetOptions {
  std::int64_t min_count = 1;   ///< rarer items are removed from the sequences
  std::int64_t min_length = 2;  ///< shorter sequences are in no part
  /// true: the test part predicts the last item of each user, the validation part the one before
  /// it, each from all items before; the other items are the training part. false: whole sequences
  /// are assigned to the parts at random.
  bool leave_last_out = false;
  SplitFractions fractions = {};  ///< shares of the random split
  std::uint64_t split_seed = 1;   ///< seed of the random split
  /// The training part, and with a random split every sequence before its assignment, is cut into
  /// pieces of at most this many items; 0: one sequence per user.
  std::int64_t piece_length = 0;
  Format format = Format::automatic;  ///< format of the file
  std::int64_t skip_bad_lines = 0;    ///< malformed lines of the file to skip
  bool in_file_order = false;         ///< ReadOptions::in_file_order
  /// ReadOptions::user_column, item_column and time_column.
  std::string user_column = {}, item_column = {}, time_column = {};
};

/// A log in three parts, as ids of one vocabulary.
struct REFRAIN_API Dataset {
  Vocabulary vocabulary;
  RaggedIds training;
  HeldOut validation;
  HeldOut test;
  std::string source;       ///< the file and its format; empty for data from memory
  ReadReport report;        ///< report of reading the file, with the skipped lines
  std::int64_t users = 0;   ///< sequences of the log
  std::int64_t events = 0;  ///< known items of the log
  bool is_split_in_time = false;

  /// What was read and how it was split: "ratings.csv, read as ratings_csv: user "userId", ... 943
  /// users, 1,682 items, 100,000 events; training on 943 sequences, validation on 943, test on 943
  /// (the last two items of each user)".
  std::string text() const;

  /// A hash of all parts as 16 hexadecimal digits, the same on every machine for equal data and
  /// options.
  std::string fingerprint() const;
};

/// Reads a log of any format and splits it. Throws DataError as read_sequences(), and OptionError
/// as make_dataset().
REFRAIN_API Dataset read_dataset(const std::string& path, const DatasetOptions& options = {});

/// Splits a log in memory. Throws OptionError unless 2 <= min_length <= piece_length (if
/// piece_length > 0), when fewer than two items or no training sequence remain, and for fractions
/// that do not sum to 1.
REFRAIN_API Dataset make_dataset(const Sequences& log, const DatasetOptions& options = {});

/// make_dataset() with the vocabulary of an existing model; other items are removed.
REFRAIN_API Dataset make_dataset(const Sequences& log, Vocabulary vocabulary,
                                 const DatasetOptions& options = {});

}  // namespace refrain
