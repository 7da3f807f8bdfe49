#include "peterrec/together.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <numeric>
#include <vector>

#include "common/memory.hpp"
#include "common/standard_streams.hpp"
#include "refrain/core/text.hpp"
#include "refrain/train/progress.hpp"
#include "refrain/train/slices.hpp"
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
        network_(prepared.network()),
        bank_(bank),
        training_(task_training(*network_, *prepared.task, *prepared.examples, *prepared.options,
                                prepared.place.seed)),
        batches_(*network_, *prepared.task, *prepared.examples, *prepared.options,
                 prepared.place.seed),
        run_(training_, prepared.options->finetune, prepared.place),
        row_(bank.bind(network_->task())) {
    run_.trainer().start();
  }
  ~RunningTask() {
    if (network_ != nullptr) bank_.release(row_);
  }
  RunningTask(const RunningTask&) = delete;
  RunningTask& operator=(const RunningTask&) = delete;

  std::size_t number() const noexcept { return number_; }
  std::int64_t row() const noexcept { return row_; }
  examples::TrainingRun& run() noexcept { return run_; }
  Trainer& trainer() noexcept { return run_.trainer(); }

  /// A slice of the batch of the next step.
  TaskBatch batch(BatchSlice slice) {
    const TrainingPosition& position = trainer().position();
    return batches_.batch(position.epoch, position.step, slice);
  }
  /// The share of a slice in the batch of the next step.
  double share(BatchSlice slice) {
    const TrainingPosition& position = trainer().position();
    return static_cast<double>(batches_.size(position.epoch, position.step, slice)) /
           static_cast<double>(batches_.size(position.epoch, position.step));
  }
  Optimizer& optimizer() noexcept { return *training_.optimizer; }

  /// The result; the parameters leave the bank, and the task is not used afterwards.
  TrainedTask end(TrainReport report) {
    bank_.release(row_);
    return {.number = number_, .network = std::move(network_), .report = std::move(report)};
  }

 private:
  std::size_t number_;
  std::unique_ptr<TaskNetwork> network_;
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

using RunningTasks = std::span<const std::unique_ptr<RunningTask>>;

/// A slice of the batches of the tasks of a pass, side by side.
struct TogetherBatch {
  std::vector<std::size_t> tasks;  ///< those that have sequences in the slice
  Tensor ids, targets;
  Tensor negatives{};  ///< zeros for a task without
  Tensor rows{};       ///< of the bank

  TogetherBatch(RunningTasks running, BatchSlice slice) {
    std::vector<Tensor> all_ids, all_targets, all_negatives;
    std::vector<std::int32_t> all_rows;
    for (std::size_t i = 0; i < running.size(); ++i) {
      TaskBatch batch = running[i]->batch(slice);
      const std::int64_t count = batch.targets.numel();
      if (count == 0) continue;
      tasks.push_back(i);
      all_rows.insert(all_rows.end(), static_cast<std::size_t>(count),
                      static_cast<std::int32_t>(running[i]->row()));
      all_negatives.push_back(batch.negatives.defined() ? batch.negatives
                                                        : Tensor::zeros({count}, DType::i32));
      all_ids.push_back(std::move(batch.ids));
      all_targets.push_back(std::move(batch.targets));
    }
    if (tasks.empty()) return;
    ids = joined(all_ids);
    targets = joined(all_targets);
    negatives = joined(all_negatives);
    rows = Tensor::from<std::int32_t>({std::ssize(all_rows)}, all_rows);
  }
};

/// The training steps of several tasks in one pass: each gets the gradients of its own step.
class StepsOfTasks {
 public:
  /// `ranks`: the processes that share the slices, or null.
  StepsOfTasks(const NextItNet& base, TaskBank& bank, std::int64_t slices, Communicator* ranks)
      : base_(base),
        bank_(bank),
        tree_(slices),
        own_(ranks == nullptr ? SliceRange{0, slices}
                              : tree_.slices_of(ranks->rank(), ranks->size())),
        ranks_(ranks) {}

  /// Sets the gradients of the tasks and returns their losses.
  std::vector<double> differentiate(RunningTasks tasks) {
    for (const std::unique_ptr<RunningTask>& task : tasks) task->trainer().begin_step();
    SliceSum gradients(tree_, own_);
    std::vector<Tensor> losses;
    for (std::int64_t slice = own_.begin; slice < own_.end; ++slice)
      gradients.add(differentiate(tasks, {slice, tree_.slices()}, losses));
    put(tasks, finish(tasks, gradients));
    if (ranks_ != nullptr)
      losses = refrain::detail::gather_losses(*ranks_, losses, losses.front().dtype());
    return totals(losses, tasks.size());
  }

