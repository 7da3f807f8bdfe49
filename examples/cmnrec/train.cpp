#include <fmt/format.h>

#include "cmnrec/commands.hpp"
#include "cmnrec/experiment.hpp"
#include "common/behaviour.hpp"
#include "common/device.hpp"
#include "common/output_files.hpp"
#include "common/saved_config.hpp"
#include "common/standard_streams.hpp"
#include "refrain/data/data_hash.hpp"

namespace refrain::cmnrec {
namespace {

RunSetting run_setting(const Options& options, const SavedModel& made) {
  const LossOptions& loss = options.loss;
  RunSetting setting = examples::setting_of_config(config_text(made.config));
  setting.insert({{"loss", examples::name_of(loss.kind)},
                  {"negatives", std::to_string(loss.negatives)},
                  {"loss_at", examples::name_of(loss.at)},
                  {"stop_on", examples::name_of(loss.stop_on)},
                  {"without_seen", options.without_seen ? "true" : "false"},
                  {"shift", std::to_string(loss.shift)},
                  {"batch", std::to_string(options.train.batch)},
                  {"seed", std::to_string(options.run.seed)},
                  {"vocabulary", DataHash().add(made.vocabulary).text()}});
  examples::add_regularization(setting, options.train);
  return setting;
}

}  // namespace

Outcome train(const Options& options) {
  examples::expect_warmup(options.train);
  examples::expect_files(examples::command_files(
      options.log, options.run, {{"--out", options.model_file}}, options.state_file));
  const Device device = examples::device_of(options.run);
  SavedModel made{.config = {.model = model_of(options), .data = options.data}};
  const ModelOptions& model = made.config.model;
  // An invalid schedule is reported before files are read.
  if (model.kind == ModelKind::cmnrec) fmt::print("Schedule: {}\n", model.chunks().text());
  const Sequences behaviour = read_behaviour(options.log);
  examples::expect_length(model.length, examples::longest_row(behaviour));
  made.vocabulary = vocabulary_of(behaviour, options.data);
  examples::expect_storable(made.vocabulary,
                            fmt::format("--min-item-count {}", options.data.min_item_count));
  const Dataset data = prepare(behaviour, made.vocabulary, options.data, model.length);
  made.config.fingerprint = fingerprint(data);
  if (!model.learns()) {
    made.model = make_popularity(data, model.length);
    save(options.model_file, made, "counts of the training part");
    fmt::print("{}: counted; wrote {}\n", model.title(), options.model_file);
    return Outcome::done;
  }
  Random random(options.run.seed);
  made.model = make_model(model, made.vocabulary.size(), random);
  made.model->to(device);
  fmt::print("{}: {} parameters\n", model.title(), with_commas(made.model->parameter_count()));
  examples::flush_output();
  examples::RunLog log(options.run.log);
  const examples::TrainReport report =
      train_model(*made.model, data, options,
                  examples::training_place(options.run, log, model.title(), options.state_file,
                                           run_setting(options, made)));
  return examples::finish_training(
      report, options.model_file, options.state_file, options.run.force,
      [&](const std::string& note) { save(options.model_file, made, note); });
}

}  // namespace refrain::cmnrec
