/// The blocks at chosen time steps against the blocks at all time steps, forward bit for bit.

#include "refrain/autograd/gradcheck.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain_models/peterrec.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/variables.hpp"

namespace {

using namespace refrain;
using test::random_ids;
using test::random_tensor;
using test::redraw;
using test::same_bytes;

/// x [B,T,C] at the time steps of a set.
Tensor at_steps(const Tensor& x, const StepSet& set) {
  std::vector<Tensor> rows;
  Tensor out({x.size(0), set.size(), x.size(2)}, x.dtype());
  const std::size_t bytes = static_cast<std::size_t>(x.size(2)) * size_bytes(x.dtype());
  char* to = static_cast<char*>(out.raw());
  for (std::int64_t b = 0; b < x.size(0); ++b) {
    for (const std::int64_t step : set.steps()) {
      std::memcpy(to,
                  static_cast<const char*>(x.raw()) +
                      static_cast<std::size_t>(b * x.size(1) + step) * bytes,
                  bytes);
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
  CHECK_THROWS_AS(StepSet({}, -1), OptionError);
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

TEMPLATE_TEST_CASE("chosen_steps: a block is bit-identical to a pass over all steps", "[nn]", float,
                   double) {
  using T = TestType;
  const Placement placement{dtype_of<T>, Device::cpu};
  const NoGrad off;
  for (const Padding padding : {Padding::causal, Padding::same}) {
    for (const std::int64_t width : {1, 2, 3, 17}) {
      for (const std::int64_t dilation : {1, 3, 20}) {
        Random random(1);
        const std::int64_t channels = 20, steps = 13;
        ConvBlock block(
            {.channels = channels, .width = width, .dilation = dilation, .padding = padding},
            random, placement);
        Patch first({.channels = channels, .start = PatchStart::random}, random, placement);
        Patch second({.channels = channels, .start = PatchStart::random}, random, placement);
        LayerNorm norm2({.channels = channels}, placement);
        redraw(block, 10);
        redraw(norm2, 30);
        const Tensor x = random_tensor<T>({3, steps, channels}, 5);
        for (const Insertion insertion :
             {Insertion::none, Insertion::serial, Insertion::parallel}) {
          const BlockPatches patches{
              .first = &first, .second = &second, .insertion = insertion, .norm2 = &norm2};
          const Tensor all = block(Variable(x), patches).value();
          for (const auto& chosen : {std::vector<std::int64_t>{-1}, {0, 12}, {4, 5, 6, 11}}) {
            INFO(static_cast<int>(padding)
                 << " padding, " << width << " taps, dilation " << dilation << ", insertion "
                 << static_cast<int>(insertion) << ", " << chosen.size() << " steps");
            const StepSet set(chosen, steps);
            const auto needs = block.steps_for(set);
            const Tensor got =
                block.at_steps(Variable(at_steps(x, needs.in())), needs, patches).value();
            CHECK(same_bytes(got, at_steps(all, set)));
          }
        }
      }
    }
  }
}

TEST_CASE("chosen_steps: scores of NextItNet and PeterRec equal those of all steps",
          "[nn][model]") {
  for (const Padding padding : {Padding::causal, Padding::same}) {
    for (const std::int64_t steps : {1, 2, 9, 40}) {
      INFO("padding " << static_cast<int>(padding) << ", T = " << steps);
      Random random(2);
      models::NextItNet base(
          {.items = 40, .channels = 16, .dilations = {1, 4, 1, 4}, .padding = padding}, random);
      redraw(base, 3);
      const Tensor ids = random_ids(3 * steps, 40, 4).reshape({3, steps});
      const Variable h = select_step(base.hidden(ids), -1);
      const Tensor expected =
          linear(relu(h), base.parameter("head.weight"), base.parameter("head.bias")).value();
      CHECK(same_bytes(base.scores(ids), expected));
      for (const Insertion insertion : {Insertion::none, Insertion::serial, Insertion::parallel}) {
        models::PatchSet patches(base,
                                 {.patches = {.insertion = insertion, .start = PatchStart::random},
                                  .head = {.targets = 7},
                                  .tcl_id = 1},
                                 random);
        const Tensor recorded = base.with(patches).user(ids).value();
        const NoGrad off;
        CHECK(same_bytes(base.with(patches).user(ids).value(), recorded));
      }
    }
  }
}

TEST_CASE("chosen_steps: gradients match finite differences, with any part frozen", "[nn][grad]") {
  constexpr std::int64_t channels = 4, steps = 7;
  const Placement placement{DType::f64, Device::cpu};
  for (const Padding padding : {Padding::causal, Padding::same}) {
    for (const Insertion insertion : {Insertion::none, Insertion::serial, Insertion::parallel}) {
      INFO("padding " << static_cast<int>(padding) << ", insertion "
                      << static_cast<int>(insertion));
      Random random(1);
      ConvBlock block({.channels = channels, .dilation = 2, .padding = padding}, random, placement);
      Patch first({.channels = channels, .bottleneck = 6, .start = PatchStart::random}, random,
                  placement);
      Patch second({.channels = channels, .bottleneck = 3, .start = PatchStart::random}, random,
                   placement);
      redraw(block, 10);
      const BlockPatches patches{.first = &first, .second = &second, .insertion = insertion};
      const auto needs = block.steps_for(StepSet({1, 6}, steps));
      REQUIRE_FALSE(needs.is_whole());
      std::vector<Variable> leaves{
          Variable(random_tensor<double>({2, needs.in().size(), channels}, 5), true)};
      const auto add_parameters = [&](Module& module) {
        for (const NamedParameter& named : module.parameters()) leaves.push_back(*named.parameter);
      };
      add_parameters(block);
      if (insertion != Insertion::none) {
        add_parameters(first);
        add_parameters(second);
      }
      const Variable weights(random_tensor<double>({2, 2, channels}, 6));
      const auto run = [&] { return dot(block.at_steps(leaves[0], needs, patches), weights); };
      CHECK(gradcheck(run, leaves) == "");
      for (const bool alone : {true, false}) {
        for (std::size_t chosen = 0; chosen < leaves.size(); ++chosen) {
          std::vector<Variable> wanted;
          for (std::size_t i = 0; i < leaves.size(); ++i) {
            leaves[i].set_requires_grad((i == chosen) == alone);
            if ((i == chosen) == alone) wanted.push_back(leaves[i]);
          }
          INFO((alone ? "only leaf " : "all but leaf ") << chosen);
          CHECK(gradcheck(run, wanted) == "");
        }
      }
    }
  }
}

TEST_CASE("chosen_steps: gradients of a block equal those of all steps", "[nn][grad]") {
  for (const Insertion insertion : {Insertion::none, Insertion::serial, Insertion::parallel}) {
    INFO("insertion " << static_cast<int>(insertion));
    Random random(1);
    constexpr std::int64_t batch = 150, channels = 33,
                           steps = 12;  // more rows than a block of sums
    const Placement placement{DType::f64, Device::cpu};
    ConvBlock block({.channels = channels, .dilation = 3}, random, placement);
    Patch patch({.channels = channels, .start = PatchStart::random}, random, placement);
    redraw(block, 10);
    const BlockPatches patches{.first = &patch, .second = &patch, .insertion = insertion};
    const StepSet set({3, -1}, steps);
    const auto needs = block.steps_for(set);
    const Tensor x = random_tensor<double>({batch, steps, channels}, 5);
    const Tensor dy = random_tensor<double>({batch, set.size(), channels}, 6);
    Tensor dy_whole = Tensor::zeros({batch, steps, channels}, DType::f64);
    for (std::int64_t b = 0; b < batch; ++b) {
      for (std::int64_t s = 0; s < set.size(); ++s) {
        const std::int64_t step = set.steps()[static_cast<std::size_t>(s)];
        std::copy_n(dy.data<double>() + (b * set.size() + s) * channels, channels,
                    dy_whole.data<double>() + (b * steps + step) * channels);
      }
    }
    const auto gradients = [&](const Variable& input, const auto& run, const Tensor& along) {
      block.zero_grad();
      patch.zero_grad();
      Variable handle = input;
      handle.zero_grad();
      backward(dot(run(input), Variable(along)));
      std::vector<Tensor> found{input.gradient().to_dense(input.shape())};
      for (Module* module : {static_cast<Module*>(&block), static_cast<Module*>(&patch)}) {
        for (const NamedParameter& named : module->parameters()) {
          if (named.parameter->gradient().defined())
            found.push_back(named.parameter->gradient().to_dense(named.parameter->shape()));
        }
      }
      return found;
    };
    const Variable whole(x.clone(), true);
    const Variable some(at_steps(x, needs.in()), true);
    auto expected = gradients(
        whole, [&](const Variable& input) { return block(input, patches); }, dy_whole);
    const auto at_some = [&](const Variable& input) {
      return block.at_steps(input, needs, patches);
    };
    const auto got = test::same_for_any_threads([&] { return gradients(some, at_some, dy); });
    expected[0] = at_steps(expected[0], needs.in());
    REQUIRE(got.size() == expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      INFO("gradient " << i);
      test::check_close<double>(got[i], test::doubles(expected[i]), {1e-12, 1e-12});
    }
  }
}

TEST_CASE("chosen_steps: steps out of range, or twice in a column, are refused", "[nn]") {
  Random random(1);
  ConvBlock block({.channels = 4}, random);
  auto needs = block.steps_for(StepSet({5, 6}, 9));
  CHECK_THROWS_AS(block.at_steps(Variable(random_tensor<float>({1, 1, 4}, 1)), needs), ShapeError);
  CHECK_THROWS_AS(block.at_steps(Variable(random_tensor<float>({1, 9, 4}, 1)), needs),
                  ShapeError);  // all time steps instead of those that are read
  CHECK_THROWS_AS(block.at_steps(Variable(random_tensor<float>({1, 8, 4}, 1)),
                                 block.steps_for(StepSet({0, 1, 2}, 3))),
                  ShapeError);
  const Variable x(random_tensor<float>({1, needs.in().size(), 4}, 1));
  block.at_steps(x, needs);
  needs.first.taps_at.data<std::int32_t>()[0] = needs.first.taps_at.data<std::int32_t>()[3];
  CHECK_THROWS_AS(block.at_steps(x, needs), ShapeError);
}
