#include <fmt/core.h>

#include "cmnrec/commands.hpp"
#include "cmnrec/experiment.hpp"
#include "common/device.hpp"
#include "common/run_log.hpp"
#include "common/standard_streams.hpp"

namespace refrain::cmnrec {
namespace {

void print(const std::string& title, const RankingMetrics& metrics, examples::RunLog& log) {
  fmt::print("\n{}: {}\n", title, text(metrics));
  const std::vector<std::pair<std::string, double>> figures = metrics.figures();
  const std::vector<MetricLog::Number> numbers(figures.begin(), figures.end());
  const std::string protocol = metrics.protocol().text();
  const std::vector<MetricLog::Text> texts{{"model", title}, {"protocol", protocol}};
  log.write(numbers, texts);
}

}  // namespace

Outcome evaluate(const Options& options) {
  examples::CommandFiles files = common_files(options);
  files.read.push_back({"--checkpoint", options.checkpoint});
  examples::expect_files(files);
  examples::RunLog log(options.run.log);
  const Device device = examples::device_of(options.run);
  SavedModel saved = load(options.checkpoint);
  saved.recommender->to(device);
  // Sequences are made and split as they were in training, so that the test part is what it has not
  // seen.
  saved.data.files = options.data.files;
  saved.data.format = options.data.format;
  saved.data.skip_bad_lines = options.data.skip_bad_lines;
  saved.data.in_file_order = options.data.in_file_order;
  const PreparedData data = prepare(read_behaviour(saved.data), saved.vocabulary, saved.data);
  print_data(data, saved.vocabulary, saved.data);
  if (data.fingerprint() != saved.fingerprint) {
    examples::say(
        "warning: {} was trained on other data: the test part drawn here may hold sequences "
        "of its training part\n",
        options.checkpoint);
  }
  const auto measured = [&](Recommender& recommender) {
    return measure(recommender, data, data.split.test, saved.vocabulary, saved.setting.length);
  };
  const Figures figures = measured(*saved.recommender);
  print(saved.setting.title(), figures.all, log);
  print(saved.setting.title(), figures.without_seen, log);
  if (saved.setting.learns()) {
    Random random(0);
    const ModelSetting popular{.model = "mostpop", .schedule = {}, .network = {}};
    const Figures baseline = measured(*make_recommender(popular, saved.vocabulary, &data, random));
    print(popular.title(), baseline.all, log);
    print(popular.title(), baseline.without_seen, log);
  }
  return Outcome::done;
}

}  // namespace refrain::cmnrec
