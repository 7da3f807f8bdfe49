#include <fmt/core.h>

#include <algorithm>

#include "common/behaviour.hpp"
#include "common/concat.hpp"
#include "common/device.hpp"
#include "common/output_files.hpp"
#include "common/run_log.hpp"
#include "common/saved_config.hpp"
#include "common/search.hpp"
#include "common/standard_streams.hpp"
#include "peterrec/commands.hpp"
#include "peterrec/together.hpp"
#include "refrain/core/text.hpp"
#include "refrain/data/data_hash.hpp"

namespace refrain::peterrec {
namespace {

using examples::concat;

/// The names of tasks as parts of file names. An attribute may have any name, so each '/' becomes
/// '_', or %2F where another task has that name.
std::vector<std::string> file_names(const std::vector<std::string>& tasks) {
  std::vector<std::string> names;
  for (std::string name : tasks) {
    std::replace(name.begin(), name.end(), '/', '_');
    names.push_back(std::move(name));
  }
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (names[i] == tasks[i] || std::ranges::count(names, names[i]) == 1) continue;
    names[i].clear();
    for (const char each : tasks[i]) names[i] += each == '/' ? "%2F" : std::string(1, each);
  }
  return names;
}

/// The file of each task.
std::vector<std::string> patch_paths(const Options& options) {
  const std::vector<std::string>& names = options.task.names;
  if (!options.patch_files.empty()) {
    if (options.patch_files.size() == names.size()) return options.patch_files;
    throw OptionError(concat("--out: expected one file per task (", names.size(), "), got ",
                             options.patch_files.size()));
  }
  std::vector<std::string> paths;
  for (const std::string& name : file_names(names)) paths.push_back(name + ".patch.safetensors");
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

/// One task of the command: its data, file and network.
struct Job {
  const TaskData* task = nullptr;
  std::string path{};
  Options options{};  ///< with the learning rate of the task's search
  std::unique_ptr<TaskNetwork> network{};
  PatchNote note{};
  TrainPlace place{};
  bool is_quiet = false;  ///< one of so many that the table alone shows it
  bool has_begun = false;
  std::string error{};                         ///< why no file was written
  bool is_shared_error = true;                 ///< all processes have the error
  std::int64_t epochs = 0;                     ///< of a finished training
  std::vector<Figure> figures{};               ///< of a finished training, on the test part
  std::vector<std::vector<Figure>> counted{};  ///< those of the references

  bool is_trained() const { return !figures.empty() && error.empty(); }
};

/// Searches the learning rate and sets it in the job. Returns false when the search was
/// interrupted.
bool search_task(const LoadedBase& base, Job& job) {
  job.note.search = examples::search(
      job.options.search, job.options.finetune, job.place,
      [&](const examples::SearchCandidate& candidate) -> examples::SearchedTraining {
        Options own = job.options;
        own.finetune.learning_rate = candidate.learning_rate;
        const std::shared_ptr<TaskNetwork> network = task_network(own, base, *job.task);
        return {network,
                task_training(*network, *job.task, job.task->training, own, job.place.seed)};
      });
  if (!job.note.search) return false;
  job.options.finetune.learning_rate = job.note.search->choice().learning_rate;
  examples::keep_search(job.place, *job.note.search);
  return true;
}

/// Creates the network of a job and its place of training, after a search if one is asked for.
/// Returns false when the search was interrupted.
bool prepare(const LoadedBase& base, examples::RunLog& log, Job& job) {
  const TaskData& task = *job.task;
  const Options& options = job.options;
  job.network = task_network(options, base, task);
  job.note = {.task = task.name,
              .targets = task.targets,
              .split = options.data.split,
              .split_seed = options.data.split_seed,
              .users = task.users,
              .test_users = task.test_hash,
              .length = task.length};
  if (!job.is_quiet)
    fmt::print("task {}: {} training examples, {} targets; {} of {} parameters are trained\n",
               task.name, with_commas(task.training.size()), with_commas(task.targets.size()),
               with_commas(job.network->trainable_count()),
               with_commas(base.network->parameter_count() + job.network->parameter_count()));
  job.place = examples::training_place(options.run, log, task.name, options.state_file);
  if (options.search.is_on) {
    job.place.setting["data"] = hash_of(task);
    if (!search_task(base, job)) {
      examples::interrupted_search(job.place.label, job.path);
      return false;
    }
  }
  job.place.setting.merge(run_setting(job.options, base.hash, job.network->task(), task, job.note));
  return true;
}

/// Writes the patch file of a trained job.
Outcome save(const LoadedBase& base, Job& job, const TrainReport& report) {
  return examples::finish_training(
      report, job.path, job.options.state_file, job.options.run.force, [&](const std::string&) {
        save_patch_set(job.path, job.network->task(), base.hash, job.note);
      });
}

/// Prints the figures of a job on the test part, beside those of the references.
void print_figures(const LoadedBase& base, const Job& job) {
  std::vector<Reference> shown = references(*job.task, *base.network);
  shown.insert(shown.begin(), {"test", scorer_of(*job.task, *job.network)});
  for (const auto& [title, scorer] : shown) {
    fmt::print("{}\n", measure(*job.task, job.task->test, job.options.protocols(), scorer, {},
                               job.options.run.processes->ranks())
                           .text(title));
  }
}

/// Prints the tasks whose training has not begun.
void print_untrained(const std::vector<Job>& jobs) {
  constexpr std::int64_t most = 5;
  std::int64_t count = 0;
  std::string names;
  for (const Job& job : jobs) {
    if (job.has_begun) continue;
    if (++count <= most) names += (names.empty() ? "" : ", ") + job.task->name;
  }
  if (count == 0) return;
  fmt::print("{} not trained: {}{}\n",
             count == 1 ? "1 task was" : fmt::format("{} tasks were", count), names,
             count > most ? ", ..." : "");
}

/// Trains the jobs one after the other.
Outcome train_in_turn(const LoadedBase& base, examples::RunLog& log, std::vector<Job>& jobs) {
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    Job& job = jobs[i];
    job.has_begun = true;
    if (prepare(base, log, job) && save(base, job,
                                        train_task(*job.network, *job.task, job.task->training,
                                                   job.options, job.place)) == Outcome::done) {
      print_figures(base, job);
      continue;
    }
    print_untrained(jobs);
    return Outcome::interrupted;
  }
  return Outcome::done;
}

Figures test_figures(const Job& job, const Scorer& scorer) {
  return measure(*job.task, job.task->test, job.options.protocols(), scorer, {},
                 job.options.run.processes->ranks());
}

/// Prints a line for each trained job: its figures on the test part and those of a reference that
/// counts.
void print_table(const std::vector<Job>& jobs) {
  std::size_t width = 4;
  for (const Job& job : jobs) width = std::max(width, job.task->name.size());
  fmt::print("\n{:<{}} {:>9} {:>8} {:>7}  {}\n", "task", width, "training", "targets", "epochs",
             "figures of the test part (in brackets: most frequent target, baselines that count)");
  for (const Job& job : jobs) {
    if (!job.is_trained()) continue;
    fmt::print("{:<{}} {:>9} {:>8} {:>7}", job.task->name, width,
               with_commas(job.task->training.size()), with_commas(job.task->targets.size()),
               job.epochs);
    for (std::size_t i = 0; i < job.figures.size(); ++i) {
      std::string counted;
      for (const std::vector<Figure>& each : job.counted)
        counted += fmt::format("{}{:.4f}", counted.empty() ? "" : ", ", each[i].value);
      fmt::print("  {} {:.4f} ({})", job.figures[i].column, job.figures[i].value, counted);
    }
    fmt::print("\n");
  }
  examples::flush_output();
}

/// Measures a trained job and writes its file; drops its network.
void finish(const LoadedBase& base, Job& job, TrainedTask trained) {
  job.has_begun = true;
  job.error = std::move(trained.error);
  if (!job.error.empty()) return;
  job.network = std::move(trained.network);
  if (!trained.report.interrupted) {
    job.figures = test_figures(job, scorer_of(*job.task, *job.network)).list();
    for (const Reference& reference : references(*job.task, *base.network))
      job.counted.push_back(test_figures(job, reference.scorer).list());
    job.epochs = trained.report.epochs;
  }
  try {
    save(base, job, trained.report);
  } catch (const OptionError& error) {  // the other tasks go on
    job.error = error.what();
  } catch (const Error& error) {
    job.error = error.what();
    job.is_shared_error = false;
  }
  job.network.reset();
}

/// Trains the jobs in one pass, at most TaskOptions::at_once at a time.
Outcome train_in_one_pass(const LoadedBase& base, examples::RunLog& log, std::vector<Job>& jobs) {
  std::vector<PreparedTask> prepared;
  for (Job& job : jobs) {
    if (!prepare(base, log, job)) return Outcome::interrupted;
    job.place.is_one_of_many = true;
    job.place.is_quiet = true;
    prepared.push_back(
        {.network = [&base, &job] { return task_network(job.options, base, *job.task); },
         .parameters = job.network->parameter_count(),
         .task = job.task,
         .examples = &job.task->training,
         .options = &job.options,
         .place = job.place});
    job.network.reset();
  }
  const std::int64_t at_once = choose_tasks_at_once(jobs.front().options, *base.network, prepared);
  train_together(*base.network, "fine-tuning", prepared, at_once, [&](TrainedTask trained) {
    Job& job = jobs[trained.number];
    finish(base, job, std::move(trained));
  });
  bool is_interrupted = false;
  bool has_trained = false, is_shared_error = true;
  std::string failed;
  for (const Job& job : jobs) {
    has_trained = has_trained || job.is_trained();
    if (!job.error.empty()) {
      failed += fmt::format("{}task {}: {}", failed.empty() ? "" : "\n", job.task->name, job.error);
      is_shared_error = is_shared_error && job.is_shared_error;
    } else if (!job.is_trained()) {
      is_interrupted = true;
    }
  }
  print_untrained(jobs);
  if (has_trained) print_table(jobs);
  if (!failed.empty() && is_shared_error) throw DivergedError(failed);
  if (!failed.empty()) throw Error(failed);
  return is_interrupted ? Outcome::interrupted : Outcome::done;
}

}  // namespace

