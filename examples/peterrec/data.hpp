#pragma once
/// From files to what the networks train on.

#include <optional>
#include <string>
#include <vector>

#include "common/output_files.hpp"
#include "peterrec/options.hpp"
#include "refrain/data/batches.hpp"
#include "refrain/data/readers.hpp"
#include "refrain/data/splits.hpp"

namespace refrain::peterrec {

/// What the files hold, in original ids.
struct RawData {
  /// row i of both sides is one user; the target side is empty with one domain
  TransferSequences behaviour;
  /// of the further files, for pre-training alone: a row is one file's user, under no id
  Sequences more;
  std::optional<Profiles> profiles;
  std::optional<Titles> titles;
  bool two_domains = false;
};

/// The files that the commands have in common: data and --config, which are read, and --log.
examples::CommandFiles common_files(const Options& options);

/// Reads all files.  Throws DataError, OptionError.
RawData read_data(const DataOptions& options);

/// Throws OptionError for a --length far beyond the longest sequence.
void expect_length(const RawData& raw, const DataOptions& options);

/// The split as one writes it on the command line: "--split 0.7,0.1,0.2 --split-seed 1".
std::string split_text(const DataOptions& options);

/// The vocabulary of the source domain, from everything that pre-trains.
Vocabulary source_vocabulary(const RawData& raw, const DataOptions& options);

/// Pieces of `length` (+ 1 for a causal base, whose targets are one step ahead) that pre-train, and
/// the part held out to watch it. With hold_out_last every sequence of every file lacks its last
/// two items, so that --task next may test on any of the files.
struct PretrainData {
  RaggedIds rows;
  Split split;  ///< no test part
};
PretrainData pretrain_data(const RawData& raw, const Vocabulary& vocabulary,
                           const DataOptions& options, std::int64_t length);

enum class TaskKind : std::uint8_t {
  profile,  ///< one label a user
  items,    ///< items of another domain
  next,     ///< the next item of the same domain
};
TaskKind task_kind(const std::string& name);
/// Throws OptionError for a name that no task may have: what is called "base" is the base's own
/// head.
void expect_task_name(const std::string& name);

/// One task, ready to train.
struct TaskData {
  std::string name;
  TaskKind kind = TaskKind::profile;
  Vocabulary targets;      ///< classes or items, without special ids
  RaggedIds sources;       ///< in ids of the source vocabulary
  RaggedIds seen;          ///< per source row: target ids that a recommendation leaves out
  std::int64_t users = 0;  ///< that the split was drawn from
  /// hash of the test part's users, in any order; of the next-item task, which splits by time, of
  /// all sequences
  std::string test_users;
  TransferExamples train;
  TransferExamples valid;
  TransferExamples test;
};

/// Makes a task of the data.  With `targets` (of a patch file) its numbering is kept.
/// Throws OptionError when the data lacks what the task needs.
TaskData task_data(const RawData& raw, const Vocabulary& vocabulary, const std::string& name,
                   const DataOptions& options, const Vocabulary* targets = nullptr);

/// The first share of the training examples, chosen at random by whole source rows.
TransferExamples few(const TransferExamples& examples, double share, std::uint64_t seed);

}  // namespace refrain::peterrec
