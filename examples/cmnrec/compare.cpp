#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "cmnrec/commands.hpp"
#include "cmnrec/curves.hpp"
#include "cmnrec/results.hpp"
#include "common/behaviour.hpp"
#include "common/concat.hpp"
#include "common/device.hpp"
#include "common/output_files.hpp"
#include "common/run_log.hpp"
#include "common/standard_streams.hpp"
#include "common/temporary_folder.hpp"
#include "long_range.hpp"

namespace refrain::cmnrec {
namespace {

/// The runs of one model and m, one a seed.
struct Group {
  std::vector<const Run*> runs;

  const Run& first() const { return *runs.front(); }

  double mean(const std::function<double(const Run&)>& figure) const {
    double sum = 0;
    for (const Run* run : runs) sum += figure(*run);
    return sum / static_cast<double>(runs.size());
  }

  /// Standard deviation over seeds (n - 1).
  double spread(const std::function<double(const Run&)>& figure) const {
    const double centre = mean(figure);
    double sum = 0;
    for (const Run* run : runs) sum += (figure(*run) - centre) * (figure(*run) - centre);
    return runs.size() < 2 ? 0 : std::sqrt(sum / static_cast<double>(runs.size() - 1));
  }
};

std::vector<std::string> figure_names() {
  std::vector<std::string> names;
  for (const std::int64_t k : cutoffs) {
    for (const char* figure : {"MRR", "HR", "NDCG"})
      names.push_back(examples::concat(figure, "@", k));
  }
  return names;
}

/// What is to be trained, in the order of the table.
std::vector<ModelSetting> settings_of(const Options& options) {
  std::vector<ModelSetting> settings;
  const std::int64_t most =
      *std::max_element(options.compare.slots.begin(), options.compare.slots.end());
  for (const std::string& name : options.compare.models) {
    const bool is_chunked = name == "tsc" || name == "pec" || name == "exc";
    Options one = options;
    one.model = is_chunked ? "cmnrec" : name;
    one.schedule = name;
    one.slots = most;  // the memory of SRMN is as large as the largest of the others
    if (!is_chunked) {
      settings.push_back(setting_of(one));
      continue;
    }
    for (const std::int64_t slots : options.compare.slots) {
      one.slots = slots;
      schedule_of(
          name, slots,
          options.data.length);  // an m that does not fit is told before anything is trained
      settings.push_back(setting_of(one));
    }
  }
  return settings;
}

double median_seconds(const std::vector<EpochReport>& curve) {
  std::vector<double> seconds;
  for (const EpochReport& epoch : curve) seconds.push_back(epoch.training_seconds);
  if (seconds.empty()) return 0;
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

std::map<std::string, double> by_name(const RankingMetrics& metrics) {
  const std::vector<std::pair<std::string, double>> figures = metrics.figures();
  return {figures.begin(), figures.end()};
}

/// Trains and measures one model with one seed; nothing when it was interrupted.
std::optional<Run> run_one(const ModelSetting& setting, const std::string& key,
                           const PreparedData& data, const Vocabulary& vocabulary,
                           const Options& options, std::uint64_t seed, examples::RunLog& log) {
  Random random(seed);
  const std::unique_ptr<Recommender> recommender =
      make_recommender(setting, vocabulary, &data, random);
  const Device device = examples::device_of(options.run);
  recommender->to(device);
  Run run{.key = key,
          .title = setting.title(),
          .slots = setting.model == "cmnrec" ? setting.slots : 0,
          .seed = seed,
          .prediction_batch = options.prediction_batch,
          .metric = options.loss.stop_on == "ndcg" ? "NDCG@10" : "held-out loss",
          .curve = {},
          .all = {},
          .without_seen = {}};
  if (setting.learns()) {
    run.parameters = recommender->parameter_count();
    const TrainReport report = train_model(*recommender, data, vocabulary, options,
                                           {.label = fmt::format("{}, seed {}", run.label(), seed),
                                            .state_file = {},
                                            .setting = {},
                                            .log = &log,
                                            .seed = seed,
                                            .device = device,
                                            .is_one_of_many = true});
    if (report.interrupted) return std::nullopt;
    run.epochs = report.epochs;
    run.curve = report.curve;
    run.seconds_per_epoch = median_seconds(report.curve);
  }
  recommender->eval();
  const Figures figures =
      measure(*recommender, data, data.split.test, vocabulary, options.data.length);
  run.all = by_name(figures.all);
  run.without_seen = by_name(figures.without_seen);
  run.prediction_ms = prediction_ms(*recommender, data, options);
  return run;
}

void print_accuracy(const std::vector<Group>& groups, const Options& options,
                    const RankingProtocol& protocol, std::int64_t sequences) {
  fmt::print("\nAccuracy on {} test sequences ({})", with_commas(sequences), protocol.text());
  if (options.compare.seeds.size() > 1)
    fmt::print("; means over {} seeds, below them the spread", options.compare.seeds.size());
  fmt::print("\n\n{:<18}", "model");
  const std::vector<std::string> names = figure_names();
  for (const std::string& name : names) fmt::print(" {:>8}", name);
  fmt::print("\n");
  for (const Group& group : groups) {
    const auto figure = [&](const std::string& name) {
      return [&, name](const Run& run) { return run.figures(options.without_seen).at(name); };
    };
    fmt::print("{:<18}", group.first().label());
    for (const std::string& name : names) fmt::print(" {:>8.4f}", group.mean(figure(name)));
    fmt::print("\n");
    if (group.runs.size() < 2) continue;
    fmt::print("{:<18}", "  +-");
    for (const std::string& name : names) fmt::print(" {:>8.4f}", group.spread(figure(name)));
    fmt::print("\n");
  }
}

void print_times(const std::vector<Group>& groups, const Options& options) {
  const auto epoch_seconds = [](const Run& run) { return run.seconds_per_epoch; };
  const auto prediction = [](const Run& run) { return run.prediction_ms; };
  const auto srmn = std::find_if(groups.begin(), groups.end(),
                                 [](const Group& group) { return group.first().title == "SRMN"; });
  fmt::print(
      "\nTime: training per epoch, prediction per batch of {} sequences; speed-up over SRMN\n\n",
      options.prediction_batch);
  fmt::print("{:<18} {:>11} {:>7} {:>9} {:>10} {:>12} {:>9} {:>9}\n", "model", "parameters",
             "epochs", "s/epoch", "ms/batch", "ms/sequence", "training", "inference");
  for (const Group& group : groups) {
    const double seconds = group.mean(epoch_seconds);
    const double ms = group.mean(prediction);
    const bool is_trained = group.first().epochs > 0;
    const auto speed_up = [&](double slow, double fast) {
      return srmn == groups.end() || !is_trained ? std::string("-")
                                                 : fmt::format("{:.2f}x", slow / fast);
    };
    fmt::print("{:<18} {:>11} {:>7} {:>9} {:>10.3f} {:>12.4f} {:>9} {:>9}\n", group.first().label(),
               is_trained ? with_commas(group.first().parameters) : "-",
               is_trained ? fmt::format("{:.1f}", group.mean([](const Run& run) {
                 return static_cast<double>(run.epochs);
               }))
                          : "-",
               is_trained ? fmt::format("{:.2f}", seconds) : "-", ms,
               ms / static_cast<double>(options.prediction_batch),
               speed_up(srmn == groups.end() ? 0 : srmn->mean(epoch_seconds), seconds),
               speed_up(srmn == groups.end() ? 0 : srmn->mean(prediction), ms));
  }
  examples::flush_output();
}

}  // namespace

Outcome compare(const Options& given) {
  Options options = given;
  examples::CommandFiles files = common_files(options);
  if (!options.compare.curves.empty()) {
    for (const std::string& path : curve_files(options.compare.curves))
      files.appended.push_back({"--curves", path});
  }
  files.appended.push_back({"--results", options.compare.results});
  examples::expect_files(files);
  examples::RunLog log(options.run.log);
  std::optional<examples::TemporaryFolder> folder;
  if (options.compare.generate) {
    if (!options.data.files.empty())
      throw OptionError("--generate makes its own data: leave --data out");
    folder.emplace("cmnrec");
    const examples::LongRangeOptions world{.seed = options.run.seed};
    options.data.files = {folder->path() + "/sequences.txt"};
    options.data.format = "user_items";
    options.data.length = world.length - 1;
    options.data.split = {0.8, 0.05, 0.15};
    examples::generate_long_range(options.data.files[0], world);
    fmt::print(
        "Generated {} sequences of {} items.  Among the first {} is a key, one of {}; from item {} "
        "on come cues, and the item "
        "after a\n"
        "cue, the last one of the sequence among them, follows from the key.  All else is chatter. "
        " Who forgets the key can "
        "but guess:\n"
        "HR@5 = {:.2f}.  A memory keeps it, and often a GRU does; what chunks save against SRMN is "
        "time.\n",
        with_commas(world.users), world.length, world.keys_within, world.values,
        world.cues_after + 1, 5.0 / static_cast<double>(world.values));
  }
  const std::vector<ModelSetting> settings = settings_of(options);
  const Sequences behaviour = read_behaviour(options.data);
  examples::expect_length(options.data.length, examples::longest_row(behaviour));
  const Vocabulary vocabulary = vocabulary_of(behaviour, options.data);
  const PreparedData data = prepare(behaviour, vocabulary, options.data);
  const std::uint64_t fingerprint = data.fingerprint();
  print_data(data, vocabulary, options.data);

  Results results(options.compare.results);
  std::vector<Group> groups;
  std::vector<Run> in_order;
  bool is_interrupted = false;
  for (const ModelSetting& setting : settings) {
    Group group;
    for (const std::uint64_t seed : options.compare.seeds) {
      const std::string key = run_key(setting, options, fingerprint, seed);
      const Run* run = results.find(key);
      if (run == nullptr) {
        std::optional<Run> made = run_one(setting, key, data, vocabulary, options, seed, log);
        if (!made) {
          is_interrupted = true;
          break;
        }
        run = &results.add(std::move(*made));
      }
      group.runs.push_back(run);
      in_order.push_back(*run);
      if (!setting.learns()) break;  // no seed changes it
    }
    if (!group.runs.empty()) groups.push_back(std::move(group));
    if (is_interrupted) break;
  }
  if (!groups.empty()) {
    RankingProtocol protocol{.first = vocabulary.first_item(), .items = vocabulary.items()};
    protocol.without_seen = options.without_seen;
    print_accuracy(groups, options, protocol, static_cast<std::int64_t>(data.split.test.size()));
    print_times(groups, options);
    if (!options.compare.curves.empty()) write_curves(options.compare.curves, in_order);
  }
  if (!is_interrupted) return Outcome::done;
  fmt::print(
      "\ninterrupted: the run that was under way is neither measured nor kept{}\n",
      options.compare.results.empty() ? "" : "; the same command goes on behind the finished ones");
  return Outcome::interrupted;
}

}  // namespace refrain::cmnrec
