#include "peterrec/comparison.hpp"

#include <fmt/format.h>

#include <cmath>

namespace refrain::peterrec {
namespace {

/// Trains a method with each learning rate and returns in `network` the one that is best on the
/// validation part. An interrupted training ends the loop.
TrainReport train(const Comparison& comparison, const TaskData& task, const Method& method,
                  const TransferExamples& examples, std::uint64_t seed,
                  std::unique_ptr<TaskNetwork>& network) {
  Options options = comparison.options;
  std::vector<double> rates = options.compare.learning_rates;
  if (rates.empty()) rates.push_back(options.finetune.learning_rate);
  TrainPlace place =
      examples::training_place(options.run, comparison.log, task.name + ", " + method.title);
  place.seed = seed;
  place.is_one_of_many = true;
  TrainReport best;
  for (const double rate : rates) {
    Random random(seed, 0x7461736B);
    auto candidate =
        std::make_unique<TaskNetwork>(comparison.base, method, options.task, task, random);
    options.finetune.learning_rate = rate;
    const TrainReport report = train_task(*candidate, task, examples, options, place,
                                          method.joint ? &comparison.source : nullptr);
    if (report.interrupted) return report;
    // The figure of a profile task is a cross-entropy, for which smaller is better.
    if (network == nullptr ||
        (task.is_profile() ? report.best < best.best : report.best > best.best)) {
      best = report;
      network = std::move(candidate);
    }
  }
  return best;
}

/// Sets the means and the standard deviations of the figures over the seeds.
void average(Line& line, const std::vector<std::vector<Figure>>& of_seed) {
  const double seeds = static_cast<double>(of_seed.size());
  line.figures = of_seed.front();
  for (std::size_t i = 0; i < line.figures.size(); ++i) {
    double sum = 0, squares = 0;
    for (const auto& figures : of_seed) sum += figures[i].value;
    const double mean = line.figures[i].value = sum / seeds;
    for (const auto& figures : of_seed)
      squares += (figures[i].value - mean) * (figures[i].value - mean);
    if (of_seed.size() > 1) line.spread.push_back(std::sqrt(squares / (seeds - 1)));
  }
}

void write(examples::RunLog& log, const TaskData& task, const Line& line) {
  std::vector<MetricLog::Number> numbers{{"share", line.share},
                                         {"trained", static_cast<double>(line.trained)},
                                         {"seconds_per_epoch", line.seconds_per_epoch},
                                         {"epochs", static_cast<double>(line.epochs)}};
  for (const Figure& figure : line.figures) numbers.emplace_back(figure.column, figure.value);
  const std::vector<MetricLog::Text> texts{{"task", task.name}, {"method", line.method}};
  log.write(numbers, texts);
}

}  // namespace

std::optional<Line> run_method(const Comparison& comparison, const TaskData& task,
                               const Method& method, double share,
                               std::unique_ptr<TaskNetwork>& last) {
  const std::int64_t seeds = comparison.options.compare.seeds;
  Line line{.method = method.title, .share = share};
  std::vector<std::vector<Figure>> of_seed;
  for (std::int64_t s = 0; s < seeds; ++s) {
    const std::uint64_t seed = comparison.options.run.seed + static_cast<std::uint64_t>(s);
    const TransferExamples examples =
        share < 1 ? sample_examples(task.training, share, seed) : task.training;
    last.reset();
    const TrainReport report = train(comparison, task, method, examples, seed, last);
    if (report.interrupted) return std::nullopt;
    const Reference measured{
        share < 1 ? fmt::format("{}, {:g} % of the data", method.title, 100 * share) : method.title,
        scorer_of(task, *last)};
    of_seed.push_back(
        measure_test(task, comparison.options, measured, seed, comparison.ranks).list());
    line.trained = last->trainable_count();
    line.seconds_per_epoch += report.seconds_per_epoch / static_cast<double>(seeds);
    line.epochs += report.epochs;
  }
  average(line, of_seed);
  line.epochs = (line.epochs + seeds / 2) / seeds;
  write(comparison.log, task, line);
  return line;
}

std::vector<Line> run_references(const Comparison& comparison, const TaskData& task) {
  std::vector<Reference> measured = references(task, *comparison.base);
  measured.push_back(random_scores(task, comparison.options.run.seed));
  std::vector<Line> lines;
  for (const Reference& each : measured) {
    Line& line = lines.emplace_back(Line{.method = each.title});
    line.figures =
        measure_test(task, comparison.options, each, comparison.options.run.seed, comparison.ranks)
            .list();
    write(comparison.log, task, line);
  }
  return lines;
}

}  // namespace refrain::peterrec
