#include "peterrec/training.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "common/loss_batch.hpp"
#include "refrain/train/evaluate.hpp"

namespace refrain::peterrec {
namespace {

using examples::LossBatch;

/// The inputs of a task's loss and, for multi-task learning, of the source task's.
struct JointBatch {
  TaskBatch task;
  LossBatch source{};

  /// The counted targets of the task and of the source task.
  std::vector<std::int64_t> counted() const { return {task.targets.numel(), source.counted()}; }

  template <class Function>
  void visit(Function&& function) {
    for (Tensor* tensor : {&task.ids, &task.targets, &task.negatives}) function(*tensor);
    source.visit(function);
  }
};

/// The source loss of one batch: next item or masked item, full or sampled softmax.
class SourceLoss {
 public:
  SourceLoss(const SourceTask& source, const BatchSampler::Options& batches)
      : data_(source.data),
        options_(source.options),
        batches_(data_.split.train, batches),
        sampler_({.first = source.vocabulary.first_item(), .range = source.vocabulary.items()}),
        samples_(std::clamp<std::int64_t>(
            std::llround(options_.sampled_share * source.vocabulary.items()), 1,
            source.vocabulary.items())) {}

  std::int64_t steps_per_epoch() const { return batches_.steps_per_epoch(); }

  /// A slice of the batch of a training step, on the host.
  LossBatch batch(std::int64_t epoch, std::int64_t step, BatchSlice slice) {
    const std::span<const std::int64_t> rows = batches_.rows(epoch, step, slice);
    if (rows.empty()) return {};
    Random random = batches_.random(epoch, step, slice);
    const SequenceBatch made = sequences(rows, random);
    LossBatch batch{.ids = made.ids, .targets = made.targets};
    if (options_.loss == PretrainLoss::sampled)
      batch.candidates = examples::draw_candidates(sampler_, samples_, made.targets, random);
    return batch;
  }

  Variable loss(NextItNet& network, const LossBatch& batch) const {
    return options_.loss == PretrainLoss::sampled
               ? network.sampled_loss(batch.ids, batch.targets, batch.candidates, padding_id)
               : network.loss(batch.ids, batch.targets, padding_id);
  }

  /// Mean full softmax loss over the held-out rows.
  double validation(NextItNet& network, Communicator* ranks) const {
    const std::vector<std::int64_t>& valid = data_.split.valid;
    const std::span<const std::int64_t> rows = valid.empty() ? data_.split.train : valid;
    Random random(0x76616C6964);
    const Device device = network.device();
    return mean_loss(
        static_cast<std::int64_t>(rows.size()), 128,
        [&](std::int64_t begin, std::int64_t end) {
          return sequences(
              rows.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)),
              random);
        },
        [&](const SequenceBatch& made) {
          return network.loss({made.ids.to(device), made.targets.to(device)}).item();
        },
        ranks);
  }

 private:
  SequenceBatch sequences(std::span<const std::int64_t> rows, Random& random) const {
    return options_.causal
               ? next_item_batch(data_.rows, rows, data_.piece_length)
               : masked_batch(data_.rows, rows, data_.piece_length, options_.mask_share, random);
  }

  const PretrainData& data_;
  const BaseOptions& options_;
  BatchSampler batches_;
  CandidateSampler sampler_;
  std::int64_t samples_;
};

/// The pre-training of one base.
class BaseObjective {
 public:
  BaseObjective(NextItNet& network, const SourceTask& source, const BatchSampler::Options& batches)
      : network_(network), source_(source, batches) {}

  std::int64_t steps_per_epoch() const { return source_.steps_per_epoch(); }
  LossBatch batch(std::int64_t epoch, std::int64_t step, BatchSlice slice) {
    return source_.batch(epoch, step, slice);
  }
  Variable loss(const LossBatch& batch) const { return source_.loss(network_, batch); }
  double validation(Communicator* ranks) const { return source_.validation(network_, ranks); }

 private:
  NextItNet& network_;
  SourceLoss source_;
};

