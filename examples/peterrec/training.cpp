#include "peterrec/training.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "refrain/data/samplers.hpp"
#include "refrain/ops/loss.hpp"

namespace refrain::peterrec {
namespace {

/// What a source loss is computed from.
struct SourceBatch {
  Tensor ids;
  Tensor targets;
  Candidates candidates{};  ///< of the sampled loss

  template <class Function>
  void visit(Function&& function) {
    for (Tensor* tensor :
         {&ids, &targets, &candidates.ids, &candidates.log_q_true, &candidates.log_q_negative})
      function(*tensor);
  }
};

/// What a task's loss is computed from.
struct TaskBatch {
  Tensor ids;
  Tensor targets;
  Tensor negatives{};    ///< of the pair losses
  SourceBatch source{};  ///< when the source is learned jointly

  template <class Function>
  void visit(Function&& function) {
    for (Tensor* tensor : {&ids, &targets, &negatives}) function(*tensor);
    source.visit(function);
  }
};

/// The source loss of one batch: next item or masked item, full or sampled softmax.
class SourceLoss {
 public:
  SourceLoss(const PretrainData& data, const Vocabulary& vocabulary, const BaseOptions& options,
             std::int64_t length)
      : data_(data),
        options_(options),
        piece_(piece_length(length, options.causal)),
        sampler_({.first = vocabulary.first_item(), .range = vocabulary.items()}),
        samples_(std::clamp<std::int64_t>(std::llround(options.sampled_share * vocabulary.items()),
                                          1, vocabulary.items())) {}

  /// A training step's batch, on the host.
  SourceBatch training(std::span<const std::int64_t> rows, Random random) {
    const SequenceBatch made = batch(rows, random);
    if (options_.loss != "sampled") return {.ids = made.ids, .targets = made.targets};
    const CandidateSample sample = sampler_.draw(samples_, random);
    return {.ids = made.ids,
            .targets = made.targets,
            .candidates = {.ids = sample.ids,
                           .log_q_true = sampler_.log_expected_count(
                               made.targets.reshape({made.targets.numel()}), sample),
                           .log_q_negative = sampler_.log_expected_count(sample.ids, sample)}};
  }

  Variable loss(const NextItNet& network, const SourceBatch& batch) const {
    if (options_.loss != "sampled") return network.loss(batch.ids, batch.targets, padding_id);
    return network.sampled_loss(batch.ids, batch.targets, batch.candidates, padding_id);
  }

  /// Mean full softmax loss over the held-out rows.
  double validation(const NextItNet& network) {
    const std::vector<std::int64_t>& rows =
        data_.split.valid.empty() ? data_.split.train : data_.split.valid;
    Random random(0x76616C6964);
    const Device device = network.device();
    double sum = 0;
    std::int64_t counted = 0;
    for (std::size_t begin = 0; begin < rows.size(); begin += batch_rows) {
      const SequenceBatch made =
          batch(std::span(rows).subspan(begin, std::min(batch_rows, rows.size() - begin)), random);
      const std::span<const std::int32_t> targets =
          std::as_const(made.targets).span<std::int32_t>();
      const std::int64_t real = std::count_if(
          targets.begin(), targets.end(), [](std::int32_t target) { return target != padding_id; });
      sum += network.loss(made.ids.to(device), made.targets.to(device), padding_id).item() *
             static_cast<double>(real);
      counted += real;
    }
    return counted == 0 ? 0 : sum / static_cast<double>(counted);
  }

 private:
  static constexpr std::size_t batch_rows = 128;

  SequenceBatch batch(std::span<const std::int64_t> rows, Random& random) const {
    return options_.causal ? next_item_batch(data_.rows, rows, piece_)
                           : masked_batch(data_.rows, rows, piece_, options_.mask_share, random);
  }

