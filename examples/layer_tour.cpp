// A walk through the layers: what each takes, gives and guarantees, in a few seconds of printed
// output.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>

#include "refrain/core/isa.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/nn/dropout.hpp"
#include "refrain/ops/top_k.hpp"
#include "refrain/train/optimizer.hpp"
#include "refrain_models/nextitnet.hpp"
#include "refrain_models/peterrec.hpp"

namespace {

using namespace refrain;

double largest_difference(const Tensor& a, const Tensor& b, std::int64_t begin, std::int64_t end) {
  double largest = 0;
  for (std::int64_t i = begin; i < end; ++i) {
    largest = std::max(largest, std::abs(double{a.data<float>()[i]} - double{b.data<float>()[i]}));
  }
  return largest;
}

void show(const char* layer, const Shape& in, const Variable& out) {
  fmt::print("  {:<28} {:>12} -> {:<12}\n", layer, in.str(), out.shape().str());
}

void layers() {
  fmt::print(
      "Layers turn one shape into another (B = 2 sequences, T = 6 steps, C = 8 channels):\n");
  Random random(1);
  const Embedding embedding({.count = 20, .width = 8}, random);
  const Tensor ids = Tensor::from<std::int32_t>({2, 6}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  const Variable x = embedding(ids);
  show("Embedding(20 ids)", ids.shape(), x);
  show("CausalConv(dilation 2)", x.shape(),
       CausalConv({.in = 8, .out = 8, .dilation = 2}, random)(x));
  show("LayerNorm", x.shape(), LayerNorm({.channels = 8})(x));
  show("Patch(bottleneck 2)", x.shape(), Patch({.channels = 8, .bottleneck = 2}, random)(x));
  show("ConvBlock(dilations 1, 2)", x.shape(),
       ConvBlock({.channels = 8, .dilation = 1}, random)(x));
  Dropout dropout({.keep = 0.9}, random.split(1));
  show("Dropout(keep 0.9)", x.shape(), dropout(x));
  show("Linear(8 to 3)", x.shape(), Linear({.in = 8, .out = 3}, random)(x));
}

void causality() {
  fmt::print(
      "\nA causal convolution does not see the future: changing the last step of six changes\n");
  Random random(2);
  Tensor before({1, 6, 8}, DType::f32);
  random.fill_normal(before);
  Tensor after = before.clone();
  for (std::int64_t c = 0; c < 8; ++c) after.data<float>()[5 * 8 + c] += 1;
  for (const auto& [name, padding] :
       {std::pair{"causal", Padding::causal}, std::pair{"same", Padding::same}}) {
    Random weights(3);
    const CausalConv conv({.in = 8, .out = 8, .padding = padding, .deviation = 0.3}, weights);
    const Tensor a = conv(Variable(before)).value();
    const Tensor b = conv(Variable(after)).value();
    fmt::print("  Padding::{:<7} steps 1-5 by at most {:.3f}, step 6 by {:.3f}\n", name,
               largest_difference(a, b, 0, 40), largest_difference(a, b, 40, 48));
  }
}

void patches() {
  fmt::print(
      "\nA patch starts as the identity and, once trained, changes what a frozen block "
      "computes:\n");
  Random random(4);
  ConvBlock block({.channels = 8, .deviation = 0.3}, random);
  block.freeze();
  Patch first({.channels = 8, .bottleneck = 2}, random);
  Patch second({.channels = 8, .bottleneck = 2}, random);
  Tensor input({4, 6, 8}, DType::f32);
  random.fill_normal(input);
  const Variable x(input);
  const BlockPatches slots{.first = &first, .second = &second, .insertion = Insertion::serial};
  const Tensor plain = block(x).value();
  fmt::print("  before training: difference {:.3f}\n",
             largest_difference(plain, block(x, slots).value(), 0, plain.numel()));

  const Tensor weights_before = block.parameter("conv1.weight").value().clone();
  std::vector<NamedParameter> trained = first.parameters();
  for (NamedParameter& named : second.parameters())
    trained.push_back({"second." + named.name, named.parameter, named.decay});
  Adam adam(trained, {.learning_rate = 0.05});
  double first_loss = 0;
  double last_loss = 0;
  for (int step = 0; step < 100; ++step) {
    adam.zero_grad();
    const Variable y = block(x, slots);
    const Variable loss = mean(multiply(y, y));
    backward(loss);
    adam.step();
    (step == 0 ? first_loss : last_loss) = loss.item();
  }
  fmt::print(
      "  100 steps to make the output small: mean square {:.3f} -> {:.3f}, {} of {} parameters "
      "learn\n",
      first_loss, last_loss, first.parameter_count() + second.parameter_count(),
      first.parameter_count() + second.parameter_count() + block.parameter_count());
  fmt::print("  after training:  difference {:.3f}; the frozen weights moved by {:.3f}\n",
             largest_difference(plain, block(x, slots).value(), 0, plain.numel()),
             largest_difference(weights_before, block.parameter("conv1.weight").value(), 0,
                                weights_before.numel()));
}

void model() {
  fmt::print(
      "\nLayers make a model.  NextItNet learns to count round a circle of 16 items (1 2 ... 16 1 "
      "2 ...):\n");
  Random random(5);
  models::NextItNet network({.items = 17, .channels = 16, .dilations = {1, 4}}, random);
  Adam adam(network, {.learning_rate = 0.01});
  const auto batch = [&](std::int64_t ahead) {
    Tensor ids({16, 12}, DType::i32);
    for (std::int64_t b = 0; b < 16; ++b) {
      for (std::int64_t t = 0; t < 12; ++t) {
        ids.data<std::int32_t>()[b * 12 + t] = static_cast<std::int32_t>((b + t + ahead) % 16 + 1);
      }
    }
    return ids;
  };
  for (int step = 0; step <= 60; ++step) {
    adam.zero_grad();
    const Variable loss = network.loss(batch(0), batch(1), 0);
    backward(loss);
    adam.step();
    if (step % 20 == 0) fmt::print("  step {:>2}: loss {:.4f}\n", step, loss.item());
  }
  const Tensor history = batch(0).slice(0, 1);
  const TopKResult top = top_k(network.scores(history), 1);
  fmt::print("  after ... {} {} it says {}\n", history.data<std::int32_t>()[10],
             history.data<std::int32_t>()[11], top.indices.data<std::int32_t>()[0]);

  network.freeze();
  const models::PatchSet task(network, {.head = {.targets = 3}}, random);
  fmt::print("\nPeterRec adds a task to the frozen network: {} parameters of its own, {} shared.\n",
             task.parameter_count(), network.parameter_count());
}

}  // namespace

int main() {
  try {
    fmt::print("CPU kernels: {}, {} threads\n\n", cpu_isa(), threads());
    layers();
    causality();
    patches();
    model();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "layer_tour: %s\n", error.what());
    return 1;
  }
  return 0;
}
