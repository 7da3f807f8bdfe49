#pragma once
/// Reads files and prepares the data that the networks train on.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/output_files.hpp"
#include "common/warm_start.hpp"
#include "peterrec/options.hpp"
#include "refrain/data/readers.hpp"
#include "refrain/data/splits.hpp"
#include "refrain/data/transfer_dataset.hpp"

namespace refrain::peterrec {

/// The contents of the files, in original ids.
struct RawData {
  TransferSequences behaviour;  ///< one row per user on both sides; one domain: no targets
  Sequences more;  ///< rows of the further files, used only in pre-training, without user ids
  std::optional<Profiles> profiles;
  std::optional<Titles> titles;
  bool two_domains = false;
};

/// The files of a command: its data, --config, the files to replace, --resume and --log.
examples::CommandFiles common_files(const Options& options,
                                    std::vector<examples::NamedFile> replaced = {});

/// Reads all files.  Throws DataError, OptionError.
RawData read_data(const DataOptions& options);

/// Throws OptionError for a --length far beyond the longest sequence.
void expect_length(const RawData& raw, const DataOptions& options);

/// The vocabulary of the source domain, from all sequences of pre-training.
Vocabulary source_vocabulary(const RawData& raw, const DataOptions& options);

/// The vocabulary of a trained base, extended by the items of all sequences of pre-training.
examples::WarmVocabulary extended_source_vocabulary(const RawData& raw, const DataOptions& options,
                                                    const Vocabulary& known);

/// The pieces of sequences for pre-training and for the held-out loss. A causal base reads one item
/// less than a piece has, because its targets are one time step ahead. With hold_out_last the last
/// two items of every sequence are excluded, so that --task next can validate and test on them.
struct PretrainData {
  RaggedIds rows;
  Split split;  ///< no test part
  std::int64_t piece_length = 0;
};
PretrainData pretrain_data(const RawData& raw, const Vocabulary& vocabulary,
                           const DataOptions& options, bool causal);

enum class TaskKind : std::uint8_t {
  profile,  ///< one label per user
  items,    ///< items of another domain
  next,     ///< the next item of the same domain
};
/// The kind of a task from its name: an attribute of the profiles unless it is items or next.
TaskKind task_kind(const std::string& name);

inline constexpr const char* next_task = "next";
/// The name of the base's own head, which differs from next if there is a patch for next.
inline constexpr const char* base_task = "base";
/// The name that stands for all attributes of the profiles.
inline constexpr const char* all_tasks = "all";
/// Replaces all_tasks by the attributes of --profiles that have at least two values, and by each
/// value of an attribute with several values of a user, one against all; prints which ones have
/// fewer or a reserved name. Throws OptionError without --profiles, and beside other names.
void expand_tasks(Options& options);
/// Throws OptionError for an empty list of tasks, for a task that is given twice or named
/// base_task, and for label smoothing without a task of profiles.
void expect_tasks(const TaskOptions& options);

/// One task, ready to train.
struct TaskData : TransferDataset {
  std::string name;
  TaskKind kind = TaskKind::profile;
  std::int64_t length = 0;  ///< DataOptions::length
  /// Of each test example: the user's id, or the number of the line where the file has no ids.
  std::vector<std::string> test_users = {};

  bool is_profile() const noexcept { return kind == TaskKind::profile; }
};

/// Creates the tasks of the options from the data that `raw(name)` returns. All are created before
/// the first is trained, so that missing data is reported early. Attributes of all_tasks that give
/// no task are printed, and leave the options. Throws OptionError as task_data() does, when no task
/// remains, and when the examples need more memory than is available.
std::vector<TaskData> make_tasks(const std::function<const RawData&(const std::string&)>& raw,
                                 const Vocabulary& vocabulary, Options& options);

/// Creates a task from the data. `targets` of a patch file keep their numbering. Throws OptionError
/// when the data lacks information that the task requires.
TaskData task_data(const RawData& raw, const Vocabulary& vocabulary, const std::string& name,
                   const DataOptions& options, const Vocabulary* targets = nullptr);

}  // namespace refrain::peterrec

namespace refrain::examples {

/// Profile tasks are named after their attribute.
template <>
inline constexpr Choice<peterrec::TaskKind> choices<peterrec::TaskKind>[] = {
    {"items", peterrec::TaskKind::items}, {peterrec::next_task, peterrec::TaskKind::next}};

}  // namespace refrain::examples
