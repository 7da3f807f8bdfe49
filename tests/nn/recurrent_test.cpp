/// LSTM and GRU segments against loops over single numbers, gradients, laws and goldens.

#include <array>
#include <cmath>
#include <vector>

#include "refrain/autograd/gradcheck.hpp"
#include "refrain/nn/recurrent.hpp"
#include "refrain/ops/pointwise.hpp"
#include "support/catch.hpp"
#include "support/goldens.hpp"
#include "support/naive_recurrent.hpp"
#include "support/variables.hpp"

namespace {

using namespace refrain;
namespace naive = test::naive;
using test::doubles;
using test::f64;
using test::leaf;
using test::random_tensor;
using test::weighted;

double worst_difference(const std::vector<double>& expected, const std::vector<Tensor>& got) {
  std::vector<double> values;
  for (const Tensor& tensor : got) {
    const std::vector<double> more = doubles(tensor);
    values.insert(values.end(), more.begin(), more.end());
  }
  REQUIRE(values.size() == expected.size());
  double worst = 0;
  for (std::size_t i = 0; i < values.size(); ++i)
    worst = std::max(worst, std::abs(values[i] - expected[i]));
  return worst;
}

}  // namespace

TEMPLATE_TEST_CASE("recurrent: segments against naive loops", "[kernel]", float, double) {
  using T = TestType;
  for (const auto& [steps, batch, hidden] : {std::array<std::int64_t, 3>{1, 1, 1},
                                             {3, 2, 5},
                                             {1, 9, 16},
                                             {4, 7, 17},
                                             {2, 64, 33},
                                             {5, 67, 8}}) {
    for (const bool with_shared : {false, true}) {
      INFO(steps << " x " << batch << " x " << hidden << (with_shared ? ", shared" : ""));
      const Tensor h0 = random_tensor<T>({batch, hidden}, 1);
      const Tensor c0 = random_tensor<T>({batch, hidden}, 2);
      const naive::Segment segment{steps, batch, hidden};
      for (const std::int64_t gates : {4, 3}) {
        const Tensor inputs = random_tensor<T>({steps, batch, gates * hidden}, 3);
        const Tensor shared = random_tensor<T>({batch, gates * hidden}, 4);
        const Tensor weight = random_tensor<T>({gates * hidden, hidden}, 5, 0.5);
        const Tensor bias = random_tensor<T>({gates * hidden}, 6);
        const naive::Values x = doubles(inputs), w = doubles(weight), h = doubles(h0);
        const naive::Values added = with_shared ? doubles(shared) : naive::Values();
        const Variable joined = with_shared ? Variable(shared) : Variable();
        const double tolerance = sizeof(T) == 4 ? 2e-5 : 1e-12;
        if (gates == 4) {
          const std::vector<Tensor> got = test::same_for_any_threads([&] {
            const LstmResult y = lstm_segment(Variable(inputs), joined, pack(Variable(weight)),
                                              Variable(h0), Variable(c0));
            return std::vector<Tensor>{y.h.value(), y.c.value()};
          });
          const naive::LstmStates states = naive::lstm(segment, x, added, w, h, doubles(c0));
          naive::Values expected = states.h;
          const naive::Values last = segment.before(steps, {}, states.c);
          expected.insert(expected.end(), last.begin(), last.end());
          CHECK(worst_difference(expected, got) <= tolerance);
          continue;
        }
        for (const GruReset reset : {GruReset::after, GruReset::before}) {
          const std::vector<Tensor> got = test::same_for_any_threads([&] {
            return std::vector<Tensor>{gru_segment(Variable(inputs), joined, pack(Variable(weight)),
                                                   Variable(bias), Variable(h0), reset)
                                           .value()};
          });
          const naive::GruStates states = naive::gru(segment, reset, x, added, w, doubles(bias), h);
          CHECK(worst_difference(states.h, got) <= tolerance);
        }
      }
    }
  }
}

