#include "peterrec/together.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "refrain/core/text.hpp"
#include "refrain/train/progress.hpp"
#include "refrain_models/task_bank.hpp"

namespace refrain::peterrec {
namespace {

using models::BankedNextItNet;
using models::TaskBank;

/// A task in training.
class RunningTask {
 public:
  RunningTask(std::size_t number, const PreparedTask& prepared, TaskBank& bank)
      : number_(number),
        network_(*prepared.network),
        bank_(bank),
        training_(task_training(network_, *prepared.task, prepared.task->training,
                                *prepared.options, prepared.place.seed)),
        batches_(network_, *prepared.task, prepared.task->training, *prepared.options,
                 prepared.place.seed),
        run_(training_, prepared.options->finetune, prepared.place),
        row_(bank.bind(network_.task())) {
    run_.trainer().start();
  }
  ~RunningTask() { bank_.release(row_); }
  RunningTask(const RunningTask&) = delete;
  RunningTask& operator=(const RunningTask&) = delete;

  std::size_t number() const noexcept { return number_; }
  std::int64_t row() const noexcept { return row_; }
  examples::TrainingRun& run() noexcept { return run_; }
  Trainer& trainer() noexcept { return run_.trainer(); }

  /// The batch of the next step.
  TaskBatch batch() {
    const TrainingPosition& position = trainer().position();
    return batches_.batch(position.epoch, position.step);
  }

 private:
  std::size_t number_;
  TaskNetwork& network_;
  TaskBank& bank_;
  Training training_;
  TaskBatches batches_;
  examples::TrainingRun run_;
  std::int64_t row_;
};

Tensor joined(const std::vector<Tensor>& parts) {
  std::int64_t rows = 0;
  for (const Tensor& part : parts) rows += part.size(0);
  Tensor all = empty_like(parts.front(), parts.front().shape().with(0, rows));
  std::int64_t at = 0;
  for (const Tensor& part : parts) {
    all.slice(at, at + part.size(0)).copy_from(part);
    at += part.size(0);
  }
  return all;
}

/// The batches of the tasks of a pass, side by side.
struct TogetherBatch {
  Tensor ids, targets;
  Tensor negatives{};  ///< zeros for a task without
  Tensor rows;         ///< of the bank

