#include "cmnrec/network.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/concat.hpp"
#include "common/recommendation.hpp"
#include "common/saved_config.hpp"
#include "refrain_models/cmnrec.hpp"
#include "refrain_models/nextitnet.hpp"

namespace refrain::cmnrec {
namespace {

/// Targets [B,T], of which those that do not count are padding.
Tensor counted_targets(const Tensor& targets, LossAt at) {
  return at == LossAt::last ? only_last_column(targets) : targets;
}

/// A controller with external memory, under one schedule.
template <class Controller>
class MemoryRecommender final : public Recommender {
 public:
  using Network = models::CmnRec<Controller>;

  MemoryRecommender(const typename Network::Options& options, ChunkSchedule schedule,
                    Random& random, Placement placement)
      : network_(options, random, placement), schedule_(std::move(schedule)) {}

  Tensor targets_for(const Tensor& targets, LossAt at, bool is_sampled) const override {
    if (at == LossAt::last) return last_column(targets);
    return is_sampled ? swap_batch_time(targets) : targets;
  }
  Variable loss(const LossBatch& batch, LossAt at) override {
    return at == LossAt::last ? network_.last_loss(batch.ids, batch.targets, schedule_, padding_id)
                              : network_.loss(batch.ids, batch.targets, schedule_, padding_id);
  }
  Variable sampled_loss(const LossBatch& batch, LossAt at) override {
    return at == LossAt::last ? network_.last_sampled_loss(batch.ids, batch.targets,
                                                           batch.candidates, schedule_, padding_id)
                              : network_.sampled_loss(batch.ids, batch.targets, batch.candidates,
                                                      schedule_, padding_id);
  }
  Tensor scores(const Tensor& ids) override { return network_.scores(ids, schedule_); }
  void visit_members(Visitor& visitor) override { visitor.module("network", network_); }

 private:
  Network network_;
  ChunkSchedule schedule_;
};

template <class Controller>
class RecurrentRecommender final : public Recommender {
 public:
  using Network = models::RecurrentRec<Controller>;

  RecurrentRecommender(const typename Network::Options& options, Random& random,
                       Placement placement)
      : network_(options, random, placement) {}

  Tensor targets_for(const Tensor& targets, LossAt at, bool is_sampled) const override {
    const Tensor counted = counted_targets(targets, at);
    return is_sampled ? swap_batch_time(counted) : counted;
  }
  Variable loss(const LossBatch& batch, LossAt) override {
    return network_.loss(batch.ids, batch.targets, padding_id);
  }
  Variable sampled_loss(const LossBatch& batch, LossAt) override {
    return network_.sampled_loss(batch.ids, batch.targets, batch.candidates, padding_id);
  }
  Tensor scores(const Tensor& ids) override { return network_.scores(ids); }
  void visit_members(Visitor& visitor) override { visitor.module("network", network_); }

 private:
  Network network_;
};

class ConvolutionRecommender final : public Recommender {
 public:
  ConvolutionRecommender(const models::NextItNet::Options& options, Random& random,
                         Placement placement)
      : network_(options, random, placement) {}

  Tensor targets_for(const Tensor& targets, LossAt at, bool) const override {
    return counted_targets(targets, at);
  }
  Variable loss(const LossBatch& batch, LossAt) override {
    return network_.loss(batch.ids, batch.targets, padding_id);
  }
  Variable sampled_loss(const LossBatch& batch, LossAt) override {
    return network_.sampled_loss(batch.ids, batch.targets, batch.candidates, padding_id);
  }
  Tensor scores(const Tensor& ids) override { return network_.scores(ids); }
  void visit_members(Visitor& visitor) override { visitor.module("network", network_); }

 private:
  models::NextItNet network_;
};

/// Always the same list: what is frequent in the training part.
class PopularityRecommender final : public Recommender {
 public:
  PopularityRecommender(std::int64_t ids, const PreparedData* data)
      : scores_(Tensor::zeros({ids}, DType::f32)) {
    scores_.set_requires_grad(false);
    if (data == nullptr) return;
    std::vector<double> counts(static_cast<std::size_t>(ids), 0.5);
    for (const std::int64_t row : data->split.train) {
      for (const std::int32_t id : data->rows[row]) counts[static_cast<std::size_t>(id)] += 1;
    }
    Tensor scores({ids}, DType::f32);
    std::transform(counts.begin(), counts.end(), scores.data<float>(),
                   [](double count) { return static_cast<float>(std::log(count)); });
    scores_ = Parameter(scores);
    scores_.set_requires_grad(false);
  }

  Tensor targets_for(const Tensor& targets, LossAt, bool) const override { return targets; }
  Variable loss(const LossBatch&, LossAt) override { return nothing(); }
  Variable sampled_loss(const LossBatch&, LossAt) override { return nothing(); }
  Tensor scores(const Tensor& ids) override {
    const Tensor row = scores_.value().to(Device::cpu);
    Tensor all({ids.size(0), row.numel()}, DType::f32);
    for (std::int64_t b = 0; b < ids.size(0); ++b) {
      std::copy_n(row.data<float>(), row.numel(), all.data<float>() + b * row.numel());
    }
    return all;
  }
  void visit_members(Visitor& visitor) override { visitor.parameter("log_frequency", scores_); }

 private:
  [[noreturn]] static Variable nothing() { throw Unsupported("mostpop: nothing is trained"); }

