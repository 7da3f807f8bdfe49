#include "cmnrec/config.hpp"

#include "common/saved_config.hpp"

namespace refrain::cmnrec {

std::string ModelSetting::title() const {
  if (model == "srmn") return "SRMN";
  if (model == "gru4rec") return "GRU4Rec";
  if (model == "lstm4rec") return "LSTM4Rec";
  if (model == "nextitnet") return "NextItNet";
  if (model == "mostpop") return "most popular";
  if (schedule == "pec") return "CmnRec PEC";
  if (schedule == "tsc") return "CmnRec TSC";
  if (schedule == "exc") return "CmnRec EXC";
  return "CmnRec " + schedule;
}

std::string config_text(const ModelSetting& setting, const DataOptions& data,
                        std::uint64_t fingerprint, const std::string& note) {
  const NetworkOptions& sizes = setting.network;
  return nlohmann::json{{"program", "cmnrec"},
                        {"model", setting.model},
                        {"schedule", setting.schedule},
                        {"slots", setting.slots},
                        {"length", setting.length},
                        {"sampled_loss", setting.sampled_loss},
                        {"embedding", sizes.embedding},
                        {"hidden", sizes.hidden},
                        {"layers", sizes.layers},
                        {"controller", sizes.controller},
                        {"words", sizes.words},
                        {"word_size", sizes.word_size},
                        {"heads", sizes.heads},
                        {"attention", sizes.attention},
                        {"keep", sizes.keep},
                        {"order", sizes.order},
                        {"channels", sizes.channels},
                        {"dilations", sizes.dilations},
                        {"min_item_count", data.min_item_count},
                        {"min_length", data.min_length},
                        {"split", data.split},
                        {"split_seed", data.split_seed},
                        {"leave_last_out", data.leave_last_out},
                        {"fingerprint", fingerprint},
                        {"note", note}}
      .dump();
}

ModelConfig model_config(const CheckpointInfo& info, const std::string& path, std::int64_t ids) {
  const examples::StoredConfig config(info, path);
  if (!config.has("program") || config.text("program") != "cmnrec")
    throw DataError(path, 0, "expected a model that cmnrec wrote, got another program's");
  const examples::Between steps{.least = 1, .most = examples::longest_sequence};
  ModelConfig stored;
  ModelSetting& setting = stored.setting;
  setting.model =
      config.choice("model", {"cmnrec", "srmn", "gru4rec", "lstm4rec", "nextitnet", "mostpop"});
  setting.schedule = config.text("schedule");
  setting.slots = config.integer("slots", {.most = steps.most});
  setting.length = config.integer("length", steps);
  setting.sampled_loss = config.flag("sampled_loss");
  NetworkOptions& sizes = setting.network;
  sizes.embedding = config.integer("embedding", {.least = 1});
  sizes.hidden = config.integer("hidden", {.least = 1});
  sizes.layers = config.integer("layers", {.least = 1});
  sizes.controller = config.choice("controller", {"lstm", "gru"});
  sizes.words = config.integer("words", {});
  sizes.word_size = config.integer("word_size", {.least = 1});
  sizes.heads = config.integer("heads", {.least = 1});
  sizes.attention = config.integer("attention", {});
  sizes.keep = config.share("keep");
  sizes.order = config.choice("order", {"paper", "reference"});
  sizes.channels = config.integer("channels", {.least = 1});
  sizes.dilations = config.integers("dilations", {.least = 1, .most = examples::longest_sequence});
  // Parameters that such a network has, at the least.
  if (setting.model == "nextitnet") {
    config.expect_room({ids, sizes.channels});
    config.expect_room(
        {2 * static_cast<std::int64_t>(sizes.dilations.size()), sizes.channels, sizes.channels});
  } else if (setting.learns()) {
    config.expect_room({ids, sizes.embedding});
    config.expect_room({ids, sizes.hidden});
    config.expect_room({sizes.hidden, sizes.embedding});
    config.expect_room({sizes.layers, sizes.hidden, sizes.hidden});
  } else {
    config.expect_room({ids});
  }
  if (setting.has_memory()) {
    config.expect_room({sizes.hidden, sizes.heads, sizes.word_size});
    // A memory at every step goes without attention.
    const bool every_step = setting.model == "srmn" || setting.slots == setting.length ||
                            setting.schedule == "every" || setting.schedule == "every:1";
    if (!every_step) config.expect_room({sizes.hidden, sizes.attention});
  }
  stored.data.min_item_count = config.integer("min_item_count", examples::any_count);
  stored.data.min_length = config.integer("min_length", examples::any_count);
  stored.data.length = setting.length;
  stored.data.split = config.shares("split");
  stored.data.split_seed = config.word("split_seed");
  stored.data.leave_last_out = config.flag("leave_last_out");
  stored.fingerprint = config.word("fingerprint");
  if (config.has("note")) stored.note = config.text("note");
  return stored;
}

}  // namespace refrain::cmnrec
