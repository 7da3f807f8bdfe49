#include <fmt/core.h>

#include <memory>

#include "common/device.hpp"
#include "peterrec/commands.hpp"
#include "peterrec/training.hpp"

namespace refrain::peterrec {

Outcome pretrain(const Options& options) {
  const Device device = examples::device_of(options.run);
  std::optional<MetricLog> log;
  if (!options.run.log.empty()) log.emplace(options.run.log);
  const RawData raw = read_data(options.data);
  const Vocabulary vocabulary = source_vocabulary(raw, options.data);
  const PretrainData data =
      pretrain_data(raw, vocabulary, options.data, piece_length(options.data.length, options.base.causal));
  Random random(options.run.seed);
  NextItNet network(base_network_options(options.base, vocabulary), random);
  network.to(device);
  fmt::print("{} items, {} sequences to train on, {} held out; {} parameters\n", with_commas(vocabulary.items()),
             with_commas(static_cast<std::int64_t>(data.split.train.size())),
             with_commas(static_cast<std::int64_t>(data.split.valid.size())), with_commas(network.parameter_count()));
  const TrainReport report =
      train_base(network, data, vocabulary, options.base, options.pretrain, options.data.length,
                 {.label = "pretrain",
                  .state_file = options.state_file,
                  .setting = concat(options.data.hold_out_last ? "--hold-out-last " : "all items, ", "--length ",
                                    options.data.length, " --split-seed ", options.data.split_seed),
                  .log = log ? &*log : nullptr,
                  .seed = options.run.seed,
                  .device = device});
  BaseNote note{.hold_out_last = options.data.hold_out_last,
                .trained_length = options.data.length,
                .text = concat("pre-trained for ", report.epochs, " epochs")};
  if (report.interrupted) {
    const Leavings left = leavings(options.base_file, options.state_file);
    note.text = concat("interrupted after ", report.epochs, " epochs");
    if (left.writes_out) save_base(options.base_file, network, vocabulary, note);
    fmt::print("{}: {}\n", note.text, left.text);
    return Outcome::interrupted;
  }
  save_base(options.base_file, network, vocabulary, note);
  fmt::print("finished after {} epochs ({:.1f} s each), held-out loss {:.4f}; wrote {}\n", report.epochs,
             report.seconds_per_epoch, report.best, options.base_file);
  return Outcome::done;
}

}  // namespace refrain::peterrec