TEST_CASE("recurrent: gradients are bit-identical for any number of threads, and recomputed",
          "[kernel][determinism]") {
  constexpr std::int64_t steps = 5, batch = 67, hidden = 19;
  std::vector<std::vector<Tensor>> runs;
  for (const Recompute recompute : {Recompute::none, Recompute::segments}) {
    runs.push_back(test::same_for_any_threads([&] {
      std::vector<Tensor> found;
      for (const std::int64_t gates : {4, 3}) {
        std::vector<Variable> leaves;
        for (const Shape& shape :
             {Shape{steps, batch, gates * hidden}, Shape{batch, gates * hidden},
              Shape{gates * hidden, hidden}, Shape{gates * hidden}, Shape{batch, hidden},
              Shape{batch, hidden}}) {
          leaves.emplace_back(random_tensor<float>(shape, 10 + leaves.size(), 0.5), true);
        }
        const PackedWeight weight = pack(leaves[2]);
        const Variable y =
            gates == 4
                ? lstm_segment(leaves[0], leaves[1], weight, leaves[4], leaves[5], recompute).h
                : gru_segment(leaves[0], leaves[1], weight, leaves[3], leaves[4], GruReset::after,
                              recompute);
        backward(y, random_tensor<float>(y.shape(), 77));
        for (const Variable& variable : leaves) {
          if (variable.gradient().defined()) found.push_back(variable.grad().clone());
        }
      }
      return found;
    }));
  }
  REQUIRE(runs[0].size() == 10);
  REQUIRE(runs[1].size() == 10);
  for (std::size_t i = 0; i < 10; ++i) CHECK(test::same_bytes(runs[0][i], runs[1][i]));
}

TEST_CASE("gradcheck: recurrent segments", "[ops][grad]") {
  for (const std::int64_t steps : {1, 4}) {
    for (const Recompute recompute : {Recompute::none, Recompute::segments}) {
      const Variable h0 = leaf({2, 3}, 1);
      const Variable c0 = leaf({2, 3}, 2);
      const Variable inputs = leaf({steps, 2, 12}, 3);
      const Variable shared = leaf({2, 12}, 4);
      const Variable weight = leaf({12, 3}, 5);
      CHECK(gradcheck(
                [&] {
                  const LstmResult y =
                      lstm_segment(inputs, shared, pack(weight), h0, c0, recompute);
                  return weighted(y.h) + weighted(y.c);
                },
                {inputs, shared, weight, h0, c0}) == "");
      CHECK(
          gradcheck(
              [&] { return weighted(lstm_segment(inputs, {}, pack(weight), h0, c0, recompute).c); },
              {inputs, weight, h0, c0}) == "");
      for (const GruReset reset : {GruReset::after, GruReset::before}) {
        const Variable x = leaf({steps, 2, 9}, 6);
        const Variable joined = leaf({2, 9}, 7);
        const Variable w = leaf({9, 3}, 8);
        const Variable bias = leaf({9}, 9);
        CHECK(gradcheck(
                  [&] {
                    return weighted(gru_segment(x, joined, pack(w), bias, h0, reset, recompute));
                  },
                  {x, joined, w, bias, h0}) == "");
      }
    }
  }
}

namespace {

template <class Layer>
void check_layer() {
  for (const std::int64_t layers : {1, 2}) {
    Random random(1);
    Layer layer({.in = 3, .hidden = 4, .layers = layers, .deviation = 0.5}, random, f64);
    const Variable x = leaf({2, 6, 3}, 2);
    std::vector<Variable> leaves{x};
    for (const NamedParameter& named : layer.parameters()) leaves.push_back(*named.parameter);
    CHECK(gradcheck([&] { return weighted(layer(x)); }, leaves) == "");
    // Internally sequences are time-major; the results differ only in the layout.
    const Variable by_step = swap_batch_time(x);
    const auto whole = layer.time_major(by_step);
    CHECK(test::same_bytes(layer(x).value(), swap_batch_time(whole.y).value()));
    // A state carried across two segments.
    for (std::int64_t cut = 1; cut < 6; ++cut) {
      const auto first = layer.time_major(slice_steps(by_step, 0, cut));
      const Variable rest = slice_steps(by_step, cut, 6);
      const auto second = layer.time_major(rest, first.state.detach());
      const Variable pieces[] = {first.y, second.y};
      CHECK(worst_difference(doubles(whole.y.value()), {concat_steps(pieces).value()}) < 1e-14);
      const auto same = layer(swap_batch_time(rest), first.state.detach());
      CHECK(test::same_bytes(swap_batch_time(same.y).value(), second.y.value()));
      CHECK(test::same_bytes(same.state.h.back().value(), second.state.h.back().value()));
    }
  }
}

}  // namespace

TEST_CASE("recurrent: each sequence of a batch is independent", "[nn][law]") {
  Random random(1);
  Gru gru({.in = 3, .hidden = 4, .deviation = 0.5}, random, f64);
  const Tensor x = random_tensor<double>({2, 5, 3}, 2);
  const Tensor together = gru(Variable(x)).value();
  for (std::int64_t b = 0; b < 2; ++b) {
    const Tensor single = gru(Variable(x.slice(b, b + 1))).value();
    CHECK(single.shape() == Shape{1, 5, 4});
    CHECK(worst_difference(doubles(together.slice(b, b + 1).clone()), {single}) < 1e-14);
  }
}

