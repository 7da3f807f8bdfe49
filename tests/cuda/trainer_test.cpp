/// Training on a GPU against the CPU, and with captured steps against steps launched kernel by
/// kernel.

#include "refrain/train/trainer.hpp"
#include "cuda/arena.hpp"
#include "refrain/data/batches.hpp"
#include "refrain/nn/dropout.hpp"
#include "refrain_models/nextitnet.hpp"

using namespace refrain;

namespace {

/// A small convolutional recommender with dropout.
class Small final : public Module {
 public:
  explicit Small(Random random)
      : network_({.items = 50, .channels = 16, .dilations = {1, 2}}, random),
        dropout_({.keep = 0.8}, random.split(9)) {}
  Variable loss(const SequenceBatch& batch) {
    return softmax_loss(dropout_(network_.hidden(batch.ids)), network_.parameter("head.weight"),
                        network_.parameter("head.bias"), batch.targets);
  }
  void visit_members(Visitor& visitor) override {
    visitor.module("network", network_);
    visitor.module("dropout", dropout_);
  }

 private:
  models::NextItNet network_;
  Dropout dropout_;
};

struct Run {
  std::vector<double> losses{};
  std::vector<Tensor> parameters{};
  std::int64_t kernels = 0;
  std::string reason{};
};

Run train(Device device, std::int64_t pending, std::int64_t capture_after,
          std::int64_t slices = 1) {
  Run run;
  Small model(Random(3));
  model.to(device);
  Adam adam(model, {.learning_rate = 0.01});
  Trainer trainer(
      model, adam,
      {.epochs = 2,
       .steps_per_epoch = 12,
       .max_norm = 1,
       .slices = slices,
       .restore_best = false,
       .schedule = [](std::int64_t step) { return 0.01 / (1 + 0.1 * static_cast<double>(step)); },
       .pending_losses = pending,
       .capture_after = capture_after});
  trainer.on_step([&](const StepReport& step) { run.losses.push_back(step.loss); });
  trainer.on_capture([&](const CaptureReport& report) {
    run.kernels = report.kernels;
    run.reason = report.reason;
  });
  trainer.run(
      device,
      [](std::int64_t epoch, std::int64_t step, BatchSlice slice) {
        const std::int64_t rows = step == 11 ? 3 : 8;  // the last batch of an epoch is shorter
        const std::uint64_t seed = static_cast<std::uint64_t>(100 * epoch + step);
        const std::int64_t begin = rows * slice.index / slice.count;
        const std::int64_t end = rows * (slice.index + 1) / slice.count;
        const auto ids = [&](std::uint64_t number) {
          return test::random_ids(10 * rows, 50, number).reshape({rows, 10}).slice(begin, end);
        };
        return SequenceBatch{ids(seed), ids(seed + 50)};
      },
      [&](const SequenceBatch& batch) { return model.loss(batch); },
      [](std::int64_t) { return 0.0; });
  for (const NamedParameter& named : model.parameters())
    run.parameters.push_back(named.parameter->value().to(Device::cpu));
  return run;
}

}  // namespace

TEST_CASE("cuda: training equals that on the CPU, and captured steps equal launched ones",
          "[cuda][train]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  // With five slices the last batch has two empty ones.
  const std::int64_t slices = GENERATE(1, 5);
  INFO(slices << " slices");
  try {
    const Run launched = train(Device::cuda, 4, 0, slices);
    const Run captured = train(Device::cuda, 4, 3, slices);
    INFO("not captured: " << captured.reason);
    REQUIRE(captured.kernels > 0);
    CHECK(captured.losses == launched.losses);
    for (std::size_t i = 0; i < launched.parameters.size(); ++i) {
      CHECK(test::same_bytes(captured.parameters[i], launched.parameters[i]));
    }
    const Run cpu = train(Device::cpu, 0, 0, slices);
    REQUIRE(cpu.losses.size() == launched.losses.size());
    // Adam amplifies rounding errors where gradients are near zero, so only the first steps are
    // compared.
    for (std::size_t i = 0; i < 6; ++i)
      CHECK(launched.losses[i] == Approx(cpu.losses[i]).epsilon(1e-4));
  } catch (const Unsupported& error) {
    REFRAIN_SKIP(error.what());
  }
}

TEST_CASE("cuda: the test of training also runs on the CPU", "[posed]") {
  const std::int64_t slices = GENERATE(1, 5);
  const Run plain = train(Device::cpu, 0, 0, slices);
  const Run later = train(Device::cpu, 3, 3, slices);
  CHECK(plain.losses == later.losses);
  for (std::size_t i = 0; i < plain.parameters.size(); ++i)
    CHECK(test::same_bytes(plain.parameters[i], later.parameters[i]));
}
