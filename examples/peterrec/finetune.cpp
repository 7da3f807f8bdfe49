#include <fmt/core.h>

#include <algorithm>

#include "common/behaviour.hpp"
#include "common/concat.hpp"
#include "common/device.hpp"
#include "common/output_files.hpp"
#include "common/run_log.hpp"
#include "common/saved_config.hpp"
#include "peterrec/commands.hpp"
#include "peterrec/training.hpp"
#include "refrain/data/data_hash.hpp"

namespace refrain::peterrec {

namespace {

/// The file of each task.
std::vector<std::string> patch_paths(const Options& options) {
  if (!options.patch_files.empty()) return options.patch_files;
  std::vector<std::string> paths;
  for (std::string name : options.task.names) {
    std::replace(name.begin(), name.end(), '/', '_');  // an attribute may be called as it likes
    paths.push_back(name + ".patch.safetensors");
  }
  return paths;
}

examples::Setting run_setting(const Options& options, const std::string& base_hash,
                              const PatchSet& set, const TaskData& task, const PatchNote& note) {
  examples::Setting setting = examples::setting_of_config(config_text(set.options(), note));
  DataHash data;
  data.add(note.targets).add(task.sources);
  for (const TransferExamples* part : {&task.train, &task.valid, &task.test}) {
    data.add(std::span<const std::int64_t>(part->source))
        .add(std::span<const std::int32_t>(part->target));
  }
  setting.insert(
      {{"task", task.name},
       {"base", base_hash},
       {"random_start", options.task.random_start ? "true" : "false"},
       {"negatives", options.task.negatives},
       {"rho", fmt::format("{}", options.task.rho)},
       {"batch", examples::concat(fine_tuning_batch(options.finetune, task.train.size()))},
       {"l2", fmt::format("{}", options.finetune.l2)},
       {"seed", examples::concat(options.run.seed)},
       {"data", data.text()}});
  return setting;
}

}  // namespace

Outcome finetune(const Options& options) {
  const std::vector<std::string>& names = options.task.names;
  if (names.empty())
    throw OptionError("--task: expected at least one of an attribute of --profiles, items, next");
  if (!options.patch_files.empty() && options.patch_files.size() != names.size()) {
    throw OptionError(examples::concat("--out: expected one file a task (", names.size(), "), got ",
                                       options.patch_files.size()));
  }
  for (const std::string& name : names) expect_task_name(name);
  examples::expect_split(options.data.split);
  if (names.size() > 1 && !options.state_file.empty())
    throw OptionError("--resume: expected one task a run");
  const std::vector<std::string> paths = patch_paths(options);
  examples::CommandFiles files = common_files(options);
  files.read.push_back({"--base", options.base_file});
  files.replaced = examples::named_files("--out", paths);
  if (!options.state_file.empty()) files.replaced.push_back({"--resume", options.state_file});
  examples::expect_files(files);
  examples::RunLog log(options.run.log);
  const LoadedBase base = load_base(options.base_file, examples::device_of(options.run));
  for (const std::string& name : names) {
    if (task_kind(name) == TaskKind::next) expect_held_out(base, "--task next");
  }
  const RawData raw = read_data(options.data);
  expect_length(raw, options.data);
  const Protocols protocols{.negatives = options.sampled_negatives, .seed = options.run.seed};
  // All tasks are made first, so that what one lacks is told before another is trained.
  std::vector<TaskData> tasks;
  for (const std::string& name : names) {
    const TaskData& task = tasks.emplace_back(task_data(raw, base.vocabulary, name, options.data));
    examples::expect_storable(
        task.targets, task.kind == TaskKind::items
                          ? examples::concat("--target-min-count ", options.data.target_min_count)
                          : "--task " + task.name);
  }
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const TaskData& task = tasks[i];
    const Method shape{.name = "finetune",
                       .title = "finetune",
                       .insertion = options.task.insertion == "serial"     ? Insertion::serial
                                    : options.task.insertion == "parallel" ? Insertion::parallel
                                                                           : Insertion::none,
                       .two_per_block = !options.task.one_per_block};
    Random random(options.run.seed);
    TaskNetwork network(base.network, shape, options.task,
                        {.targets = task.targets.size(),
                         .loss = head_loss(task.kind == TaskKind::profile, options.task)},
                        random);
    const PatchNote note{.task = task.name,
                         .options = options.task,
                         .targets = task.targets,
                         .split = options.data.split,
                         .split_seed = options.data.split_seed,
                         .users = task.users,
                         .test_users = task.test_users,
                         .length = options.data.length};
    fmt::print("task {}: {} training examples, {} targets; {} of {} parameters learn\n", task.name,
               with_commas(task.train.size()), with_commas(task.targets.size()),
               with_commas(network.trainable_count()),
               with_commas(base.network->parameter_count() + network.parameter_count()));
    const TrainReport report = train_task(
        network, task, task.train, options.task, options.finetune, options.data.length, protocols,
        {.label = task.name,
         .state_file = options.state_file,
         .setting = run_setting(options, base.hash, network.task(), task, note),
         .log = &log,
         .seed = options.run.seed,
         .device = base.network->device()});
    const std::string& path = paths[i];
    if (report.interrupted) {
      const Leavings left = leavings(path, options.state_file);
      if (left.writes_out) save_patch_set(path, network.task(), base.hash, note);
      fmt::print("interrupted after {} epochs of task {}: {}\n", report.epochs, task.name,
                 left.text);
      for (std::size_t later = i + 1; later < names.size(); ++later)
        fmt::print("task {} was not trained\n", names[later]);
      return Outcome::interrupted;
    }
    examples::expect_better_than_chance(report, path, options.state_file, options.run.force);
    save_patch_set(path, network.task(), base.hash, note);
    const SequenceForm form{.length = options.data.length,
                            .placement = placement_of(*base.network)};
    const auto figures = [&](const Scorer& scorer) {
      return measure(task, task.test, form, protocols, scorer).text();
    };
    fmt::print("finished after {} epochs ({:.1f} s each); wrote {}\ntest: {}\n", report.epochs,
               report.seconds_per_epoch, path, figures(scorer_of(network)));
    if (task.kind == TaskKind::next && base.network->is_causal()) {
      fmt::print("the base's own head: {}\n", figures(base_scorer(*base.network, task)));
    }
    fmt::print("{}: {}\n", task.kind == TaskKind::profile ? "label frequency" : "most popular",
               figures(popularity_scorer(task)));
  }
  return Outcome::done;
}

}  // namespace refrain::peterrec
