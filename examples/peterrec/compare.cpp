#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <filesystem>
#include <map>
#include <numeric>

#include "common/behaviour.hpp"
#include "common/concat.hpp"
#include "common/device.hpp"
#include "common/output_files.hpp"
#include "common/run_log.hpp"
#include "common/saved_config.hpp"
#include "common/standard_streams.hpp"
#include "common/temporary_folder.hpp"
#include "generator.hpp"
#include "peterrec/commands.hpp"
#include "peterrec/recommendation.hpp"
#include "peterrec/training.hpp"

namespace refrain::peterrec {
namespace {

/// One line of the table.
struct Line {
  std::string task;
  std::string method;
  double share = 1;           ///< of the training examples
  std::int64_t trained = -1;  ///< parameters; -1: nothing is trained
  double seconds_per_epoch = 0;
  std::int64_t epochs = 0;
  std::vector<std::pair<std::string, double>> figures;
  /// of the figures over seeds: standard deviation (n - 1); empty for one seed
  std::vector<double> spread;
};

std::vector<std::pair<std::string, double>> figures_of(const Figures& figures) {
  if (figures.kind == TaskKind::profile) {
    return {{"accuracy", figures.accuracy->value()}, {"cross-entropy", figures.cross_entropy}};
  }
  return {{"HR@5 sampled", figures.sampled->hr(5)},
          {"MRR@5 sampled", figures.sampled->mrr(5)},
          {"HR@5 full", figures.full->hr(5)},
          {"MRR@5 full", figures.full->mrr(5)}};
}

void print_table(const TaskData& task, const std::vector<Line>& lines, std::int64_t base_parameters,
                 const Protocols& protocols, std::int64_t seeds) {
  fmt::print("\nTask {}: {} training, {} validation, {} test examples, {} targets\n", task.name,
             with_commas(task.train.size()), with_commas(task.valid.size()),
             with_commas(task.test.size()), with_commas(task.targets.size()));
  if (task.kind == TaskKind::profile) {
    fmt::print(
        "Figures on the test part: share of users whose class is right; cross-entropy in nats.\n");
  } else {
    const Rankings ranked = rankings(task, task.test, protocols);
    fmt::print("Figures on the test part, of two protocols: {}; {}.\n", ranked.sampled.text(),
               ranked.full.text());
    if (!ranked.note.empty()) fmt::print("Sampled: {}.\n", ranked.note);
  }
  if (seeds > 1) fmt::print("Means over {} seeds of fine-tuning, below them the spread.\n", seeds);
  fmt::print("\n{:<24} {:>6} {:>12} {:>9} {:>8} {:>7}", "method", "data", "trained", "of base",
             "s/epoch", "epochs");
  for (const auto& [name, value] : lines.front().figures) fmt::print(" {:>14}", name);
  fmt::print("\n");
  for (const Line& line : lines) {
    fmt::print("{:<24} {:>5.0f}%", line.method, 100 * line.share);
    if (line.trained < 0) {
      fmt::print(" {:>12} {:>9} {:>8} {:>7}", "-", "-", "-", "-");
    } else {
      fmt::print(" {:>12} {:>8.1f}% {:>8.2f} {:>7}", with_commas(line.trained),
                 100 * static_cast<double>(line.trained) / static_cast<double>(base_parameters),
                 line.seconds_per_epoch, line.epochs);
    }
    for (const auto& [name, value] : line.figures) fmt::print(" {:>14.4f}", value);
    fmt::print("\n");
    if (line.spread.empty()) continue;
    fmt::print("{:<70}", "  +-");
    for (const double value : line.spread) fmt::print(" {:>14.4f}", value);
    fmt::print("\n");
  }
  examples::flush_output();
}

void write(examples::RunLog& log, const Line& line) {
  std::vector<MetricLog::Number> numbers{{"share", line.share},
                                         {"trained", static_cast<double>(line.trained)},
                                         {"seconds_per_epoch", line.seconds_per_epoch},
                                         {"epochs", static_cast<double>(line.epochs)}};
  for (const auto& [name, value] : line.figures) numbers.emplace_back(name, value);
  const std::vector<MetricLog::Text> texts{{"task", line.task}, {"method", line.method}};
  log.write(numbers, texts);
}

/// Everything that all methods of a run share.
struct Comparison {
  const Options& options;
  const Vocabulary& vocabulary;
  const PretrainData& pretraining;
  std::shared_ptr<NextItNet> base;
  examples::RunLog& log;
  Protocols protocols;

