#include <fmt/core.h>

#include "common/concat.hpp"
#include "common/device.hpp"
#include "common/output_files.hpp"
#include "common/run_log.hpp"
#include "common/saved_config.hpp"
#include "peterrec/commands.hpp"
#include "peterrec/training.hpp"
#include "refrain/core/text.hpp"
#include "refrain/data/data_hash.hpp"

namespace refrain::peterrec {
namespace {

RunSetting run_setting(const Options& options, const NextItNet::Options& network,
                       const BaseNote& note, const SourceTask& source) {
  const BaseOptions& base = options.base;
  const PretrainData& data = source.data;
  RunSetting setting = examples::setting_of_config(config_text(network, note));
  setting.insert(
      {{"loss", examples::name_of(base.loss)},
       {"sampled_share", fmt::format("{}", base.sampled_share)},
       {"mask_share", fmt::format("{}", base.mask_share)},
       {"batch", examples::concat(options.pretrain.batch)},
       {"seed", examples::concat(options.run.seed)},
       {"split_seed", examples::concat(options.data.split_seed)},
       {"data", DataHash().add(source.vocabulary).add(data.rows).add(data.split).text()}});
  examples::add_regularization(setting, options.pretrain);
  return setting;
}

}  // namespace

Outcome pretrain(const Options& options) {
  examples::expect_warmup(options.pretrain);
  examples::expect_files(common_files(options, {{"--out", options.base_file}}));
  examples::device_of(options.run);  // a missing device is an error before files are read
  examples::RunLog log(options.run.log);
  const RawData raw = read_data(options.data);
  expect_length(raw, options.data);
  const auto [network, vocabulary] = new_base(options, raw);
  const PretrainData data = pretrain_data(raw, vocabulary, options.data, options.base.causal);
  fmt::print("{} items, {} sequences to train on, {} held out; {} parameters\n",
             with_commas(vocabulary.items()), with_commas(std::ssize(data.split.train)),
             with_commas(std::ssize(data.split.valid)), with_commas(network->parameter_count()));
  const SourceTask source{data, vocabulary, options.base};
  BaseNote note{
      .hold_out_last = options.data.hold_out_last, .length = options.data.length, .text = {}};
  const TrainReport report =
      train_base(*network, source, options.pretrain,
                 examples::training_place(options.run, log, "pretrain", options.state_file,
                                          run_setting(options, network->options(), note, source)));
  return examples::finish_training(report, options.base_file, options.state_file, options.run.force,
                                   [&](const std::string& text) {
                                     note.text = text;
                                     save_base(options.base_file, *network, vocabulary, note);
                                   });
}

}  // namespace refrain::peterrec
