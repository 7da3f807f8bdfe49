#include "peterrec/data.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "common/behaviour.hpp"
#include "common/concat.hpp"
#include "common/memory.hpp"
#include "common/standard_streams.hpp"
#include "refrain/core/text.hpp"

namespace refrain::peterrec {
namespace {

using examples::concat;

TransferSequences read_file(const std::string& path, const DataOptions& options) {
  ReadOptions read = examples::read_options(options);
  if (read.format == Format::automatic) read.format = detect_format(path, read);
  if (read.format == Format::transfer_csv)
    return examples::read_reported(path, read, read_transfer);
  TransferSequences pairs;
  pairs.source = examples::read_reported(path, read, read_sequences);
  return options.split_domains_at > 0 ? split_domains(pairs.source, options.split_domains_at)
                                      : pairs;
}

Sequences all_sequences(const RawData& raw) {
  Sequences all = raw.behaviour.source;
  append(all, raw.more);
  return all;
}

TransferDataset paired(const TransferSequences& pairs, const Vocabulary& vocabulary,
                       std::int64_t min_count, const DataOptions& options,
                       const Vocabulary* targets) {
  return make_transfer_dataset(pairs, vocabulary,
                               {.min_count = min_count,
                                .fractions = examples::expect_split(options.split),
                                .split_seed = options.split_seed},
                               targets);
}

/// The users of the test examples, whose source rows are those of the log.
std::vector<std::string> users_of_rows(const Sequences& log, const TransferExamples& test) {
  std::vector<std::string> users;
  for (const std::int64_t row : test.source) users.push_back(examples::user_name(log, row));
  return users;
}

/// The users of the test examples of the next-item task: those of four or more known items.
std::vector<std::string> users_of_next(const Sequences& log, const Vocabulary& vocabulary) {
  std::vector<std::string> users;
  const RaggedIds rows = encode(log, vocabulary);
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    if (rows[row].size() >= 4) users.push_back(examples::user_name(log, row));
  }
  return users;
}

/// Makes the task of the users that have a value of the attribute `name`.
void make_profile_data(TaskData& task, const RawData& raw, const Vocabulary& vocabulary,
                       const std::string& name, const DataOptions& options,
                       const Vocabulary* targets) {
  const std::string option = "--task " + name + ": ";
  if (!raw.profiles)
    throw OptionError(option + "expected the users' profiles in --profiles, got none");
  TransferDataset& data = task;
  try {
    const TransferSequences labelled = label_users(raw.behaviour.source, *raw.profiles, name);
    data = paired(labelled, vocabulary, 1, options, targets);
    task.test_users = users_of_rows(labelled.source, task.test);
  } catch (const Error& error) {
    throw OptionError(option + error.what());
  }
  if (data.targets.items() < 2)
    throw OptionError(option + "expected at least two values among the users, got one");
}

}  // namespace

examples::CommandFiles common_files(const Options& options,
                                    std::vector<examples::NamedFile> replaced) {
  examples::CommandFiles files =
      examples::command_files(options.data, options.run, std::move(replaced), options.state_file);
  files.read.push_back({"--profiles", options.data.profiles});
  return files;
}

RawData read_data(const DataOptions& options) {
  if (options.files.empty()) throw OptionError("--data: expected a file, got none");
  RawData raw;
  raw.behaviour = read_file(options.files.front(), options);
  raw.two_domains = options.split_domains_at > 0 || !raw.behaviour.target.rows.empty();
  for (std::size_t i = 1; i < options.files.size(); ++i) {
    Sequences more = read_file(options.files[i], options).source;
    if (const std::int64_t known = examples::shared_users(raw.behaviour.source, more); known > 0) {
      examples::say(
          "warning: {}: {} of its {} user ids also occur in {}; they are treated as different "
          "users, because the numbers of users often restart in each file. If they are the same "
          "users, put their sequences into one file\n",
          options.files[i], known, more.rows.rows(), options.files.front());
    }
    more.users = {};
    more.user.clear();
    append(raw.more, more);
  }
  if (!options.profiles.empty()) {
    raw.profiles = examples::read_reported(
        options.profiles,
        {.skip_bad_lines = options.skip_bad_lines, .user_column = options.user_column},
        read_profiles);
  }
  raw.titles = examples::titles_of(options);
  return raw;
}

