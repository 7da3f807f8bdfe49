#include "cmnrec/experiment.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "refrain/core/stream.hpp"
#include "refrain/train/evaluate.hpp"

namespace refrain::cmnrec {
namespace {

/// The batch without its newest `steps` items: the other items move to later time steps, with
/// padding before them.
SequenceBatch shifted(const SequenceBatch& batch, std::int64_t steps) {
  const auto moved = [steps](const Tensor& ids) {
    Tensor out = Tensor::full(ids.shape(), padding_id, DType::i32);
    const std::int64_t kept = ids.size(1) - steps;
    for (std::int64_t b = 0; b < ids.size(0); ++b) {
      const std::int64_t row = b * ids.size(1);
      std::copy_n(ids.data<std::int32_t>() + row, kept, out.data<std::int32_t>() + row + steps);
    }
    return out;
  };
  return steps == 0 ? batch : SequenceBatch{moved(batch.ids), moved(batch.targets)};
}

/// The training batches, their loss according to the options, and the validation loss: softmax over
/// all items at the same time steps.
class Objective {
 public:
  Objective(NextItemModel& model, const Dataset& data, const Options& options, std::uint64_t seed)
      : model_(model),
        validation_(data.validation),
        options_(options.loss),
        batches_(data.training, {.length = model.length(),
                                 .batch_size = options.train.batch,
                                 .seed = seed,
                                 .min_length = options.data.min_length,
                                 .shuffle = options.train.shuffle}),
        sampler_({.first = data.vocabulary.first_item(), .range = data.vocabulary.items()}) {
    const std::int64_t items = data.vocabulary.items();
    if (options_.negatives == 0) options_.negatives = std::max<std::int64_t>(1, items / 10);
    if (options_.shift >= model.length()) {
      throw OptionError(fmt::format("--shift: expected less than --length {}, got {}",
                                    model.length(), options_.shift));
    }
    if (is_sampled() && options_.negatives > items) {
      throw OptionError(fmt::format("--negatives: expected 1 to {} (the items), got {}", items,
                                    options_.negatives));
    }
  }

  std::int64_t steps_per_epoch() const { return batches_.steps_per_epoch(); }

  /// A slice of the batch of a training step, on the host.
  LossBatch batch(std::int64_t epoch, std::int64_t step, BatchSlice slice) {
    Random random = batches_.random(epoch, step, slice);
    SequenceBatch batch = batches_(epoch, step, slice);
    if (batch.ids.numel() == 0) return {};
    if (options_.shift > 0) batch = shifted(batch, random.below(options_.shift + 1));
    LossBatch made{.ids = batch.ids,
                   .targets = model_.targets_for(batch.targets, options_.at, is_sampled())};
    if (is_sampled()) {
      made.candidates =
          examples::draw_candidates(sampler_, options_.negatives, made.targets, random);
    }
    return made;
  }

  Variable loss(const LossBatch& batch) { return model_.loss(batch, options_.at); }

  double validation(Communicator* ranks) {
    const Device device = model_.device();
    // Leave-last-out holds out only the last item of a history; the other items are training items.
    const LossPositions at = validation_.is_unseen ? options_.at : LossPositions::last;
    return held_out_loss(
        [&](const SequenceBatch& batch) {
          const Tensor targets = model_.targets_for(batch.targets, at, false);
          return model_.loss({.ids = batch.ids.to(device), .targets = targets.to(device)}, at)
              .item();
        },
        validation_, model_.length(), at, 256, ranks);
  }

 private:
  bool is_sampled() const { return options_.kind == LossKind::sampled; }

  NextItemModel& model_;
  const HeldOut& validation_;
  LossOptions options_;
  NextItemBatches batches_;
  CandidateSampler sampler_;
};

}  // namespace

ModelOptions model_of(const Options& options) {
  ModelOptions model = options.model;
  if (model.kind != ModelKind::cmnrec) model.schedule = *Schedule::parse("");
  if (model.has_memory() && model.words == 0) model.words = model.slots;
  model.is_sampled = options.loss.kind == LossKind::sampled;
  return model;
}

std::vector<RankingMetrics> measure(NextItemModel& model, const HeldOut& part,
                                    const OnRanks& on_ranks, Communicator* ranks) {
  const std::vector<std::int64_t> at(std::begin(cutoffs), std::end(cutoffs));
  const EvaluateOptions protocols[] = {{.cutoffs = at, .communicator = ranks},
                                       {.cutoffs = at, .leave_out_seen = true}};
  return evaluate(model, part, protocols, on_ranks);
}

std::vector<RankingMetrics> measure_test(NextItemModel& model, const HeldOut& test,
                                         std::span<const std::string> users,
                                         const std::string& title, const examples::RunOptions& run,
                                         std::uint64_t seed, examples::RanksFile& ranks) {
  const std::vector<RankingMetrics> metrics =
      measure(model, test, ranks.collect(), run.processes->ranks());
  std::vector<std::string> protocols;
  for (const RankingMetrics& each : metrics) protocols.push_back(each.protocol().text());
  ranks.write({.task = "next", .method = title, .seed = seed}, protocols, users);
  return metrics;
}

std::string metric_name(StopOn stop_on) {
  return stop_on == StopOn::ndcg ? "NDCG@10" : "held-out loss";
}

examples::Training model_training(NextItemModel& model, const Dataset& data, const Options& options,
                                  std::uint64_t seed) {
  auto objective = std::make_shared<Objective>(model, data, options, seed);
  auto adam = std::make_unique<Adam>(model, examples::adam_options(options.train));
  if (options.train.l2 > 0)
    adam->set_l2(options.model.tied ? "*embedding.weight" : "*head.weight", options.train.l2);
  const bool by_ndcg = options.loss.stop_on == StopOn::ndcg;
  const EvaluateOptions ranking{.cutoffs = {10}, .leave_out_seen = options.without_seen};
  return examples::training_of(model, std::move(adam), objective,
                               {.name = metric_name(options.loss.stop_on),
                                .larger_is_better = by_ndcg,
                                .measure =
                                    [=, &model, &data](Communicator* ranks) {
                                      if (!by_ndcg) return objective->validation(ranks);
                                      EvaluateOptions together = ranking;
                                      together.communicator = ranks;
                                      return evaluate(model, data.validation, together).ndcg(10);
                                    },
                                .chance = std::log(static_cast<double>(data.vocabulary.size()))});
}

examples::TrainReport train_model(NextItemModel& model, const Dataset& data, const Options& options,
                                  const examples::TrainPlace& place) {
  return examples::train(model_training(model, data, options, place.seed), options.train, place);
}

double prediction_ms(NextItemModel& model, const HeldOut& test, std::int64_t batch) {
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < batch; ++i) rows.push_back(i % test.rows.rows());
  const Tensor ids = next_item_batch(test.rows, rows, model.length() + 1).ids.to(model.device());
  model.eval();
  const auto milliseconds = [&] {
    const auto begin = std::chrono::steady_clock::now();
    model.scores(ids);
    synchronize(ids.device());
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
        .count();
  };
  milliseconds();
  std::vector<double> times(7);
  std::generate(times.begin(), times.end(), milliseconds);
  std::nth_element(times.begin(), times.begin() + 3, times.end());
  return times[3];
}

}  // namespace refrain::cmnrec
