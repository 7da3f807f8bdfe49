/// Times single steps of a model on request, so that a driver can take turns between this and another implementation.
///
///   step_timer MODEL MODE BATCH TIME CHANNELS ITEMS [SLOTS]
///
/// MODEL: nextitnet, peterrec-serial or peterrec-parallel (ITEMS classes); srmn, or cmnrec with SLOTS time-sensitive chunks (H = W =
/// CHANNELS, E = CHANNELS / 2, N = SLOTS words for both).  MODE: train (forward, full softmax, backward, dense Adam), train-sampled
/// (srmn and cmnrec: the same with ITEMS / 10 shared negatives) or infer (scores of all items at the last step, then the 20 best).
/// REFRAIN_DEVICE=cuda in the environment puts model and batch on the GPU; a step has ended when the GPU has.
/// For each line on standard input one step is run and its milliseconds printed; `peak` prints the pool's peak bytes, `loss` the last
/// loss, `flops` the multiplications and additions counted for a step (srmn and cmnrec; else 0).

#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <string>

#include "memory_network_steps.hpp"
#include "models/peterrec.hpp"
#include "refrain/core/stream.hpp"
#include "refrain/train/optimizer.hpp"

namespace {

using namespace refrain;

using bench::random_ids;

struct Step {
  double last_loss = 0;
  double flops = 0;
  std::function<void()> run;
};

/// Where to compute.
Device device_of_run() {
  const char* given = std::getenv("REFRAIN_DEVICE");
  return given != nullptr && std::string(given) == "cuda" ? Device::cuda : Device::cpu;
}

struct Request {
  std::string model;
  std::string mode;
  std::int64_t batch = 0;
  std::int64_t time = 0;
  std::int64_t channels = 0;
  std::int64_t items = 0;
  std::int64_t slots = 0;
};

/// The peer's gradients of embedding and items are full tables; so are ours here, that both optimizers do the same work.
std::shared_ptr<Step> memory_network_step(const Request& request) {
  using bench::StepKind;
  StepKind kind = StepKind::infer;
  if (request.mode == "train") kind = StepKind::train_full;
  if (request.mode == "train-sampled") kind = StepKind::train_sampled;
  const bool every = request.model == "srmn";
  const auto schedule = every ? ChunkSchedule::every_step(request.time) : ChunkSchedule::tsc(request.time, request.slots);
  auto steps = std::make_shared<bench::MemoryNetworkSteps>(
      bench::MemoryNetworkSteps::Options{.network = {.items = request.items,
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
                                         .device = device_of_run()});
  auto step = std::make_shared<Step>();
  step->flops = 2 * steps->multiply_adds(schedule);
  step->run = [steps, schedule, raw = step.get()] {
    steps->run(schedule);
    raw->last_loss = steps->last_loss();
  };
  return step;
}

std::shared_ptr<Step> make_step(const Request& request) {
  const std::string& name = request.model;
  const std::int64_t batch = request.batch;
  const std::int64_t time = request.time;
  const std::int64_t items = request.items;
  const bool train = request.mode == "train";
  const bool memory_network = name == "srmn" || name == "cmnrec";
  if (!train && request.mode != "infer" && !(memory_network && request.mode == "train-sampled")) {
    throw OptionError("step_timer: expected train or infer (srmn, cmnrec: or train-sampled), got '" + request.mode + "'");
  }
  if (memory_network) return memory_network_step(request);
  auto step = std::make_shared<Step>();
  auto random = std::make_shared<Random>(1);
  auto base =
      std::make_shared<models::NextItNet>(models::NextItNet::Options{.items = items, .channels = request.channels}, *random);
  const Device device = device_of_run();
  base->to(device);
  const Tensor ids = random_ids({batch, time}, items, *random).to(device);
  if (name == "nextitnet") {
    if (!train) {
      step->run = [=] { top_k(base->scores(ids), std::min<std::int64_t>(20, items)); };
      return step;
    }
    const Tensor targets = random_ids({batch, time}, items, *random).to(device);
    auto optimizer = std::make_shared<Adam>(*base);
    auto parameters = base->parameters();
    step->run = [=, raw = step.get()] {
      optimizer->zero_grad();
      const Variable loss = base->loss(ids, targets);
      backward(loss);
      bench::densify(parameters);
      optimizer->step();
      raw->last_loss = loss.item();
    };
    return step;
  }
  if (name != "peterrec-serial" && name != "peterrec-parallel") {
    throw OptionError("step_timer: expected nextitnet, peterrec-serial, peterrec-parallel, srmn or cmnrec, got '" + name + "'");
  }
  base->freeze();
  auto patches = std::make_shared<models::PatchSet>(
      *base,
      models::PatchSet::Options{.patches = {.insertion = name == "peterrec-serial" ? Insertion::serial : Insertion::parallel,
                                            .start = AdapterStart::random,
                                            .norm2 = false},
                                .head = {.targets = items}},
      *random);
  patches->to(device);
  if (!train) {
    step->run = [=] {
      const NoGrad off;
      top_k(patches->scores(patches->user(*base, ids)), std::min<std::int64_t>(20, items));
    };
    return step;
  }
  const Tensor targets = random_ids({batch}, items, *random).to(device);
  auto optimizer = std::make_shared<Adam>(*patches);
  step->run = [=, raw = step.get()] {
    optimizer->zero_grad();
    const Variable loss = patches->loss(patches->user(*base, ids), targets);
    backward(loss);
    optimizer->step();
    raw->last_loss = loss.item();
  };
  return step;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7 && argc != 8) {
    std::cerr << "usage: step_timer MODEL train|train-sampled|infer BATCH TIME CHANNELS ITEMS [SLOTS]\n";
    return 2;
  }
  try {
    const auto number = [&](int at) { return static_cast<std::int64_t>(std::atoll(argv[at])); };
    const auto step = make_step({.model = argv[1],
                                 .mode = argv[2],
                                 .batch = number(3),
                                 .time = number(4),
                                 .channels = number(5),
                                 .items = number(6),
                                 .slots = argc == 8 ? number(7) : 0});
    std::string line;
    while (std::getline(std::cin, line)) {
      if (line == "peak") {
        std::cout << pool_stats(device_of_run()).peak_used_bytes << std::endl;
      } else if (line == "loss") {
        std::cout << step->last_loss << std::endl;
      } else if (line == "flops") {
        std::cout << step->flops << std::endl;
      } else {
        const auto begin = std::chrono::steady_clock::now();
        step->run();
        synchronize(device_of_run());
        std::cout << std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count() << std::endl;
      }
    }
  } catch (const std::exception& error) {
    std::cerr << "step_timer: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