void expect_length(const RawData& raw, const DataOptions& options) {
  examples::expect_length(options.length, std::max(examples::longest_row(raw.behaviour.source),
                                                   examples::longest_row(raw.more)));
}

Vocabulary source_vocabulary(const RawData& raw, const DataOptions& options) {
  return Vocabulary::build(all_sequences(raw), {.min_count = options.min_count});
}

examples::WarmVocabulary extended_source_vocabulary(const RawData& raw, const DataOptions& options,
                                                    const Vocabulary& known) {
  return examples::extended_vocabulary(known, all_sequences(raw), options.min_count);
}

PretrainData pretrain_data(const RawData& raw, const Vocabulary& vocabulary,
                           const DataOptions& options, bool causal) {
  RaggedIds rows = encode(all_sequences(raw), vocabulary);
  if (options.hold_out_last) rows = split_leave_last_out(rows).train;
  PretrainData data;
  data.piece_length = options.length + (causal ? 1 : 0);
  // A piece of one item has no target.
  CutSequences pieces = cut(rows, {.length = data.piece_length, .min_length = 2});
  const Split users =
      split_random(rows.rows(), {.train = 0.95, .valid = 0.05, .test = 0}, options.split_seed);
  for (std::int64_t piece = 0; piece < pieces.rows.rows(); ++piece) {
    const std::int64_t user = pieces.origin[static_cast<std::size_t>(piece)];
    const bool held_out = std::binary_search(users.valid.begin(), users.valid.end(), user);
    (held_out ? data.split.valid : data.split.train).push_back(piece);
  }
  data.rows = std::move(pieces.rows);
  if (data.split.train.empty())
    throw OptionError(
        "pre-training: expected a sequence of at least two known items, got none; see --min-count");
  return data;
}

TaskKind task_kind(const std::string& name) {
  return examples::choice_of<TaskKind>(name).value_or(TaskKind::profile);
}

void expand_tasks(Options& options) {
  std::vector<std::string>& names = options.task.names;
  if (std::find(names.begin(), names.end(), all_tasks) == names.end()) return;
  if (names.size() > 1)
    throw OptionError("--task all: expected no other task beside all attributes");
  if (options.data.profiles.empty())
    throw OptionError("--task all: expected --profiles, whose attributes are the tasks");
  const Profiles profiles = read_profiles(
      options.data.profiles,
      {.skip_bad_lines = options.data.skip_bad_lines, .user_column = options.data.user_column});
  names.clear();
  options.task.is_all = true;
  const auto add = [&](const Profiles::Attribute& attribute) {
    if (task_kind(attribute.name) != TaskKind::profile || attribute.name == base_task) {
      examples::say("attribute {}: the name is reserved, no task\n", attribute.name);
      return;
    }
    std::vector<std::int32_t> values = attribute.of_user;
    std::erase(values, absent_id);
    if (std::ranges::adjacent_find(values, std::ranges::not_equal_to()) != values.end()) {
      names.push_back(attribute.name);
    } else {
      examples::say("attribute {}: fewer than two values, no task\n", attribute.name);
    }
  };
  for (const Profiles::Attribute& attribute : profiles.attributes) {
    if (!attribute.has_several_values()) {
      add(attribute);
    } else {
      for (const std::string& value : attribute.single_values())
        add(attribute.one_against_all(value));
    }
  }
  if (names.empty())
    throw OptionError("--task all: expected an attribute with at least two values, got none");
}