  SequenceForm form() const {
    return {.length = options.data.length, .placement = placement_of(*base)};
  }

  /// One training of a method; with several learning rates the one that is best on the validation
  /// part. An interrupted one ends it at once.
  TrainReport train(const TaskData& task, const Method& method, const TransferExamples& examples,
                    std::uint64_t seed, std::unique_ptr<TaskNetwork>& network) {
    std::vector<double> rates = options.compare.learning_rates;
    if (rates.empty()) rates.push_back(options.finetune.learning_rate);
    const bool is_profile = task.kind == TaskKind::profile;
    SourceTask joint;
    if (method.joint) joint = {&pretraining, &vocabulary, &options.base};
    TrainReport best;
    for (const double rate : rates) {
      Random random(seed, 0x7461736B);
      auto candidate = std::make_unique<TaskNetwork>(
          base, method, options.task,
          models::HeadOptions{.targets = task.targets.size(),
                              .loss = head_loss(is_profile, options.task)},
          random);
      TrainOptions training = options.finetune;
      training.learning_rate = rate;
      const TrainReport report = train_task(*candidate, task, examples, options.task, training,
                                            options.data.length, protocols,
                                            {.label = task.name + ", " + method.title,
                                             .state_file = {},
                                             .setting = {},
                                             .log = &log,
                                             .seed = seed,
                                             .device = base->device(),
                                             .is_one_of_many = true},
                                            joint);
      if (report.interrupted) return report;
      // Of a profile task the figure is a cross-entropy.
      if (network == nullptr || (is_profile ? report.best < best.best : report.best > best.best)) {
        best = report;
        network = std::move(candidate);
      }
    }
    return best;
  }

