/// LSTM and GRU segments on CUDA, emulated, against loops in double.

#include "simt/recurrent_problems.hpp"
#include "support/cases/outputs.hpp"

#include <optional>
#include <utility>
#include <vector>

#include "refrain/core/math_mode.hpp"
#include "support/simt/orders.hpp"

using namespace refrain;
using namespace refrain::test;
using namespace refrain::test::recurrent;

namespace {

/// Sizes of one; partial tiles of sequences and of units, with and without 16-byte packs; k larger
/// than a slice.
std::vector<SegmentSize> segment_sizes() {
  return {{1, 1, 1}, {2, 33, 5}, {3, 2, 36}, {2, 3, 36, 1}, {2, 17, 68}};
}
std::vector<SegmentSize> backward_sizes() {
  return {{1, 1, 1}, {2, 17, 5}, {3, 2, 36}, {2, 3, 12, 1}};
}
const SegmentSize small(2, 3, 12);

/// Computes the outputs, and checks that they are bit-identical in every order.
template <class Run>
auto in_every_order(Run run) {
  std::optional<decltype(run())> first;
  for_each_order([&] {
    auto outputs = run();
    if (first) CHECK(outputs == *first);
    first = std::move(outputs);
  });
  return *first;
}

const char* when(GruReset reset) {
  return reset == GruReset::after ? ", reset after" : ", reset before";
}

}  // namespace

TEMPLATE_TEST_CASE("cuda lstm: forward equals the naive loop", "[simt][recurrent]", float, double) {
  for (const SegmentSize& size : segment_sizes()) {
    INFO(size);
    LstmProblem<TestType> problem(size);
    problem.with_shared = size.batch != 2;
    const auto y = in_every_order([&] { return problem.forward(); });
    check_outputs<TestType, 4>(y, problem.listed(problem.expected(), size), lstm_outputs);
  }
}

TEMPLATE_TEST_CASE("cuda lstm: backward equals the naive chain rule", "[simt][recurrent]", float,
                   double) {
  for (const SegmentSize& size : backward_sizes()) {
    INFO(size);
    LstmProblem<TestType> problem(size);
    problem.add = size.batch % 2 == 1;
    const auto saved = problem.forward();
    const auto gradients = in_every_order([&] { return problem.backward(saved); });
    check_outputs<TestType, 5>(gradients, problem.expected_gradients(saved), lstm_gradients);
  }
}

TEMPLATE_TEST_CASE("cuda gru: forward equals the naive loop", "[simt][recurrent]", float, double) {
  for (const SegmentSize& size : segment_sizes()) {
    for (const GruReset reset : {GruReset::after, GruReset::before}) {
      INFO(size << when(reset));
      GruProblem<TestType> problem(size, reset);
      problem.with_shared = size.batch != 2;
      const auto y = in_every_order([&] { return problem.forward(); });
      check_outputs<TestType, 3>(y, problem.expected(), gru_outputs);
    }
  }
}

TEMPLATE_TEST_CASE("cuda gru: backward equals the naive chain rule", "[simt][recurrent]", float,
                   double) {
  for (const SegmentSize& size : backward_sizes()) {
    for (const GruReset reset : {GruReset::after, GruReset::before}) {
      INFO(size << when(reset));
      GruProblem<TestType> problem(size, reset);
      problem.add = size.batch % 2 == 1;
      const auto saved = problem.forward();
      const auto gradients = in_every_order([&] { return problem.backward(saved); });
      check_outputs<TestType, 5>(gradients, problem.expected_gradients(saved), gru_gradients);
    }
  }
}

TEST_CASE(
    "cuda lstm, gru: sums over more steps than a part of dshared, more rows than a part of "
    "dweight",
    "[simt][recurrent]") {
  for (const SegmentSize& size : {SegmentSize(66, 1, 1), SegmentSize(9, 29, 4)}) {
    INFO(size);
    LstmProblem<float> lstm(size);
    lstm.add = true;
    const auto y = lstm.forward();
    check_outputs<float, 5>(lstm.backward(y), lstm.expected_gradients(y), lstm_gradients);
    GruProblem<float> gru(size, GruReset::before);
    gru.add = true;
    const auto states = gru.forward();
    check_outputs<float, 5>(gru.backward(states), gru.expected_gradients(states), gru_gradients);
  }
}

