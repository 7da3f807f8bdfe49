/// Laws of the chunk framework, with the DNC memory and with a different memory.

#include <algorithm>
#include <cmath>
#include <vector>

#include "refrain/autograd/gradcheck.hpp"
#include "refrain/nn/chunked_memory.hpp"
#include "refrain/nn/linear.hpp"
#include "refrain/nn/memory.hpp"
#include "refrain/nn/recurrent.hpp"
#include "support/catch.hpp"
#include "support/variables.hpp"

namespace {

using namespace refrain;
using test::doubles;
using test::f64;
using test::leaves_of;
using test::random_tensor;
using test::weighted;

/// A first-in-first-out memory: N slots of width W. A write drops the oldest slot; a read is an
/// attention whose query is written in the same step.
class FifoMemory final : public Module {
 public:
  struct State {
    Variable slots;  ///< [N,B,W], oldest first
    Variable read;   ///< [B,W]
    State detach() const { return {slots.detach(), read.detach()}; }
  };
  struct Weights {};

  FifoMemory(std::int64_t in, std::int64_t slots, std::int64_t width, Random& random)
      : slots_(slots),
        value_({.in = in, .out = width, .deviation = 0.5}, random, f64),
        query_({.in = in, .out = 3, .deviation = 0.5}, random, f64),
        weight_(initialize::truncated_normal({3, width}, 0.5, random, f64)),
        score_(initialize::truncated_normal({3}, 0.5, random, f64)) {}

  State initial(std::int64_t batch) const {
    const std::int64_t width = read_width();
    return {Variable(Tensor::zeros({slots_, batch, width}, DType::f64)),
            Variable(Tensor::zeros({batch, width}, DType::f64))};
  }
  Weights pack() const { return {}; }
  std::int64_t read_width() const { return value_.weight().size(0); }
  Variable read(const State& state) const { return state.read; }
  State step(const Variable& o, const State& state, const Weights&) {
    const Variable value = value_(o);
    const Variable pieces[] = {slice_steps(state.slots, 1, slots_),
                               reshape(value, {1, value.size(0), value.size(1)})};
    const Variable slots = concat_steps(pieces);
    return {slots, chunk_attention(one_step(slots, 0), slice_steps(slots, 1, slots_), query_(o),
                                   weight_, score_)};
  }

  void visit_members(Visitor& visitor) override {
    visitor.module("value", value_);
    visitor.module("query", query_);
    visitor.parameter("weight", weight_);
    visitor.parameter("score", score_);
  }

 private:
  std::int64_t slots_;
  Linear value_;
  Linear query_;
  Parameter weight_;
  Parameter score_;
};

using DncNetwork = ChunkedMemory<Lstm, Memory>;
using FifoNetwork = ChunkedMemory<Gru, FifoMemory>;

constexpr std::int64_t embedding = 3;
constexpr std::int64_t hidden = 4;

DncNetwork dnc_network(DncNetwork::Options options, std::uint64_t seed = 1) {
  Random random(seed);
  Lstm controller({.in = embedding, .hidden = hidden, .shared = 2 * 5, .deviation = 0.5}, random,
                  f64);
  Memory memory({.input = hidden, .words = 3, .word_size = 5, .heads = 2, .deviation = 0.5}, random,
                f64);
  return DncNetwork(std::move(controller), std::move(memory), options, random, f64);
}

FifoNetwork fifo_network(FifoNetwork::Options options, std::uint64_t seed = 1) {
  Random random(seed);
  Gru controller({.in = embedding, .hidden = hidden, .shared = 2, .deviation = 0.5}, random, f64);
  FifoMemory memory(hidden, 3, 2, random);
  return FifoNetwork(std::move(controller), std::move(memory), options, random, f64);
}

Variable inputs(std::int64_t steps, std::uint64_t seed = 7) {
  return Variable(random_tensor<double>({steps, 2, embedding}, seed), true);
}

double largest_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  const std::vector<double> left = doubles(a);
  const std::vector<double> right = doubles(b);
  double worst = 0;
  for (std::size_t i = 0; i < left.size(); ++i)
    worst = std::max(worst, std::abs(left[i] - right[i]));
  return worst;
}