TEST_CASE("recurrent: layers, their gradients and their states", "[nn][grad][law]") {
  check_layer<Lstm>();
  check_layer<Gru>();
}

TEST_CASE("recurrent: a shared vector equals an additional input of every step", "[nn][law]") {
  Random random(1);
  Lstm split({.in = 3, .hidden = 4, .shared = 2, .deviation = 0.5}, random, f64);
  Lstm joined({.in = 5, .hidden = 4}, random, f64);
  const Tensor x = random_tensor<double>({4, 2, 3}, 2);
  const Tensor s = random_tensor<double>({2, 2}, 3);
  // The joined layer reads [x; s] with the weights [weight_x, weight_shared].
  const auto beside = [](const Tensor& a, const Tensor& b, std::int64_t rows) {
    Tensor out({rows, a.numel() / rows + b.numel() / rows}, DType::f64);
    double* to = out.data<double>();
    for (std::int64_t r = 0; r < rows; ++r) {
      to = std::copy_n(a.data<double>() + r * (a.numel() / rows), a.numel() / rows, to);
      to = std::copy_n(b.data<double>() + r * (b.numel() / rows), b.numel() / rows, to);
    }
    return out;
  };
  joined.parameter("layers.0.weight_x")
      .value()
      .copy_from(beside(split.parameter("layers.0.weight_x").value(),
                        split.parameter("layers.0.weight_shared").value(), 16));
  joined.parameter("layers.0.weight_h")
      .value()
      .copy_from(split.parameter("layers.0.weight_h").value());
  Tensor repeated({4, 2, 2}, DType::f64);
  for (std::int64_t t = 0; t < 4; ++t) repeated.slice(t, t + 1).copy_from(s.reshape({1, 2, 2}));
  const Tensor both = beside(x, repeated, 8).reshape({4, 2, 5});
  Lstm::State state = split.initial(2);
  const auto weights = split.pack();
  const Variable y = split.run(split.project(Variable(x), weights),
                               split.project_shared(Variable(s), weights), state, weights);
  CHECK(worst_difference(doubles(joined.time_major(Variable(both)).y.value()), {y.value()}) <
        1e-14);
}

TEST_CASE("lstm: few sequences, whose units are divided among threads, give the bits of many",
          "[nn][law][determinism]") {
  const std::int64_t hidden = 256, steps = 3;
  Random random(1);
  Lstm lstm({.in = 4, .hidden = hidden}, random);
  const Tensor x = random_tensor<float>({steps, 20, 4}, 2);
  const auto run = [&](std::int64_t batch) {
    Tensor some({steps, batch, 4}, DType::f32);
    for (std::int64_t t = 0; t < steps; ++t) {
      std::copy_n(x.data<float>() + t * 20 * 4, batch * 4, some.data<float>() + t * batch * 4);
    }
    return lstm.time_major(Variable(some)).y.value();
  };
  const auto without_record = [&](std::int64_t batch) {
    const NoGrad off;
    return run(batch);
  };
  const Tensor many = run(20);
  for (const std::int64_t batch : {1, 3}) {
    for (const Tensor& few : test::same_for_any_threads([&] {
           return std::vector<Tensor>{run(batch), without_record(batch)};
         })) {
      for (std::int64_t t = 0; t < steps; ++t) {
        const float* expected = many.data<float>() + t * 20 * hidden;
        CHECK(std::equal(expected, expected + batch * hidden,
                         few.data<float>() + t * batch * hidden));
      }
    }
  }
}

TEST_CASE("recurrent: saturated gates and long runs stay finite", "[nn]") {
  Random random(1);
  Lstm lstm({.in = 2, .hidden = 5, .deviation = 100}, random);
  Gru gru({.in = 2, .hidden = 5, .deviation = 100}, random);
  const Variable x(random_tensor<float>({3, 2000, 2}, 4, 1e4), true);
  for (const Variable& y : {lstm(x), gru(x)}) {
    for (const double value : doubles(y.value())) REQUIRE(std::abs(value) <= 1);
    backward(y, Tensor::full(y.shape(), 1, DType::f32));
    for (const double value : doubles(x.grad())) REQUIRE(std::isfinite(value));
  }
}

