/// Models created on the CPU and moved to the GPU: losses, gradients and scores, launched kernel by
/// kernel and as captured graphs.

#include "cuda/arena.hpp"
#include "refrain/core/stream.hpp"
#include "refrain_models/cmnrec.hpp"
#include "refrain_models/nextitnet.hpp"
#include "refrain_models/peterrec.hpp"
#include "refrain_models/task_bank.hpp"

using namespace refrain;

namespace {

constexpr std::int64_t model_batch = 5, model_steps = 9, model_items = 40;

Tensor random_model_ids(const Shape& shape, std::uint64_t seed) {
  Tensor ids(shape, DType::i32);
  Random random(seed);
  for (std::int32_t& id : ids.span<std::int32_t>())
    id = static_cast<std::int32_t>(random.below(model_items));
  return ids;
}

/// Computes `loss` of ids and targets and the gradients of all parameters on the CPU, then with the
/// moved model, and compares them.
template <class Model, class Loss>
void check_moved(Model& model, const Loss& loss, const Shape& target_shape) {
  const Tensor ids = random_model_ids({model_batch, model_steps}, 1),
               targets = random_model_ids(target_shape, 2);
  struct Named {
    std::string name;
    std::vector<double> values;
  };
  const auto results = [&](Device device) {
    for (const NamedParameter& named : model.parameters()) named.parameter->zero_grad();
    const Variable value = loss(ids.to(device), targets.to(device));
    CHECK(value.device() == device);
    backward(value);
    std::vector<Named> all{{"loss", {value.item()}}};
    for (const NamedParameter& named : model.parameters()) {
      const Gradient& gradient = named.parameter->gradient();
      if (!gradient.defined()) continue;
      all.push_back(
          {named.name, test::doubles(gradient.to_dense(named.parameter->shape()).to(Device::cpu))});
    }
    return all;
  };
  const std::vector<Named> expected = results(Device::cpu);
  model.to(Device::cuda);
  const std::vector<Named> got = results(Device::cuda);
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    INFO(got[i].name);
    REQUIRE(got[i].name == expected[i].name);
    REQUIRE(got[i].values.size() == expected[i].values.size());
    double size = 1e-3, off = 0;
    for (const double value : expected[i].values) size = std::max(size, std::abs(value));
    for (std::size_t at = 0; at < got[i].values.size(); ++at) {
      off = std::max(off, std::abs(got[i].values[at] - expected[i].values[at]));
    }
    CHECK(off < 1e-4 * size);
  }
}

/// Compares `scores` launched kernel by kernel with a captured graph, which runs on other ids than
/// it was captured with.
template <class Scores>
void check_captured(const Scores& scores) {
  const Tensor first = random_model_ids({model_batch, model_steps}, 3),
               second = random_model_ids({model_batch, model_steps}, 4);
  const Tensor inputs = first.to(Device::cuda);
  scores(inputs);
  Tensor result;
  const CapturedWork work(Device::cuda, [&] { result = scores(inputs); });
  for (const Tensor& ids : {first, second}) {
    const Tensor expected = scores(ids.to(Device::cuda)).to(Device::cpu);
    Tensor filled = inputs;
    filled.copy_from(ids);
    work.run();
    CHECK(test::same_bytes(result.to(Device::cpu), expected));
  }
}

}  // namespace

TEST_CASE("cuda: a moved NextItNet computes the results of the CPU", "[cuda][models]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  Random random(1);
  models::NextItNet model({.items = model_items, .channels = 16, .dilations = {1, 2}}, random);
  check_moved(model,
              [&](const Tensor& ids, const Tensor& targets) { return model.loss(ids, targets); },
              {model_batch, model_steps});
  check_captured([&](const Tensor& ids) { return model.scores(ids); });
}