 private:
  /// The gradients of all tasks, one task after the other; adds the loss of each to `losses`.
  std::vector<Gradient> differentiate(RunningTasks tasks, BatchSlice slice,
                                      std::vector<Tensor>& losses) {
    const TogetherBatch batch(tasks, slice);
    const std::size_t first = losses.size();
    losses.resize(first + tasks.size(), Tensor::zeros({}, DType::f32));
    if (batch.tasks.empty()) return {};
    std::vector<double> shares;
    for (const std::size_t task : batch.tasks) shares.push_back(tasks[task]->share(slice));
    const BankedNextItNet::Losses own =
        BankedNextItNet(base_, bank_, batch.rows)
            .losses(batch.ids, batch.targets, batch.negatives, shares);
    for (std::size_t i = 0; i < own.each.size(); ++i) losses[first + batch.tasks[i]] = own.each[i];
    backward(own.sum);
    bank_.pass_gradients();
    std::vector<Gradient> gradients;
    for (const std::unique_ptr<RunningTask>& task : tasks)
      std::ranges::move(task->optimizer().take_gradients(), std::back_inserter(gradients));
    return gradients;
  }

  std::vector<Gradient> finish(RunningTasks tasks, SliceSum& gradients) const {
    if (ranks_ == nullptr) return gradients.finish();
    std::vector<Shape> shapes;
    for (const std::unique_ptr<RunningTask>& task : tasks)
      std::ranges::move(task->optimizer().shapes(), std::back_inserter(shapes));
    return gradients.finish(*ranks_, shapes, DType::f32);
  }

  static void put(RunningTasks tasks, std::vector<Gradient> gradients) {
    auto next = std::make_move_iterator(gradients.begin());
    for (const std::unique_ptr<RunningTask>& task : tasks) {
      const auto end = next + std::ssize(task->optimizer().shapes());
      task->optimizer().put_gradients({next, end});
      next = end;
    }
  }

  /// The sums over the slices.
  static std::vector<double> totals(const std::vector<Tensor>& losses, std::size_t tasks) {
    std::vector<Gradient> sums(tasks);
    for (std::size_t i = 0; i < losses.size(); ++i) sums[i % tasks].add(losses[i]);
    std::vector<double> totals;
    for (const Gradient& sum : sums) totals.push_back(sum.dense().item());
    return totals;
  }

  const NextItNet& base_;
  TaskBank& bank_;
  SliceTree tree_;
  SliceRange own_;
  Communicator* ranks_;
};

/// The most classes of a head that is computed with the others. Larger heads fill the cores on
/// their own, and would pad the others.
constexpr std::int64_t max_classes_of_bank = 256;

/// TaskBank::Options::classes for these tasks.
std::int64_t classes_of_bank(std::span<const PreparedTask> tasks) {
  std::int64_t most = 0;
  for (const PreparedTask& each : tasks) {
    const std::int64_t classes = each.task->is_profile() ? each.task->targets.size() : 0;
    if (classes <= max_classes_of_bank) most = std::max(most, classes);
  }
  return most;
}

TaskBank bank_for(const NextItNet& base, std::span<const PreparedTask> tasks,
                  std::int64_t at_once) {
  const PatchSet::Options options = tasks.front().network()->task().options();
  const models::PatchOptions& patches = options.patches;
  const std::int64_t path =
      patches.bottleneck > 0 ? patches.bottleneck
                             : std::max<std::int64_t>(1, base.channels() / 4 / patches.cardinality);
  return TaskBank(base, {.tasks = at_once,
                         .patches = patches,
                         .bottleneck = path * patches.cardinality,
                         .tcl_id = options.tcl_id,
                         .classes = classes_of_bank(tasks),
                         .smoothing = tasks.front().options->task.smoothing});
}

/// The sum of the `count` largest numbers.
std::int64_t sum_of_largest(std::vector<std::int64_t> numbers, std::int64_t count) {
  std::sort(numbers.rbegin(), numbers.rend());
  numbers.resize(static_cast<std::size_t>(std::min(count, std::ssize(numbers))));
  return std::accumulate(numbers.begin(), numbers.end(), std::int64_t{0});
}

