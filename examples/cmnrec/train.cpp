#include <fmt/core.h>

#include <optional>

#include "cmnrec/commands.hpp"
#include "cmnrec/experiment.hpp"
#include "common/device.hpp"

namespace refrain::cmnrec {

Outcome train(const Options& options) {
  std::optional<MetricLog> log;
  if (!options.run.log.empty()) log.emplace(options.run.log);
  const Device device = examples::device_of(options.run);
  SavedModel made;
  made.setting = setting_of(options);
  made.data = options.data;
  // A schedule that does not fit is told before files are read.
  if (made.setting.model == "cmnrec") {
    const ChunkSchedule schedule = schedule_of(made.setting.schedule, made.setting.slots, options.data.length);
    fmt::print("Schedule: {}\n", schedule.text());
  }
  const Sequences behaviour = read_behaviour(options.data);
  made.vocabulary = vocabulary_of(behaviour, options.data);
  const PreparedData data = prepare(behaviour, made.vocabulary, options.data);
  made.fingerprint = data.fingerprint();
  print_data(data, made.vocabulary, options.data);
  Random random(options.run.seed);
  made.recommender = make_recommender(made.setting, made.vocabulary, &data, random);
  made.recommender->to(device);
  if (!made.setting.learns()) {
    save(options.checkpoint, made, "counts of the training part");
    fmt::print("{}: counted; wrote {}\n", made.setting.title(), options.checkpoint);
    return Outcome::done;
  }
  fmt::print("{}: {} parameters\n", made.setting.title(), with_commas(made.recommender->parameter_count()));
  std::fflush(stdout);
  const TrainReport report =
      train_model(*made.recommender, data, made.vocabulary, options,
                  {.label = made.setting.title(),
                   .state_file = options.state_file,
                   .setting = concat(made.setting.title(), ", data ", made.fingerprint, ", seed ", options.run.seed),
                   .log = log ? &*log : nullptr,
                   .seed = options.run.seed,
                   .device = device});
  if (report.interrupted) {
    const examples::Leavings left = examples::leavings(options.checkpoint, options.state_file);
    const std::string note = concat("interrupted after ", report.epochs, " epochs");
    if (left.writes_out) save(options.checkpoint, made, note);
    fmt::print("{}: {}\n", note, left.text);
    return Outcome::interrupted;
  }
  save(options.checkpoint, made, concat("trained for ", report.epochs, " epochs"));
  fmt::print("finished after {} epochs ({:.2f} s each), best {} {:.4f}; wrote {}\n", report.epochs, report.seconds_per_epoch,
             options.loss.stop_on == "ndcg" ? "NDCG@10" : "held-out loss", report.best, options.checkpoint);
  return Outcome::done;
}

}  // namespace refrain::cmnrec
