#pragma once
/// Training and inference steps of SRMN and CmnRec on random sequences, for the benchmarks.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "counted_work.hpp"
#include "random_inputs.hpp"
#include "refrain/autograd/tape.hpp"
#include "refrain/core/stream.hpp"
#include "refrain/data/samplers.hpp"
#include "refrain/ops/top_k.hpp"
#include "refrain/train/optimizer.hpp"

namespace refrain::bench {

/// Converts row-sparse gradients to dense ones, for comparisons with implementations that have only
/// dense gradients.
inline void densify(const std::vector<NamedParameter>& parameters) {
  for (const NamedParameter& named : parameters) {
    Gradient& gradient = named.parameter->gradient();
    if (!gradient.is_sparse()) continue;
    Tensor full = gradient.to_dense(named.parameter->shape());
    gradient.clear();
    gradient.add(std::move(full));
  }
}

/// Updates the parameters, also during a capture.
inline void update(Optimizer& optimizer) {
  is_capturing() ? optimizer.step_captured() : optimizer.step();
}

/// One network and one batch of sequences; each run() is one step under the given schedule.
///
/// A training step is forward, loss, backward, Adam; an inference step computes the scores of all
/// items after the last time step and the 20 best. Schedules share parameters, so that they differ
/// only in the schedule.
class MemoryNetworkSteps {
 public:
  struct Options {
    MemoryNetwork::Options network{};
    StepKind kind = StepKind::infer;
    std::int64_t batch = 128;
    std::int64_t steps = 0;
    std::int64_t negatives = 0;  ///< for the sampled loss: log-uniform, drawn once
    bool dense_gradients =
        false;  ///< Adam updates whole tables instead of only rows with gradients
    Device device = Device::cpu;
  };

  explicit MemoryNetworkSteps(const Options& options)
      : options_(options),
        random_(1),
        network_(options.network, random_),
        ids_(random_ids({options.batch, options.steps}, options.network.items, random_)
                 .to(options.device)) {
    network_.to(options.device);
    if (!is_training(options.kind)) {
      const NoGrad off;
      weights_.emplace(network_.pack());
      return;
    }
    parameters_ = network_.parameters();
    optimizer_ = std::make_shared<Adam>(network_);
    const bool last = options.kind == StepKind::train_last;
    targets_ = random_ids(last ? Shape{options.batch} : Shape{options.batch, options.steps},
                          options.network.items, random_);
    if (options.kind == StepKind::train_sampled) draw_candidates();
    for (Tensor* tensor :
         {&targets_, &candidates_.ids, &candidates_.log_q_true, &candidates_.log_q_negative}) {
      *tensor = tensor->to(options.device);
    }
  }

  void run(const ChunkSchedule& schedule) {
    if (!is_training(options_.kind)) {
      top_k(network_.scores(ids_, schedule, *weights_),
            std::min<std::int64_t>(20, options_.network.items));
      return;
    }
    optimizer_->zero_grad();
    const Variable loss = this->loss(schedule);
    backward(loss);
    if (options_.dense_gradients) densify(parameters_);
    update(*optimizer_);
    last_loss_ = loss.value();
  }

  /// Loss of the latest training step, on the device.
  const Tensor& last_loss() const noexcept { return last_loss_; }
  /// The optimizer of training steps.
  const std::shared_ptr<Adam>& optimizer() const noexcept { return optimizer_; }

  /// Multiply-adds of run() for the whole batch.
  double multiply_adds(const ChunkSchedule& schedule) const {
    return static_cast<double>(options_.batch) *
           counted_work(options_.network, schedule, options_.kind, options_.negatives).total();
  }

 private:
  void draw_candidates() {
    targets_ = swap_batch_time(targets_);
    CandidateSampler sampler({.range = static_cast<std::int32_t>(options_.network.items)});
    const CandidateSample sample = sampler.draw(options_.negatives, random_);
    candidates_ = {
        .ids = sample.ids,
        .log_q_true = sampler.log_expected_count(targets_.reshape({targets_.numel()}), sample),
        .log_q_negative = sampler.log_expected_count(sample.ids, sample)};
  }

  Variable loss(const ChunkSchedule& schedule) {
    switch (options_.kind) {
      case StepKind::train_sampled:
        return network_.sampled_loss(ids_, targets_, candidates_, schedule);
      case StepKind::train_last:
        return network_.last_loss(ids_, targets_, schedule);
      default:
        return network_.loss(ids_, targets_, schedule);
    }
  }

  Options options_;
  Random random_;
  MemoryNetwork network_;
  Tensor ids_;
  Tensor targets_;
  Candidates candidates_;
  std::optional<MemoryNetwork::Weights> weights_;  ///< for inference: packed once, as in a server
  std::vector<NamedParameter> parameters_;
  std::shared_ptr<Adam> optimizer_;
  Tensor last_loss_;
};

}  // namespace refrain::bench
