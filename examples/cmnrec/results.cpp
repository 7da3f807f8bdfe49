#include "cmnrec/results.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <utility>

#include "common/saved_config.hpp"
#include "common/standard_streams.hpp"
#include "refrain/core/parallel.hpp"

namespace refrain::cmnrec {
namespace {

nlohmann::json json_of(const Run& run) {
  nlohmann::json curve = nlohmann::json::array();
  for (const EpochReport& epoch : run.curve) {
    curve.push_back({{"epoch", epoch.epoch + 1},
                     {"loss", epoch.loss},
                     {"validation", epoch.metric},
                     {"seconds", epoch.training_seconds}});
  }
  return {{"model", run.title},
          {"slots", run.slots},
          {"seed", run.seed},
          {"parameters", run.parameters},
          {"epochs", run.epochs},
          {"seconds_per_epoch", run.seconds_per_epoch},
          {"prediction_ms", run.prediction_ms},
          {"prediction_batch", run.prediction_batch},
          {"full", run.figures[0]},
          {"without_seen", run.figures[1]},
          {"metric", run.metric},
          {"curve", std::move(curve)},
          {"setting", nlohmann::json::parse(run.key)}};
}

Run run_of(const examples::JsonFields& fields) {
  using examples::any_count;
  Run run{.key = fields.text_of_object("setting"),
          .title = fields.text("model"),
          .slots = fields.integer("slots"),
          .seed = fields.word("seed"),
          .parameters = fields.integer("parameters", any_count),
          .epochs = fields.integer("epochs", any_count),
          .seconds_per_epoch = fields.number("seconds_per_epoch"),
          .prediction_ms = fields.number("prediction_ms"),
          .prediction_batch = fields.integer("prediction_batch", any_count),
          .metric = fields.text("metric"),
          .figures = {fields.numbers_by_name("full"), fields.numbers_by_name("without_seen")}};
  for (const examples::JsonFields& point : fields.objects("curve")) {
    run.curve.push_back({.epoch = point.integer("epoch", {.least = 1, .most = any_count.most}) - 1,
                         .loss = point.number("loss"),
                         .metric = point.number("validation"),
                         .training_seconds = point.number("seconds")});
  }
  return run;
}

/// The fields that all runs have.
void write_data(const examples::FieldWriter& write, const std::string& name, std::int64_t length,
                const Options& options, std::uint64_t fingerprint) {
  write("data", fmt::format("{:016x}", fingerprint));
  write("length", length);
  write("model", name);
  write("threads", threads());
  write("prediction_batch", options.compare.prediction_batch);
  if (options.run.device != Device::cpu) write("device", options.run.device);
}

}  // namespace

std::string baseline_key(const std::string& name, std::int64_t length, const Options& options,
                         std::uint64_t fingerprint) {
  nlohmann::json key;
  write_data(examples::FieldWriter(key), name, length, options, fingerprint);
  return key.dump();
}

std::string run_key(const ModelOptions& model, const Options& options, std::uint64_t fingerprint,
                    std::uint64_t seed) {
  nlohmann::json key;
  const examples::FieldWriter write(key);
  write_data(write, examples::name_of(model.kind), model.length, options, fingerprint);
  write("seed", seed);
  write("loss", options.loss.kind);
  write("loss_at", options.loss.at);
  write("stop_on", options.loss.stop_on);
  write("batch", options.train.batch);
  write("learning_rate", options.train.learning_rate);
  write("epochs", options.train.epochs);
  write("patience", options.train.patience);
  write("clip", options.train.clip);
  write("l2", options.train.l2);
  const examples::TrainOptions& train = options.train;
  if (train.decay > 0) write("decay", train.decay);
  if (train.slices > 1) write("slices", train.slices);
  if (train.warmup > 0) write("warmup", train.warmup);
  if (train.rate_schedule != examples::RateSchedule::constant)
    write("rate_schedule", train.rate_schedule);
  if (train.plateau_margin > 0) write("plateau_margin", train.plateau_margin);
  if (model.is_sampled) write("negatives", options.loss.negatives);
  if (options.loss.shift > 0) write("shift", options.loss.shift);
  if (options.loss.stop_on == StopOn::ndcg) write("without_seen", options.without_seen);
  if (model.tied) write("tied", model.tied);
  if (model.dropout > 0) write("dropout", model.dropout);
  if (model.kind == ModelKind::nextitnet) {
    visit_convolutional(model, write);
    return key.dump();
  }
  visit_recurrent(model, write);
  if (model.has_memory()) {
    visit_memory(model, write);
    write("recompute", model.recompute);
  }
  if (model.kind == ModelKind::cmnrec) {
    write("schedule", model.schedule);
    write("slots", model.slots);
    visit_attention(model, write);
  }
  return key.dump();
}

Results::Results(std::string path) : path_(std::move(path)) {
  // A device such as /dev/full is not read; add() reports a file that cannot be written.
  std::error_code unknown;
  if (!std::filesystem::is_regular_file(path_, unknown)) return;
  std::ifstream in(path_, std::ios::binary);
  std::int64_t number = 0;
  std::uintmax_t begin = 0;
  for (std::string line; std::getline(in, line); begin += line.size() + 1) {
    ++number;
    ends_inside_line_ = in.eof();
    if (line.empty()) continue;
    try {
      Run run = run_of({line, path_, number, "expected a finished run as JSON"});
      std::string key = run.key;
      runs_.insert_or_assign(std::move(key), std::move(run));
    } catch (const DataError&) {
      if (!ends_inside_line_ || line.front() != '{') throw;
      cut_off_at_ = begin;
      examples::say("{}:{}: skipped: the line is incomplete\n", path_, number);
    }
  }
}

const Run* Results::find(const std::string& key) const {
  const auto found = runs_.find(key);
  return found == runs_.end() ? nullptr : &found->second;
}

const Run& Results::add(Run run) {
  if (!path_.empty()) append(run);
  std::string key = run.key;
  return runs_.insert_or_assign(std::move(key), std::move(run)).first->second;
}

void Results::append(const Run& run) {
  // A line appended to an incomplete one could not be read, so the incomplete line is removed
  // first.
  if (cut_off_at_) {
    std::error_code error;
    std::filesystem::resize_file(path_, *std::exchange(cut_off_at_, std::nullopt), error);
    if (error)
      throw DataError(path_, 0, "cannot remove its incomplete last line: " + error.message());
    ends_inside_line_ = false;
  }
  std::error_code unknown;
  const std::uintmax_t size = std::filesystem::file_size(path_, unknown);
  const bool ended_inside_line = std::exchange(ends_inside_line_, false);
  std::ofstream out(path_, std::ios::binary | std::ios::app);
  if (ended_inside_line) out << '\n';
  out << json_of(run).dump() << '\n';
  out.close();
  if (out) return;
  examples::say("warning: --results: {}: cannot be written; {}, seed {}, was not saved\n", path_,
                run.label(), run.seed);
  ends_inside_line_ = ended_inside_line;
  if (!unknown) std::filesystem::resize_file(path_, size, unknown);
}

}  // namespace refrain::cmnrec
