#pragma once
/// Training and inference steps of the models on random sequences, by name, for the suites and the
/// comparison with PyTorch.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "memory_network_steps.hpp"
#include "refrain/core/stream.hpp"
#include "refrain/ops/top_k.hpp"
#include "refrain/train/optimizer.hpp"
#include "refrain_models/peterrec.hpp"

namespace refrain::bench {

/// A step of a model.
struct ModelStep {
  double flops = 0;                 ///< required operations of one step
  std::function<void()> run;        ///< on a GPU it returns after queueing the step
  Tensor loss;                      ///< loss of the latest training step, on the device
  std::shared_ptr<Adam> optimizer;  ///< null for inference
};

/// Description of a step.
///
/// model: nextitnet, peterrec-serial, peterrec-parallel or fine-all (all of PeterRec's base is
/// trained, without patches; `items` classes); srmn, or cmnrec with `slots` time-sensitive chunks
/// (H = W = channels, E = channels / 2, N = slots words for both); lstm4rec, gru4rec (H = channels,
/// E = channels / 2). mode: train (forward, full softmax, backward, dense Adam), train-sampled
/// (recurrent models: with items / 10 shared negatives) or infer (scores of all items at the last
/// time step, then the 20 best).
struct ModelRequest {
  std::string model;
  std::string mode;
  std::int64_t batch = 0;
  std::int64_t time = 0;
  std::int64_t channels = 0;
  std::int64_t items = 0;
  std::int64_t slots = 0;
  Device device = Device::cpu;
};

namespace detail {

/// The peer's gradients of embedding and items are dense; dense gradients here make both optimizers
/// do the same work.
inline std::shared_ptr<ModelStep> memory_network_step(const ModelRequest& request) {
  StepKind kind = StepKind::infer;
  if (request.mode == "train") kind = StepKind::train_full;
  if (request.mode == "train-sampled") kind = StepKind::train_sampled;
  const bool every = request.model == "srmn";
  const auto schedule = every ? ChunkSchedule::every_step(request.time)
                              : ChunkSchedule::tsc(request.time, request.slots);
  auto steps = std::make_shared<MemoryNetworkSteps>(MemoryNetworkSteps::Options{
      .network = {.items = request.items,
                  .embedding = request.channels / 2,
                  .hidden = request.channels,
                  .words = request.slots,
                  .word_size = request.channels,
                  .attention = every ? 0 : 64},
      .kind = kind,
      .batch = request.batch,
      .steps = request.time,
      .negatives = kind == StepKind::train_sampled ? request.items / 10 : 0,
      .dense_gradients = true,
      .device = request.device});
  auto step = std::make_shared<ModelStep>();
  step->flops = 2 * steps->multiply_adds(schedule);
  step->optimizer = steps->optimizer();
  step->run = [steps, schedule, raw = step.get()] {
    steps->run(schedule);
    raw->loss = steps->last_loss();
  };
  return step;
}

/// One training step; `loss` computes the loss.
template <class Loss>
void train_step(ModelStep& step, const std::vector<NamedParameter>& parameters, const Loss& loss) {
  step.optimizer->zero_grad();
  const Variable value = loss();
  backward(value);
  densify(parameters);
  update(*step.optimizer);
  step.loss = value.value();
}

template <class Controller>
std::shared_ptr<ModelStep> recurrent_step(const ModelRequest& request) {
  auto random = std::make_shared<Random>(1);
  using Network = models::RecurrentRec<Controller>;
  auto network = std::make_shared<Network>(
      typename Network::Options{
          .items = request.items, .embedding = request.channels / 2, .hidden = request.channels},
      *random);
  network->to(request.device);
  const Tensor ids =
      random_ids({request.batch, request.time}, request.items, *random).to(request.device);
  const double gates = std::is_same_v<Controller, Lstm> ? 4 : 3;
  const double rows = static_cast<double>(request.batch * request.time),
               hidden = static_cast<double>(request.channels);
  const double cells = 2 * rows * gates * hidden * 1.5 * hidden;
  auto step = std::make_shared<ModelStep>();
  if (request.mode == "infer") {
    step->flops = cells + 2 * static_cast<double>(request.batch * request.items) * hidden;
    step->run = [=] { top_k(network->scores(ids), std::min<std::int64_t>(20, request.items)); };
    return step;
  }
  const Tensor targets =
      random_ids({request.batch, request.time}, request.items, *random).to(request.device);
  step->optimizer = std::make_shared<Adam>(*network);
  step->flops = 3 * (cells + 2 * rows * static_cast<double>(request.items) * hidden);
  step->run = [=, parameters = network->parameters(), raw = step.get()] {
    train_step(*raw, parameters, [&] { return network->loss(ids, targets); });
  };
  return step;
}

}  // namespace detail

/// Throws OptionError for an unknown model or mode.
inline std::shared_ptr<ModelStep> make_model_step(const ModelRequest& request) {
  const std::string& name = request.model;
  const bool train = request.mode == "train";
  const bool memory_network = name == "srmn" || name == "cmnrec";
  if (!train && request.mode != "infer" && !(memory_network && request.mode == "train-sampled")) {
    throw OptionError("expected mode train or infer (srmn, cmnrec: or train-sampled), got '" +
                      request.mode + "'");
  }
  if (memory_network) return detail::memory_network_step(request);
  if (name == "lstm4rec") return detail::recurrent_step<Lstm>(request);
  if (name == "gru4rec") return detail::recurrent_step<Gru>(request);

  const std::int64_t best = std::min<std::int64_t>(20, request.items);
  auto step = std::make_shared<ModelStep>();
  auto random = std::make_shared<Random>(1);
  auto base = std::make_shared<models::NextItNet>(
      models::NextItNet::Options{.items = request.items, .channels = request.channels}, *random);
  base->to(request.device);
  const Tensor ids =
      random_ids({request.batch, request.time}, request.items, *random).to(request.device);
  const double channels = static_cast<double>(request.channels),
               rows = static_cast<double>(request.batch * request.time);
  const double blocks = static_cast<double>(base->blocks()),
               items = static_cast<double>(request.items);
  const double conv = 2 * blocks * 2 * 3 * channels * channels * rows;
  const double last_scores = 2 * static_cast<double>(request.batch) * items * channels;
  if (name == "nextitnet") {
    if (!train) {
      step->flops = conv + last_scores;
      step->run = [=] { top_k(base->scores(ids), best); };
      return step;
    }
    const Tensor targets =
        random_ids({request.batch, request.time}, request.items, *random).to(request.device);
    step->optimizer = std::make_shared<Adam>(*base);
    step->flops = 3 * (conv + 2 * rows * items * channels);
    step->run = [=, parameters = base->parameters(), raw = step.get()] {
      detail::train_step(*raw, parameters, [&] { return base->loss(ids, targets); });
    };
    return step;
  }
  const bool all = name == "fine-all";
  if (!all && name != "peterrec-serial" && name != "peterrec-parallel") {
    throw OptionError(
        "expected nextitnet, peterrec-serial, peterrec-parallel, fine-all, srmn, cmnrec, lstm4rec "
        "or gru4rec, got '" +
        name + "'");
  }
  if (!all) base->freeze();
  const Insertion insertion = all                         ? Insertion::none
                              : name == "peterrec-serial" ? Insertion::serial
                                                          : Insertion::parallel;
  auto task = std::make_shared<models::PatchSet>(
      *base,
      models::PatchSet::Options{
          .patches = {.insertion = insertion, .start = PatchStart::random, .norm2 = false},
          .head = {.targets = request.items}},
      *random);
  task->to(request.device);
  const double patch = all ? 0 : 2 * blocks * 2 * 2 * channels * (channels / 4) * rows;
  const double forward = conv + patch + last_scores;
  if (!train) {
    step->flops = forward;
    step->run = [=] { top_k(base->with(*task).scores(ids), best); };
    return step;
  }
  const Tensor targets = random_ids({request.batch}, request.items, *random).to(request.device);
  std::vector<NamedParameter> parameters = task->parameters();
  if (all) {
    for (const NamedParameter& named : base->parameters()) {
      if (!named.name.starts_with("head."))
        parameters.push_back({"base." + named.name, named.parameter});
    }
  }
  step->optimizer = std::make_shared<Adam>(parameters);
  // Frozen convolutions propagate gradients (one more product); trained parameters need two more.
  step->flops = all ? 3 * forward : forward + conv + 2 * patch + 2 * last_scores;
  step->run = [=, raw = step.get()] {
    detail::train_step(*raw, parameters, [&] { return base->with(*task).loss(ids, targets); });
  };
  return step;
}

/// Captures the step on a GPU and replays it in each run, as a Trainer does with capture_after.
inline void record(ModelStep& step) {
  for (int i = 0; i < 3; ++i) step.run();  // the first steps allocate and initialize
  if (step.optimizer != nullptr) step.optimizer->prepare_capture();
  const auto work = std::make_shared<CapturedWork>(Device::cuda, step.run);
  step.run = [work, optimizer = step.optimizer, model = step.run] {
    if (optimizer != nullptr) optimizer->advance_captured();
    work->run();
  };
}

}  // namespace refrain::bench