Outcome finetune(const Options& given) {
  Options options = given;
  expand_tasks(options);
  const std::vector<std::string>& names = options.task.names;
  expect_tasks(options.task);
  examples::expect_warmup(options.finetune);
  examples::expect_share(options.finetune, options.run);
  if (options.search.is_on) examples::candidates_of(options.search);
  const std::vector<std::string> paths = patch_paths(options);
  examples::expect_split(options.data.split);
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
  const std::vector<std::string> all = names;
  const std::vector<TaskData> tasks = make_tasks(
      [&](const std::string&) -> const RawData& { return raw; }, base.vocabulary, options);
  for (const TaskData& task : tasks) {
    examples::expect_storable(task.targets,
                              task.kind == TaskKind::items
                                  ? concat("--target-min-count ", options.data.target_min_count)
                                  : "--task " + task.name);
    if (options.search.is_on)
      examples::expect_searchable(task.training.size(), task.validation.size());
  }
  std::vector<Job> jobs;
  const std::vector<std::string> parts = file_names(all);
  for (const TaskData& task : tasks) {
    const std::size_t i = static_cast<std::size_t>(std::ranges::find(all, task.name) - all.begin());
    Job& job = jobs.emplace_back(Job{.task = &task, .path = paths[i], .options = options});
    job.is_quiet = tasks.size() > 10;
    if (all.size() > 1 && !options.state_file.empty())
      job.options.state_file = options.state_file + "." + parts[i];
  }
  const bool is_one_pass = jobs.size() > 1 && fits_one_pass(options, options.task.insertion);
  return is_one_pass ? train_in_one_pass(base, log, jobs) : train_in_turn(base, log, jobs);
}

}  // namespace refrain::peterrec
