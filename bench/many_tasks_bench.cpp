/// Fine-tuning steps of many tasks on one frozen base: in one pass (TaskBank) and one after the
/// other.
///
/// 4 blocks, C = 64, D = 16, T = 50, two classes a task. A step is forward pass, backward pass and
/// Adam. Compare the lines of one run with --benchmark_enable_random_interleaving=true.

#include <memory>
#include <vector>

#include "refrain/train/optimizer.hpp"
#include "refrain_models/task_bank.hpp"
#include "support.hpp"

namespace {

using namespace refrain;
using models::BankedNextItNet;
using models::NextItNet;
using models::PatchSet;
using models::TaskBank;

constexpr std::int64_t item_count = 3'500, step_count = 50;

/// Random histories with [TCL] last, and classes.
struct Batch {
  Tensor ids, targets;
};
Batch batch_of(std::int64_t sequences, Random& random) {
  Batch batch{Tensor({sequences, step_count}, DType::i32), Tensor({sequences}, DType::i32)};
  for (std::int32_t& id : batch.ids.span<std::int32_t>())
    id = static_cast<std::int32_t>(3 + random.below(item_count - 3));
  for (std::int64_t b = 0; b < sequences; ++b)
    batch.ids.data<std::int32_t>()[b * step_count + step_count - 1] = tcl_id;
  for (std::int32_t& target : batch.targets.span<std::int32_t>())
    target = static_cast<std::int32_t>(random.below(2));
  return batch;
}

/// A frozen base and tasks with their optimizers and one batch each.
class Tasks {
 public:
  /// `classes`: 2: the losses of the heads are computed as one; 0: one after the other.
  Tasks(std::int64_t tasks, std::int64_t sequences, std::int64_t classes = 2)
      : random_(1),
        base_({.items = item_count, .channels = 64, .dilations = {1, 4, 1, 4}}, random_),
        bank_(base_, {.tasks = tasks, .tcl_id = tcl_id, .classes = classes}),
        together_(batch_of(tasks * sequences, random_)),
        rows_({tasks * sequences}, DType::i32) {
    base_.freeze();
    for (std::int64_t task = 0; task < tasks; ++task) {
      sets_.push_back(std::make_unique<PatchSet>(
          base_, PatchSet::Options{.head = {.targets = 2}, .tcl_id = tcl_id}, random_));
      adams_.push_back(std::make_unique<Adam>(*sets_.back()));
      batches_.push_back({together_.ids.slice(task * sequences, (task + 1) * sequences),
                          together_.targets.slice(task * sequences, (task + 1) * sequences)});
      std::fill_n(rows_.data<std::int32_t>() + task * sequences, sequences,
                  static_cast<std::int32_t>(task + 1));
    }
  }

  void one_after_the_other() {
    for (std::size_t task = 0; task < sets_.size(); ++task) {
      adams_[task]->zero_grad();
      backward(base_.with(*sets_[task]).loss(batches_[task].ids, batches_[task].targets));
      adams_[task]->step();
    }
  }

  void bind() {
    for (const auto& set : sets_) bank_.bind(*set);
  }
  void in_one_pass() {
    for (const auto& adam : adams_) adam->zero_grad();
    backward(BankedNextItNet(base_, bank_, rows_).losses(together_.ids, together_.targets).sum);
    bank_.pass_gradients();
    parallel_tasks(std::ssize(adams_),
                   [&](std::int64_t task, int) { adams_[static_cast<std::size_t>(task)]->step(); });
  }

 private:
  Random random_;
  NextItNet base_;
  TaskBank bank_;
  Batch together_;
  Tensor rows_;
  std::vector<std::unique_ptr<PatchSet>> sets_;
  std::vector<std::unique_ptr<Adam>> adams_;
  std::vector<Batch> batches_;
};

void run_one_after_the_other(benchmark::State& state) {
  Tasks tasks(state.range(0), state.range(1));
  tasks.one_after_the_other();
  for (auto _ : state) tasks.one_after_the_other();
}

void run_in_one_pass(benchmark::State& state) {
  Tasks tasks(state.range(0), state.range(1));
  tasks.bind();
  tasks.in_one_pass();
  for (auto _ : state) tasks.in_one_pass();
}

void run_with_heads_apart(benchmark::State& state) {
  Tasks tasks(state.range(0), state.range(1), 0);
  tasks.bind();
  tasks.in_one_pass();
  for (auto _ : state) tasks.in_one_pass();
}

BENCHMARK(run_one_after_the_other)
    ->Args({1, 1000})
    ->Args({32, 4})
    ->Args({32, 1})
    ->Args({200, 8})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK(run_in_one_pass)
    ->Args({1000, 1})
    ->Args({32, 4})
    ->Args({32, 1})
    ->Args({200, 8})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK(run_with_heads_apart)
    ->Args({1000, 1})
    ->Args({32, 4})
    ->Args({200, 8})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace

int main(int argc, char** argv) { return refrain::bench::run_suite(argc, argv); }
