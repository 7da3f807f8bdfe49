#include <fmt/format.h>

#include "cmnrec/commands.hpp"
#include "cmnrec/experiment.hpp"
#include "common/device.hpp"
#include "common/output_files.hpp"
#include "common/run_log.hpp"
#include "common/standard_streams.hpp"
#include "refrain/train/content_hash.hpp"

namespace refrain::cmnrec {
namespace {

void print_figures(const std::string& title, const std::vector<RankingMetrics>& protocols,
                   examples::RunLog& log) {
  fmt::print("\n{}: {}\n", title, counted(protocols.front().count(), "sequence"));
  for (const RankingMetrics& metrics : protocols) {
    const std::string protocol = metrics.protocol().text();
    for (const std::int64_t k : cutoffs) {
      fmt::print("  MRR@{0:<2} {1:.4f}  HR@{0:<2} {2:.4f}  NDCG@{0:<2} {3:.4f}  ({4})\n", k,
                 metrics.mrr(k), metrics.hr(k), metrics.ndcg(k), protocol);
    }
    const std::vector<std::pair<std::string, double>> figures = metrics.figures();
    const std::vector<MetricLog::Number> numbers(figures.begin(), figures.end());
    const MetricLog::Text texts[] = {{"model", title}, {"protocol", protocol}};
    log.write(numbers, texts);
  }
}

}  // namespace

Outcome evaluate(const Options& options) {
  examples::CommandFiles files = examples::command_files(options.log, options.run);
  files.read.push_back({"--model", options.model_file});
  examples::expect_files(files);
  examples::RunLog log(options.run.log);
  const Device device = examples::device_of(options.run);
  const SavedModel saved = load(options.model_file);
  saved.model->to(device);
  if (saved.config.search)
    fmt::print("{}: the search {}\n", options.model_file, saved.config.search->summary());
  // The data is split as in training, so that the test part is unseen.
  const ModelOptions& model = saved.config.model;
  const Sequences behaviour = read_behaviour(options.log);
  const Dataset data = prepare(behaviour, saved.vocabulary, saved.config.data, model.length);
  if (fingerprint(data) != saved.config.fingerprint) {
    examples::say(
        "warning: {} was trained on other data: the test part may contain its training sequences\n",
        options.model_file);
  }
  examples::RanksFile ranks(options.run.ranks);
  const std::vector<std::string> users =
      test_users(behaviour, data, saved.config.data, model.length);
  const auto print = [&](NextItemModel& measured, const std::string& title) {
    print_figures(
        title,
        measure_test(measured, data.test, users, title, options.run, options.run.seed, ranks), log);
  };
  options.run.processes->expect_same(
      {{"model", content_hash(*saved.model)}, {"data", std::to_string(fingerprint(data))}});
  print(*saved.model, model.title() + (saved.config.search ? ", searched" : ""));
  for (const Contender each : baselines) {
    if (each == Contender::mostpop && !model.learns()) continue;
    print(*make_baseline(each, data, model.length), baseline_title(each));
  }
  return Outcome::done;
}

}  // namespace refrain::cmnrec
