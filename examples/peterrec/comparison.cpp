#include "peterrec/comparison.hpp"

#include <fmt/format.h>

#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "peterrec/together.hpp"

namespace refrain::peterrec {
namespace {

/// A fine-tuning of a method: a task, a seed and a learning rate.
struct Run {
  const TaskData* task = nullptr;
  std::shared_ptr<const TransferExamples> examples{};
  const Options* options = nullptr;  ///< with the learning rate
  TrainPlace place{};
};

/// The options of each learning rate.
std::vector<Options> options_of_rates(const Options& options) {
  std::vector<Options> all{options};
  if (!options.compare.learning_rates.empty())
    all.assign(options.compare.learning_rates.size(), options);
  for (std::size_t i = 0; i < options.compare.learning_rates.size(); ++i)
    all[i].finetune.learning_rate = options.compare.learning_rates[i];
  return all;
}

/// The runs of a method on tasks: for each task and seed, those of all learning rates.
std::vector<Run> runs_of(const Comparison& comparison, std::span<const TaskData> tasks,
                         const Method& method, double share, std::span<const Options> of_rates) {
  const Options& options = comparison.options;
  std::vector<Run> runs;
  for (const TaskData& task : tasks) {
    for (std::int64_t s = 0; s < options.compare.seeds; ++s) {
      Run run{.task = &task};
      const std::string label = task.name + ", " + method.title;
      run.place = examples::training_place(options.run, comparison.log, label);
      run.place.seed = options.run.seed + static_cast<std::uint64_t>(s);
      run.place.is_one_of_many = true;
      run.examples = share < 1 ? std::make_shared<TransferExamples>(
                                     sample_examples(task.training, share, run.place.seed))
                               : std::shared_ptr<const TransferExamples>(std::shared_ptr<void>(),
                                                                         &task.training);
      for (const Options& own : of_rates) {
        run.options = &own;
        if (of_rates.size() > 1) {
          run.place.label =
              fmt::format("{}, learning rate {:g}", label, own.finetune.learning_rate);
        }
        runs.push_back(run);
      }
    }
  }
  return runs;
}

std::unique_ptr<TaskNetwork> untrained_network(const Comparison& comparison, const Method& method,
                                               const Run& run) {
  Random random(run.place.seed, 0x7461736B);
  return std::make_unique<TaskNetwork>(comparison.base, method, run.options->task, *run.task,
                                       random);
}

/// Takes the result of a run, by its number. The runs may end in any order.
using Finished = std::function<void(std::size_t, TrainReport, std::unique_ptr<TaskNetwork>)>;

/// Trains the runs one after the other. Returns false when a run was interrupted.
bool train_in_turn(const Comparison& comparison, const Method& method, std::span<const Run> runs,
                   const Finished& finished) {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Run& run = runs[i];
    std::unique_ptr<TaskNetwork> network = untrained_network(comparison, method, run);
    TrainReport report = train_task(*network, *run.task, *run.examples, *run.options, run.place,
                                    method.joint ? &comparison.source : nullptr);
    if (report.interrupted) return false;
    finished(i, std::move(report), std::move(network));
    const bool is_last = i + 1 == runs.size();
    if (!is_last && InterruptGuard::requested()) return false;  // while it was measured
  }
  return true;
}

/// Trains the runs in one pass. Returns false when it was interrupted.
bool train_in_one_pass(const Comparison& comparison, const Method& method,
                       std::span<const Run> runs, const Finished& finished) {
  std::vector<PreparedTask> prepared;
  for (const Run& run : runs) {
    const bool is_known = !prepared.empty() && prepared.back().task == run.task;
    PreparedTask& own = prepared.emplace_back();
    own.network = [&] { return untrained_network(comparison, method, run); };
    own.parameters = is_known ? prepared.end()[-2].parameters : own.network()->parameter_count();
    own.task = run.task;
    own.examples = run.examples.get();
    own.options = run.options;
    own.place = run.place;
    own.place.is_quiet = true;
  }
  const std::int64_t at_once = choose_tasks_at_once(comparison.options, *comparison.base, prepared);
  std::size_t trained = 0;
  train_together(*comparison.base, method.title, prepared, at_once, [&](TrainedTask task) {
    if (!task.error.empty()) throw DivergedError(runs[task.number].place.label + ": " + task.error);
    if (task.report.interrupted) return;
    // The time of a pass belongs to all of its tasks.
    task.report.seconds_per_epoch = std::numeric_limits<double>::quiet_NaN();
    finished(task.number, std::move(task.report), std::move(task.network));
    ++trained;
  });
  return trained == runs.size();
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
                                         {"epochs", static_cast<double>(line.epochs)}};
  if (!std::isnan(line.seconds_per_epoch))
    numbers.emplace_back("seconds_per_epoch", line.seconds_per_epoch);
  for (const Figure& figure : line.figures) numbers.emplace_back(figure.column, figure.value);
  const std::vector<MetricLog::Text> texts{{"task", task.name}, {"method", line.method}};
  log.write(numbers, texts);
}