/// Memory, in bytes, of the tasks that train at a time.
struct TrainingBytes {
  std::int64_t parameters = 0;  ///< with gradients, moments and best parameters
  std::int64_t step = 0;        ///< about what a training step saves for its backward pass
};
TrainingBytes training_bytes(const NextItNet& base, std::span<const PreparedTask> tasks,
                             std::int64_t at_once) {
  std::vector<std::int64_t> parameters, batches;
  for (const PreparedTask& each : tasks) {
    parameters.push_back(each.parameters);
    batches.push_back(fine_tuning_batch(each.options->finetune, each.examples->size()));
  }
  const std::int64_t sequences =
      sum_of_largest(batches, at_once) / tasks.front().options->finetune.slices;
  constexpr std::int64_t copies = 5, tensors_of_a_block = 7;
  constexpr std::int64_t size = sizeof(float);
  // The rows of the heads, and their gradients, have the size of the largest head.
  const std::int64_t heads = 2 * at_once * classes_of_bank(tasks) * base.channels();
  return {.parameters = size * (copies * sum_of_largest(parameters, at_once) + heads),
          .step = tensors_of_a_block * base.blocks() * size * sequences *
                  tasks.front().task->length * base.channels()};
}

}  // namespace

bool fits_one_pass(const Options& options, Insertion insertion) {
  return options.task.at_once != 1 && insertion != Insertion::none &&
         options.run.device == Device::cpu;
}

std::int64_t choose_tasks_at_once(const Options& options, const NextItNet& base,
                                  std::span<const PreparedTask> tasks) {
  constexpr std::int64_t sequences = 256;
  std::int64_t at_once = options.task.at_once;
  if (at_once == 0) {
    std::int64_t largest = 1;
    for (const PreparedTask& each : tasks)
      largest = std::max(largest, fine_tuning_batch(options.finetune, each.examples->size()));
    at_once = std::max<std::int64_t>(1, sequences / largest);
  }
  at_once = std::min(at_once, std::ssize(tasks));
  const TrainingBytes needed = training_bytes(base, tasks, at_once);
  const std::int64_t available = examples::available_memory();
  const auto mebibytes = [](std::int64_t bytes) {
    return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / 1048576);
  };
  const std::string text = fmt::format(
      "{} in passes of {}: {} for parameters, gradients and optimizer, about {} for a training "
      "step",
      counted(std::ssize(tasks), "training"), at_once, mebibytes(needed.parameters),
      mebibytes(needed.step));
  if (needed.parameters + needed.step > available) {
    throw OptionError(
        fmt::format("{}: expected at most {}, the available memory; see "
                    "--tasks-at-once, --batch, --slices and --length",
                    text, mebibytes(available)));
  }
  fmt::print("{}\n", text);
  examples::flush_output();
  return at_once;
}

void train_together(const NextItNet& base, const std::string& label,
                    std::span<const PreparedTask> tasks, std::int64_t at_once,
                    const std::function<void(TrainedTask)>& finished) {
  const InterruptGuard guard;
  TaskBank bank = bank_for(base, tasks, at_once);
  StepsOfTasks steps(base, bank, tasks.front().options->finetune.slices,
                     tasks.front().place.processes->ranks());
  Progress progress({.label = label,
                     .total = std::ssize(tasks),
                     .unit = "trainings",
                     .style = tasks.front().place.processes->is_first() ? Progress::Style::automatic
                                                                        : Progress::Style::quiet});
  std::vector<std::unique_ptr<RunningTask>> running;  // by their rows
  std::size_t next = 0;
  const auto interrupt = [&] {
    progress.finish();
    for (const std::unique_ptr<RunningTask>& task : running) {
      if (task != nullptr) finished(task->end(task->run().interrupt()));
    }
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
      TrainedTask trained = task->end(task->run().finish());
      task.reset();
      progress.advance();
      finished(std::move(trained));
      has_ended = true;
    }
    std::erase(running, nullptr);
    if (has_ended) continue;
    if (running.empty()) break;
    if (running.front()->trainer().stop_requested()) return interrupt();
    const std::vector<double> losses = steps.differentiate(running);
    double sum = 0;
    for (std::size_t i = 0; i < running.size(); ++i) {
      try {
        running[i]->trainer().end_step(losses[i]);
        sum += losses[i];
      } catch (const DivergedError& error) {
        TrainedTask trained{.number = running[i]->number(), .error = error.what()};
        running[i].reset();
        progress.advance();
        finished(std::move(trained));
      }
    }
    std::erase(running, nullptr);
    if (running.empty()) continue;
    progress.set_note(fmt::format("{} running, mean loss {:.4f}", running.size(),
                                  sum / static_cast<double>(running.size())));
    progress.advance(0);
  }
  progress.finish();
}

}  // namespace refrain::peterrec