  explicit TogetherBatch(std::span<const std::unique_ptr<RunningTask>> tasks) {
    std::vector<Tensor> all_ids, all_targets, all_negatives;
    std::vector<std::int32_t> all_rows;
    for (const std::unique_ptr<RunningTask>& task : tasks) {
      TaskBatch batch = task->batch();
      const std::int64_t count = batch.targets.numel();
      all_rows.insert(all_rows.end(), static_cast<std::size_t>(count),
                      static_cast<std::int32_t>(task->row()));
      all_negatives.push_back(batch.negatives.defined() ? batch.negatives
                                                        : Tensor::zeros({count}, DType::i32));
      all_ids.push_back(std::move(batch.ids));
      all_targets.push_back(std::move(batch.targets));
    }
    ids = joined(all_ids);
    targets = joined(all_targets);
    negatives = joined(all_negatives);
    rows = Tensor::from<std::int32_t>({std::ssize(all_rows)}, all_rows);
  }
};

/// Computes the gradients of a training step of every task; returns their losses.
std::vector<double> differentiate(const NextItNet& base, TaskBank& bank,
                                  std::span<const std::unique_ptr<RunningTask>> tasks) {
  for (const std::unique_ptr<RunningTask>& task : tasks) task->trainer().begin_step();
  const TogetherBatch batch(tasks);
  const std::vector<Variable> losses =
      BankedNextItNet(base, bank, batch.rows).losses(batch.ids, batch.targets, batch.negatives);
  backward(refrain::detail::sum_of(losses));
  bank.pass_gradients();
  std::vector<double> values;
  for (const Variable& loss : losses) values.push_back(loss.item());
  return values;
}

TaskBank bank_for(const NextItNet& base, std::span<const PreparedTask> tasks,
                  std::int64_t at_once) {
  const PatchSet::Options& options = tasks.front().network->task().options();
  const models::PatchOptions& patches = options.patches;
  const std::int64_t path =
      patches.bottleneck > 0 ? patches.bottleneck
                             : std::max<std::int64_t>(1, base.channels() / 4 / patches.cardinality);
  return TaskBank(base, {.tasks = at_once,
                         .patches = patches,
                         .bottleneck = path * patches.cardinality,
                         .tcl_id = options.tcl_id});
}

}  // namespace

std::int64_t tasks_at_once(const Options& options, std::span<const PreparedTask> tasks) {
  constexpr std::int64_t sequences = 256;
  const std::int64_t count = std::ssize(tasks);
  if (options.task.at_once > 0) return std::min(count, options.task.at_once);
  std::int64_t largest = 1;
  for (const PreparedTask& each : tasks)
    largest = std::max(largest, fine_tuning_batch(options.finetune, each.task->training.size()));
  return std::clamp<std::int64_t>(sequences / largest, 1, count);
}

std::int64_t training_bytes(std::span<const PreparedTask> tasks, std::int64_t at_once) {
  std::vector<std::int64_t> sizes;
  for (const PreparedTask& each : tasks) sizes.push_back(each.network->parameter_count());
  std::sort(sizes.rbegin(), sizes.rend());
  const std::int64_t largest = std::accumulate(
      sizes.begin(), sizes.begin() + std::min(at_once, std::ssize(sizes)), std::int64_t{0});
  constexpr std::int64_t copies = 5;  // parameter, gradient, two moments, best value
  return copies * largest * static_cast<std::int64_t>(sizeof(float));
}

void train_together(const NextItNet& base, std::span<const PreparedTask> tasks,
                    std::int64_t at_once, const std::function<void(const TrainedTask&)>& finished) {
  const InterruptGuard guard;
  TaskBank bank = bank_for(base, tasks, at_once);
  Progress progress({.label = "fine-tuning", .total = std::ssize(tasks), .unit = "tasks"});
  std::vector<std::unique_ptr<RunningTask>> running;  // by their rows
  std::size_t next = 0;
  const auto interrupt = [&] {
    progress.finish();
    for (const std::unique_ptr<RunningTask>& task : running)
      finished({.number = task->number(), .report = task->run().interrupt()});
  };
  while (true) {
    while (std::ssize(running) < at_once && next < tasks.size()) {
      running.push_back(std::make_unique<RunningTask>(next, tasks[next], bank));
      ++next;
    }
    std::sort(running.begin(), running.end(),
              [](const auto& a, const auto& b) { return a->row() < b->row(); });
    bool has_ended = false;
    for (std::unique_ptr<RunningTask>& task : running) {
      Trainer& trainer = task->trainer();
      if (!trainer.is_done() && !trainer.has_step() && !task->run().evaluate_epoch())
        return interrupt();
      if (!trainer.is_done()) continue;
      const TrainedTask trained{.number = task->number(), .report = task->run().finish()};
      task.reset();  // the parameters leave the bank
      progress.advance();
      finished(trained);
      has_ended = true;
    }
    std::erase(running, nullptr);
    if (has_ended) continue;
    if (running.empty()) break;
    if (InterruptGuard::requested()) return interrupt();
    const std::vector<double> losses = differentiate(base, bank, running);
    for (std::size_t i = 0; i < running.size(); ++i) {
      try {
        running[i]->trainer().end_step(losses[i]);
      } catch (const DivergedError& error) {
        const TrainedTask trained{.number = running[i]->number(), .error = error.what()};
        running[i].reset();
        progress.advance();
        finished(trained);
      }
    }
    std::erase(running, nullptr);
    progress.set_note(fmt::format(
        "{} running, mean loss {:.4f}", running.size(),
        std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(losses.size())));
    progress.advance(0);
  }
  progress.finish();
}

}  // namespace refrain::peterrec
