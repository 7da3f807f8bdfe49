#include <fmt/core.h>

#include "common/device.hpp"
#include "peterrec/commands.hpp"
#include "peterrec/training.hpp"

namespace refrain::peterrec {

Outcome finetune(const Options& options) {
  const std::vector<std::string>& names = options.task.names;
  if (names.empty()) throw OptionError("--task: expected at least one of an attribute of --profiles, items, next");
  if (!options.patch_files.empty() && options.patch_files.size() != names.size()) {
    throw OptionError(concat("--out: expected one file a task (", names.size(), "), got ", options.patch_files.size()));
  }
  if (names.size() > 1 && !options.state_file.empty()) throw OptionError("--resume: expected one task a run");
  std::optional<MetricLog> log;
  if (!options.run.log.empty()) log.emplace(options.run.log);
  const LoadedBase base = load_base(options.base_file, examples::device_of(options.run));
  for (const std::string& name : names) {
    if (task_kind(name) == TaskKind::next) expect_held_out(base);
  }
  const RawData raw = read_data(options.data);
  const Protocols protocols{.negatives = options.sampled_negatives, .seed = options.run.seed};
  for (std::size_t i = 0; i < names.size(); ++i) {
    const TaskData task = task_data(raw, base.vocabulary, names[i], options.data);
    const Method shape{.name = "finetune",
                       .title = "finetune",
                       .insertion = options.task.insertion == "serial"     ? Insertion::serial
                                    : options.task.insertion == "parallel" ? Insertion::parallel
                                                                           : Insertion::none,
                       .two_per_block = !options.task.one_per_block};
    Random random(options.run.seed);
    TaskNetwork network(base.network, shape, options.task,
                        {.targets = task.targets.size(), .loss = head_loss(task.kind == TaskKind::profile, options.task)},
                        random);
    fmt::print("task {}: {} training examples, {} targets; {} of {} parameters learn\n", task.name,
               with_commas(task.train.size()), with_commas(task.targets.size()), with_commas(network.trainable_count()),
               with_commas(base.network->parameter_count() + network.parameter_count()));
    const TrainReport report =
        train_task(network, task, task.train, options.task, options.finetune, options.data.length, protocols,
                   {.label = task.name,
                    .state_file = options.state_file,
                    .setting = concat("--task ", task.name, " --length ", options.data.length, " ", split_text(options.data),
                                      " of ", task.users, " users"),
                    .log = log ? &*log : nullptr,
                    .seed = options.run.seed,
                    .device = base.network->device()});
    const std::string path = options.patch_files.empty() ? task.name + ".patch.safetensors" : options.patch_files[i];
    const PatchNote note{.task = task.name,
                         .options = options.task,
                         .targets = task.targets,
                         .split = options.data.split,
                         .split_seed = options.data.split_seed,
                         .users = task.users,
                         .length = options.data.length};
    if (report.interrupted) {
      const Leavings left = leavings(path, options.state_file);
      if (left.writes_out) save_patch_set(path, network.task(), base.hash, note);
      fmt::print("interrupted after {} epochs of task {}: {}\n", report.epochs, task.name, left.text);
      for (std::size_t later = i + 1; later < names.size(); ++later) fmt::print("task {} was not trained\n", names[later]);
      return Outcome::interrupted;
    }
    save_patch_set(path, network.task(), base.hash, note);
    const SequenceForm form{.length = options.data.length, .placement = placement_of(*base.network)};
    fmt::print("finished after {} epochs ({:.1f} s each); wrote {}\ntest: {}\n", report.epochs, report.seconds_per_epoch, path,
               measure(task, task.test, form, protocols, scorer_of(network)).text());
  }
  return Outcome::done;
}

}  // namespace refrain::peterrec
