#include "cmnrec/results.hpp"

#include <fmt/core.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "refrain/core/parallel.hpp"

namespace refrain::cmnrec {
namespace {

nlohmann::json json_of(const Run& run) {
  nlohmann::json curve = nlohmann::json::array();
  for (const examples::CurvePoint& point : run.curve) {
    curve.push_back(
        {{"epoch", point.epoch}, {"loss", point.loss}, {"validation", point.validation}, {"seconds", point.seconds}});
  }
  return {{"model", run.title},
          {"slots", run.slots},
          {"seed", run.seed},
          {"parameters", run.parameters},
          {"epochs", run.epochs},
          {"seconds_per_epoch", run.seconds_per_epoch},
          {"prediction_ms", run.prediction_ms},
          {"prediction_batch", run.prediction_batch},
          {"full", run.all},
          {"without_seen", run.without_seen},
          {"metric", run.metric},
          {"curve", std::move(curve)},
          {"setting", nlohmann::json::parse(run.key)}};
}

Run run_of(const nlohmann::json& json) {
  Run run{.key = json.at("setting").dump(),
          .title = json.at("model"),
          .slots = json.at("slots"),
          .seed = json.at("seed"),
          .parameters = json.at("parameters"),
          .epochs = json.at("epochs"),
          .seconds_per_epoch = json.at("seconds_per_epoch"),
          .prediction_ms = json.at("prediction_ms"),
          .prediction_batch = json.at("prediction_batch"),
          .metric = json.at("metric"),
          .curve = {},
          .all = json.at("full").get<std::map<std::string, double>>(),
          .without_seen = json.at("without_seen").get<std::map<std::string, double>>()};
  for (const nlohmann::json& point : json.at("curve")) {
    run.curve.push_back({point.at("epoch"), point.at("loss"), point.at("validation"), point.at("seconds")});
  }
  return run;
}

}  // namespace

std::string run_key(const ModelSetting& setting, const Options& options, std::uint64_t fingerprint, std::uint64_t seed) {
  const NetworkOptions& sizes = setting.network;
  nlohmann::json key{{"data", fmt::format("{:016x}", fingerprint)},
                     {"length", setting.length},
                     {"model", setting.model},
                     {"threads", threads()},
                     {"prediction_batch", options.prediction_batch}};
  if (options.run.device != name(Device::cpu)) key["device"] = options.run.device;
  if (!setting.learns()) return key.dump();
  key.update({{"seed", seed},
              {"loss", options.loss.kind},
              {"loss_at", options.loss.at},
              {"stop_on", options.loss.stop_on},
              {"batch", options.train.batch},
              {"learning_rate", options.train.learning_rate},
              {"epochs", options.train.epochs},
              {"patience", options.train.patience},
              {"clip", options.train.clip},
              {"l2", options.train.l2}});
  if (setting.sampled_loss) key["negatives"] = options.loss.negatives;
  if (options.loss.shift > 0) key["shift"] = options.loss.shift;
  if (options.loss.stop_on == "ndcg") key["without_seen"] = options.without_seen;
  if (setting.model == "nextitnet") {
    key.update({{"channels", sizes.channels}, {"dilations", sizes.dilations}});
    return key.dump();
  }
  key.update({{"embedding", sizes.embedding}, {"hidden", sizes.hidden}, {"layers", sizes.layers}, {"keep", sizes.keep}});
  if (!setting.has_memory()) return key.dump();
  key.update({{"controller", sizes.controller},
              {"words", sizes.words},
              {"word_size", sizes.word_size},
              {"heads", sizes.heads},
              {"order", sizes.order},
              {"recompute", sizes.recompute}});
  if (setting.model == "cmnrec") {
    key.update({{"schedule", setting.schedule}, {"slots", setting.slots}, {"attention", sizes.attention}});
  }
  return key.dump();
}

Results::Results(std::string path) : path_(std::move(path)) {
  if (path_.empty()) return;
  std::ifstream in(path_, std::ios::binary);
  if (!in) return;  // there is none yet; add() tells when it cannot be written
  std::int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    ends_inside_line_ = in.eof();
    if (line.empty()) continue;
    try {
      Run run = run_of(nlohmann::json::parse(line));
      std::string key = run.key;
      runs_.insert_or_assign(std::move(key), std::move(run));
    } catch (const nlohmann::json::exception& error) {
      if (!ends_inside_line_) throw DataError(path_, number, concat("expected a finished run as JSON, got: ", error.what()));
      fmt::print(stderr, "{}:{}: passed over: the line was cut off\n", path_, number);
    }
  }
}

const Run* Results::find(const std::string& key) const {
  const auto found = runs_.find(key);
  return found == runs_.end() ? nullptr : &found->second;
}

const Run& Results::add(Run run) {
  if (!path_.empty()) {
    std::ofstream out(path_, std::ios::binary | std::ios::app);
    if (std::exchange(ends_inside_line_, false)) out << '\n';
    out << json_of(run).dump() << '\n';
    out.close();
    if (!out) throw DataError(path_, 0, "cannot be written");
  }
  std::string key = run.key;
  return runs_.insert_or_assign(std::move(key), std::move(run)).first->second;
}

}  // namespace refrain::cmnrec
