#include <fmt/format.h>

#include "cmnrec/commands.hpp"
#include "cmnrec/experiment.hpp"
#include "common/behaviour.hpp"
#include "common/concat.hpp"
#include "common/device.hpp"
#include "common/output_files.hpp"
#include "common/run_log.hpp"
#include "common/saved_config.hpp"
#include "common/standard_streams.hpp"
#include "refrain/data/data_hash.hpp"

namespace refrain::cmnrec {

namespace {

examples::Setting run_setting(const Options& options, const SavedModel& made) {
  const LossOptions& loss = options.loss;
  examples::Setting setting =
      examples::setting_of_config(config_text(made.setting, made.data, made.fingerprint, {}));
  setting.insert({{"loss", loss.kind},
                  {"negatives", examples::concat(loss.negatives)},
                  {"loss_at", loss.at},
                  {"stop_on", loss.stop_on},
                  {"without_seen", options.without_seen ? "true" : "false"},
                  {"shift", examples::concat(loss.shift)},
                  {"batch", examples::concat(options.train.batch)},
                  {"l2", fmt::format("{}", options.train.l2)},
                  {"seed", examples::concat(options.run.seed)},
                  {"vocabulary", DataHash().add(made.vocabulary).text()}});
  return setting;
}

}  // namespace

Outcome train(const Options& options) {
  examples::CommandFiles files = common_files(options);
  files.replaced.push_back({"--out", options.checkpoint});
  if (!options.state_file.empty()) files.replaced.push_back({"--resume", options.state_file});
  examples::expect_files(files);
  examples::RunLog log(options.run.log);
  const Device device = examples::device_of(options.run);
  SavedModel made;
  made.setting = setting_of(options);
  made.data = options.data;
  // A schedule that does not fit is told before files are read.
  if (made.setting.model == "cmnrec") {
    const ChunkSchedule schedule =
        schedule_of(made.setting.schedule, made.setting.slots, options.data.length);
    fmt::print("Schedule: {}\n", schedule.text());
  }
  const Sequences behaviour = read_behaviour(options.data);
  examples::expect_length(options.data.length, examples::longest_row(behaviour));
  made.vocabulary = vocabulary_of(behaviour, options.data);
  examples::expect_storable(made.vocabulary,
                            examples::concat("--min-item-count ", options.data.min_item_count));
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
  fmt::print("{}: {} parameters\n", made.setting.title(),
             with_commas(made.recommender->parameter_count()));
  examples::flush_output();
  const TrainReport report = train_model(*made.recommender, data, made.vocabulary, options,
                                         {.label = made.setting.title(),
                                          .state_file = options.state_file,
                                          .setting = run_setting(options, made),
                                          .log = &log,
                                          .seed = options.run.seed,
                                          .device = device});
  if (report.interrupted) {
    const examples::Leavings left = examples::leavings(options.checkpoint, options.state_file);
    const std::string note = examples::concat("interrupted after ", report.epochs, " epochs");
    if (left.writes_out) save(options.checkpoint, made, note);
    fmt::print("{}: {}\n", note, left.text);
    return Outcome::interrupted;
  }
  examples::expect_better_than_chance(report, options.checkpoint, options.state_file,
                                      options.run.force);
  save(options.checkpoint, made, examples::concat("trained for ", report.epochs, " epochs"));
  fmt::print("finished after {} epochs ({:.2f} s each), best {} {:.4f}; wrote {}\n", report.epochs,
             report.seconds_per_epoch, options.loss.stop_on == "ndcg" ? "NDCG@10" : "held-out loss",
             report.best, options.checkpoint);
  return Outcome::done;
}

}  // namespace refrain::cmnrec
