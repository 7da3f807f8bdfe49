#pragma once
/// From files to the data that the networks train on.

#include <optional>
#include <string>
#include <vector>

#include "common/output_files.hpp"
#include "peterrec/options.hpp"
#include "refrain/data/readers.hpp"
#include "refrain/data/splits.hpp"
#include "refrain/data/transfer_dataset.hpp"

namespace refrain::peterrec {

/// The contents of the files, in original ids.
struct RawData {
  TransferSequences behaviour;  ///< a row of both sides is a user; one domain: no targets
  Sequences more;  ///< of the further files, which only pre-train: rows without user ids
  std::optional<Profiles> profiles;
  std::optional<Titles> titles;
  bool two_domains = false;
};

/// The files of a command: those of the data, --config, the ones to write, --resume and --log.
examples::CommandFiles common_files(const Options& options,
                                    std::vector<examples::NamedFile> replaced = {});

/// Reads all files.  Throws DataError, OptionError.
RawData read_data(const DataOptions& options);

/// Throws OptionError for a --length far beyond the longest sequence.
void expect_length(const RawData& raw, const DataOptions& options);

/// The vocabulary of the source domain, from everything that pre-trains.
Vocabulary source_vocabulary(const RawData& raw, const DataOptions& options);

/// The pieces of sequences that pre-train, and the part held out to watch the loss. A causal base
/// reads one item less than a piece has: its targets are one step ahead. With hold_out_last every
/// sequence of every file lacks its last two items, so that --task next may test on any of them.
struct PretrainData {
  RaggedIds rows;
  Split split;  ///< no test part
  std::int64_t piece_length = 0;
};
PretrainData pretrain_data(const RawData& raw, const Vocabulary& vocabulary,
                           const DataOptions& options, bool causal);

enum class TaskKind : std::uint8_t {
  profile,  ///< one label a user
  items,    ///< items of another domain
  next,     ///< the next item of the same domain
};
/// The kind of a task by its name: an attribute of the profiles unless it is items or next.
TaskKind task_kind(const std::string& name);

inline constexpr const char* next_task = "next";
/// The name of the base's own head where a patch has the name next.
inline constexpr const char* base_task = "base";
/// Throws OptionError unless there are tasks, and for a task named base_task.
void expect_tasks(const std::vector<std::string>& names);

/// One task, ready to train.
struct TaskData : TransferDataset {
  std::string name;
  TaskKind kind = TaskKind::profile;
  std::int64_t length = 0;  ///< DataOptions::length

  bool is_profile() const noexcept { return kind == TaskKind::profile; }
};

/// Makes a task of the data.  With `targets` (of a patch file) its numbering is kept.
/// Throws OptionError when the data lacks what the task needs.
TaskData task_data(const RawData& raw, const Vocabulary& vocabulary, const std::string& name,
                   const DataOptions& options, const Vocabulary* targets = nullptr);

}  // namespace refrain::peterrec

namespace refrain::examples {

/// Profile tasks have the name of their attribute.
template <>
inline constexpr Choice<peterrec::TaskKind> choices<peterrec::TaskKind>[] = {
    {"items", peterrec::TaskKind::items}, {peterrec::next_task, peterrec::TaskKind::next}};

}  // namespace refrain::examples
