#include <fmt/format.h>

#include "cmnrec/commands.hpp"
#include "cmnrec/experiment.hpp"
#include "common/behaviour.hpp"
#include "common/device.hpp"
#include "common/output_files.hpp"
#include "common/saved_config.hpp"
#include "common/search.hpp"
#include "common/standard_streams.hpp"
#include "common/warm_start.hpp"
#include "refrain/data/data_hash.hpp"

namespace refrain::cmnrec {
namespace {

RunSetting run_setting(const Options& options, const SavedModel& made) {
  const LossOptions& loss = options.loss;
  ModelConfig config = made.config;
  config.search.reset();  // its figures are no setting
  RunSetting setting = examples::setting_of_config(config_text(config));
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

/// The model before training; `from`: the model of --from, or null.
std::unique_ptr<NextItemModel> untrained_model(const ModelOptions& model, const Options& options,
                                               const Dataset& data, const SavedModel* from) {
  Random random(options.run.seed);
  std::unique_ptr<NextItemModel> made = make_model(model, data.vocabulary.size(), random);
  if (from != nullptr) examples::keep_known(*from->model, from->vocabulary, *made, data.vocabulary);
  made->to(examples::device_of(options.run));
  return made;
}

/// Searches the learning rate and the dropout, and sets them in `options` and `model`. Returns
/// nullopt when the search was interrupted.
std::optional<examples::SearchRecord> search_model(const Dataset& data,
                                                   const examples::TrainPlace& place,
                                                   Options& options, ModelOptions& model,
                                                   const SavedModel* from) {
  std::optional<examples::SearchRecord> found = examples::search(
      options.search, options.train, place,
      [&](const examples::SearchCandidate& candidate) -> examples::SearchedTraining {
        Options own = options;
        own.train.learning_rate = candidate.learning_rate;
        ModelOptions sizes = model;
        sizes.dropout = candidate.dropout.value_or(model.dropout);
        const std::shared_ptr<NextItemModel> network = untrained_model(sizes, options, data, from);
        return {network, model_training(*network, data, own, place.seed)};
      });
  if (found) {
    options.train.learning_rate = found->choice().learning_rate;
    model.dropout = found->choice().dropout.value_or(model.dropout);
  }
  return found;
}

/// The values of a model's options, by their names.
nlohmann::json values_of(const ModelOptions& model) {
  nlohmann::json fields, values;
  visit_sizes(model, examples::FieldWriter(fields));
  for (const auto& [field, value] : fields.items()) {
    std::string option = field;
    std::replace(option.begin(), option.end(), '_', '-');
    values[option] = value;
  }
  values.update({{"kind", examples::name_of(model.kind)},
                 {"schedule", examples::name_of(model.schedule)},
                 {"slots", model.slots},
                 {"length", model.length},
                 {"tied", model.tied}});
  if (model.kind == ModelKind::nextitnet)
    values["loss"] = examples::name_of(model.is_sampled ? LossKind::sampled : LossKind::full);
  return values;
}

/// The model of --from, or nullopt without this option. Takes its architecture, and unless they are
/// given its dropout and its loss, into `options`. Throws OptionError about a given option with
/// another value.
std::optional<SavedModel> model_of_from(Options& options) {
  if (!options.from.is_on()) return std::nullopt;
  SavedModel from = load(options.from.file);
  ModelOptions stored = from.config.model;
  if (!stored.learns()) {
    throw OptionError(fmt::format("--from: expected a model that is trained, got {} in {}",
                                  examples::name_of(stored.kind), options.from.file));
  }
  const std::set<std::string>& given = options.from.given;
  ModelOptions wanted = model_of(options);
  if (!given.contains("--kind")) wanted.kind = stored.kind;
  examples::expect_architecture(options.from, values_of(wanted), values_of(stored));
  if (!given.contains("--loss"))
    options.loss.kind = stored.is_sampled ? LossKind::sampled : LossKind::full;
  if (given.contains("--dropout")) stored.dropout = options.model.dropout;
  stored.recompute = options.model.recompute;
  options.model = stored;
  return from;
}

/// The vocabulary of the data or, with a model of --from, that of the model, extended.
Vocabulary vocabulary_to_train(const Sequences& behaviour, const Options& options,
                               const std::optional<SavedModel>& from) {
  if (!from) return vocabulary_of(behaviour, options.data);
  examples::WarmVocabulary extended =
      examples::extended_vocabulary(from->vocabulary, behaviour, options.data.min_item_count);
  fmt::print("{}: {}\n", options.from.file, extended.text);
  return std::move(extended.vocabulary);
}

}  // namespace

Outcome train(const Options& given) {
  Options options = given.with_rate(given.model.kind);
  examples::expect_warmup(options.train);
  examples::expect_share(options.train, options.run);
  if (options.search.is_on) examples::candidates_of(options.search);
  examples::CommandFiles files = examples::command_files(
      options.log, options.run, {{"--out", options.model_file}}, options.state_file);
  files.read.push_back({"--from", options.from.file});
  examples::expect_files(files);
  examples::device_of(options.run);  // a missing device is an error before files are read
  std::optional<SavedModel> from = model_of_from(options);
  const SavedModel* const start = from ? &*from : nullptr;
  SavedModel made{.config = {.model = model_of(options), .data = options.data}};
  ModelOptions& model = made.config.model;
  if (options.search.is_on && !model.learns()) {
    throw OptionError(fmt::format("--search: expected a --kind that is trained, got {}",
                                  examples::name_of(model.kind)));
  }
  // An invalid schedule is reported before files are read.
  if (model.kind == ModelKind::cmnrec) fmt::print("Schedule: {}\n", model.chunks().text());
  const Sequences behaviour = read_behaviour(options.log);
  examples::expect_length(model.length, examples::longest_row(behaviour));
  made.vocabulary = vocabulary_to_train(behaviour, options, from);
  examples::expect_storable(made.vocabulary,
                            fmt::format("--min-item-count {}", options.data.min_item_count));
  const Dataset data = prepare(behaviour, made.vocabulary, options.data, model.length);
  made.config.fingerprint = fingerprint(data);
  if (!model.learns()) {
    made.model = make_popularity(data, model.length);
    if (options.run.processes->is_first())
      save(options.model_file, made, "counts of the training part");
    fmt::print("{}: counted; wrote {}\n", model.title(), options.model_file);
    return Outcome::done;
  }
  made.model = untrained_model(model, options, data, start);
  fmt::print("{}: {} parameters", model.title(), with_commas(made.model->parameter_count()));
  if (!options.search.is_on) fmt::print(", learning rate {}", options.train.learning_rate);
  fmt::print("\n");
  examples::flush_output();
  examples::RunLog log(options.run.log);
  examples::TrainPlace place =
      examples::training_place(options.run, log, model.title(), options.state_file);
  if (options.search.is_on) {
    examples::expect_searchable(data.training.rows(), data.validation.rows.rows());
    place.setting["fingerprint"] = std::to_string(made.config.fingerprint);
    made.config.search = search_model(data, place, options, model, start);
    if (!made.config.search) return examples::interrupted_search(place.label, options.model_file);
    examples::keep_search(place, *made.config.search);
    made.model = untrained_model(model, options, data, start);
  }
  place.setting.merge(run_setting(options, made));
  if (from) place.setting["from"] = from->hash;
  from.reset();  // training needs only the copy
  const examples::TrainReport report = train_model(*made.model, data, options, place);
  return examples::finish_training(report, options.model_file, options.state_file,
                                   options.run.force, [&](const std::string& note) {
                                     save(options.model_file, made,
                                          examples::note_of(note, options.from));
                                   });
}

}  // namespace refrain::cmnrec
