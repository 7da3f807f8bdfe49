/// Convolution blocks one time step at a time against the same block over the whole sequence, bit
/// for bit, at every length.

#include <type_traits>
#include <vector>

#include "refrain/autograd/tape.hpp"
#include "refrain/nn/conv_block.hpp"
#include "support/catch.hpp"
#include "support/variables.hpp"

namespace {

using namespace refrain;
using test::random_tensor;
using test::redraw;
using test::same_bytes;
using test::step_of;

bool same_history(const ConvBlock::History& a, const ConvBlock::History& b) {
  std::vector<Tensor> rows;
  std::vector<std::int64_t> places;
  const auto collect = [&](const auto& part) {
    if constexpr (std::is_same_v<std::decay_t<decltype(part)>, Tensor>) {
      rows.push_back(part);
    } else {
      places.push_back(part);
    }
  };
  ConvBlock::History::visit(a, collect);
  ConvBlock::History::visit(b, collect);
  return same_bytes(rows.at(0), rows.at(2)) && same_bytes(rows.at(1), rows.at(3)) &&
         places.at(0) == places.at(2) && places.at(1) == places.at(3);
}

Tensor first_steps(const Tensor& x, std::int64_t count) {
  return x.reshape({x.size(1), x.size(2)}).slice(0, count).reshape({1, count, x.size(2)});
}

}  // namespace

TEMPLATE_TEST_CASE(
    "conv_history: a block advanced step by step is bit-identical to a pass over the sequence",
    "[nn]", float, double) {
  using T = TestType;
  const Placement placement{dtype_of<T>, Device::cpu};
  const NoGrad off;
  constexpr std::int64_t channels = 20, steps = 23;
  for (const std::int64_t width : {1, 2, 3, 17}) {
    for (const std::int64_t dilation : {1, 3, 40}) {
      Random random(1);
      ConvBlock block({.channels = channels, .width = width, .dilation = dilation}, random,
                      placement);
      Patch first({.channels = channels, .start = PatchStart::random}, random, placement);
      Patch second({.channels = channels, .start = PatchStart::random}, random, placement);
      LayerNorm norm2({.channels = channels}, placement);
      redraw(block, 10);
      redraw(norm2, 30);
      const Tensor x = random_tensor<T>({1, steps, channels}, 5);
      const Tensor other = random_tensor<T>({1, 1, channels}, 6);
      for (const Insertion insertion : {Insertion::none, Insertion::serial, Insertion::parallel}) {
        INFO(width << " taps, dilation " << dilation << ", insertion "
                   << static_cast<int>(insertion));
        const BlockPatches patches{
            .first = &first, .second = &second, .insertion = insertion, .norm2 = &norm2};
        ConvBlock::History history = block.start();
        bool same = true;
        for (std::int64_t t = 0; t < steps; ++t) {
          const Tensor whole = block(Variable(first_steps(x, t + 1)), patches).value();
          const Tensor expected = step_of(whole, t);
          // at_next() does not change the history, for any input.
          block.at_next(Variable(other), history, patches);
          same =
              same && same_bytes(block.at_next(Variable(step_of(x, t)), history, patches).value(),
                                 expected);
          same =
              same && same_bytes(block.advance(Variable(step_of(x, t)), history, patches).value(),
                                 expected);
          // All time steps at once give the same history as one at a time.
          ConvBlock::History begun = block.start();
          begun.first.push(other);
          same = same &&
                 same_bytes(block.at_first(Variable(first_steps(x, t + 1)), begun, patches).value(),
                            whole);
          same = same && same_history(begun, history);
        }
        CHECK(same);
      }
    }
  }
}

TEST_CASE("conv_history: a copy is independent", "[nn]") {
  const NoGrad off;
  Random random(3);
  const ConvBlock block({.channels = 8, .dilation = 2}, random);
  const Tensor x = random_tensor<float>({1, 9, 8}, 4);
  ConvBlock::History history = block.start();
  for (std::int64_t t = 0; t < 5; ++t) block.advance(Variable(step_of(x, t)), history);
  ConvBlock::History copy = history;
  const Tensor expected = block.at_next(Variable(step_of(x, 5)), history).value();
  for (std::int64_t t = 6; t < 9; ++t) block.advance(Variable(step_of(x, t)), copy);
  CHECK(same_bytes(block.at_next(Variable(step_of(x, 5)), history).value(), expected));
  copy = history;
  CHECK(same_bytes(block.at_next(Variable(step_of(x, 5)), copy).value(), expected));
}

TEST_CASE("conv_history: non-causal blocks, other rows and recording are refused", "[nn]") {
  CHECK_THROWS_AS(ConvHistory({.channels = 4, .width = 3, .dilation = 0}), OptionError);
  CHECK_THROWS_AS(ConvHistory({.channels = 4, .width = 0, .dilation = 1}), OptionError);
  Random random(3);
  const ConvBlock two_way({.channels = 8, .padding = Padding::same}, random);
  CHECK_THROWS_AS(two_way.start(), OptionError);
  const ConvBlock block({.channels = 8}, random);
  ConvBlock::History history = block.start();
  const Variable x(random_tensor<float>({1, 1, 8}, 4));
  CHECK_THROWS_AS(block.at_next(x, history), AutogradError);
  CHECK_THROWS_AS(block.at_first(x, history), AutogradError);
  const NoGrad off;
  CHECK_THROWS_AS(block.at_next(Variable(random_tensor<float>({1, 2, 8}, 4)), history), ShapeError);
  CHECK_THROWS_AS(block.at_next(Variable(random_tensor<double>({1, 1, 8}, 4)), history),
                  DTypeError);
  CHECK_THROWS_AS(block.at_first(Variable(random_tensor<float>({2, 3, 8}, 4)), history),
                  ShapeError);
  CHECK_THROWS_AS(two_way.at_first(x, history), OptionError);
  CHECK_THROWS_AS(history.first.push(random_tensor<float>({7}, 4)), ShapeError);
  CHECK_THROWS_AS(history.first.push(random_tensor<float>({8, 7}, 4)), ShapeError);
  CHECK_THROWS_AS(history.first.push(random_tensor<double>({2, 8}, 4)), DTypeError);
}
