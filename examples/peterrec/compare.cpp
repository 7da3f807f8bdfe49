#include <fmt/core.h>

#include <filesystem>

#include "common/behaviour.hpp"
#include "common/concat.hpp"
#include "common/device.hpp"
#include "common/output_files.hpp"
#include "common/saved_config.hpp"
#include "common/standard_streams.hpp"
#include "common/temporary_folder.hpp"
#include "generator.hpp"
#include "peterrec/commands.hpp"
#include "peterrec/comparison.hpp"
#include "refrain/core/text.hpp"

namespace refrain::peterrec {
namespace {

/// The data of the tasks. Generated data has profiles in one file and targets in another.
struct CompareData {
  RawData raw;
  std::optional<RawData> transfer;  ///< only for generated data: the data of the task items

  const RawData& of(TaskKind kind) const {
    return transfer && kind == TaskKind::items ? *transfer : raw;
  }
};

/// Generates the data and sets its files as options.
RawData generate_data(Options& options, const std::string& folder) {
  if (!options.data.files.empty())
    throw OptionError("--generate: expected no --data, because the data is generated");
  const examples::GeneratedFiles generated = examples::generate(folder, {.seed = options.run.seed});
  options.data.files = {generated.sequences};
  options.data.profiles = generated.profiles;
  options.data.titles = generated.titles;
  if (options.task.names.empty()) options.task.names = {"gender", "items"};
  fmt::print(
      "Generated users with a latent profile, sequences with long-range and periodic structure, "
      "and a second domain.\n");
  DataOptions second = options.data;
  second.files = {generated.transfer};
  second.format = Format::transfer_csv;
  return read_data(second);
}

CompareData read_compare_data(Options& options) {
  CompareData data;
  std::optional<examples::TemporaryFolder> folder;
  if (options.compare.generate)
    data.transfer = generate_data(options, folder.emplace("peterrec").path());
  expand_tasks(options);
  expect_tasks(options.task);
  examples::expect_split(options.data.split);
  for (const std::string& name : options.task.names) {
    options.data.hold_out_last = options.data.hold_out_last || task_kind(name) == TaskKind::next;
  }
  data.raw = read_data(options.data);
  expect_length(data.raw, options.data);
  return data;
}

/// Loads the base of --model and sets its loss and direction as options.
NewBase stored_base(Options& options) {
  LoadedBase loaded = load_base(options.base_file, examples::device_of(options.run));
  if (options.data.hold_out_last) expect_held_out(loaded, "--task next");
  options.base.causal = loaded.network->is_causal();
  options.base.loss =
      loaded.network->options().relu ? PretrainLoss::softmax : PretrainLoss::sampled;
  return {loaded.network, std::move(loaded.vocabulary)};
}

/// Pre-trains the base and writes it to --model. Returns false for an interrupted run.
bool pretrain_base(const Comparison& comparison) {
  const Options& options = comparison.options;
  const TrainReport report =
      train_base(*comparison.base, comparison.source, options.pretrain,
                 examples::training_place(options.run, comparison.log, "pre-training"));
  const std::string epochs = counted(report.epochs, "epoch");
  if (report.interrupted) {
    fmt::print(
        "interrupted in pre-training after {}: nothing was written, and the same command starts "
        "from the beginning\n",
        epochs);
    return false;
  }
  fmt::print("Pre-trained on {} sequences: {} of {:.1f} s, held-out loss {:.4f}\n",
             with_commas(std::ssize(comparison.source.data.split.train)), epochs,
             report.seconds_per_epoch, report.best);
  examples::flush_output();
  if (options.base_file.empty()) return true;
  examples::expect_better_than_chance(report, options.base_file, {}, options.run.force);
  save_base(options.base_file, *comparison.base, comparison.source.vocabulary,
            {.hold_out_last = options.data.hold_out_last,
             .length = options.data.length,
             .text = "pre-trained by compare"});
  return true;
}

/// What compare prints of a task.
struct TaskTable {
  std::vector<Line> lines;
  std::string users{};  ///< recommendations to some users
};

/// Trains and measures the methods on all tasks and adds their lines to the table of each. Returns
/// false for an interrupted run.
bool run_methods(const Comparison& comparison, const CompareData& data,
                 std::span<const TaskData> tasks, std::span<TaskTable> tables) {
  const Options& options = comparison.options;
  std::vector<MethodName> chosen = options.compare.methods;
  if (chosen.empty()) {
    for (const auto& each : examples::choices<MethodName>) chosen.push_back(each.value);
  }
  std::vector<double> shares = options.compare.few_shot;
  shares.push_back(1);
  const InterruptGuard guard;
  for (const double share : shares) {
    for (const MethodName name : chosen) {
      const Method& own = method(name);
      const std::size_t step = is_one_pass(options, own) ? tasks.size() : 1;
      for (std::size_t first = 0; first < tasks.size(); first += step) {
        const MethodResult result = run_method(comparison, tasks.subspan(first, step), own, share);
        for (std::size_t i = 0; i < result.tasks.size(); ++i) {
          const TaskData& task = tasks[first + i];
          TaskTable& table = tables[first + i];
          const auto& [line, network] = result.tasks[i];
          table.lines.push_back(line);
          if (!table.users.empty() && (share < 1 || name != chosen.front())) continue;
          table.users = users_text(comparison, task, {own.title, scorer_of(task, *network)},
                                   data.of(task.kind).titles);
        }
        if (result.is_complete && !InterruptGuard::requested()) continue;
        fmt::print("\ninterrupted in {}{}: incomplete results are in no table\n",
                   step == 1 ? "task " + tasks[first].name + ", " : "", own.title);
        return false;
      }
    }
  }
  return true;
}

/// Trains, measures and prints the methods on all tasks. Returns false for an interrupted run, of
/// which only the complete results are printed.
bool compare_methods(const Comparison& comparison, const CompareData& data,
                     std::span<const TaskData> tasks) {
  std::vector<TaskTable> tables(tasks.size());
  const bool is_complete = run_methods(comparison, data, tasks, tables);
  std::vector<std::vector<Line>> of_profiles;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const TaskData& task = tasks[i];
    auto& [lines, users] = tables[i];
    if (lines.empty()) continue;
    if (is_complete) {
      for (Line& line : run_references(comparison, task)) lines.push_back(std::move(line));
    }
    print_table(comparison, task, lines);
    if (!is_complete) continue;
    fmt::print("{}", users);
    if (task.is_profile()) of_profiles.push_back(std::move(lines));
  }
  if (of_profiles.size() > 1) print_summary(of_profiles);
  return is_complete;
}

}  // namespace