TEST_CASE("recurrent: invalid arguments are rejected", "[nn][errors]") {
  Random random(1);
  Lstm lstm({.in = 3, .hidden = 4}, random, f64);
  CHECK_THROWS_AS(lstm(leaf({6, 3}, 1)), ShapeError);
  CHECK_THROWS_AS(lstm(leaf({2, 6, 4}, 1)), ShapeError);
  CHECK_THROWS_AS(lstm(leaf({2, 6, 3}, 1), lstm.initial(3)), ShapeError);
  CHECK_THROWS_AS(lstm(Variable(random_tensor<float>({2, 6, 3}, 1))), DTypeError);
  CHECK_THROWS_AS(lstm(leaf({2, 0, 3}, 1)), ShapeError);
  CHECK_THROWS_AS(lstm(leaf({2, 6, 3}, 1), Lstm::State{}), ShapeError);
  CHECK_THROWS_AS(lstm.time_major(leaf({6, 2, 3}, 1), lstm.initial(3)), ShapeError);
  CHECK_THROWS_AS(lstm.project_shared(leaf({2, 1}, 1), lstm.pack()), OptionError);
  CHECK_THROWS_AS(Gru({.in = 3, .hidden = 0}, random), OptionError);
  CHECK_THROWS_AS(lstm.project(leaf({6, 2, 3}, 1), {}), ShapeError);
  const Variable projected = lstm.project(leaf({6, 2, 3}, 1), lstm.pack());
  Lstm::State start = lstm.initial(2);
  CHECK_THROWS_AS(lstm.run(projected, {}, start, {}), ShapeError);
}

TEST_CASE("recurrent: a run that fails in a later layer does not change the state",
          "[nn][errors]") {
  Random random(1);
  Gru gru({.in = 3, .hidden = 4, .layers = 2}, random, f64);
  const Gru::Weights weights = gru.pack();
  Gru::State state = gru.initial(2);
  const Tensor first = state.h[0].value();
  state.h[1] = gru.initial(5).h[1];
  CHECK_THROWS_AS(gru.run(gru.project(leaf({6, 2, 3}, 1), weights), {}, state, weights),
                  ShapeError);
  CHECK(test::same_bytes(state.h[0].value(), first));
}

TEST_CASE("packed_linear: a weight without its packed form", "[nn]") {
  const Variable x = leaf({5, 3}, 1), weight = leaf({4, 3}, 2);
  CHECK(
      test::same_bytes(packed_linear(x, {.weight = weight, .forward = {}, .backward = {}}).value(),
                       packed_linear(x, pack(weight)).value()));
}

TEST_CASE("golden: lstm cell", "[golden]") {
  test::for_goldens({"lstm_cell"}, [](const test::Golden& golden) {
    const auto input = [&](const std::string& name) { return Variable(golden[name], true); };
    const Variable x = input("input.x"), h = input("input.h"), c = input("input.c");
    const Variable w_ih = input("param.w_ih"), w_hh = input("param.w_hh"), b = input("param.b");
    const Variable a = linear(x, w_ih, b);
    const LstmResult y = lstm_segment(reshape(a, {1, a.size(0), a.size(1)}), {}, pack(w_hh), h, c);
    golden.check("output.h", y.h.value().reshape(h.shape()));
    golden.check("output.c", y.c.value());
    const Variable loss = dot(reshape(y.h, h.shape()), Variable(golden["seed.h"])) +
                          dot(y.c, Variable(golden["seed.c"]));
    golden.check("loss", loss.value());
    backward(loss);
    for (const auto& [name, variable] : {std::pair<std::string, Variable>{"input.x", x},
                                         {"input.h", h},
                                         {"input.c", c},
                                         {"param.w_ih", w_ih},
                                         {"param.w_hh", w_hh},
                                         {"param.b", b}}) {
      golden.check("grad." + name, variable.grad());
    }
  });
}

TEST_CASE("golden: gru cells", "[golden]") {
  test::for_goldens({"gru_cell_"}, [](const test::Golden& golden) {
    const auto input = [&](const std::string& name) { return Variable(golden[name], true); };
    const GruReset reset =
        golden.config().at("reset_after").get<bool>() ? GruReset::after : GruReset::before;
    const Variable x = input("input.x"), h = input("input.h");
    const Variable w_ih = input("param.w_ih"), w_hh = input("param.w_hh"),
                   b_ih = input("param.b_ih"), b_hh = input("param.b_hh");
    const Variable a = linear(x, w_ih, b_ih);
    const Variable y =
        gru_segment(reshape(a, {1, a.size(0), a.size(1)}), {}, pack(w_hh), b_hh, h, reset);
    golden.check("output.h", y.value().reshape(h.shape()));
    const Variable loss = dot(reshape(y, h.shape()), Variable(golden["seed.h"]));
    golden.check("loss", loss.value());
    backward(loss);
    for (const auto& [name, variable] : {std::pair<std::string, Variable>{"input.x", x},
                                         {"input.h", h},
                                         {"param.w_ih", w_ih},
                                         {"param.w_hh", w_hh},
                                         {"param.b_ih", b_ih},
                                         {"param.b_hh", b_hh}}) {
      golden.check("grad." + name, variable.grad());
    }
  });
}
