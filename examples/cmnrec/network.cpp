#include "cmnrec/network.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <type_traits>
#include <utility>

#include "cmnrec/memory_network.hpp"
#include "common/saved_config.hpp"
#include "refrain/train/model_file.hpp"
#include "refrain_models/nextitnet.hpp"

namespace refrain::cmnrec {
namespace {

/// A network of refrain::models; one with a memory accesses it at the chunk steps of a schedule.
template <class Network>
class NetworkModel final : public NextItemModel {
 public:
  static constexpr bool has_memory = requires { typename Network::Weights; };

  NetworkModel(const ModelOptions& options, const typename Network::Options& sizes, Random& random,
               const Placement& placement)
      : NextItemModel(options.length), network_(sizes, random, placement) {
    if constexpr (has_memory) chunks_ = options.chunks();
  }

  Tensor targets_for(const Tensor& targets, LossPositions at, bool is_sampled) const override {
    const bool is_last = at == LossPositions::last;
    if (has_memory && is_last) return last_ids(targets);
    const Tensor counted = is_last ? only_last_ids(targets) : targets;
    constexpr bool is_time_major = !std::is_same_v<Network, models::NextItNet>;
    return is_time_major && is_sampled ? swap_batch_time(counted) : counted;
  }

  Variable loss(const LossBatch& batch, LossPositions at) override {
    const auto& [ids, targets, candidates] = batch;
    if constexpr (!has_memory) {
      return batch.is_sampled() ? network_.sampled_loss(ids, targets, candidates, padding_id)
                                : network_.loss(ids, targets, padding_id);
    } else if (at == LossPositions::last) {
      return batch.is_sampled()
                 ? network_.last_sampled_loss(ids, targets, candidates, *chunks_, padding_id)
                 : network_.last_loss(ids, targets, *chunks_, padding_id);
    } else {
      return batch.is_sampled()
                 ? network_.sampled_loss(ids, targets, candidates, *chunks_, padding_id)
                 : network_.loss(ids, targets, *chunks_, padding_id);
    }
  }

  Tensor scores(const Tensor& ids) override {
    if constexpr (has_memory) return network_.scores(ids, *chunks_);
    return network_.scores(ids);
  }

  void visit_members(Visitor& visitor) override { visitor.module("network", network_); }

 private:
  Network network_;
  std::optional<ChunkSchedule> chunks_;
};

class PopularityModel final : public NextItemModel {
 public:
  /// Scores f32 [V].
  PopularityModel(std::int64_t length, const Tensor& scores)
      : NextItemModel(length), scores_(scores) {
    scores_.set_requires_grad(false);
  }

  Tensor targets_for(const Tensor& targets, LossPositions, bool) const override { return targets; }
  Variable loss(const LossBatch&, LossPositions) override {
    throw Unsupported("mostpop has no trainable parameters");
  }
  Tensor scores(const Tensor& ids) override {
    const Tensor row = scores_.value().to(Device::cpu);
    Tensor all({ids.size(0), row.numel()}, DType::f32);
    for (std::int64_t b = 0; b < ids.size(0); ++b)
      std::copy_n(row.data<float>(), row.numel(), all.data<float>() + b * row.numel());
    return all;
  }
  void visit_members(Visitor& visitor) override { visitor.parameter("log_frequency", scores_); }

 private:
  Parameter scores_;
};

template <class Controller>
std::unique_ptr<NextItemModel> make_with_memory(const ModelOptions& options, std::int64_t ids,
                                                Random& random, const Placement& placement) {
  using Network = models::CmnRec<Controller>;
  return std::make_unique<NetworkModel<Network>>(options, memory_options<Controller>(options, ids),
                                                 random, placement);
}

template <class Controller>
std::unique_ptr<NextItemModel> make_recurrent(const ModelOptions& options, std::int64_t ids,
                                              Random& random, const Placement& placement) {
  using Network = models::RecurrentRec<Controller>;
  return std::make_unique<NetworkModel<Network>>(
      options,
      typename Network::Options{.items = ids,
                                .embedding = options.embedding,
                                .hidden = options.hidden,
                                .layers = options.layers,
                                .keep = options.keep,
                                .tied = options.tied,
                                .dropout = options.dropout},
      random, placement);
}

}  // namespace

std::unique_ptr<NextItemModel> make_model(const ModelOptions& options, std::int64_t ids,
                                          Random& random, const Placement& placement) {
  switch (options.kind) {
    case ModelKind::mostpop:
      return std::make_unique<PopularityModel>(options.length, Tensor::zeros({ids}, DType::f32));
    case ModelKind::nextitnet:
      return std::make_unique<NetworkModel<models::NextItNet>>(
          options,
          models::NextItNet::Options{.items = ids,
                                     .channels = options.channels,
                                     .dilations = options.dilations,
                                     .relu = !options.is_sampled,
                                     .tied = options.tied,
                                     .dropout = options.dropout},
          random, placement);
    case ModelKind::lstm4rec:
      return make_recurrent<Lstm>(options, ids, random, placement);
    case ModelKind::gru4rec:
      return make_recurrent<Gru>(options, ids, random, placement);
    case ModelKind::cmnrec:
    case ModelKind::srmn:
      break;
  }
  return options.controller == ControllerKind::gru
             ? make_with_memory<Gru>(options, ids, random, placement)
             : make_with_memory<Lstm>(options, ids, random, placement);
}

std::unique_ptr<NextItemModel> make_popularity(const Dataset& data, std::int64_t length) {
  std::vector<double> counts(static_cast<std::size_t>(data.vocabulary.size()), 0.5);
  for (const std::int32_t id : data.training.values()) counts[static_cast<std::size_t>(id)] += 1;
  Tensor scores({data.vocabulary.size()}, DType::f32);
  std::transform(counts.begin(), counts.end(), scores.data<float>(),
                 [](double count) { return static_cast<float>(std::log(count)); });
  return std::make_unique<PopularityModel>(length, scores);
}

void save(const std::string& path, SavedModel& saved, const std::string& note) {
  saved.config.note = note;
  save_model(path, *saved.model, saved.vocabulary, {{"config", config_text(saved.config)}});
}

SavedModel load(const std::string& path) {
  Checkpoint file = read_checkpoint(path);
  if (file.info.kind != "model")
    throw DataError(path, 0, "expected a trained model, got a " + file.info.kind + " file");
  SavedModel saved;
  saved.vocabulary = vocabulary_of(file);
  saved.config = model_config(file.info, path, saved.vocabulary.size());
  Random random(0);
  saved.model = examples::build_stored(path, [&] {
    return make_model(saved.config.model, saved.vocabulary.size(), random,
                      {.fill = Fill::deferred});
  });
  load_model(std::move(file), *saved.model);
  saved.model->eval();
  return saved;
}

}  // namespace refrain::cmnrec
