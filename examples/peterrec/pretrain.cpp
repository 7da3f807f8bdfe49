#include <fmt/core.h>

#include <memory>

#include "peterrec/commands.hpp"
#include "peterrec/training.hpp"

namespace refrain::peterrec {

void pretrain(const Options& options) {
  std::optional<MetricLog> log;
  if (!options.run.log.empty()) log.emplace(options.run.log);
  const RawData raw = read_data(options.data);
  const Vocabulary vocabulary = source_vocabulary(raw, options.data);
  const PretrainData data =
      pretrain_data(raw, vocabulary, options.data, piece_length(options.data.length, options.base.causal));
  Random random(options.run.seed);
  NextItNet network(base_network_options(options.base, vocabulary), random);
  fmt::print("{} items, {} sequences to train on, {} held out; {} parameters\n", with_commas(vocabulary.items()),
             with_commas(static_cast<std::int64_t>(data.split.train.size())),
             with_commas(static_cast<std::int64_t>(data.split.valid.size())), with_commas(network.parameter_count()));
  const TrainReport report = train_base(
      network, data, vocabulary, options.base, options.pretrain, options.data.length,
      {.label = "pretrain", .state_file = options.state_file, .log = log ? &*log : nullptr, .seed = options.run.seed});
  save_base(options.base_file, network, vocabulary, concat("pre-trained for ", report.epochs, " epochs"));
  fmt::print("{} after {} epochs ({:.1f} s each), held-out loss {:.4f}; wrote {}\n",
             report.interrupted ? "interrupted" : "finished", report.epochs, report.seconds_per_epoch, report.best,
             options.base_file);
  if (report.interrupted && !options.state_file.empty()) fmt::print("the same command goes on from {}\n", options.state_file);
}

}  // namespace refrain::peterrec
