#include "common/training.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/standard_streams.hpp"
#include "refrain/core/text.hpp"

namespace refrain::examples {

RunSetting setting_of_config(const std::string& config) {
  const nlohmann::json fields = nlohmann::json::parse(config);
  RunSetting setting;
  for (const auto& [name, value] : fields.items()) {
    if (name != "note") setting[name] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  return setting;
}

void add_regularization(RunSetting& setting, const TrainOptions& options) {
  setting["l2"] = fmt::format("{}", options.l2);
  if (options.decay > 0) setting["decay"] = fmt::format("{}", options.decay);
  if (options.shuffle != Shuffle::full) setting["shuffle"] = name_of(options.shuffle);
}

AdamOptions adam_options(const TrainOptions& options) {
  return {.learning_rate = options.learning_rate, .decay = options.decay};
}

void expect_warmup(const TrainOptions& options, const std::string& prefix) {
  if (options.warmup < static_cast<double>(options.epochs)) return;
  throw OptionError(fmt::format("--{0}warmup: expected less than --{0}epochs {1}, got {2}", prefix,
                                options.epochs, options.warmup));
}

void expect_share(const TrainOptions& options, const RunOptions& run) {
  const int processes = run.processes->count();
  if (options.slices < processes) {
    throw OptionError(fmt::format("--slices: expected at least {}, the number of processes, got {}",
                                  processes, options.slices));
  }
}

LearningRateSchedule rate_schedule(const TrainOptions& options, std::int64_t steps_per_epoch) {
  const std::int64_t total_steps = options.epochs * steps_per_epoch;
  const LearningRateScheduleOptions schedule{
      .peak = options.learning_rate,
      .warmup_steps =
          std::min(total_steps - 1, static_cast<std::int64_t>(std::llround(
                                        options.warmup * static_cast<double>(steps_per_epoch)))),
      .total_steps = total_steps};
  switch (options.rate_schedule) {
    case RateSchedule::cosine:
      return warmup_then_cosine(schedule);
    case RateSchedule::linear:
      return warmup_then_linear(schedule);
    case RateSchedule::constant:
      break;
  }
  return options.warmup > 0 ? warmup_then_constant(schedule) : LearningRateSchedule();
}

TrainerOptions trainer_options(const Training& training, const TrainOptions& options,
                               const TrainPlace& place) {
  return {.epochs = options.epochs,
          .steps_per_epoch = training.steps_per_epoch,
          .max_norm = options.clip,
          .slices = options.slices,
          .communicator = place.processes->ranks(),
          .patience = options.patience,
          .plateau_margin = options.plateau_margin,
          .larger_is_better = training.validation.larger_is_better,
          .schedule = rate_schedule(options, training.steps_per_epoch),
          .pending_losses = place.device == Device::cpu || place.processes->count() > 1 ? 0 : 4,
          .capture_after = 3};
}

namespace {

/// The options of a training's trainer, with those of its state file.
TrainerOptions resumable_options(const Training& training, const TrainOptions& options,
                                 const TrainPlace& place) {
  TrainerOptions run = trainer_options(training, options, place);
  run.checkpoint = place.state_file;
  run.metadata = place.metadata;
  run.metadata["run"] = place.label;
  run.setting = place.setting;
  return run;
}

}  // namespace

TrainingRun::TrainingRun(const Training& training, const TrainOptions& options,
                         const TrainPlace& place)
    : training_(training),
      options_(options),
      place_(place),
      trainer_(training.module, *training.optimizer, resumable_options(training, options, place)),
      progress_({.label = place.label,
                 .steps_per_epoch = training.steps_per_epoch,
                 .metric = training.validation.name,
                 .style = progress_style(place),
                 .is_brief = place.is_one_of_many}),
      report_{.label = place.label,
              .metric = training.validation.name,
              .chance = training.validation.chance,
              .is_of_first = place.processes->is_first()} {
  trainer_.on_capture([label = place.label](const CaptureReport& report) {
    if (report.is_captured) {
      say("{}: the training step is captured: {} kernels in one launch\n", label, report.kernels);
    } else {
      say("{}: the training step is not captured: {}\n", label, report.reason);
    }
  });
  trainer_.resume();
  place.processes->wait_for_all();
  trainer_.on_step([this](const StepReport& step) { progress_.show(step); });
  trainer_.on_epoch([this](const EpochReport& epoch) { show(epoch); });
}

void TrainingRun::show(const EpochReport& epoch) {
  progress_.show(epoch);
  if (epoch.is_best) report_.loss = epoch.loss;
  if (place_.log == nullptr) return;
  std::vector<MetricLog::Number> numbers{{"epoch", static_cast<double>(epoch.epoch + 1)},
                                         {"loss", epoch.loss},
                                         {"validation", epoch.metric},
                                         {"seconds", epoch.training_seconds},
                                         {"seed", static_cast<double>(place_.seed)}};
  if (rate_schedule(options_, training_.steps_per_epoch))
    numbers.emplace_back("learning_rate", epoch.learning_rate);
  const std::vector<MetricLog::Text> texts{{"run", place_.label},
                                           {"metric", training_.validation.name}};
  place_.log->write(numbers, texts);
}

TrainReport TrainingRun::run() {
  return report(training_.run(trainer_, [this](std::int64_t) {
    return training_.validation.measure(place_.processes->ranks());
  }));
}

bool TrainingRun::evaluate_epoch() {
  return trainer_.evaluate_epoch(
      [this](std::int64_t) { return training_.validation.measure(place_.processes->ranks()); });
}

TrainReport TrainingRun::report(const TrainingResult& result) {
  progress_.finish();
  report_.epochs = result.position.epoch;
  report_.seconds_per_epoch = result.seconds_per_epoch();
  report_.best = result.position.best_metric;
  if (!training_.validation.larger_is_better && result.position.best_epoch >= 0)
    report_.loss = report_.best;
  report_.interrupted = result.end == TrainingEnd::interrupted;
  report_.curve = result.epochs;
  const bool is_still_improving = !report_.curve.empty() && report_.curve.back().is_best &&
                                  report_.epochs == options_.epochs && report_.epochs > 1;
  if (is_still_improving && !place_.is_one_of_many) {
    say("{}: the last epoch was the best (*), so more --epochs may improve the result\n",
        place_.label);
  }
  return report_;
}

TrainReport train(const Training& training, const TrainOptions& options, const TrainPlace& place) {
  const InterruptGuard guard;
  return TrainingRun(training, options, place).run();
}

void expect_better_than_chance(const TrainReport& report, const std::string& out,
                               const std::string& state_file, bool force) {
  // A barely trained network is at the level of chance, with noise if there are few examples.
  const double clearly_worse = 1.1 * report.chance + 0.2;
  if (force || report.chance <= 0 || !(report.loss > clearly_worse)) return;
  throw OptionError(fmt::format(
      "training has diverged: expected a loss below {:.4g}, the level of chance, got {:.4g}; {} "
      "was not {}. A smaller --learning-rate or --clip 5 may help{}; --force writes the file "
      "anyway",
      report.chance, report.loss, out, std::filesystem::exists(out) ? "overwritten" : "written",
      state_file.empty() ? "" : fmt::format(" in a new run without the state in {}", state_file)));
}

Outcome finish_training(const TrainReport& report, const std::string& out,
                        const std::string& state_file, bool force,
                        const std::function<void(const std::string& note)>& save) {
  const std::string epochs = counted(report.epochs, "epoch");
  if (!report.interrupted) {
    expect_better_than_chance(report, out, state_file, force);
    if (!report.is_of_first) return Outcome::done;
    save("trained for " + epochs);
    fmt::print("{}: finished after {} ({:.2f} s each), best {} {:.4f}; wrote {}\n", report.label,
               epochs, report.seconds_per_epoch, report.metric, report.best, out);
    return Outcome::done;
  }
  if (!report.is_of_first) return Outcome::interrupted;
  const std::string note = "interrupted after " + epochs;
  const bool is_lost = state_file.empty() && std::filesystem::exists(out);
  if (state_file.empty() && !is_lost) save(note);
  fmt::print("{}: {}: ", report.label, note);
  if (!state_file.empty()) {
    fmt::print(
        "the training state is in {}, and the same command resumes from it; {} was not written\n",
        state_file, out);
  } else if (is_lost) {
    fmt::print(
        "{} already exists and was not overwritten; the result of this run is lost. Use "
        "--resume FILE to keep training state\n",
        out);
  } else {
    fmt::print(
        "the parameters so far are in {}; the next run starts from the beginning. Use "
        "--resume FILE to keep training state\n",
        out);
  }
  return Outcome::interrupted;
}

}  // namespace refrain::examples