/// The results of each time step: o and its read vectors.
template <class Result>
Variable by_step(const Result& result) {
  const std::int64_t steps = result.outputs.size(0);
  const std::int64_t batch = result.outputs.size(1);
  const std::int64_t width = result.reads.size(2);
  const Variable zeros(Tensor::zeros({steps, batch, width}, DType::f64));
  const Variable reads = add_spans(zeros, result.reads, result.span_ends);
  const Variable pieces[] = {reshape(result.outputs, {result.outputs.value().numel()}),
                             reshape(reads, {reads.value().numel()})};
  return concat_steps(pieces);
}

}  // namespace

TEST_CASE("chunked memory: with a chunk at every step it equals the plain memory network",
          "[nn][law]") {
  DncNetwork network = dnc_network({.attention = 0});
  const Variable x = inputs(6);
  const NoGrad off;
  const auto result = network(x, ChunkSchedule::every_step(6));
  REQUIRE(result.reads.size(0) == 6);
  Lstm& controller = network.controller();
  Lstm::State state = controller.initial(2);
  MemoryState memory = network.memory().initial(2);
  const auto weights = controller.pack();
  const auto memory_weights = network.memory().pack();
  const Variable projected = controller.project(x, weights);
  for (std::int64_t t = 0; t < 6; ++t) {
    const Variable shared = controller.project_shared(network.memory().read(memory), weights);
    const Variable o =
        one_step(controller.run(slice_steps(projected, t, t + 1), shared, state, weights), 0);
    memory = network.memory().step(o, memory, memory_weights);
    CHECK(largest_difference(one_step(result.outputs, t).value(), o.value()) < 1e-14);
    CHECK(largest_difference(one_step(result.reads, t).value(),
                             network.memory().read(memory).value()) < 1e-14);
  }
}

TEST_CASE("chunked memory: packed weights give the same bits", "[nn][law]") {
  DncNetwork network = dnc_network({.attention = 6});
  const Variable x = inputs(5);
  const ChunkSchedule schedule = ChunkSchedule::pec(5, 2);
  const NoGrad off;
  const auto weights = network.pack();
  const auto expected = network.last(x, schedule);
  for (int again = 0; again < 2; ++again) {
    const auto got = network.last(x, schedule, network.initial(2), weights);
    CHECK(test::same_bytes(got.outputs.value(), expected.outputs.value()));
    CHECK(test::same_bytes(got.reads.value(), expected.reads.value()));
  }
}

TEST_CASE("chunked memory: chunks of one step need no attention", "[nn][law]") {
  for (const ChunkOrder order : {ChunkOrder::paper, ChunkOrder::reference_code}) {
    DncNetwork with = dnc_network({.order = order, .attention = 6});
    DncNetwork without = dnc_network({.order = order, .attention = 0});
    const Variable x = inputs(5);
    const NoGrad off;
    CHECK(test::same_bytes(by_step(with(x, ChunkSchedule::pec(5, 5))).value(),
                           by_step(without(x, ChunkSchedule::every_step(5))).value()));
  }
}

TEST_CASE("chunked memory: a run in two parts with the state equals a single run", "[nn][law]") {
  const auto check = [](auto network) {
    const Variable x = inputs(11);
    const NoGrad off;
    const auto whole = network(x, ChunkSchedule::every(4, 11));
    for (std::int64_t cut = 1; cut < 11; ++cut) {
      INFO("cut at " << cut);
      const auto first = network(slice_steps(x, 0, cut), ChunkSchedule::every(4, cut));
      const auto second = network(slice_steps(x, cut, 11), ChunkSchedule::every(4, 11 - cut, cut),
                                  first.state.detach());
      CHECK(largest_difference(first.outputs.value(), whole.outputs.value().slice(0, cut)) < 1e-13);
      CHECK(largest_difference(second.outputs.value(), whole.outputs.value().slice(cut, 11)) <
            1e-13);
      const std::int64_t spans = second.reads.size(0);
      CHECK(largest_difference(second.reads.value().slice(spans - 1, spans),
                               whole.reads.value().slice(2, 3)) < 1e-13);
    }
  };
  for (const ChunkOrder order : {ChunkOrder::paper, ChunkOrder::reference_code}) {
    check(dnc_network({.order = order, .attention = 6}));
    check(fifo_network({.order = order, .attention = 6}));
  }
}

