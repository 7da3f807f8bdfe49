#include <fmt/core.h>

#include <memory>

#include "common/concat.hpp"
#include "common/device.hpp"
#include "common/output_files.hpp"
#include "common/run_log.hpp"
#include "common/saved_config.hpp"
#include "peterrec/commands.hpp"
#include "peterrec/training.hpp"
#include "refrain/data/data_hash.hpp"

namespace refrain::peterrec {

namespace {

BaseNote note_of(const Options& options) {
  return {.hold_out_last = options.data.hold_out_last, .length = options.data.length, .text = {}};
}

examples::Setting run_setting(const Options& options, const NextItNet& network,
                              const Vocabulary& vocabulary, const PretrainData& data) {
  const BaseOptions& base = options.base;
  examples::Setting setting =
      examples::setting_of_config(config_text(network.options(), note_of(options)));
  setting.insert({{"loss", base.loss},
                  {"sampled_share", fmt::format("{}", base.sampled_share)},
                  {"mask_share", fmt::format("{}", base.mask_share)},
                  {"batch", examples::concat(options.pretrain.batch)},
                  {"l2", fmt::format("{}", options.pretrain.l2)},
                  {"seed", examples::concat(options.run.seed)},
                  {"split_seed", examples::concat(options.data.split_seed)},
                  {"data", DataHash().add(vocabulary).add(data.rows).add(data.split).text()}});
  return setting;
}

}  // namespace

Outcome pretrain(const Options& options) {
  examples::CommandFiles files = common_files(options);
  files.replaced.push_back({"--out", options.base_file});
  if (!options.state_file.empty()) files.replaced.push_back({"--resume", options.state_file});
  examples::expect_files(files);
  const Device device = examples::device_of(options.run);
  examples::RunLog log(options.run.log);
  const RawData raw = read_data(options.data);
  expect_length(raw, options.data);
  const Vocabulary vocabulary = source_vocabulary(raw, options.data);
  examples::expect_storable(vocabulary, examples::concat("--min-count ", options.data.min_count));
  const PretrainData data = pretrain_data(raw, vocabulary, options.data,
                                          piece_length(options.data.length, options.base.causal));
  Random random(options.run.seed);
  NextItNet network(base_network_options(options.base, vocabulary), random);
  network.to(device);
  fmt::print("{} items, {} sequences to train on, {} held out; {} parameters\n",
             with_commas(vocabulary.items()),
             with_commas(static_cast<std::int64_t>(data.split.train.size())),
             with_commas(static_cast<std::int64_t>(data.split.valid.size())),
             with_commas(network.parameter_count()));
  const TrainReport report =
      train_base(network, data, vocabulary, options.base, options.pretrain, options.data.length,
                 {.label = "pretrain",
                  .state_file = options.state_file,
                  .setting = run_setting(options, network, vocabulary, data),
                  .log = &log,
                  .seed = options.run.seed,
                  .device = device});
  BaseNote note = note_of(options);
  note.text = examples::concat("pre-trained for ", report.epochs, " epochs");
  if (report.interrupted) {
    const Leavings left = leavings(options.base_file, options.state_file);
    note.text = examples::concat("interrupted after ", report.epochs, " epochs");
    if (left.writes_out) save_base(options.base_file, network, vocabulary, note);
    fmt::print("{}: {}\n", note.text, left.text);
    return Outcome::interrupted;
  }
  examples::expect_better_than_chance(report, options.base_file, options.state_file,
                                      options.run.force);
  save_base(options.base_file, network, vocabulary, note);
  fmt::print("finished after {} epochs ({:.1f} s each), held-out loss {:.4f}; wrote {}\n",
             report.epochs, report.seconds_per_epoch, report.best, options.base_file);
  return Outcome::done;
}

}  // namespace refrain::peterrec
