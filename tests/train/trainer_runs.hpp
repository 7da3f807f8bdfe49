#pragma once
/// Small networks and their training runs, for the tests of the training loop.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "refrain/nn/dropout.hpp"
#include "refrain/nn/embedding.hpp"
#include "refrain/nn/linear.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/train/trainer.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

namespace refrain::test {

class SmallNetwork final : public Module {
 public:
  explicit SmallNetwork(std::uint64_t seed) : SmallNetwork(Random(seed)) {}
  Variable loss(const Tensor& ids) {
    const Variable y = head(dropout(relu(middle(table(ids)))));
    const Variable distance = subtract(y, Variable(Tensor::full(y.shape(), 1, DType::f32)));
    return mean(multiply(distance, distance));
  }
  void visit_members(Visitor& visitor) override {
    visitor.module("table", table);
    visitor.module("middle", middle);
    visitor.module("dropout", dropout);
    visitor.module("head", head);
  }
  Embedding table;
  Linear middle;
  Dropout dropout;
  Linear head;

 private:
  explicit SmallNetwork(Random random)
      : table({.count = 30, .width = 6, .deviation = 0.5}, random),
        middle({.in = 6, .out = 5, .deviation = 0.5}, random),
        dropout({.keep = 0.8}, random.split(1)),
        head({.in = 5, .out = 2, .deviation = 0.5}, random) {}
};

/// Draws random numbers and learns nothing.
struct NoisyModule final : Module {
  Random noise{1};
  void visit_members(Visitor& visitor) override { visitor.random("noise", noise); }
};

/// A batch of one tensor.
struct TensorBatch {
  Tensor tensor;
  std::int64_t counted() const { return tensor.numel(); }
  template <class Function>
  void visit(Function&& function) {
    function(tensor);
  }
};

/// The objects of one run; the base part is frozen as in fine-tuning.
struct TrainerRun {
  explicit TrainerRun(const std::string& checkpoint = "", std::int64_t patience = 0)
      : model(5),
        adam((model.freeze("middle.bias"), model),
             {.learning_rate = 0.01, .l2 = 0.001, .decay = 0.1}),
        trainer(model, adam,
                {.epochs = 4,
                 .steps_per_epoch = 7,
                 .max_norm = 0.5,
                 .patience = patience,
                 .schedule =
                     [](std::int64_t step) { return 0.01 / (1 + 0.1 * static_cast<double>(step)); },
                 .checkpoint = checkpoint,
                 .metadata = {{"who", "test"}}}) {}

  /// Stops before step `stop_at` (counted over the run) when given.
  TrainingResult go(std::optional<std::int64_t> stop_at = {}) {
    trainer.on_step([&, stop_at](const StepReport&) {
      if (stop_at && trainer.position().total_steps >= *stop_at) InterruptGuard::request();
    });
    trainer.on_epoch([&](const EpochReport& report) { epochs.push_back(report); });
    return trainer.run(
        [&](std::int64_t epoch, std::int64_t step) {
          return model.loss(random_ids(8, 30, static_cast<std::uint64_t>(epoch * 100 + step)));
        },
        [&](std::int64_t) { return -model.loss(random_ids(20, 30, 999)).item(); });
  }

  SmallNetwork model;
  Adam adam;
  Trainer trainer;
  std::vector<EpochReport> epochs;
};

inline void check_same(const TensorMap& a, const TensorMap& b) {
  REQUIRE(a.size() == b.size());
  for (const auto& [name, tensor] : a) {
    INFO(name);
    CHECK(same_bytes(tensor, b.at(name)));
  }
}

/// Evaluations with scripted values; nothing is learned.
struct ScriptedRun {
  explicit ScriptedRun(TrainerOptions options)
      : model(1), sgd(model, {.learning_rate = 0.1}), trainer(model, sgd, std::move(options)) {}
  TrainingResult go(std::vector<double> metrics) {
    return trainer.run([&](std::int64_t, std::int64_t) { return model.loss(random_ids(3, 30, 1)); },
                       [&, metrics](std::int64_t epoch) {
                         hashes.push_back(content_hash(model));
                         return metrics.at(static_cast<std::size_t>(epoch));
                       });
  }
  SmallNetwork model;
  Sgd sgd;
  Trainer trainer;
  std::vector<std::string> hashes;  ///< hash of the model at each evaluation
};

}  // namespace refrain::test
