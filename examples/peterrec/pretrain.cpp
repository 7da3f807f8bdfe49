#include <fmt/core.h>

#include "common/concat.hpp"
#include "common/device.hpp"
#include "common/output_files.hpp"
#include "common/run_log.hpp"
#include "common/saved_config.hpp"
#include "common/search.hpp"
#include "common/standard_streams.hpp"
#include "common/warm_start.hpp"
#include "peterrec/commands.hpp"
#include "peterrec/training.hpp"
#include "refrain/core/text.hpp"
#include "refrain/data/data_hash.hpp"

namespace refrain::peterrec {
namespace {

std::string hash_of(const SourceTask& source) {
  return DataHash().add(source.vocabulary).add(source.data.rows).add(source.data.split).text();
}

RunSetting run_setting(const Options& options, const NextItNet::Options& network, BaseNote note,
                       const SourceTask& source) {
  const BaseOptions& base = options.base;
  note.search.reset();  // its figures are no setting
  RunSetting setting = examples::setting_of_config(config_text(network, note));
  setting.insert({{"loss", examples::name_of(base.loss)},
                  {"sampled_share", fmt::format("{}", base.sampled_share)},
                  {"mask_share", fmt::format("{}", base.mask_share)},
                  {"batch", examples::concat(options.pretrain.batch)},
                  {"seed", examples::concat(options.run.seed)},
                  {"split_seed", examples::concat(options.data.split_seed)},
                  {"data", hash_of(source)}});
  examples::add_regularization(setting, options.pretrain);
  return setting;
}

/// Searches the learning rate and the dropout, and sets them in `options`. Returns nullopt when the
/// search was interrupted.
std::optional<examples::SearchRecord> search_base(const SourceTask& source, const TrainPlace& place,
                                                  Options& options, const LoadedBase* from) {
  const auto apply = [](const examples::SearchCandidate& candidate, Options& to) {
    to.pretrain.learning_rate = candidate.learning_rate;
    if (candidate.dropout) to.base.dropout = *candidate.dropout;
  };
  std::optional<examples::SearchRecord> found = examples::search(
      options.search, options.pretrain, place,
      [&](const examples::SearchCandidate& candidate) -> examples::SearchedTraining {
        Options own = options;
        apply(candidate, own);
        const std::shared_ptr<NextItNet> network = base_network(own, source.vocabulary, from);
        return {network, base_training(*network, source, own.pretrain, place.seed)};
      });
  if (found) apply(found->choice(), options);
  return found;
}

/// The base of --from, or nullopt without this option. Takes its architecture into `options`.
std::optional<LoadedBase> base_of_from(Options& options) {
  if (!options.from.is_on()) return std::nullopt;
  LoadedBase from = load_base(options.from.file);
  if (options.data.hold_out_last) expect_held_out(from, "--hold-out-last");
  take_architecture(from, options);
  return from;
}

/// new_base() with the network and the items of a trained base, which the program reports.
NewBase continued_base(const Options& options, const RawData& raw, const LoadedBase& from) {
  examples::WarmVocabulary extended =
      extended_source_vocabulary(raw, options.data, from.vocabulary);
  examples::expect_storable(extended.vocabulary, "--from");
  fmt::print("{}: {}\n", from.path, extended.text);
  auto network = base_network(options, extended.vocabulary, &from);
  return {std::move(network), std::move(extended.vocabulary)};
}

}  // namespace

Outcome pretrain(const Options& given) {
  Options options = given;
  examples::expect_warmup(options.pretrain);
  examples::expect_share(options.pretrain, options.run);
  if (options.search.is_on) examples::candidates_of(options.search);
  examples::CommandFiles files = common_files(options, {{"--out", options.base_file}});
  files.read.push_back({"--from", options.from.file});
  examples::expect_files(files);
  examples::device_of(options.run);  // a missing device is an error before files are read
  std::optional<LoadedBase> from = base_of_from(options);
  examples::RunLog log(options.run.log);
  const RawData raw = read_data(options.data);
  expect_length(raw, options.data);
  auto [network, vocabulary] = from ? continued_base(options, raw, *from) : new_base(options, raw);
  const PretrainData data = pretrain_data(raw, vocabulary, options.data, options.base.causal);
  fmt::print("{} items, {} sequences to train on, {} held out; {} parameters\n",
             with_commas(vocabulary.items()), with_commas(std::ssize(data.split.train)),
             with_commas(std::ssize(data.split.valid)), with_commas(network->parameter_count()));
  examples::flush_output();
  const BaseOptions base = options.base;  // a search changes that of `options`
  const SourceTask source{data, vocabulary, base};
  BaseNote note{
      .hold_out_last = options.data.hold_out_last, .length = options.data.length, .text = {}};
  TrainPlace place = examples::training_place(options.run, log, "pretrain", options.state_file);
  if (options.search.is_on) {
    place.setting["data"] = hash_of(source);
    examples::expect_searchable(std::ssize(data.split.train), std::ssize(data.split.valid));
    note.search = search_base(source, place, options, from ? &*from : nullptr);
    if (!note.search) return examples::interrupted_search(place.label, options.base_file);
    examples::keep_search(place, *note.search);
    network = base_network(options, vocabulary, from ? &*from : nullptr);
  }
  place.setting.merge(run_setting(options, network->options(), note, source));
  if (from) place.setting["from"] = from->hash;
  from.reset();  // training needs only the copy
  const TrainReport report = train_base(*network, source, options.pretrain, place);
  return examples::finish_training(report, options.base_file, options.state_file, options.run.force,
                                   [&](const std::string& text) {
                                     note.text = examples::note_of(text, options.from);
                                     save_base(options.base_file, *network, vocabulary, note);
                                   });
}

}  // namespace refrain::peterrec