void expect_tasks(const TaskOptions& options) {
  const std::vector<std::string>& names = options.names;
  if (names.empty())
    throw OptionError(
        "--task: expected at least one task (an attribute of --profiles, items, next), got none");
  if (std::find(names.begin(), names.end(), base_task) != names.end())
    throw OptionError(
        "--task base: this name is reserved for the base's own head; rename the attribute");
  for (auto name = names.begin(); name != names.end(); ++name) {
    if (std::find(names.begin(), name, *name) != name)
      throw OptionError("--task: expected each task once, got " + *name + " twice");
  }
  const bool has_profile = std::any_of(names.begin(), names.end(), [](const std::string& name) {
    return task_kind(name) == TaskKind::profile;
  });
  if (options.smoothing > 0 && !has_profile)
    throw OptionError("--smoothing: expected a --task of --profiles, got " + names.front());
}

TaskData task_data(const RawData& raw, const Vocabulary& vocabulary, const std::string& name,
                   const DataOptions& options, const Vocabulary* targets) {
  TaskData task{{}, name, task_kind(name), options.length};
  TransferDataset& data = task;
  switch (task.kind) {
    case TaskKind::items:
      if (!raw.two_domains) {
        throw OptionError(
            "--task items: expected data of two domains, got one; use source,,target lines or "
            "--split-domains-at");
      }
      data = paired(raw.behaviour, vocabulary, options.target_min_count, options, targets);
      task.test_users = users_of_rows(raw.behaviour.source, task.test);
      break;
    case TaskKind::next:
      data = make_next_item_dataset(raw.behaviour.source, vocabulary, options.length);
      task.test_users = users_of_next(raw.behaviour.source, vocabulary);
      break;
    case TaskKind::profile:
      make_profile_data(task, raw, vocabulary, name, options, targets);
      break;
  }
  for (const auto& [part, examples] : {std::pair{"training", &task.training},
                                       {"validation", &task.validation},
                                       {"test", &task.test}}) {
    if (examples->size() == 0)
      throw OptionError(
          concat("--task ", name, ": expected examples in the ", part, " part, got none"));
  }
  return task;
}

namespace {

/// Throws OptionError when, after the first of `count` tasks, the others need more memory than is
/// available. Each is taken to have as many examples as the first.
void expect_memory(const TaskData& first, std::int64_t count) {
  std::int64_t bytes = 0;
  for (const RaggedIds* rows : {&first.sources, &first.seen}) {
    bytes += rows->rows() * std::int64_t{sizeof(std::int64_t)};
    if (rows->file() == nullptr) bytes += rows->total() * std::int64_t{sizeof(std::int32_t)};
  }
  const std::int64_t needed = bytes * (count - 1);
  const std::int64_t available = examples::available_memory();
  if (needed <= available) return;
  throw OptionError(fmt::format(
      "--task: expected at most {} MiB, the available memory, for the histories of {} more tasks, "
      "got {} MiB; a sequence store (`peterrec prepare`) keeps histories on the disk",
      with_commas(available >> 20), count - 1, with_commas(needed >> 20)));
}

}  // namespace

std::vector<TaskData> make_tasks(const std::function<const RawData&(const std::string&)>& raw,
                                 const Vocabulary& vocabulary, Options& options) {
  std::vector<TaskData> tasks;
  std::vector<std::string> names;
  for (const std::string& name : options.task.names) {
    try {
      tasks.push_back(task_data(raw(name), vocabulary, name, options.data));
      names.push_back(name);
    } catch (const OptionError& error) {
      if (!options.task.is_all) throw;
      examples::say("{}; this attribute is left out\n", error.what());
      continue;
    }
    if (tasks.size() == 1) expect_memory(tasks.front(), std::ssize(options.task.names));
  }
  if (tasks.empty()) throw OptionError("--task all: expected an attribute with a task, got none");
  options.task.names = std::move(names);
  return tasks;
}

}  // namespace refrain::peterrec