  Parameter scores_;
};

template <class Controller>
std::unique_ptr<Recommender> make_with_memory(const ModelSetting& setting, std::int64_t ids,
                                              Random& random, Placement placement) {
  const NetworkOptions& sizes = setting.network;
  ChunkSchedule schedule = schedule_of(setting.model == "srmn" ? "every" : setting.schedule,
                                       setting.slots, setting.length);
  const bool every_step = schedule.chunks() == setting.length;
  return std::make_unique<MemoryRecommender<Controller>>(
      typename models::CmnRec<Controller>::Options{
          .items = ids,
          .embedding = sizes.embedding,
          .hidden = sizes.hidden,
          .words = sizes.words,
          .word_size = sizes.word_size,
          .heads = sizes.heads,
          .layers = sizes.layers,
          .attention = every_step ? 0 : sizes.attention,
          .keep = sizes.keep,
          .order = sizes.order == "paper" ? ChunkOrder::paper : ChunkOrder::reference_code,
          .recompute = sizes.recompute ? Recompute::segments : Recompute::none},
      std::move(schedule), random, placement);
}

template <class Controller>
std::unique_ptr<Recommender> make_recurrent(const ModelSetting& setting, std::int64_t ids,
                                            Random& random, Placement placement) {
  const NetworkOptions& sizes = setting.network;
  return std::make_unique<RecurrentRecommender<Controller>>(
      typename models::RecurrentRec<Controller>::Options{.items = ids,
                                                         .embedding = sizes.embedding,
                                                         .hidden = sizes.hidden,
                                                         .layers = sizes.layers,
                                                         .keep = sizes.keep},
      random, placement);
}

}  // namespace

ModelSetting setting_of(const Options& options) {
  ModelSetting setting{.model = options.model,
                       .schedule = options.model == "cmnrec" ? options.schedule : std::string(),
                       .slots = options.slots,
                       .length = options.data.length,
                       .sampled_loss = options.loss.kind == "sampled",
                       .network = options.network};
  if (setting.has_memory() && setting.network.words == 0) setting.network.words = options.slots;
  return setting;
}

ChunkSchedule schedule_of(const std::string& name, std::int64_t slots, std::int64_t steps) {
  const auto whole_number = [&](const std::string& text) {
    if (text.empty() || text.size() > 9 ||
        text.find_first_not_of("0123456789") != std::string::npos) {
      throw OptionError(
          examples::concat("--schedule: expected pec, tsc, exc, every, every:G or steps like 5,10,",
                           steps, ", got ", name));
    }
    return std::int64_t{std::stol(text)};
  };
  if (name == "pec" || name == "tsc" || name == "exc") {
    if (slots < 1 || slots > steps) {
      throw OptionError(examples::concat("--slots: expected 1 to ", steps, " with --length ", steps,
                                         ", got ", slots));
    }
    return name == "pec"   ? ChunkSchedule::pec(steps, slots)
           : name == "tsc" ? ChunkSchedule::tsc(steps, slots)
                           : ChunkSchedule::exc(steps, slots);
  }
  if (name == "every") return ChunkSchedule::every_step(steps);
  if (name.starts_with("every:"))
    return ChunkSchedule::every(whole_number(name.substr(6)), steps).closed();
  std::vector<std::int64_t> list;
  for (const std::string& step : examples::split_list(name)) list.push_back(whole_number(step));
  try {
    return ChunkSchedule::of(std::move(list), steps);
  } catch (const OptionError& error) {
    throw OptionError(examples::concat("--schedule ", name, ": ", error.what()));
  }
}

std::unique_ptr<Recommender> make_recommender(const ModelSetting& setting,
                                              const Vocabulary& vocabulary,
                                              const PreparedData* data, Random& random,
                                              Placement placement) {
  const std::int64_t ids = vocabulary.size();
  const NetworkOptions& sizes = setting.network;
  if (setting.model == "mostpop") return std::make_unique<PopularityRecommender>(ids, data);
  if (setting.model == "nextitnet") {
    return std::make_unique<ConvolutionRecommender>(
        models::NextItNet::Options{.items = ids,
                                   .channels = sizes.channels,
                                   .dilations = sizes.dilations,
                                   .relu = !setting.sampled_loss},
        random, placement);
  }
  if (setting.model == "lstm4rec") return make_recurrent<Lstm>(setting, ids, random, placement);
  if (setting.model == "gru4rec") return make_recurrent<Gru>(setting, ids, random, placement);
  if (!setting.has_memory()) {
    throw OptionError(
        "--model: expected cmnrec, srmn, gru4rec, lstm4rec, nextitnet or mostpop, got " +
        setting.model);
  }
  return sizes.controller == "gru" ? make_with_memory<Gru>(setting, ids, random, placement)
                                   : make_with_memory<Lstm>(setting, ids, random, placement);
}

void save(const std::string& path, const SavedModel& saved, const std::string& note) {
  save_model(path, *saved.recommender,
             {{"config", config_text(saved.setting, saved.data, saved.fingerprint, note)},
              {"vocabulary", saved.vocabulary.serialize()}});
}

SavedModel load(const std::string& path) {
  Checkpoint file = read_checkpoint(path);
  const CheckpointInfo& info = file.info;
  if (info.kind != "model")
    throw DataError(path, 0, "expected a trained model, this is a " + info.kind + " file");
  SavedModel saved;
  saved.vocabulary = Vocabulary::deserialize(examples::stored_text(info, path, "vocabulary"), path);
  ModelConfig config = model_config(info, path, saved.vocabulary.size());
  saved.setting = std::move(config.setting);
  saved.data = std::move(config.data);
  saved.fingerprint = config.fingerprint;
  Random random(0);
  saved.recommender = examples::build_stored(path, [&] {
    return make_recommender(saved.setting, saved.vocabulary, nullptr, random,
                            {.fill = Fill::deferred});
  });
  load_model(std::move(file), *saved.recommender);
  saved.recommender->eval();
  return saved;
}

}  // namespace refrain::cmnrec