TEMPLATE_TEST_CASE("cuda lstm, gru: each output separately, and dweight accumulated",
                   "[simt][recurrent]", float, double) {
  using T = TestType;
  LstmProblem<T> lstm(small);
  const auto y = lstm.forward();
  for (std::size_t only = 1; only < 4; ++only)
    check_single<T, 4>(lstm.forward(1u << only), y, only, 2);
  const auto gradients = lstm.backward(y);
  for (std::size_t only = 0; only < 5; ++only)
    check_single<T, 5>(lstm.backward(y, 1u << only), gradients, only, 1);
  lstm.add = true;
  check_outputs<T, 5>(lstm.backward(y), lstm.expected_gradients(y), lstm_gradients);
  lstm.with_upstream = false;  // no upstream gradient: dweight is unchanged
  CHECK(lstm.backward(y)[2] == lstm.kept.values());
  for (const GruReset reset : {GruReset::after, GruReset::before}) {
    INFO(when(reset));
    GruProblem<T> gru(small, reset);
    const auto states = gru.forward();
    for (std::size_t only = 0; only < 3; ++only)
      check_single<T, 3>(gru.forward(1u << only), states, only, 1);
    const auto of_gru = gru.backward(states);
    for (std::size_t only = 0; only < 5; ++only)
      check_single<T, 5>(gru.backward(states, 1u << only), of_gru, only, 1);
    gru.add = true;
    check_outputs<T, 5>(gru.backward(states), gru.expected_gradients(states), gru_gradients);
  }
}

namespace {

/// sum of weights_i values_i: a scalar whose gradients the entries compute.
double weighted(const std::vector<double>& values, const DeviceArray<double>& weights) {
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) sum += values[i] * weights.span()[i];
  return sum;
}

/// Compares `gradient` with central differences of `loss` for each element of `x`.
template <class Loss>
void check_differences(const char* name, DeviceArray<double>& x,
                       const std::vector<double>& gradient, const Loss& loss) {
  INFO("gradient of " << name);
  Values expected;
  for (std::size_t i = 0; i < x.span().size(); ++i) {
    const double kept = x.data()[i], step = 1e-5;
    x.data()[i] = kept + step;
    const double above = loss();
    x.data()[i] = kept - step;
    expected.push_back((above - loss()) / (2 * step));
    x.data()[i] = kept;
  }
  check_close<double>(std::span<const double>(gradient), std::span<const double>(expected),
                      {1e-8, 1e-8});
}

}  // namespace

TEST_CASE("cuda lstm, gru: backward is the derivative of forward", "[simt][recurrent]") {
  const SegmentSize size(2, 1, 2);
  LstmProblem<double> lstm(size);
  const auto of_lstm = lstm.backward(lstm.forward());
  const auto loss = [&] {
    const auto y = lstm.forward();
    return weighted(y[0], lstm.dh) + weighted(y[1], lstm.dc_last);
  };
  check_differences("inputs", lstm.inputs, of_lstm[0], loss);
  check_differences("shared", lstm.shared, of_lstm[1], loss);
  check_differences("weight", lstm.weight, of_lstm[2], loss);
  check_differences("h0", lstm.h0, of_lstm[3], loss);
  check_differences("c0", lstm.c0, of_lstm[4], loss);
  for (const GruReset reset : {GruReset::after, GruReset::before}) {
    GruProblem<double> gru(size, reset);
    const auto of_gru = gru.backward(gru.forward());
    const auto gru_loss = [&] { return weighted(gru.forward()[0], gru.dh); };
    check_differences("inputs", gru.inputs, of_gru[0], gru_loss);
    check_differences("shared", gru.shared, of_gru[1], gru_loss);
    check_differences("weight", gru.weight, of_gru[2], gru_loss);
    check_differences("bias", gru.bias, of_gru[3], gru_loss);
    check_differences("h0", gru.h0, of_gru[4], gru_loss);
  }
}

TEMPLATE_TEST_CASE("cuda lstm, gru: a segment equals its single steps, bit for bit",
                   "[simt][recurrent]", float, double) {
  using T = TestType;
  const SegmentSize size(4, 5, 12), one(1, 5, 12);
  const auto step_of = [&](const DeviceArray<T>& sequence, std::int64_t l) {
    const std::size_t count = sequence.span().size() / 4;
    const auto from = sequence.span().subspan(static_cast<std::size_t>(l) * count, count);
    return std::vector<T>(from.begin(), from.end());
  };
  const auto append = [](std::vector<T>& to, const std::vector<T>& more) {
    to.insert(to.end(), more.begin(), more.end());
  };

  LstmProblem<T> lstm(size), lstm_step(one);
  lstm_step.shared = DeviceArray<T>(one.shared(4), lstm.shared.values());
  lstm_step.weight = DeviceArray<T>(one.weight(4), lstm.weight.values());
  SegmentOutputs<T, 2> pieces;
  for (std::int64_t l = 0; l < 4; ++l) {
    lstm_step.inputs = DeviceArray<T>(one.gates(4), step_of(lstm.inputs, l));
    const auto y = lstm_step.forward();
    lstm_step.h0 = DeviceArray<T>(one.state(), y[0]);
    lstm_step.c0 = DeviceArray<T>(one.state(), y[1]);
    append(pieces[0], y[0]);
    append(pieces[1], y[2]);
  }
  const auto whole = lstm.forward();
  CHECK(pieces[0] == whole[0]);
  CHECK(pieces[1] == whole[2]);

  for (const GruReset reset : {GruReset::after, GruReset::before}) {
    GruProblem<T> gru(size, reset), gru_step(one, reset);
    gru_step.shared = DeviceArray<T>(one.shared(3), gru.shared.values());
    gru_step.weight = DeviceArray<T>(one.weight(3), gru.weight.values());
    gru_step.bias = DeviceArray<T>({3 * one.hidden}, gru.bias.values());
    std::vector<T> h;
    for (std::int64_t l = 0; l < 4; ++l) {
      gru_step.inputs = DeviceArray<T>(one.gates(3), step_of(gru.inputs, l));
      const auto y = gru_step.forward();
      gru_step.h0 = DeviceArray<T>(one.state(), y[0]);
      append(h, y[0]);
    }
    CHECK(h == gru.forward()[0]);
  }
}

