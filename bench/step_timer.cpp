/// Times single steps of a model on request, so that a driver can take turns between this and another implementation.
///
///   step_timer MODEL MODE BATCH TIME CHANNELS ITEMS
///
/// MODEL: nextitnet, peterrec-serial or peterrec-parallel (ITEMS classes).  MODE: train (forward, full softmax, backward, dense Adam)
/// or infer (scores of all items at the last step, then the 20 best).  For each line on standard input one step is run and its
/// milliseconds printed; `peak` prints the pool's peak bytes, `loss` the last loss.

#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <string>

#include "models/peterrec.hpp"
#include "refrain/train/optimizer.hpp"

namespace {

using namespace refrain;

Tensor random_ids(const Shape& shape, std::int64_t bound, Random& random) {
  Tensor ids(shape, DType::i32);
  for (std::int32_t& id : ids.span<std::int32_t>()) id = static_cast<std::int32_t>(random.below(bound));
  return ids;
}

/// The peer's embedding gradient is a full table; so is ours here, that both optimizers do the same work.
void densify(const std::vector<NamedParameter>& parameters) {
  for (const NamedParameter& named : parameters) {
    Gradient& gradient = named.parameter->gradient();
    if (!gradient.is_sparse()) continue;
    Tensor full = gradient.to_dense(named.parameter->shape());
    gradient.clear();
    gradient.add(std::move(full));
  }
}

struct Step {
  double last_loss = 0;
  std::function<void()> run;
};

std::shared_ptr<Step> make_step(const std::string& name, bool train, std::int64_t batch, std::int64_t time,
                                std::int64_t channels, std::int64_t items) {
  auto step = std::make_shared<Step>();
  auto random = std::make_shared<Random>(1);
  auto base = std::make_shared<models::NextItNet>(models::NextItNet::Options{.items = items, .channels = channels}, *random);
  const Tensor ids = random_ids({batch, time}, items, *random);
  if (name == "nextitnet") {
    if (!train) {
      step->run = [=] { top_k(base->scores(ids), std::min<std::int64_t>(20, items)); };
      return step;
    }
    const Tensor targets = random_ids({batch, time}, items, *random);
    auto optimizer = std::make_shared<Adam>(*base);
    auto parameters = base->parameters();
    step->run = [=, raw = step.get()] {
      optimizer->zero_grad();
      const Variable loss = base->loss(ids, targets);
      backward(loss);
      densify(parameters);
      optimizer->step();
      raw->last_loss = loss.item();
    };
    return step;
  }
  if (name != "peterrec-serial" && name != "peterrec-parallel") {
    throw OptionError("step_timer: expected nextitnet, peterrec-serial or peterrec-parallel, got '" + name + "'");
  }
  base->freeze();
  auto patches = std::make_shared<models::PatchSet>(
      *base,
      models::PatchSet::Options{.patches = {.insertion = name == "peterrec-serial" ? Insertion::serial : Insertion::parallel,
                                            .start = AdapterStart::random,
                                            .norm2 = false},
                                .head = {.targets = items}},
      *random);
  if (!train) {
    step->run = [=] {
      const NoGrad off;
      top_k(patches->scores(patches->user(*base, ids)), std::min<std::int64_t>(20, items));
    };
    return step;
  }
  const Tensor targets = random_ids({batch}, items, *random);
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
  if (argc != 7) {
    std::cerr << "usage: step_timer MODEL train|infer BATCH TIME CHANNELS ITEMS\n";
    return 2;
  }
  try {
    const auto number = [&](int at) { return static_cast<std::int64_t>(std::atoll(argv[at])); };
    const auto step = make_step(argv[1], std::string(argv[2]) == "train", number(3), number(4), number(5), number(6));
    std::string line;
    while (std::getline(std::cin, line)) {
      if (line == "peak") {
        std::cout << pool_stats().peak_used_bytes << std::endl;
      } else if (line == "loss") {
        std::cout << step->last_loss << std::endl;
      } else {
        const auto begin = std::chrono::steady_clock::now();
        step->run();
        std::cout << std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count() << std::endl;
      }
    }
  } catch (const std::exception& error) {
    std::cerr << "step_timer: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
