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

/// Latest places per user that the next-item task trains on.
constexpr std::int64_t next_places = 5;

Split split_rows(const DataOptions& options, std::int64_t count) {
  examples::expect_split(options.split);
  return split_random(
      count, {.train = options.split[0], .valid = options.split[1], .test = options.split[2]},
      options.split_seed);
}

TransferExamples keep_nonempty(TransferExamples examples, const RaggedIds& sources) {
  TransferExamples kept;
  for (std::size_t i = 0; i < examples.target.size(); ++i) {
    if (sources[examples.source[i]].empty()) continue;
    kept.source.push_back(examples.source[i]);
    kept.target.push_back(examples.target[i]);
  }
  return kept;
}

/// The same items under numbers that start at 0, in the same order.
Vocabulary without_specials(const Vocabulary& vocabulary) {
  std::vector<std::string> names;
  for (std::int32_t id = vocabulary.first_item(); id < vocabulary.size(); ++id)
    names.emplace_back(vocabulary.name(id));
  return Vocabulary(names, vocabulary.item_counts(), {.min_count = 0, .specials = false});
}

/// Tells one set of users from another, whatever the order of their rows. Who has no id is told by
/// what is in the row.
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

/// Targets are labels or items of another domain: whole users go to one part each.
TaskData paired_task(const TransferSequences& pairs, const Vocabulary& vocabulary,
                     const std::string& name, const DataOptions& options,
                     const Vocabulary* targets) {
  TaskData task;
  task.name = name;
  task.kind = task_kind(name);
  const bool is_profile = task.kind == TaskKind::profile;
  task.targets =
      targets != nullptr
          ? *targets
          : Vocabulary::build(pairs.target, {.min_count = is_profile ? 1 : options.target_min_count,
                                             .specials = false});
  task.sources = encode(pairs.source, vocabulary);
  const RaggedIds labels = encode(pairs.target, task.targets);
  task.users = labels.rows();
  const Split split = split_rows(options, task.users);
  task.test_users = hash_of_users(pairs, split.test);
  task.train = keep_nonempty(transfer_examples(labels, split.train), task.sources);
  task.valid = keep_nonempty(transfer_examples(labels, split.valid), task.sources);
  task.test = keep_nonempty(transfer_examples(labels, split.test), task.sources);
  for (std::int64_t row = 0; row < labels.rows(); ++row) task.seen.push_back({});
  return task;
}

/// Of all rows, in any order.
std::string hash_of_rows(const RaggedIds& rows) {
  std::uint64_t sum = 0;
  for (std::int64_t row = 0; row < rows.rows(); ++row) sum += DataHash().add(rows[row]).value();
  return fmt::format("{:016x}", sum);
}

/// Every user's last item is the test, the one before it the validation, and the places before
/// those the training.
TaskData next_task(const RawData& raw, const Vocabulary& vocabulary, const std::string& name,
                   const DataOptions& options) {
  TaskData task;
  task.name = name;
  task.kind = TaskKind::next;
  task.targets = without_specials(vocabulary);
  const RaggedIds rows = encode(raw.behaviour.source, vocabulary);
  task.users = rows.rows();
  task.test_users = hash_of_rows(rows);  // a user who did one thing more has another last item
  const auto add = [&](TransferExamples& part, std::span<const std::int32_t> row,
                       std::int64_t place) {
    const std::int64_t begin = std::max<std::int64_t>(0, place - options.length);
    part.source.push_back(task.sources.rows());
    part.target.push_back(row[static_cast<std::size_t>(place)] - vocabulary.first_item());
    task.sources.push_back(
        row.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(place - begin)));
    for (std::int64_t i = 0; i < place; ++i)
      task.seen.add(row[static_cast<std::size_t>(i)] - vocabulary.first_item());
    task.seen.end_row();
  };
  for (std::int64_t user = 0; user < rows.rows(); ++user) {
    const std::span<const std::int32_t> row = rows[user];
    const std::int64_t length = static_cast<std::int64_t>(row.size());
    if (length < 4) continue;
    for (std::int64_t place = std::max<std::int64_t>(1, length - 2 - next_places);
         place < length - 2; ++place) {
      add(task.train, row, place);
    }
    add(task.valid, row, length - 2);
    add(task.test, row, length - 1);
  }
  return task;
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
  ReadReport report;
  for (std::size_t i = 0; i < options.files.size(); ++i) {
    const std::string& path = options.files[i];
    const ReadOptions read = examples::read_options(path, options.format, options.skip_bad_lines,
                                                    options.in_file_order, report);
    const bool is_transfer = read.format == Format::transfer_csv;
    TransferSequences pairs;
    if (is_transfer) {
      pairs = read_transfer(path, read);
    } else if (options.split_domains_at > 0) {
      pairs = split_domains(read_sequences(path, read), options.split_domains_at);
    } else {
      pairs.source = read_sequences(path, read);
    }
    examples::tell_reading(path, report);
    if (i == 0) {
      raw.behaviour = std::move(pairs);
      raw.two_domains = is_transfer || options.split_domains_at > 0;
      continue;
    }
    if (const std::int64_t known = examples::shared_users(raw.behaviour.source, pairs.source);
        known > 0) {
      examples::say(
          "warning: {}: {} of its {} user ids are in {}, too, and are taken for other "
          "users, since numbers often start anew in "
          "each file; if they are the same users, put them into one file\n",
          path, known, pairs.source.rows.rows(), options.files.front());
    }
    pairs.source.users = {};
    pairs.source.user.clear();
    append(raw.more, pairs.source);
  }
  if (!options.profiles.empty()) {
    raw.profiles = read_profiles(options.profiles,
                                 {.skip_bad_lines = options.skip_bad_lines, .report = &report});
    examples::tell_reading(options.profiles, report);
  }
  raw.titles = examples::titles_of(options.titles, options.skip_bad_lines);
  return raw;
}

