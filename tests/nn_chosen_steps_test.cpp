/// Predictions from few steps: the blocks at chosen steps against the blocks at all of them, bit for bit.

#include "models/peterrec.hpp"
#include "refrain/autograd/gradcheck.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

namespace {

using namespace refrain;
using test::random_ids;
using test::random_tensor;
using test::same_bytes;

void redraw(Module& module, std::uint64_t seed) {
  for (const NamedParameter& named : module.parameters()) Random(seed++).fill_normal(named.parameter->value(), 0.3);
}

/// x [B,T,C] at some of its steps.
Tensor at_steps(const Tensor& x, const StepSet& set) {
  std::vector<Tensor> rows;
  Tensor out({x.size(0), set.size(), x.size(2)}, x.dtype());
  const std::size_t bytes = static_cast<std::size_t>(x.size(2)) * size_bytes(x.dtype());
  char* to = static_cast<char*>(out.raw());
  for (std::int64_t b = 0; b < x.size(0); ++b) {
    for (const std::int64_t step : set.steps()) {
      std::memcpy(to, static_cast<const char*>(x.raw()) + static_cast<std::size_t>(b * x.size(1) + step) * bytes, bytes);
      to += bytes;
    }
  }
  return out;
}

}  // namespace

TEST_CASE("chosen_steps: sets are sorted, counted from the end, and checked", "[nn]") {
  const StepSet set({5, -1, 0, 5}, 8);
  CHECK(set.steps() == std::vector<std::int64_t>{0, 5, 7});
  CHECK(set.find(5) == 1);
  CHECK(set.find(6) == -1);
  CHECK_FALSE(set.is_whole());
  CHECK(StepSet({0, 1}, 2).is_whole());
  CHECK_THROWS_AS(StepSet({8}, 8), OptionError);
  CHECK_THROWS_AS(StepSet({-9}, 8), OptionError);
  const Tensor ids = Tensor::from<std::int32_t>({2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor columns = StepSet({0, 2}, 3).columns(ids);
  CHECK(test::integers(columns) == std::vector<int>{1, 3, 4, 6});
  CHECK_THROWS_AS(StepSet({0}, 4).columns(ids), ShapeError);
}

TEST_CASE("chosen_steps: a causal convolution reads its taps and itself", "[nn]") {
  const ConvSteps steps(StepSet({1, 9}, 10), 3, 2, Padding::causal);
  CHECK(steps.in.steps() == std::vector<std::int64_t>{1, 5, 7, 9});
  CHECK(test::integers(steps.taps_at) == std::vector<int>{0, -1, -1, 3, 2, 1});
  CHECK(test::integers(steps.own_at) == std::vector<int>{0, 3});
}

TEMPLATE_TEST_CASE("chosen_steps: a block gives the bits that it gives among all steps", "[nn]", float, double) {
  using T = TestType;
  const Placement placement{dtype_of<T>, Device::cpu};
  const NoGrad off;
  for (const Padding padding : {Padding::causal, Padding::same}) {
    for (const std::int64_t width : {1, 2, 3, 17}) {
      for (const std::int64_t dilation : {1, 3, 20}) {
        Random random(1);
        const std::int64_t channels = 20, steps = 13;
        ConvBlock block({.channels = channels, .width = width, .dilation = dilation, .padding = padding}, random, placement);
        Adapter first({.channels = channels, .start = AdapterStart::random}, random, placement);
        Adapter second({.channels = channels, .start = AdapterStart::random}, random, placement);
        LayerNorm norm2({.channels = channels}, placement);
        redraw(block, 10);
        redraw(norm2, 30);
        const Tensor x = random_tensor<T>({3, steps, channels}, 5);
        for (const Insertion insertion : {Insertion::none, Insertion::serial, Insertion::parallel}) {
          const BlockPatches patches{.first = &first, .second = &second, .insertion = insertion, .norm2 = &norm2};
          const Tensor all = block(Variable(x), patches).value();
          for (const auto& chosen : {std::vector<std::int64_t>{-1}, {0, 12}, {4, 5, 6, 11}}) {
            INFO(static_cast<int>(padding) << " padding, " << width << " taps, dilation " << dilation << ", insertion "
                                           << static_cast<int>(insertion) << ", " << chosen.size() << " steps");
            const StepSet set(chosen, steps);
            const auto needs = block.steps_for(set);
            const Tensor got = block.at_steps(Variable(at_steps(x, needs.in())), needs, patches).value();
            CHECK(same_bytes(got, at_steps(all, set)));
          }
        }
      }
    }
  }
}

TEST_CASE("chosen_steps: NextItNet and PeterRec score as from all steps", "[nn][model]") {
  for (const Padding padding : {Padding::causal, Padding::same}) {
    for (const std::int64_t steps : {1, 2, 9, 40}) {
      INFO("padding " << static_cast<int>(padding) << ", T = " << steps);
      Random random(2);
      models::NextItNet base({.items = 40, .channels = 16, .dilations = {1, 4, 1, 4}, .padding = padding}, random);
      redraw(base, 3);
      const Tensor ids = random_ids(3 * steps, 40, 4).reshape({3, steps});
      const Variable h = select_step(base.hidden(ids), -1);
      const Tensor expected = linear(relu(h), base.parameter("head.weight"), base.parameter("head.bias")).value();
      CHECK(same_bytes(base.scores(ids), expected));
      for (const Insertion insertion : {Insertion::none, Insertion::serial, Insertion::parallel}) {
        models::PatchSet patches(
            base, {.patches = {.insertion = insertion, .start = AdapterStart::random}, .head = {.targets = 7}, .tcl_id = 1},
            random);
        const Tensor recorded = patches.user(base, ids).value();
        const NoGrad off;
        CHECK(same_bytes(patches.user(base, ids).value(), recorded));
      }
    }
  }
}

TEST_CASE("chosen_steps: recording and places outside are refused", "[nn]") {
  Random random(1);
  ConvBlock block({.channels = 4}, random);
  const auto needs = block.steps_for(StepSet({5}, 9));
  const Variable x(random_tensor<float>({1, needs.in().size(), 4}, 1));
  CHECK_THROWS_AS(block.at_steps(x, needs), AutogradError);
  const NoGrad off;
  CHECK_THROWS_AS(block.at_steps(Variable(random_tensor<float>({1, 1, 4}, 1)), needs), ShapeError);
}
