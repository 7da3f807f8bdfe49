#include "cmnrec/config.hpp"

#include <algorithm>
#include <cctype>

#include "common/saved_config.hpp"

namespace refrain::cmnrec {
namespace {

/// Visits the fields of a stored configuration except its program and note.
template <class Config, class Field>
void visit(Config& config, Field&& field) {
  constexpr std::int64_t max_length = examples::longest_sequence;
  field("model", config.model.kind);
  field("schedule", config.model.schedule);
  field("slots", config.model.slots, Between{.most = max_length});
  field("length", config.model.length, Between{.least = 1, .most = max_length});
  field("sampled_loss", config.model.is_sampled);
  visit_sizes(config.model, field);
  visit_data(config.data, field);
  field("fingerprint", config.fingerprint);
}

/// Throws DataError if the file has too few elements for the parameters of such a network.
void expect_room(const examples::StoredConfig& config, const ModelOptions& model,
                 std::int64_t ids) {
  if (model.kind == ModelKind::nextitnet) {
    config.expect_room({ids, model.channels});
    config.expect_room(
        {2 * static_cast<std::int64_t>(model.dilations.size()), model.channels, model.channels});
  } else if (model.learns()) {
    config.expect_room({ids, model.embedding});
    if (!model.tied) config.expect_room({ids, model.hidden});
    config.expect_room({model.hidden, model.embedding});
    config.expect_room({model.layers, model.hidden, model.hidden});
  } else {
    config.expect_room({ids});
  }
  if (!model.has_memory()) return;
  config.expect_room({model.hidden, model.heads, model.word_size});
  if (!model.is_every_step()) config.expect_room({model.hidden, model.attention});
}

}  // namespace

std::string ModelOptions::title() const {
  switch (kind) {
    case ModelKind::srmn:
      return "SRMN";
    case ModelKind::gru4rec:
      return "GRU4Rec";
    case ModelKind::lstm4rec:
      return "LSTM4Rec";
    case ModelKind::nextitnet:
      return "NextItNet";
    case ModelKind::mostpop:
      return "most popular";
    case ModelKind::cmnrec:
      break;
  }
  std::string name = schedule.text();
  if (schedule.has_slots()) {
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  }
  return "CmnRec " + name;
}

std::string config_text(const ModelConfig& config) {
  nlohmann::json text{{"program", "cmnrec"}, {"note", config.note}};
  visit(config, examples::FieldWriter(text));
  // Files without these options have the fields of older files.
  if (config.model.tied) text["tied"] = true;
  if (config.model.dropout > 0) text["dropout"] = config.model.dropout;
  if (config.search) text["search"] = examples::json_of(*config.search);
  return text.dump();
}

ModelConfig model_config(const CheckpointInfo& info, const std::string& path, std::int64_t ids) {
  const examples::StoredConfig fields(info, path);
  if (!fields.is_of_program("cmnrec"))
    throw DataError(path, 0, "expected a model written by cmnrec, got one of another program");
  ModelConfig config;
  visit(config, fields);
  if (fields.has("tied")) config.model.tied = fields.flag("tied");
  if (fields.has("dropout")) config.model.dropout = fields.share("dropout");
  if (fields.has("search")) config.search = examples::search_record(fields.object("search"));
  if (fields.has("note")) config.note = fields.text("note");
  expect_room(fields, config.model, ids);
  return config;
}

}  // namespace refrain::cmnrec