void expect_length(const RawData& raw, const DataOptions& options) {
  examples::expect_length(options.length, std::max(examples::longest_row(raw.behaviour.source),
                                                   examples::longest_row(raw.more)));
}

std::string split_text(const DataOptions& options) {
  return fmt::format("--split {} --split-seed {}", fmt::join(options.split, ","),
                     options.split_seed);
}

Vocabulary source_vocabulary(const RawData& raw, const DataOptions& options) {
  Sequences all = raw.behaviour.source;
  append(all, raw.more);
  return Vocabulary::build(all, {.min_count = options.min_count});
}

PretrainData pretrain_data(const RawData& raw, const Vocabulary& vocabulary,
                           const DataOptions& options, std::int64_t length) {
  RaggedIds rows = encode(raw.behaviour.source, vocabulary);
  const RaggedIds more = encode(raw.more, vocabulary);
  for (std::int64_t row = 0; row < more.rows(); ++row) rows.push_back(more[row]);
  if (options.hold_out_last) rows = split_leave_last_out(rows).train;
  PretrainData data;
  // A piece of one item has nothing to predict.
  const CutSequences pieces = cut(rows, {.length = length, .min_length = 2});
  const Split users =
      split_random(rows.rows(), {.train = 0.95, .valid = 0.05, .test = 0}, options.split_seed);
  for (std::int64_t piece = 0; piece < pieces.rows.rows(); ++piece) {
    const std::int64_t user = pieces.origin[static_cast<std::size_t>(piece)];
    const bool held_out = std::binary_search(users.valid.begin(), users.valid.end(), user);
    (held_out ? data.split.valid : data.split.train).push_back(piece);
  }
  data.rows = pieces.rows;
  if (data.split.train.empty())
    throw OptionError("pre-training: no sequence has two known items; see --min-count");
  return data;
}

void expect_task_name(const std::string& name) {
  if (name == "base")
    throw OptionError(
        "--task base: is the name of the base's own head; give the attribute another one");
}

TaskKind task_kind(const std::string& name) {
  return name == "items" ? TaskKind::items : name == "next" ? TaskKind::next : TaskKind::profile;
}

TaskData task_data(const RawData& raw, const Vocabulary& vocabulary, const std::string& name,
                   const DataOptions& options, const Vocabulary* targets) {
  TaskData task;
  switch (task_kind(name)) {
    case TaskKind::items:
      if (!raw.two_domains) {
        throw OptionError(
            "--task items: the data has one domain; give source,,target lines or "
            "--split-domains-at");
      }
      task = paired_task(raw.behaviour, vocabulary, name, options, targets);
      break;
    case TaskKind::next:
      task = next_task(raw, vocabulary, name, options);
      break;
    case TaskKind::profile:
      expect_task_name(name);
      if (!raw.profiles)
        throw OptionError("--task " + name + ": give the users' profiles with --profiles");
      try {
        task = paired_task(label_users(raw.behaviour.source, *raw.profiles, name), vocabulary, name,
                           options, targets);
      } catch (const Error& error) {
        throw OptionError("--task " + name + ": " + error.what());
      }
      if (task.targets.items() < 2)
        throw OptionError("--task " + name + ": expected users with at least two values, got one");
      break;
  }
  for (const auto& [part, examples] :
       {std::pair{"training", &task.train}, {"validation", &task.valid}, {"test", &task.test}}) {
    if (examples->size() == 0)
      throw OptionError(examples::concat("--task ", name, ": the ", part, " part has no examples"));
  }
  return task;
}

TransferExamples few(const TransferExamples& examples, double share, std::uint64_t seed) {
  if (!(share > 0 && share <= 1))
    throw OptionError(examples::concat("--few-shot: expected shares in (0,1], got ", share));
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