TEST_CASE("cuda: moved patches compute the results of the CPU", "[cuda][models]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  for (const Insertion insertion : {Insertion::serial, Insertion::parallel}) {
    Random random(1);
    models::NextItNet base({.items = model_items, .channels = 16, .dilations = {1, 2}}, random);
    base.freeze();
    models::PatchSet task(base,
                          {.patches = {.insertion = insertion, .start = PatchStart::random},
                           .head = {.targets = model_items}},
                          random);
    check_moved(task,
                [&](const Tensor& ids, const Tensor& targets) {
                  base.to(ids.device());
                  return base.with(task).loss(ids, targets);
                },
                {model_batch});
    check_captured([&](const Tensor& ids) { return base.with(task).scores(ids); });
  }
}

TEST_CASE("cuda: many tasks in one pass compute the results of the CPU", "[cuda][models]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  for (const Insertion insertion : {Insertion::serial, Insertion::parallel}) {
    Random random(1);
    models::NextItNet base({.items = model_items, .channels = 16, .dilations = {1, 2}}, random);
    base.freeze();
    const models::PatchOptions patches{.insertion = insertion, .start = PatchStart::random};
    const auto task = [&](std::int64_t bottleneck) {
      models::PatchSet::Options options{.patches = patches, .head = {.targets = model_items}};
      options.patches.bottleneck = bottleneck;
      return models::PatchSet(base, options, random);
    };
    models::PatchSet first = task(8), second = task(3);
    const Tensor ids = random_model_ids({model_batch, model_steps}, 1),
                 targets = random_model_ids({model_batch}, 2);
    const Tensor rows = Tensor::from<std::int32_t>({model_batch}, {1, 1, 2, 2, 2});
    const auto results = [&](Device device) {
      base.to(device);
      models::TaskBank bank(
          base, {.tasks = 2, .patches = patches, .bottleneck = 8, .classes = model_items});
      for (models::PatchSet* set : {&first, &second}) {
        set->to(device);
        for (const NamedParameter& named : set->parameters()) named.parameter->zero_grad();
        bank.bind(*set);
      }
      std::vector<double> values;
      const models::BankedNextItNet::Losses losses =
          models::BankedNextItNet(base, bank, rows).losses(ids.to(device), targets.to(device));
      backward(losses.sum);
      bank.pass_gradients();
      for (const Tensor& loss : losses.each) values.push_back(loss.to(Device::cpu).item());
      for (models::PatchSet* set : {&first, &second}) {
        for (const NamedParameter& named : set->parameters()) {
          const Gradient& gradient = named.parameter->gradient();
          const std::vector<double> own =
              test::doubles(gradient.to_dense(named.parameter->shape()).to(Device::cpu));
          values.insert(values.end(), own.begin(), own.end());
        }
      }
      bank.release(1);
      bank.release(2);
      return values;
    };
    const std::vector<double> expected = results(Device::cpu), got = results(Device::cuda);
    REQUIRE(got.size() == expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(std::abs(got[i] - expected[i]) < 1e-4);
  }
}

TEST_CASE("cuda: a moved CmnRec computes the results of the CPU", "[cuda][models]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  for (const ChunkSchedule& schedule :
       {ChunkSchedule::tsc(model_steps, 3), ChunkSchedule::every_step(model_steps)}) {
    Random random(1);
    models::CmnRec<Lstm> model(
        {.items = model_items, .embedding = 8, .hidden = 16, .words = 3, .word_size = 12}, random);
    check_moved(model,
                [&](const Tensor& ids, const Tensor& targets) {
                  return model.loss(ids, targets, schedule);
                },
                {model_batch, model_steps});
    check_captured([&](const Tensor& ids) { return model.scores(ids, schedule); });
  }
}

TEST_CASE("cuda: a moved GRU4Rec computes the results of the CPU", "[cuda][models]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  Random random(1);
  models::RecurrentRec<Gru> model({.items = model_items, .embedding = 8, .hidden = 16}, random);
  check_moved(model,
              [&](const Tensor& ids, const Tensor& targets) { return model.loss(ids, targets); },
              {model_batch, model_steps});
  check_captured([&](const Tensor& ids) { return model.scores(ids); });
}