Outcome compare(const Options& given) {
  Options options = given;
  examples::expect_warmup(options.pretrain, "pretrain-");
  examples::expect_warmup(options.finetune);
  const bool is_pretrained =
      !options.base_file.empty() && std::filesystem::exists(options.base_file);
  examples::CommandFiles files = common_files(options);
  if (!options.base_file.empty())
    (is_pretrained ? files.read : files.replaced).push_back({"--model", options.base_file});
  examples::expect_files(files);
  examples::RunLog log(options.run.log);
  const CompareData data = read_compare_data(options);
  const NewBase base = is_pretrained ? stored_base(options) : new_base(options, data.raw);
  const std::vector<TaskData> tasks = make_tasks(
      [&](const std::string& name) -> const RawData& { return data.of(task_kind(name)); },
      base.vocabulary, options);
  const PretrainData pretraining =
      pretrain_data(data.raw, base.vocabulary, options.data, options.base.causal);
  const NextItNet& network = *base.network;
  fmt::print("Base: {} items, C = {}, {}, {}, {} parameters\n",
             with_commas(base.vocabulary.items()), network.channels(),
             counted(network.blocks(), "block"), network.is_causal() ? "causal" : "non-causal",
             with_commas(network.parameter_count()));
  examples::flush_output();
  examples::RanksFile ranks(options.run.ranks);
  const Comparison comparison{
      options, {pretraining, base.vocabulary, options.base}, base.network, log, ranks};
  if (!is_pretrained && !pretrain_base(comparison)) return Outcome::interrupted;
  return compare_methods(comparison, data, tasks) ? Outcome::done : Outcome::interrupted;
}

}  // namespace refrain::peterrec