  const PretrainData& data_;
  const BaseOptions& options_;
  std::int64_t piece_;
  CandidateSampler sampler_;
  std::int64_t samples_;
};

/// The loss of a network that gives every target the same score.
double chance_of(const models::HeadOptions& head) {
  switch (head.loss) {
    case models::HeadLoss::softmax:
      return std::log(static_cast<double>(head.targets));
    case models::HeadLoss::bpr:
      return std::log(2.0);
    case models::HeadLoss::logistic:
      break;
  }
  return 2 * std::log(2.0);
}

std::int32_t size32(std::int64_t size) { return static_cast<std::int32_t>(size); }

}  // namespace

TrainReport train_base(NextItNet& network, const PretrainData& data, const Vocabulary& vocabulary,
                       const BaseOptions& base, const TrainOptions& options, std::int64_t length,
                       const TrainPlace& place) {
  SourceLoss source(data, vocabulary, base, length);
  BatchSampler batches(data.split.train, {.batch_size = options.batch, .seed = place.seed});
  Adam adam(network, {.learning_rate = options.learning_rate});
  if (options.l2 > 0) adam.set_l2("head.weight", options.l2);
  return examples::train(
      network, adam, options, place, batches.steps_per_epoch(),
      [&](std::int64_t epoch, std::int64_t step) {
        return source.training(batches.rows(epoch, step), batches.random(epoch, step));
      },
      [&](const SourceBatch& batch) { return source.loss(network, batch); },
      {.name = "held-out loss",
       .larger_is_better = false,
       .measure = [&] { return source.validation(network); },
       .chance = std::log(static_cast<double>(vocabulary.size()))});
}

std::int64_t fine_tuning_batch(const TrainOptions& options, std::int64_t examples) {
  if (options.batch > 0) return options.batch;
  std::int64_t batch = 8;
  while (batch < 64 && 2 * batch <= examples / 10) batch *= 2;
  return batch;
}

TrainReport train_task(TaskNetwork& network, const TaskData& task, const TransferExamples& examples,
                       const TaskOptions& task_options, const TrainOptions& options,
                       std::int64_t length, const Protocols& protocols, const TrainPlace& place,
                       const SourceTask& joint) {
  const SequenceForm form{.length = length, .placement = placement_of(network.base())};
  const bool pairs = network.task().options().head.loss != models::HeadLoss::softmax;
  std::optional<NegativeSampler> negatives;
  if (pairs) {
    negatives.emplace(NegativeSampler::Options{.kind = task_options.negatives == "rank"
                                                           ? NegativeSampler::Kind::rank
                                                           : NegativeSampler::Kind::uniform,
                                               .items = size32(task.targets.size()),
                                               .rho = task_options.rho});
  }
  const std::int64_t batch_size = fine_tuning_batch(options, examples.size());
  std::optional<SourceLoss> source;
  std::optional<BatchSampler> source_batches;
  if (joint.data != nullptr) {
    source.emplace(*joint.data, *joint.vocabulary, *joint.options, length);
    source_batches.emplace(joint.data->split.train,
                           BatchSampler::Options{.batch_size = batch_size, .seed = place.seed + 1});
  }
  BatchSampler batches(examples.size(), {.batch_size = batch_size, .seed = place.seed});
  Adam adam(network, {.learning_rate = options.learning_rate});
  if (options.l2 > 0) adam.set_l2("task.head.weight", options.l2);
  const Scorer scorer = scorer_of(network);
  const bool is_profile = task.kind == TaskKind::profile;
  return examples::train(
      network, adam, options, place, batches.steps_per_epoch(),
      [&](std::int64_t epoch, std::int64_t step) {
        const TransferBatch made = transfer_batch(task.sources, examples, batches.rows(epoch, step),
                                                  form.length, form.placement);
        TaskBatch batch{.ids = made.ids, .targets = made.targets};
        Random random = batches.random(epoch, step);
        if (pairs) batch.negatives = negatives->draw(made.targets, random);
        if (source) {
          const std::int64_t total = epoch * batches.steps_per_epoch() + step;
          const std::int64_t source_epoch = total / source_batches->steps_per_epoch();
          const std::int64_t source_step = total % source_batches->steps_per_epoch();
          batch.source = source->training(source_batches->rows(source_epoch, source_step),
                                          source_batches->random(source_epoch, source_step));
        }
        return batch;
      },
      [&](const TaskBatch& batch) {
        const Variable loss =
            network.task().loss(network.user(batch.ids), batch.targets, batch.negatives);
        return source ? loss + source->loss(network.base(), batch.source) : loss;
      },
      {.name = is_profile ? "cross-entropy" : "MRR@5 (sampled)",
       .larger_is_better = !is_profile,
       .measure =
           [&] {
             const Figures figures = measure(task, task.valid, form, protocols, scorer);
             return is_profile ? figures.cross_entropy : figures.validation();
           },
       .chance = chance_of(network.task().options().head)});
}

}  // namespace refrain::peterrec