/// The results of a method's runs, which are measured in the order of tasks and seeds as soon as
/// they are complete.
class MethodResults {
 public:
  MethodResults(const Comparison& comparison, std::span<const TaskData> tasks, const Method& method,
                double share)
      : comparison_(comparison),
        tasks_(tasks),
        method_(method),
        share_(share),
        rates_(std::max<std::size_t>(1, comparison.options.compare.learning_rates.size())),
        seeds_(static_cast<std::size_t>(comparison.options.compare.seeds)),
        trained_(tasks.size() * seeds_) {}

  /// Adds the result of a run of runs_of(). Of the learning rates of a seed, the one that is best
  /// on the validation part stays; of equally good ones, the first.
  void add(std::size_t number, TrainReport report, std::unique_ptr<TaskNetwork> network) {
    Trained& trained = trained_[number / rates_];
    const TaskData& task = tasks_[number / rates_ / seeds_];
    // The figure of a profile task is a cross-entropy, for which smaller is better.
    const auto loss = [&](const TrainReport& of) {
      if (std::isnan(of.best)) return std::numeric_limits<double>::infinity();
      return task.is_profile() ? of.best : -of.best;
    };
    if (trained.network == nullptr ||
        std::pair(loss(report), number) < std::pair(loss(trained.report), trained.number)) {
      trained.number = number;
      trained.report = std::move(report);
      trained.network = std::move(network);
    }
    ++trained.runs;
    while (next_ < trained_.size() && trained_[next_].runs == rates_) measure_next();
  }

  /// The results of the tasks whose seeds are complete: the first ones.
  std::vector<MeasuredMethod> finish() && {
    measured_.resize(next_ / seeds_);
    return std::move(measured_);
  }

 private:
  struct Trained {
    std::size_t runs = 0;    ///< number of learning rates
    std::size_t number = 0;  ///< of the run that stays
    TrainReport report{};
    std::unique_ptr<TaskNetwork> network{};
  };

  void measure_next() {
    const TaskData& task = tasks_[next_ / seeds_];
    const std::size_t seed = next_ % seeds_;
    const Options& options = comparison_.options;
    Trained trained = std::move(trained_[next_++]);
    if (seed == 0) {
      measured_.push_back({.line = {.method = method_.title, .share = share_}, .last = {}});
      of_seed_.clear();
    }
    auto& [line, last] = measured_.back();
    const std::string title =
        share_ < 1 ? fmt::format("{}, {:g} % of the data", method_.title, 100 * share_)
                   : method_.title;
    of_seed_.push_back(measure_test(task, options, {title, scorer_of(task, *trained.network)},
                                    options.run.seed + seed, comparison_.ranks)
                           .list());
    line.trained = trained.network->trainable_count();
    line.seconds_per_epoch += trained.report.seconds_per_epoch / static_cast<double>(seeds_);
    line.epochs += trained.report.epochs;
    last = std::move(trained.network);
    if (seed + 1 < seeds_) return;
    const std::int64_t seeds = static_cast<std::int64_t>(seeds_);
    average(line, of_seed_);
    line.epochs = (line.epochs + seeds / 2) / seeds;
    write(comparison_.log, task, line);
  }

  const Comparison& comparison_;
  std::span<const TaskData> tasks_;
  const Method& method_;
  double share_;
  std::size_t rates_, seeds_;
  std::vector<Trained> trained_;              ///< of each task and seed
  std::size_t next_ = 0;                      ///< the first of these that is not measured
  std::vector<std::vector<Figure>> of_seed_;  ///< of the task that is being measured
  std::vector<MeasuredMethod> measured_;
};

}  // namespace

MethodResult run_method(const Comparison& comparison, std::span<const TaskData> tasks,
                        const Method& method, double share) {
  const std::vector<Options> of_rates = options_of_rates(comparison.options);
  const std::vector<Run> runs = runs_of(comparison, tasks, method, share, of_rates);
  MethodResults results(comparison, tasks, method, share);
  const bool is_pass = runs.size() > 1 && is_one_pass(comparison.options, method);
  const auto train = is_pass ? train_in_one_pass : train_in_turn;
  const bool is_complete =
      train(comparison, method, runs,
            [&](std::size_t number, TrainReport report, std::unique_ptr<TaskNetwork> network) {
              results.add(number, std::move(report), std::move(network));
            });
  return {.tasks = std::move(results).finish(), .is_complete = is_complete};
}

bool is_one_pass(const Options& options, const Method& method) {
  return method.base == BaseTraining::frozen && method.pretrained && !method.joint &&
         fits_one_pass(options, method.insertion);
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
