#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "cmnrec/commands.hpp"
#include "cmnrec/curves.hpp"
#include "cmnrec/experiment.hpp"
#include "common/behaviour.hpp"
#include "common/device.hpp"
#include "common/output_files.hpp"
#include "common/run_log.hpp"
#include "common/standard_streams.hpp"
#include "common/temporary_folder.hpp"
#include "long_range.hpp"

namespace refrain::cmnrec {
namespace {

/// The runs of one model and one m, one per seed.
struct Group {
  std::vector<const Run*> runs;

  const Run& first() const { return *runs.front(); }
  bool is_trained() const { return first().epochs > 0; }

  double mean(const std::function<double(const Run&)>& figure) const {
    double sum = 0;
    for (const Run* run : runs) sum += figure(*run);
    return sum / static_cast<double>(runs.size());
  }

  /// Standard deviation over seeds (n - 1).
  double spread(const std::function<double(const Run&)>& figure) const {
    const double centre = mean(figure);
    const double sum = static_cast<double>(runs.size()) *
                       mean([&](const Run& run) { return std::pow(figure(run) - centre, 2); });
    return runs.size() < 2 ? 0 : std::sqrt(sum / static_cast<double>(runs.size() - 1));
  }
};

/// A model of the table, or a baseline that counts.
struct Entry {
  Contender contender;
  ModelOptions options;

