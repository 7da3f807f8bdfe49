#include <fmt/core.h>

#include <algorithm>

#include "common/behaviour.hpp"
#include "common/concat.hpp"
#include "common/device.hpp"
#include "common/output_files.hpp"
#include "common/run_log.hpp"
#include "common/saved_config.hpp"
#include "common/search.hpp"
#include "peterrec/commands.hpp"
#include "peterrec/training.hpp"
#include "refrain/core/text.hpp"
#include "refrain/data/data_hash.hpp"

namespace refrain::peterrec {
namespace {

using examples::concat;

/// The file of each task.
std::vector<std::string> patch_paths(const Options& options) {
  const std::vector<std::string>& names = options.task.names;
  if (!options.patch_files.empty()) {
    if (options.patch_files.size() == names.size()) return options.patch_files;
    throw OptionError(concat("--out: expected one file per task (", names.size(), "), got ",
                             options.patch_files.size()));
  }
  std::vector<std::string> paths;
  for (std::string name : names) {
    std::replace(name.begin(), name.end(), '/', '_');  // an attribute may have any name
    paths.push_back(name + ".patch.safetensors");
  }
  return paths;
}

std::string hash_of(const TaskData& task) {
  DataHash data;
  data.add(task.targets).add(task.sources);
  for (const TransferExamples* part : {&task.training, &task.validation, &task.test}) {
    data.add(std::span<const std::int64_t>(part->source))
        .add(std::span<const std::int32_t>(part->target));
  }
  return data.text();
}

RunSetting run_setting(const Options& options, const std::string& base_hash, const PatchSet& set,
                       const TaskData& task, PatchNote note) {
  note.search.reset();  // its figures are no setting
  RunSetting setting = examples::setting_of_config(config_text(set.options(), note));
  setting.insert({{"task", task.name},
                  {"base", base_hash},
                  {"random_start", options.task.random_start ? "true" : "false"},
                  {"negatives", examples::name_of(options.task.negatives)},
                  {"rho", fmt::format("{}", options.task.rho)},
                  {"batch", concat(fine_tuning_batch(options.finetune, task.training.size()))},
                  {"seed", concat(options.run.seed)},
                  {"data", hash_of(task)}});
  examples::add_regularization(setting, options.finetune);
  if (set.options().head.smoothing > 0)
    setting["smoothing"] = fmt::format("{}", set.options().head.smoothing);
  return setting;
}

std::unique_ptr<TaskNetwork> task_network(const Options& options, const LoadedBase& base,
                                          const TaskData& task) {
  const Method shape{.insertion = options.task.insertion,
                     .two_per_block = !options.task.one_per_block};
  Random random(options.run.seed);
  return std::make_unique<TaskNetwork>(base.network, shape, options.task, task, random);
}

/// Searches the learning rate and sets it in `options`. Returns nullopt when the search was
/// interrupted.
std::optional<examples::SearchRecord> search_task(const LoadedBase& base, const TaskData& task,
                                                  const TrainPlace& place, Options& options) {
  std::optional<examples::SearchRecord> found = examples::search(
      options.search, options.finetune, place,
      [&](const examples::SearchCandidate& candidate) -> examples::SearchedTraining {
        Options own = options;
        own.finetune.learning_rate = candidate.learning_rate;
        const std::shared_ptr<TaskNetwork> network = task_network(own, base, task);
        return {network, task_training(*network, task, task.training, own, place.seed)};
      });
  if (found) options.finetune.learning_rate = found->choice().learning_rate;
  return found;
}

/// Fine-tunes one task, writes its patch file and prints the figures of the test part. Returns
/// false for an interrupted run.
bool finetune_task(Options options, const LoadedBase& base, const TaskData& task,
                   const std::string& path, examples::RunLog& log) {
  const std::unique_ptr<TaskNetwork> made = task_network(options, base, task);
  TaskNetwork& network = *made;
  PatchNote note{.task = task.name,
                 .targets = task.targets,
                 .split = options.data.split,
                 .split_seed = options.data.split_seed,
                 .users = task.users,
                 .test_users = task.test_hash,
                 .length = task.length};
  fmt::print("task {}: {} training examples, {} targets; {} of {} parameters are trained\n",
             task.name, with_commas(task.training.size()), with_commas(task.targets.size()),
             with_commas(network.trainable_count()),
             with_commas(base.network->parameter_count() + network.parameter_count()));
  TrainPlace place = examples::training_place(options.run, log, task.name, options.state_file);
  if (options.search.is_on) {
    place.setting["data"] = hash_of(task);
    note.search = search_task(base, task, place, options);
    if (!note.search) {
      examples::interrupted_search(place.label, path);
      return false;
    }
    examples::keep_search(place, *note.search);
  }
  place.setting.merge(run_setting(options, base.hash, network.task(), task, note));
  const TrainReport report = train_task(network, task, task.training, options, place);
  const Outcome outcome = examples::finish_training(
      report, path, options.state_file, options.run.force,
      [&](const std::string&) { save_patch_set(path, network.task(), base.hash, note); });
  if (outcome == Outcome::interrupted) return false;
  std::vector<Reference> shown = references(task, *base.network);
  shown.insert(shown.begin(), {"test", scorer_of(task, network)});
  for (const auto& [title, scorer] : shown)
    fmt::print("{}\n", measure(task, task.test, options.protocols(), scorer, {},
                               options.run.processes->ranks())
                           .text(title));
  return true;
}

}  // namespace

Outcome finetune(const Options& options) {
  const std::vector<std::string>& names = options.task.names;
  expect_tasks(options.task);
  examples::expect_warmup(options.finetune);
  examples::expect_share(options.finetune, options.run);
  if (options.search.is_on) examples::candidates_of(options.search);
  const std::vector<std::string> paths = patch_paths(options);
  examples::expect_split(options.data.split);
  if (names.size() > 1 && !options.state_file.empty())
    throw OptionError(concat("--resume: expected one --task, got ", names.size()));
  examples::CommandFiles files = common_files(options, examples::named_files("--out", paths));
  files.read.push_back({"--model", options.base_file});
  examples::expect_files(files);
  examples::RunLog log(options.run.log);
  const LoadedBase base = load_base(options.base_file, examples::device_of(options.run));
  for (const std::string& name : names) {
    if (task_kind(name) == TaskKind::next) expect_held_out(base, "--task next");
  }
  const RawData raw = read_data(options.data);
  expect_length(raw, options.data);
  // All tasks are created first, so that an error in one is reported before another is trained.
  std::vector<TaskData> tasks;
  for (const std::string& name : names) {
    const TaskData& task = tasks.emplace_back(task_data(raw, base.vocabulary, name, options.data));
    examples::expect_storable(task.targets,
                              task.kind == TaskKind::items
                                  ? concat("--target-min-count ", options.data.target_min_count)
                                  : "--task " + task.name);
    if (options.search.is_on)
      examples::expect_searchable(task.training.size(), task.validation.size());
  }
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (finetune_task(options, base, tasks[i], paths[i], log)) continue;
    for (std::size_t later = i + 1; later < names.size(); ++later)
      fmt::print("task {} was not trained\n", names[later]);
    return Outcome::interrupted;
  }
  return Outcome::done;
}

}  // namespace refrain::peterrec
