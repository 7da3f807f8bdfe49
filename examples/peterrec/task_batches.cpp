#include "peterrec/task_batches.hpp"

namespace refrain::peterrec {

std::int64_t fine_tuning_batch(const TrainOptions& options, std::int64_t examples) {
  if (options.batch > 0) return options.batch;
  std::int64_t batch = 8;
  while (batch < 64 && 2 * batch <= examples / 10) batch *= 2;
  return batch;
}

TaskBatches::TaskBatches(const TaskNetwork& network, const TaskData& task,
                         const TransferExamples& examples, const Options& options,
                         std::uint64_t seed)
    : task_(task),
      examples_(examples),
      placement_(placement_of(network.base())),
      batches_(examples.size(), {.batch_size = fine_tuning_batch(options.finetune, examples.size()),
                                 .seed = seed,
                                 .shuffle = options.finetune.shuffle}) {
  if (network.task().options().head.loss == HeadLoss::softmax) return;
  negatives_.emplace(NegativeSampler::Options{
      .kind = options.task.negatives, .items = task.targets.size(), .rho = options.task.rho});
}

TaskBatch TaskBatches::batch(std::int64_t epoch, std::int64_t step, BatchSlice slice) {
  const TransferBatch made = transfer_batch(
      task_.sources, examples_, batches_.rows(epoch, step, slice), task_.length, placement_);
  TaskBatch batch{.ids = made.ids, .targets = made.targets};
  Random random = batches_.random(epoch, step, slice);
  if (negatives_) batch.negatives = negatives_->draw(made.targets, random);
  return batch;
}

}  // namespace refrain::peterrec