  bool learns() const { return !is_baseline(contender); }
  std::string title() const { return learns() ? options.title() : baseline_title(contender); }
  std::string key(const Options& all, std::uint64_t data_hash, std::uint64_t seed) const {
    return learns() ? run_key(options, all.with_rate(options.kind), data_hash, seed)
                    : baseline_key(examples::name_of(contender), options.length, all, data_hash);
  }
};

/// The entries in the order of the table. Throws OptionError for an invalid m.
std::vector<Entry> entries_of(const Options& options) {
  const std::vector<std::int64_t>& slots = options.compare.slots;
  std::vector<Entry> entries;
  for (const Contender contender : options.compare.models) {
    const std::string name = examples::name_of(contender);
    Options one = options;
    one.model.kind = is_baseline(contender)
                         ? ModelKind::mostpop
                         : examples::choice_of<ModelKind>(name).value_or(ModelKind::cmnrec);
    // The memory of SRMN is as large as the largest of the others.
    one.model.slots = *std::max_element(slots.begin(), slots.end());
    if (one.model.kind != ModelKind::cmnrec) {
      entries.push_back({contender, model_of(one)});
      continue;
    }
    one.model.schedule = *Schedule::parse(name);
    for (const std::int64_t m : slots) {
      one.model.slots = m;
      one.model.chunks();
      entries.push_back({contender, model_of(one)});
    }
  }
  return entries;
}

double median_seconds(const std::vector<EpochReport>& curve) {
  std::vector<double> seconds;
  for (const EpochReport& epoch : curve) seconds.push_back(epoch.training_seconds);
  std::sort(seconds.begin(), seconds.end());
  return seconds.empty() ? 0 : seconds[seconds.size() / 2];
}

/// Inputs and outputs that all runs share.
struct Shared {
  const Options& options;
  const Dataset& data;
  std::vector<std::string> test_users;
  examples::RunLog log;
  examples::RanksFile ranks;
};

/// Trains and measures one model with one seed. Returns nullopt when it was interrupted.
std::optional<Run> run_one(const Entry& entry, const std::string& key, std::uint64_t seed,
                           Shared& shared) {
  const ModelOptions& options = entry.options;
  const Options all = shared.options.with_rate(options.kind);
  const Dataset& data = shared.data;
  Random random(seed);
  const Device device = examples::device_of(all.run);
  const std::unique_ptr<NextItemModel> model =
      entry.learns() ? make_model(options, data.vocabulary.size(), random)
                     : make_baseline(entry.contender, data, options.length);
  model->to(device);
  Run run{.key = key,
          .title = entry.title(),
          .slots = options.kind == ModelKind::cmnrec ? options.slots : 0,
          .seed = seed,
          .prediction_batch = all.compare.prediction_batch,
          .metric = metric_name(all.loss.stop_on)};
  if (entry.learns()) {
    run.parameters = model->parameter_count();
    const examples::TrainReport report =
        train_model(*model, data, all,
                    {.label = fmt::format("{}, seed {}", run.label(), seed),
                     .log = &shared.log,
                     .seed = seed,
                     .device = device,
                     .is_one_of_many = true});
    if (report.interrupted) return std::nullopt;
    run.epochs = report.epochs;
    run.curve = report.curve;
    run.seconds_per_epoch = median_seconds(report.curve);
  }
  const std::vector<RankingMetrics> metrics =
      measure_test(*model, data.test, shared.test_users, run.label(), all.run, seed, shared.ranks);
  for (std::size_t protocol = 0; protocol < metrics.size(); ++protocol) {
    for (const auto& [name, figure] : metrics[protocol].figures())
      run.figures[protocol][name] = figure;
  }
  run.prediction_ms = prediction_ms(*model, data.test, run.prediction_batch);
  return run;
}

void print_accuracy(const std::vector<Group>& groups, const Options& options, const Dataset& data) {
  std::vector<std::string> names;
  for (const std::int64_t k : cutoffs) {
    for (const char* figure : {"MRR", "HR", "NDCG"})
      names.push_back(fmt::format("{}@{}", figure, k));
  }
  fmt::print("\nAccuracy on {}", counted(data.test.rows.rows(), "test sequence"));
  if (options.compare.seeds.size() > 1)
    fmt::print("; means over {} seeds, with the standard deviation below",
               options.compare.seeds.size());
  fmt::print("\n\n{:<18} {:>8}  protocol\n", "model", fmt::join(names, " "));
  const std::string protocol = EvaluateOptions{.leave_out_seen = options.without_seen}
                                   .protocol(data.vocabulary.size())
                                   .text();
  for (const Group& group : groups) {
    const auto print_line = [&](const std::string& label, auto statistic) {
      fmt::print("{:<18}", label);
      for (const std::string& name : names) {
        fmt::print(" {:>8.4f}", (group.*statistic)([&](const Run& run) {
                     return run.figures[options.without_seen ? 1 : 0].at(name);
                   }));
      }
      fmt::print("  {}\n", protocol);
    };
    print_line(group.first().label(), &Group::mean);
    if (group.runs.size() > 1) print_line("  +-", &Group::spread);
  }
}

void print_times(const std::vector<Group>& groups, std::int64_t batch) {
  const auto epoch_seconds = [](const Run& run) { return run.seconds_per_epoch; };
  const auto prediction = [](const Run& run) { return run.prediction_ms; };
  const auto epochs = [](const Run& run) { return static_cast<double>(run.epochs); };
  const auto srmn = std::find_if(groups.begin(), groups.end(),
                                 [](const Group& group) { return group.first().title == "SRMN"; });
  fmt::print(
      "\nTime: training per epoch, prediction per batch of {} sequences; speed-up over SRMN\n\n",
      batch);
  constexpr const char* line = "{:<18} {:>11} {:>7} {:>9} {:>10} {:>12} {:>9} {:>9}\n";
  fmt::print(line, "model", "parameters", "epochs", "s/epoch", "ms/batch", "ms/sequence",
             "training", "inference");
  for (const Group& group : groups) {
    const double seconds = group.mean(epoch_seconds);
    const double ms = group.mean(prediction);
    const auto if_trained = [&](std::string text) { return group.is_trained() ? text : "-"; };
    const auto speed_up = [&](const auto& time, double own) {
      return srmn == groups.end() ? "-"
                                  : if_trained(fmt::format("{:.2f}x", srmn->mean(time) / own));
    };
    fmt::print(line, group.first().label(), if_trained(with_commas(group.first().parameters)),
               if_trained(fmt::format("{:.1f}", group.mean(epochs))),
               if_trained(fmt::format("{:.2f}", seconds)), fmt::format("{:.3f}", ms),
               fmt::format("{:.4f}", ms / static_cast<double>(batch)),
               speed_up(epoch_seconds, seconds), speed_up(prediction, ms));
  }
  examples::flush_output();
}

/// Generates a log in the folder and prints a description of it.
void generate(Options& options, const std::string& folder) {
  const examples::LongRangeOptions world{.seed = options.run.seed};
  options.log.files = {folder + "/sequences.txt"};
  options.log.format = Format::user_items;
  options.model.length = world.length - 1;
  options.data.split = {0.8, 0.05, 0.15};
  examples::generate_long_range(options.log.files[0], world);
  fmt::print(
      "Generated {} sequences of {} items. The first {} items include a key, one of {}. Cues "
      "appear from item {} on;\nthe key determines the item after each cue and the last item of "
      "the sequence. All other items are noise.\nA model that forgets the key can only guess: HR@5 "
      "= {:.2f}. A memory network keeps the key, and a GRU often\ndoes. Compared with SRMN, chunks "
      "save time.\n",
      with_commas(world.users), world.length, world.keys_within, world.values, world.cues_after + 1,
      5.0 / static_cast<double>(world.values));
}

/// Trains the runs that the results do not contain. Returns true when all runs are finished.
bool run_all(const std::vector<Entry>& entries, Shared& shared, Results& results,
             std::vector<Group>& groups) {
  const Options& options = shared.options;
  const std::uint64_t data_hash = fingerprint(shared.data);
  for (const Entry& entry : entries) {
    Group group;
    for (const std::uint64_t seed : options.compare.seeds) {
      const std::string key = entry.key(options, data_hash, seed);
      const Run* run = results.find(key);
      if (run == nullptr) {
        std::optional<Run> made = run_one(entry, key, seed, shared);
        if (!made) {
          if (!group.runs.empty()) groups.push_back(std::move(group));
          return false;
        }
        run = &results.add(std::move(*made));
      }
      group.runs.push_back(run);
      if (!entry.learns()) break;  // independent of the seed
    }
    groups.push_back(std::move(group));
  }
  return true;
}

void print_tables(const std::vector<Group>& groups, const Options& options, const Dataset& data) {
  print_accuracy(groups, options, data);
  print_times(groups, options.compare.prediction_batch);
  if (options.compare.curves.empty()) return;
  std::vector<Run> runs;
  for (const Group& group : groups) {
    for (const Run* run : group.runs) runs.push_back(*run);
  }
  write_curves(options.compare.curves, runs);
}

}  // namespace

Outcome compare(const Options& given) {
  Options options = given;
  examples::expect_warmup(options.train);
  const CompareOptions& asked = options.compare;
  examples::CommandFiles files = examples::command_files(options.log, options.run);
  if (!asked.curves.empty()) {
    for (const std::string& path : curve_files(asked.curves))
      files.appended.push_back({"--curves", path});
  }
  files.appended.push_back({"--results", asked.results});
  examples::expect_files(files);
  std::optional<examples::TemporaryFolder> folder;
  if (asked.generate) {
    if (!options.log.files.empty())
      throw OptionError("--generate: expected no --data, because the data is generated");
    folder.emplace("cmnrec");
    generate(options, folder->path());
  }
  const std::vector<Entry> entries = entries_of(options);
  const Sequences behaviour = read_behaviour(options.log);
  examples::expect_length(options.model.length, examples::longest_row(behaviour));
  const Dataset data = prepare(behaviour, vocabulary_of(behaviour, options.data), options.data,
                               options.model.length);
  Results results(asked.results);
  std::vector<Group> groups;
  Shared shared{.options = options,
                .data = data,
                .test_users = test_users(behaviour, data, options.data, options.model.length),
                .log = examples::RunLog(options.run.log),
                .ranks = examples::RanksFile(options.run.ranks)};
  const bool is_finished = run_all(entries, shared, results, groups);
  if (!groups.empty()) print_tables(groups, options, data);
  if (is_finished) return Outcome::done;
  fmt::print("\ninterrupted: the current run was neither measured nor saved{}\n",
             asked.results.empty() ? "" : "; the same command continues after the finished runs");
  return Outcome::interrupted;
}

}  // namespace refrain::cmnrec
