#include "peterrec/data.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/behaviour.hpp"
#include "common/concat.hpp"
#include "common/standard_streams.hpp"
#include "refrain/data/data_hash.hpp"

namespace refrain::peterrec {
namespace {

using examples::concat;

/// The newest training places of a user in the next-item task.
constexpr std::int64_t next_places = 5;

TransferSequences read_file(const std::string& path, const DataOptions& options) {
  ReadOptions read = examples::read_options(options);
  if (read.format == Format::automatic) read.format = detect_format(path);
  if (read.format == Format::transfer_csv) return examples::read_told(path, read, read_transfer);
  TransferSequences pairs;
  pairs.source = examples::read_told(path, read, read_sequences);
  return options.split_domains_at > 0 ? split_domains(pairs.source, options.split_domains_at)
                                      : pairs;
}

/// The same items under numbers that start at 0, in the same order.
Vocabulary without_specials(const Vocabulary& vocabulary) {
  std::vector<std::string> names;
  for (std::int32_t id = vocabulary.first_item(); id < vocabulary.size(); ++id)
    names.emplace_back(vocabulary.name(id));
  return Vocabulary(names, vocabulary.item_counts(), {.min_count = 0, .specials = false});
}

/// Identifies a set of users, whatever the order of their rows. A user without an id is identified
/// by the items of the row.
std::string hash_of_users(const TransferSequences& pairs, std::span<const std::int64_t> rows) {
  std::vector<std::uint64_t> users;
  for (const std::int64_t row : rows) {
    DataHash user;
    if (!pairs.source.user.empty()) {
      user.add(pairs.source.users[pairs.source.user[static_cast<std::size_t>(row)]]);
    } else {
      for (const Sequences* side : {&pairs.source, &pairs.target}) {
        user.add(static_cast<std::int64_t>(side->rows[row].size()));
        for (const std::int32_t item : side->rows[row]) user.add(side->items[item]);
      }
    }
    users.push_back(user.value());
  }
  std::sort(users.begin(), users.end());
  return DataHash().add(std::span<const std::uint64_t>(users)).text();
}

/// Of all rows, in any order.
std::string hash_of_rows(const RaggedIds& rows) {
  std::uint64_t sum = 0;
  for (std::int64_t row = 0; row < rows.rows(); ++row) sum += DataHash().add(rows[row]).value();
  return fmt::format("{:016x}", sum);
}

/// Targets are labels or items of another domain: whole users go to one part each.
void make_paired(TaskData& task, const TransferSequences& pairs, const Vocabulary& vocabulary,
                 const DataOptions& options, const Vocabulary* targets) {
  const Vocabulary::Options counted{.min_count = task.is_profile() ? 1 : options.target_min_count,
                                    .specials = false};
  task.targets = targets != nullptr ? *targets : Vocabulary::build(pairs.target, counted);
  task.sources = encode(pairs.source, vocabulary);
  const RaggedIds labels = encode(pairs.target, task.targets);
  task.users = labels.rows();
  for (std::int64_t row = 0; row < labels.rows(); ++row) task.seen.push_back({});
  Split split = split_random(task.users, examples::expect_split(options.split), options.split_seed);
  task.test_users = hash_of_users(pairs, split.test);
  const auto examples_of = [&](std::vector<std::int64_t>& users) {
    std::erase_if(users, [&](std::int64_t user) { return task.sources[user].empty(); });
    return transfer_examples(labels, users);
  };
  task.train = examples_of(split.train);
  task.valid = examples_of(split.valid);
  task.test = examples_of(split.test);
}

/// Every user's last item is the test, the one before it the validation, and the places before
/// those the training.
void make_next(TaskData& task, const RawData& raw, const Vocabulary& vocabulary) {
  task.targets = without_specials(vocabulary);
  const RaggedIds rows = encode(raw.behaviour.source, vocabulary);
  task.users = rows.rows();
  task.test_users = hash_of_rows(rows);  // one event more moves the user's last item
  const auto add = [&](TransferExamples& part, std::span<const std::int32_t> row,
                       std::int64_t place) {
    const std::span<const std::int32_t> history = row.first(static_cast<std::size_t>(place));
    part.source.push_back(task.sources.rows());
    part.target.push_back(row[static_cast<std::size_t>(place)] - vocabulary.first_item());
    task.sources.push_back(history.last(static_cast<std::size_t>(std::min(place, task.length))));
    for (const std::int32_t id : history) task.seen.add(id - vocabulary.first_item());
    task.seen.end_row();
  };
  for (std::int64_t user = 0; user < rows.rows(); ++user) {
    const std::span<const std::int32_t> row = rows[user];
    const std::int64_t last = static_cast<std::int64_t>(row.size()) - 1;
    if (last < 3) continue;
    for (std::int64_t place = std::max<std::int64_t>(1, last - 1 - next_places); place < last - 1;
         ++place) {
      add(task.train, row, place);
    }
    add(task.valid, row, last - 1);
    add(task.test, row, last);
  }
}

/// Users with a value of the attribute that the task is named after.
void make_profile(TaskData& task, const RawData& raw, const Vocabulary& vocabulary,
                  const DataOptions& options, const Vocabulary* targets) {
  const std::string option = "--task " + task.name;
  if (!raw.profiles) throw OptionError(option + ": give the users' profiles with --profiles");
  try {
    make_paired(task, label_users(raw.behaviour.source, *raw.profiles, task.name), vocabulary,
                options, targets);
  } catch (const Error& error) {
    throw OptionError(option + ": " + error.what());
  }
  if (task.targets.items() < 2)
    throw OptionError(option + ": expected users with at least two values, got one");
}

}  // namespace

examples::CommandFiles common_files(const Options& options) {
  examples::CommandFiles files{.read = examples::named_files("--data", options.data.files),
                               .replaced = {},
                               .appended = {{"--log", options.run.log}}};
  files.read.push_back({"--profiles", options.data.profiles});
  files.read.push_back({"--titles", options.data.titles});
  files.read.push_back({"--config", options.run.config});
  return files;
}

RawData read_data(const DataOptions& options) {
  if (options.files.empty()) throw OptionError("--data: expected a file");
  RawData raw;
  raw.behaviour = read_file(options.files.front(), options);
  raw.two_domains = options.split_domains_at > 0 || !raw.behaviour.target.rows.empty();
  for (std::size_t i = 1; i < options.files.size(); ++i) {
    Sequences more = read_file(options.files[i], options).source;
    if (const std::int64_t known = examples::shared_users(raw.behaviour.source, more); known > 0) {
      examples::say(
          "warning: {}: {} of its {} user ids are in {}, too, and are taken for other users, since "
          "numbers often start anew in each file; if they are the same users, put them into one "
          "file\n",
          options.files[i], known, more.rows.rows(), options.files.front());
    }
    more.users = {};
    more.user.clear();
    append(raw.more, more);
  }
  if (!options.profiles.empty()) {
    raw.profiles = examples::read_told(options.profiles, {.skip_bad_lines = options.skip_bad_lines},
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
  Sequences all = raw.behaviour.source;
  append(all, raw.more);
  return Vocabulary::build(all, {.min_count = options.min_count});
}

PretrainData pretrain_data(const RawData& raw, const Vocabulary& vocabulary,
                           const DataOptions& options, bool causal) {
  RaggedIds rows = encode(raw.behaviour.source, vocabulary);
  const RaggedIds more = encode(raw.more, vocabulary);
  for (std::int64_t row = 0; row < more.rows(); ++row) rows.push_back(more[row]);
  if (options.hold_out_last) rows = split_leave_last_out(rows).train;
  PretrainData data;
  data.piece_length = options.length + (causal ? 1 : 0);
  // A piece of one item has nothing to predict.
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
    throw OptionError("pre-training: no sequence has two known items; see --min-count");
  return data;
}

TaskKind task_kind(const std::string& name) {
  return examples::choice_of<TaskKind>(name).value_or(TaskKind::profile);
}

void expect_tasks(const std::vector<std::string>& names) {
  if (names.empty())
    throw OptionError("--task: expected at least one of an attribute of --profiles, items, next");
  if (std::find(names.begin(), names.end(), base_task) != names.end())
    throw OptionError(
        "--task base: is the name of the base's own head; give the attribute another one");
}

TaskData task_data(const RawData& raw, const Vocabulary& vocabulary, const std::string& name,
                   const DataOptions& options, const Vocabulary* targets) {
  TaskData task;
  task.name = name;
  task.kind = task_kind(name);
  task.length = options.length;
  switch (task.kind) {
    case TaskKind::items:
      if (!raw.two_domains) {
        throw OptionError(
            "--task items: the data has one domain; give source,,target lines or "
            "--split-domains-at");
      }
      make_paired(task, raw.behaviour, vocabulary, options, targets);
      break;
    case TaskKind::next:
      make_next(task, raw, vocabulary);
      break;
    case TaskKind::profile:
      make_profile(task, raw, vocabulary, options, targets);
      break;
  }
  for (const auto& [part, examples] :
       {std::pair{"training", &task.train}, {"validation", &task.valid}, {"test", &task.test}}) {
    if (examples->size() == 0)
      throw OptionError(concat("--task ", name, ": the ", part, " part has no examples"));
  }
  return task;
}

TransferExamples few(const TransferExamples& examples, double share, std::uint64_t seed) {
  std::vector<std::int64_t> rows = examples.source;
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  Random random(seed, 0x666577);
  random.shuffle(rows);
  rows.resize(static_cast<std::size_t>(
      std::max(1.0, std::round(share * static_cast<double>(rows.size())))));
  std::sort(rows.begin(), rows.end());
  TransferExamples kept;
  for (std::size_t i = 0; i < examples.target.size(); ++i) {
    if (!std::binary_search(rows.begin(), rows.end(), examples.source[i])) continue;
    kept.source.push_back(examples.source[i]);
    kept.target.push_back(examples.target[i]);
  }
  return kept;
}

}  // namespace refrain::peterrec