TEST_CASE("cuda lstm, gru: launches of a segment", "[simt][recurrent]") {
  const SegmentSize size(5, 3, 4);
  const LstmProblem<float> lstm(size);
  const auto saved = lstm.forward();
  CHECK(launches_of([&] { lstm.forward(); }) == 5);
  CHECK(launches_of([&] { lstm.backward(saved, 0); }) == 5);
  // dh0 takes one more launch; dc0 takes none.
  CHECK(launches_of([&] { lstm.backward(saved, 8 | 16); }) == 6);
  CHECK(launches_of([&] { lstm.backward(saved); }) == 8);
  const GruProblem<float> after(size, GruReset::after), before(size, GruReset::before);
  CHECK(launches_of([&] { after.forward(); }) == 5);
  CHECK(launches_of([&] { before.forward(); }) == 10);
  CHECK(launches_of([&] { after.backward(after.forward(), 0); }) == 5 + 5);
  CHECK(launches_of([&] { before.backward(before.forward(), 0); }) == 10 + 10);
  CHECK(launches_of([&] { after.backward(after.forward()); }) == 5 + 9);
  CHECK(launches_of([&] { before.backward(before.forward()); }) == 10 + 15);
}

TEST_CASE("cuda lstm, gru: on tensor cores, if rows are multiples of 16 bytes",
          "[simt][recurrent]") {
  for (const SegmentSize& size :
       {SegmentSize(2, 18, 36), SegmentSize(2, 1, 68), SegmentSize(2, 3, 4, 1)}) {
    INFO(size);
    const LstmProblem<float> lstm(size);
    const GruProblem<float> after(size, GruReset::after), before(size, GruReset::before);
    const auto exact = lstm.forward();
    const auto exact_after = after.forward(), exact_before = before.forward();
    for (const MathMode mode : {MathMode::tf32, MathMode::bf16}) {
      INFO(name(mode));
      const MathScope scope(mode);
      const Tolerance rounded = tolerance_of<float>(mode);
      check_outputs<float, 4>(lstm.forward(), lstm.listed(lstm.expected(), size), lstm_outputs,
                              rounded);
      check_outputs<float, 5>(lstm.backward(exact), lstm.expected_gradients(exact), lstm_gradients,
                              rounded);
      for (const auto& [gru, states] :
           {std::pair(&after, &exact_after), std::pair(&before, &exact_before)}) {
        check_outputs<float, 3>(gru->forward(), gru->expected(), gru_outputs, rounded);
        check_outputs<float, 5>(gru->backward(*states), gru->expected_gradients(*states),
                                gru_gradients, rounded);
      }
      CHECK((lstm.forward() == exact) == (size.offset != 0));
      CHECK((after.forward() == exact_after) == (size.offset != 0));
      CHECK((before.forward() == exact_before) == (size.offset != 0));
    }
  }
}

TEST_CASE("cuda lstm, gru: saturated gates", "[simt][recurrent]") {
  const SegmentSize size(3, 2, 4);
  const LstmProblem<float> lstm(size, 1e5);
  const auto y = lstm.forward();
  check_outputs<float, 4>(y, lstm.listed(lstm.expected(), size), lstm_outputs);
  check_outputs<float, 5>(lstm.backward(y), lstm.expected_gradients(y), lstm_gradients);
  for (const GruReset reset : {GruReset::after, GruReset::before}) {
    const GruProblem<float> gru(size, reset, 1e5);
    const auto states = gru.forward();
    check_outputs<float, 3>(states, gru.expected(), gru_outputs);
    check_outputs<float, 5>(gru.backward(states), gru.expected_gradients(states), gru_gradients);
  }
}