  /// Trains a method with every seed; the network of the last seed stays for printing. Nothing when
  /// it was interrupted: means over other seeds or of a network half trained would stand in the log
  /// as the method's.
  std::optional<Line> run(const TaskData& task, const Method& method, double share,
                          std::unique_ptr<TaskNetwork>& last) {
    Line line;
    line.task = task.name;
    line.method = method.title;
    line.share = share;
    std::vector<std::vector<std::pair<std::string, double>>> of_seed;
    for (std::int64_t s = 0; s < options.compare.seeds; ++s) {
      const std::uint64_t seed = options.run.seed + static_cast<std::uint64_t>(s);
      const TransferExamples examples = share < 1 ? few(task.train, share, seed) : task.train;
      last.reset();
      const TrainReport report = train(task, method, examples, seed, last);
      if (report.interrupted) return std::nullopt;
      of_seed.push_back(figures_of(measure(task, task.test, form(), protocols, scorer_of(*last))));
      line.trained = last->trainable_count();
      line.seconds_per_epoch += report.seconds_per_epoch;
      line.epochs += report.epochs;
    }
    const double seeds = static_cast<double>(options.compare.seeds);
    line.figures = of_seed.front();
    for (std::size_t i = 0; i < line.figures.size(); ++i) {
      double sum = 0, squares = 0;
      for (const auto& figures : of_seed) sum += figures[i].second;
      const double mean = line.figures[i].second = sum / seeds;
      for (const auto& figures : of_seed)
        squares += (figures[i].second - mean) * (figures[i].second - mean);
      if (of_seed.size() > 1) line.spread.push_back(std::sqrt(squares / (seeds - 1)));
    }
    line.seconds_per_epoch /= seeds;
    line.epochs = (line.epochs + options.compare.seeds / 2) / options.compare.seeds;
    write(log, line);
    return line;
  }
};

/// A user's history, what the user took in truth, and what three recommenders say.
void print_users(const TaskData& task, const Comparison& comparison, const std::string& method,
                 const TaskNetwork& network, const RawData& raw) {
  if (comparison.options.compare.show_users <= 0) return;
  fmt::print("\nUsers of the test part, task {}\n", task.name);
  std::vector<std::int64_t> rows = task.test.source;
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  const Scorer learned = scorer_of(network);
  const Scorer popular = popularity_scorer(task);
  const Scorer random = random_scorer(task, comparison.protocols.seed);
  const std::size_t count =
      std::min(rows.size(), static_cast<std::size_t>(comparison.options.compare.show_users));
  for (std::size_t i = 0; i < count; ++i) {
    const std::vector<std::int64_t> row{rows[i]};
    const std::span<const std::int32_t> history = task.sources[row[0]];
    fmt::print("\nUser {}, the last of {} items:\n", i + 1, history.size());
    for (const std::int32_t id : history.last(std::min<std::size_t>(6, history.size()))) {
      fmt::print("    {}\n", described(comparison.vocabulary.name(id), raw.titles));
    }
    fmt::print("  in truth:");
    std::vector<std::int32_t> truth;
    for (std::size_t e = 0; e < task.test.source.size(); ++e) {
      if (task.test.source[e] == row[0]) truth.push_back(task.test.target[e]);
    }
    for (const std::int32_t id : truth)
      fmt::print("  {}", described(task.targets.name(id), raw.titles));
    fmt::print("\n");
    const Tensor ids =
        tcl_batch(task.sources, row, comparison.options.data.length, comparison.form().placement);
    const std::int64_t shown = task.kind == TaskKind::profile ? 1 : 5;
    for (const auto& [title, scorer] :
         {std::pair{method.c_str(), &learned},
          {task.kind == TaskKind::profile ? "most frequent" : "most popular", &popular},
          {"random", &random}}) {
      fmt::print("  {}:\n", title);
      for (const Recommended& item : best((*scorer)(ids, row), shown, 0, task.seen[row[0]])) {
        const bool hit = std::find(truth.begin(), truth.end(), item.id) != truth.end();
        fmt::print("    {} {}\n", hit ? "*" : " ",
                   described(task.targets.name(item.id), raw.titles));
      }
    }
  }
  fmt::print("\n(* = {})\n",
             task.kind == TaskKind::profile ? "right" : "what the user took in truth");
}

}  // namespace

Outcome compare(const Options& given) {
  Options options = given;
  const bool is_pretrained =
      !options.base_file.empty() && std::filesystem::exists(options.base_file);
  examples::CommandFiles files = common_files(options);
  if (!options.base_file.empty()) {
    (is_pretrained ? files.read : files.replaced).push_back({"--base", options.base_file});
  }
  examples::expect_files(files);
  std::optional<examples::TemporaryFolder> folder;
  examples::RunLog log(options.run.log);
  // Tasks of one run may read the same users from different files: generated data has profiles in
  // one and targets in another.
  std::optional<RawData> transfer;
  if (options.compare.generate) {
    if (!options.data.files.empty())
      throw OptionError("--generate makes its own data: leave --data out");
    folder.emplace("peterrec");
    const examples::GeneratedFiles generated =
        examples::generate(folder->path(), {.seed = options.run.seed});
    options.data.files = {generated.sequences};
    options.data.profiles = generated.profiles;
    options.data.titles = generated.titles;
    DataOptions second = options.data;
    second.files = {generated.transfer};
    second.format = "transfer_csv";
    transfer = read_data(second);
    if (options.task.names.empty()) options.task.names = {"gender", "items"};
    fmt::print(
        "Generated users with a latent profile, sequences with long-range and periodic structure, "
        "and a second domain.\n");
  }
  if (options.task.names.empty())
    throw OptionError("--task: expected at least one of an attribute of --profiles, items, next");
  examples::expect_split(options.data.split);
  for (const std::string& name : options.task.names) {
    expect_task_name(name);
    options.data.hold_out_last = options.data.hold_out_last || task_kind(name) == TaskKind::next;
  }
  const RawData raw = read_data(options.data);
  expect_length(raw, options.data);

  std::shared_ptr<NextItNet> base;
  Vocabulary vocabulary;
  if (is_pretrained) {
    LoadedBase loaded = load_base(options.base_file, examples::device_of(options.run));
    if (options.data.hold_out_last) expect_held_out(loaded, "--task next");
    base = loaded.network;
    vocabulary = std::move(loaded.vocabulary);
    options.base.causal = base->is_causal();
    options.base.loss = base->options().relu ? "softmax" : "sampled";
  } else {
    vocabulary = source_vocabulary(raw, options.data);
    if (!options.base_file.empty())
      examples::expect_storable(vocabulary,
                                examples::concat("--min-count ", options.data.min_count));
    Random random(options.run.seed);
    base = std::make_shared<NextItNet>(base_network_options(options.base, vocabulary), random);
    base->to(examples::device_of(options.run));
  }
  // All tasks are made first, so that a missing file is found before hours of training.
  struct Prepared {
    const RawData* raw;
    TaskData task;
  };
  std::vector<Prepared> tasks;
  for (const std::string& name : options.task.names) {
    const RawData& of_task = transfer && task_kind(name) == TaskKind::items ? *transfer : raw;
    tasks.push_back({&of_task, task_data(of_task, vocabulary, name, options.data)});
  }
  const PretrainData pretraining = pretrain_data(
      raw, vocabulary, options.data, piece_length(options.data.length, options.base.causal));
  fmt::print("Base: {} items, C = {}, {} blocks, {}, {} parameters\n",
             with_commas(vocabulary.items()), base->channels(), base->blocks(),
             base->is_causal() ? "causal" : "two-way", with_commas(base->parameter_count()));
  examples::flush_output();
  if (!is_pretrained) {
    const TrainReport report = train_base(*base, pretraining, vocabulary, options.base,
                                          options.pretrain, options.data.length,
                                          {.label = "pre-training",
                                           .state_file = {},
                                           .setting = {},
                                           .log = &log,
                                           .seed = options.run.seed,
                                           .device = base->device()});
    if (report.interrupted) {
      fmt::print(
          "interrupted in pre-training, after {} epochs: nothing was written, and the same command "
          "starts anew\n",
          report.epochs);
      return Outcome::interrupted;
    }
    fmt::print("Pre-trained on {} sequences: {} epochs of {:.1f} s, held-out loss {:.4f}\n",
               with_commas(static_cast<std::int64_t>(pretraining.split.train.size())),
               report.epochs, report.seconds_per_epoch, report.best);
    examples::flush_output();
    if (!options.base_file.empty()) {
      examples::expect_better_than_chance(report, options.base_file, {}, options.run.force);
      save_base(options.base_file, *base, vocabulary,
                {.hold_out_last = options.data.hold_out_last,
                 .length = options.data.length,
                 .text = "pre-trained by compare"});
    }
  }

  Comparison comparison{
      .options = options,
      .vocabulary = vocabulary,
      .pretraining = pretraining,
      .base = base,
      .log = log,
      .protocols = {.negatives = options.sampled_negatives, .seed = options.run.seed}};
  std::vector<std::string> chosen = options.compare.methods;
  if (chosen.empty()) {
    for (const Method& each : methods()) chosen.push_back(each.name);
  }
  std::vector<double> shares = options.compare.few_shot;
  shares.push_back(1);
  for (const auto& [of_task, task] : tasks) {
    std::vector<Line> lines;
    std::unique_ptr<TaskNetwork> shown;
    std::string shown_method;
    for (const double share : shares) {
      for (const std::string& each : chosen) {
        std::unique_ptr<TaskNetwork> network;
        std::optional<Line> line = comparison.run(task, method(each), share, network);
        if (!line) {
          if (!lines.empty())
            print_table(task, lines, base->parameter_count(), comparison.protocols,
                        options.compare.seeds);
          fmt::print(
              "\ninterrupted in task {}, {}: this method was neither evaluated nor logged, and "
              "none after it was trained\n",
              task.name, method(each).title);
          return Outcome::interrupted;
        }
        lines.push_back(std::move(*line));
        if (shown == nullptr || (share >= 1 && each == chosen.front())) {
          shown = std::move(network);
          shown_method = method(each).title;
        }
      }
    }
    const Figures frequent =
        measure(task, task.test, comparison.form(), comparison.protocols, popularity_scorer(task));
    const Figures random = measure(task, task.test, comparison.form(), comparison.protocols,
                                   random_scorer(task, options.run.seed));
    if (task.kind == TaskKind::next && base->is_causal()) {
      Line line;
      line.task = task.name;
      line.method = "the base's own head";
      line.figures = figures_of(measure(task, task.test, comparison.form(), comparison.protocols,
                                        base_scorer(*base, task)));
      write(comparison.log, line);
      lines.push_back(std::move(line));
    }
    for (const auto& [title, figures] :
         {std::pair{task.kind == TaskKind::profile ? "label frequency" : "most popular", &frequent},
          {"random", &random}}) {
      Line line;
      line.task = task.name;
      line.method = title;
      line.figures = figures_of(*figures);
      write(comparison.log, line);
      lines.push_back(std::move(line));
    }
    print_table(task, lines, base->parameter_count(), comparison.protocols, options.compare.seeds);
    print_users(task, comparison, shown_method, *shown, *of_task);
  }
  return Outcome::done;
}

}  // namespace refrain::peterrec
