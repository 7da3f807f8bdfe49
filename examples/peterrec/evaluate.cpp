#include <fmt/format.h>

#include <memory>
#include <set>
#include <utility>

#include "common/all_users.hpp"
#include "common/concat.hpp"
#include "common/device.hpp"
#include "common/run_log.hpp"
#include "common/standard_streams.hpp"
#include "peterrec/commands.hpp"
#include "peterrec/evaluation.hpp"
#include "refrain/train/content_hash.hpp"

namespace refrain::peterrec {
namespace {

using examples::concat;

/// The split as on the command line: "--split 0.7,0.1,0.2 --split-seed 1".
std::string split_text(const DataOptions& options) {
  return fmt::format("--split {} --split-seed {}", fmt::join(options.split, ","),
                     options.split_seed);
}

/// The data options that the patch was trained with, so that the test part is unseen. Throws
/// OptionError when the command line gives other values.
DataOptions options_of(const PatchNote& note, const std::string& path, const Options& options) {
  DataOptions trained = options.data, asked = options.data;
  trained.split = note.split;
  trained.split_seed = note.split_seed;
  trained.length = note.length;
  if (options.given.length && asked.length != note.length) {
    throw OptionError(concat("--length: expected ", note.length, ", with which ", path,
                             " was trained, got ", asked.length, "; omit this option"));
  }
  if (!options.given.split) asked.split = note.split;
  if (!options.given.split_seed) asked.split_seed = note.split_seed;
  const bool is_same = asked.split == note.split && asked.split_seed == note.split_seed;
  if (is_same || task_kind(note.task) == TaskKind::next)
    return trained;  // the task next splits by time
  throw OptionError(concat("--split: expected ", split_text(trained), ", with which ", path,
                           " was trained, got ", split_text(asked),
                           ": the test part would contain training users; omit both options"));
}

/// Warns if the data differs from the training data. The next-item task is tested on the last items
/// of the training sequences. Other tasks split the rows at random, so other users, or the same
/// users in another order, give another test part.
void warn_of_other_users(const PatchNote& note, const TaskData& task, const std::string& path) {
  if (task.kind == TaskKind::next) {
    if (note.test_users.empty() || task.test_hash == note.test_users) return;
    examples::say(
        "warning: {} was trained on other sequences, which may contain items of this test part\n",
        path);
  } else if (task.users != note.users) {
    examples::say(
        "warning: {} was trained on data of {} users, and this data has {}: the test part may "
        "contain training users\n",
        path, note.users, task.users);
  } else if (!note.test_users.empty() && task.test_hash != note.test_users) {
    examples::say(
        "warning: {} was trained with another test part: expected users with hash {}, got {}. The "
        "users or the order of their lines differ, and the test part may contain training users\n",
        path, note.test_users, task.test_hash);
  }
}

/// Prints the choice of --search in a file's training.
void print_search(const std::string& path, const std::optional<examples::SearchRecord>& search) {
  if (search) fmt::print("{}: the search {}\n", path, search->summary());
}

/// Files that all tasks append to.
struct Outputs {
  examples::RunLog log;
  examples::RanksFile ranks;
};

/// Prints and logs the figures of each recommender.
void print(const TaskData& task, const std::vector<Reference>& measured, const Options& options,
           Outputs& outputs) {
  for (const Reference& each : measured) {
    const Figures figures = measure_test(task, options, each, options.run.seed, outputs.ranks);
    const std::string method = each.title == own_head ? "base" : each.title;
    fmt::print("\n{}: {}\n{}\n", task.name, method, figures.text());
    std::vector<MetricLog::Number> numbers;
    for (const Figure& figure : figures.list()) numbers.emplace_back(figure.field, figure.value);
    const std::vector<MetricLog::Text> texts{{"task", task.name}, {"method", method}};
    outputs.log.write(numbers, texts);
  }
}

/// A task to measure, and its patch set; null for the base's own scores.
struct Measured {
  TaskData task;
  std::string path = {};
  std::unique_ptr<PatchSet> patch = {};
};

Measured without_patch(const LoadedBase& base, const RawData& raw, const Options& options) {
  expect_held_out(base, "evaluate without --patch");
  if (!base.network->is_causal())
    throw OptionError(
        "evaluate: expected a causal base or --patch, got a non-causal base, which has no "
        "next-item scores");
  expect_length(raw, options.data);
  return {.task = task_data(raw, base.vocabulary, next_task, options.data)};
}

Measured with_patch(const std::string& path, const LoadedBase& base, const RawData& raw,
                    const Options& options) {
  LoadedPatch patch = load_patch_set(path, base);
  const PatchNote& note = patch.note;
  print_search(path, note.search);
  if (task_kind(note.task) == TaskKind::next) expect_held_out(base, path);
  TaskData task =
      task_data(raw, base.vocabulary, note.task, options_of(note, path, options), &note.targets);
  warn_of_other_users(note, task, path);
  return {.task = std::move(task), .path = path, .patch = std::move(patch.set)};
}

void measure(const Measured& measured, const LoadedBase& base, const Options& options,
             Outputs& outputs) {
  std::vector<Reference> all = references(measured.task, *base.network);
  if (measured.patch != nullptr) {
    all.insert(all.begin(),
               {measured.path, scorer_of(measured.task, *base.network, *measured.patch)});
  }
  print(measured.task, all, options, outputs);
}

}  // namespace

Outcome evaluate(const Options& options) {
  examples::CommandFiles files = common_files(options);
  files.read.push_back({"--model", options.base_file});
  for (const std::string& path : options.patch_files) files.read.push_back({"--patch", path});
  examples::expect_files(files);
  Outputs outputs{.log = examples::RunLog(options.run.log),
                  .ranks = examples::RanksFile(options.run.ranks)};
  const LoadedBase base = load_base(options.base_file, examples::device_of(options.run));
  const RawData raw = read_data(options.data);
  print_search(options.base_file, base.note.search);
  // Everything is read first, so that an error in one file is reported before another is measured.
  std::vector<Measured> all;
  Identity own{{"base", base.hash},
               {"data", examples::hash_of(raw.behaviour.source)},
               {"target data", examples::hash_of(raw.behaviour.target)}};
  if (options.patch_files.empty()) all.push_back(without_patch(base, raw, options));
  std::set<std::string> known;
  for (const std::string& path : options.patch_files) {
    if (!known.insert(path).second)
      throw OptionError("--patch: expected each file once, got " + path + " twice");
    all.push_back(with_patch(path, base, raw, options));
    own.emplace_back("patch " + path, content_hash(*all.back().patch));
  }
  options.run.processes->expect_same(std::move(own));
  for (const Measured& each : all) measure(each, base, options, outputs);
  return Outcome::done;
}

}  // namespace refrain::peterrec