TEST_CASE("chunked memory: the last output equals the last of all outputs", "[nn][law]") {
  DncNetwork network = dnc_network({.attention = 6});
  const Variable x = inputs(10);
  const NoGrad off;
  for (const ChunkSchedule& schedule :
       {ChunkSchedule::tsc(10, 3), ChunkSchedule::pec(10, 10), ChunkSchedule::every(4, 10),
        ChunkSchedule::of({1, 10}, 10)}) {
    INFO(schedule);
    const auto all = network(x, schedule);
    const auto last = network.last(x, schedule);
    CHECK(test::same_bytes(last.outputs.value(), all.outputs.value().slice(9, 10).clone()));
    CHECK(test::same_bytes(
        last.reads.value(),
        all.reads.value().slice(all.reads.size(0) - 1, all.reads.size(0)).clone()));
  }
}

TEST_CASE("chunked memory: the future does not reach the past", "[nn][law]") {
  DncNetwork network = dnc_network({.attention = 6});
  const NoGrad off;
  const ChunkSchedule schedule = ChunkSchedule::tsc(9, 3);
  const Tensor before = network(inputs(9), schedule).outputs.value();
  for (std::int64_t step = 0; step < 9; ++step) {
    Variable x = inputs(9);
    x.value().slice(step, step + 1).fill(3);
    const Tensor after = network(x, schedule).outputs.value();
    CHECK(largest_difference(before.slice(0, step), after.slice(0, step)) == 0);
    CHECK(largest_difference(before.slice(step, step + 1), after.slice(step, step + 1)) > 1e-6);
  }
}

TEST_CASE("chunked memory: recomputed segments give the same bytes", "[nn][law]") {
  const auto gradients = [](Recompute recompute) {
    DncNetwork network = dnc_network({.attention = 6, .recompute = recompute});
    const Variable x = inputs(12);
    backward(weighted(by_step(network(x, ChunkSchedule::tsc(12, 3)))));
    std::vector<Tensor> found{x.grad()};
    for (const NamedParameter& named : network.parameters())
      found.push_back(named.parameter->grad());
    return found;
  };
  const std::vector<Tensor> kept = gradients(Recompute::none);
  const std::vector<Tensor> recomputed = gradients(Recompute::segments);
  REQUIRE(kept.size() == recomputed.size());
  for (std::size_t i = 0; i < kept.size(); ++i) CHECK(test::same_bytes(kept[i], recomputed[i]));
}

TEST_CASE("gradcheck: chunked memory over several chunks", "[nn][grad]") {
  for (const ChunkOrder order : {ChunkOrder::paper, ChunkOrder::reference_code}) {
    DncNetwork dnc = dnc_network({.order = order, .attention = 3});
    FifoNetwork fifo = fifo_network({.order = order, .attention = 3});
    for (const ChunkSchedule& schedule :
         {ChunkSchedule::of({1, 4, 5, 7, 9}, 9), ChunkSchedule::every(4, 9)}) {
      INFO(schedule);
      const Variable x = inputs(9);
      CHECK(gradcheck([&] { return weighted(by_step(dnc(x, schedule))); }, leaves_of(dnc, {x})) ==
            "");
      CHECK(gradcheck([&] { return weighted(by_step(fifo(x, schedule))); }, leaves_of(fifo, {x})) ==
            "");
      CHECK(gradcheck([&] { return weighted(by_step(dnc.last(x, schedule))); },
                      leaves_of(dnc, {x})) == "");
    }
  }
}

TEST_CASE("chunked memory: invalid arguments are rejected", "[nn][errors]") {
  DncNetwork network = dnc_network({.attention = 0});
  CHECK_THROWS_AS(network(inputs(5), ChunkSchedule::pec(6, 6)), ShapeError);
  CHECK_THROWS_AS(network(Variable(Tensor::zeros({5, 3}, DType::f64)), ChunkSchedule::pec(5, 5)),
                  ShapeError);
  CHECK_THROWS_AS(network(inputs(6), ChunkSchedule::pec(6, 2)),
                  OptionError);  // a chunk of three time steps without attention
}
