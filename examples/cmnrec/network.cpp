#include "cmnrec/network.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <type_traits>
#include <utility>

#include "cmnrec/memory_network.hpp"
#include "common/saved_config.hpp"
#include "refrain/train/cooccurrence.hpp"
#include "refrain/train/model_file.hpp"
#include "refrain/train/ngram.hpp"
#include "refrain/train/popularity.hpp"
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

/// A baseline of the library, which counts and does not train.
template <class Baseline>
class CountedModel final : public NextItemModel {
 public:
  CountedModel(std::int64_t length, Baseline baseline)
      : NextItemModel(length), baseline_(std::move(baseline)) {}

  Tensor targets_for(const Tensor& targets, LossPositions, bool) const override { return targets; }
  Variable loss(const LossBatch&, LossPositions) override {
    throw Unsupported("a baseline has no trainable parameters");
  }
  Tensor scores(const Tensor& ids) override { return baseline_.scores(ids.to(Device::cpu)); }
  void visit_members(Visitor& visitor) override { baseline_.visit_members(visitor); }

 private:
  Baseline baseline_;
};

template <class Baseline>
std::unique_ptr<NextItemModel> counting_model(std::int64_t length, Baseline baseline) {
  return std::make_unique<CountedModel<Baseline>>(length, std::move(baseline));
}

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
      return counting_model(options.length,
                            MostPopular(Tensor::zeros({ids}, DType::f32), options.length));
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
  return counting_model(
      length, MostPopular(log_frequencies(data.training, data.vocabulary.size()), length));
}

bool is_baseline(Contender contender) {
  return std::ranges::find(baselines, contender) != std::end(baselines);
}

std::string baseline_title(Contender contender) {
  if (contender == Contender::ngram) return "n-gram";
  if (contender == Contender::cooccurrence) return "co-occurrence";
  return ModelOptions{.kind = ModelKind::mostpop}.title();
}

std::unique_ptr<NextItemModel> make_baseline(Contender contender, const Dataset& data,
                                             std::int64_t length) {
  const std::int64_t ids = data.vocabulary.size();
  if (contender == Contender::mostpop) return make_popularity(data, length);
  if (contender == Contender::ngram)
    return counting_model(length, NGram(data.training, {.ids = ids}));
  if (contender == Contender::cooccurrence)
    return counting_model(length, Cooccurrence(data.training, {.ids = ids, .length = length}));
  throw OptionError(
      fmt::format("expected a baseline that counts, got {}", examples::name_of(contender)));
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
  saved.hash = file.info.tensors_hash;
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
