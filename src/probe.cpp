#include "src/probe.hpp"

#include <cstdint>
#include <future>
#include <vector>

#include "refrain/autograd/tape.hpp"
#include "refrain/nn/conv_block.hpp"
#include "refrain/nn/embedding.hpp"
#include "refrain/nn/linear.hpp"
#include "refrain/nn/loss.hpp"
#include "refrain/nn/recurrent.hpp"
#include "refrain/train/content_hash.hpp"
#include "refrain/train/optimizer.hpp"

namespace refrain {
namespace {

/// Convolutions with normalization, gates (exp and tanh) and a softmax. The widths are no multiples
/// of a vector, so that vectors and single elements are computed.
class ProbeModel final : public Module {
 public:
  explicit ProbeModel(Random random)
      : items_({.count = items, .width = channels, .deviation = 0.5}, random),
        block_({.channels = channels, .deviation = 0.2}, random),
        lstm_({.in = channels, .hidden = hidden, .deviation = 0.3}, random),
        gru_({.in = hidden, .hidden = hidden, .deviation = 0.3}, random),
        head_({.in = hidden, .out = items, .deviation = 0.5}, random) {}

  Variable loss(const Tensor& ids, const Tensor& targets) {
    return softmax_loss(gru_(lstm_(block_(items_(ids)))), head_, targets);
  }

  void visit_members(Visitor& visitor) override {
    visitor.module("items", items_);
    visitor.module("block", block_);
    visitor.module("lstm", lstm_);
    visitor.module("gru", gru_);
    visitor.module("head", head_);
  }

  static constexpr std::int64_t items = 67;

 private:
  static constexpr std::int64_t channels = 21, hidden = 19;

  Embedding items_;
  ConvBlock block_;
  Lstm lstm_;
  Gru gru_;
  Linear head_;
};

std::string probe() {
  constexpr std::int64_t rows = 5, steps = 7;
  std::vector<std::int32_t> ids, targets;
  for (std::int64_t i = 0; i < rows * steps; ++i) {
    ids.push_back(static_cast<std::int32_t>(i * 13 % ProbeModel::items));
    targets.push_back(static_cast<std::int32_t>(i * 29 % ProbeModel::items));
  }
  const Shape shape{rows, steps};
  const Tensor input = Tensor::from<std::int32_t>(shape, ids);
  const Tensor output = Tensor::from<std::int32_t>(shape, targets);
  ProbeModel model(Random(1));
  Adam adam(model, {.learning_rate = 0.01});
  for (int step = 0; step < 2; ++step) {
    adam.zero_grad();
    backward(model.loss(input, output));
    adam.clip_gradients(0.5);
    adam.step();
  }
  return content_hash(model);
}

}  // namespace

const std::string& arithmetic_probe() {
  // On a thread of its own, where recording is on.
  static const std::string hash = std::async(std::launch::async, probe).get();
  return hash;
}

}  // namespace refrain