/// The loss of one batch of a task, plus the source loss in multi-task learning.
class TaskLoss {
 public:
  TaskLoss(TaskNetwork& network, const TaskData& task, const TransferExamples& examples,
           const Options& options, std::uint64_t seed, const SourceTask* joint)
      : network_(network), batches_(network, task, examples, options, seed) {
    if (joint != nullptr)
      source_.emplace(*joint, BatchSampler::Options{.batch_size = fine_tuning_batch(
                                                        options.finetune, examples.size()),
                                                    .seed = seed + 1});
  }

  std::int64_t steps_per_epoch() const { return batches_.steps_per_epoch(); }

  /// A slice of the batch of a training step, on the host.
  JointBatch batch(std::int64_t epoch, std::int64_t step, BatchSlice slice) {
    JointBatch batch{.task = batches_.batch(epoch, step, slice)};
    if (source_) {
      const std::int64_t total = epoch * steps_per_epoch() + step;
      batch.source = source_->batch(total / source_->steps_per_epoch(),
                                    total % source_->steps_per_epoch(), slice);
    }
    return batch;
  }

  /// The terms of the loss; undefined where a slice has no rows.
  std::vector<Variable> loss(const JointBatch& batch) const {
    std::vector<Variable> terms(source_ ? 2 : 1);
    const auto& [ids, targets, negatives] = batch.task;
    if (targets.numel() > 0)
      terms[0] = network_.task().loss(network_.user(ids), targets, negatives);
    if (batch.source.targets.numel() > 0) terms[1] = source_->loss(network_.base(), batch.source);
    return terms;
  }

 private:
  TaskNetwork& network_;
  TaskBatches batches_;
  std::optional<SourceLoss> source_;
};

/// The loss of a network that gives every target the same score.
double chance_of(const models::HeadOptions& head) {
  switch (head.loss) {
    case HeadLoss::softmax:
      return std::log(static_cast<double>(head.targets));
    case HeadLoss::bpr:
      return std::log(2.0);
    case HeadLoss::logistic:
      break;
  }
  return 2 * std::log(2.0);
}

}  // namespace

Training base_training(NextItNet& network, const SourceTask& source, const TrainOptions& options,
                       std::uint64_t seed) {
  auto objective = std::make_shared<BaseObjective>(
      network, source,
      BatchSampler::Options{.batch_size = options.batch, .seed = seed, .shuffle = options.shuffle});
  auto adam = std::make_unique<Adam>(network, examples::adam_options(options));
  if (options.l2 > 0)
    adam->set_l2(network.options().tied ? "embedding.weight" : "head.weight", options.l2);
  return examples::training_of(
      network, std::move(adam), objective,
      {.name = "held-out loss",
       .larger_is_better = false,
       .measure = [objective](Communicator* ranks) { return objective->validation(ranks); },
       .chance = std::log(static_cast<double>(source.vocabulary.size()))});
}

TrainReport train_base(NextItNet& network, const SourceTask& source, const TrainOptions& options,
                       const TrainPlace& place) {
  return examples::train(base_training(network, source, options, place.seed), options, place);
}

Training task_training(TaskNetwork& network, const TaskData& task, const TransferExamples& examples,
                       const Options& options, std::uint64_t seed, const SourceTask* joint) {
  const TrainOptions& training = options.finetune;
  auto loss = std::make_shared<TaskLoss>(network, task, examples, options, seed, joint);
  auto adam = std::make_unique<Adam>(network, examples::adam_options(training));
  if (training.l2 > 0) adam->set_l2("task.head.weight", training.l2);
  return examples::training_of(
      network, std::move(adam), std::move(loss),
      {.name = task.is_profile() ? "cross-entropy" : "MRR@5 (sampled)",
       .larger_is_better = !task.is_profile(),
       .measure =
           [&task, protocols = options.protocols(),
            scorer = scorer_of(task, network)](Communicator* ranks) {
             return measure(task, task.validation, protocols, scorer, {}, ranks).validation();
           },
       .chance = chance_of(network.task().options().head)});
}

TrainReport train_task(TaskNetwork& network, const TaskData& task, const TransferExamples& examples,
                       const Options& options, const TrainPlace& place, const SourceTask* joint) {
  return examples::train(task_training(network, task, examples, options, place.seed, joint),
                         options.finetune, place);
}

}  // namespace refrain::peterrec
