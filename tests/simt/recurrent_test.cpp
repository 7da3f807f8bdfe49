/// Segments of LSTM and GRU on CUDA, emulated, against loops in double and central differences.

#include <algorithm>
#include <numeric>
#include <span>
#include <vector>

#include "refrain/core/math_mode.hpp"
#include "support/cases/recurrent.hpp"
#include "support/simt/emulated_backend.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

template <class T>
using Lstm = LstmProblem<EmulatedBackend, T>;
template <class T>
using Gru = GruProblem<EmulatedBackend, T>;

constexpr GruReset resets[] = {GruReset::after, GruReset::before};

/// One of everything; tiles of sequences and of units that end early, in 16-byte groups and not; k
/// beyond a slice.
constexpr SegmentSize segment_sizes[] = {
    {{1, 1, 1}}, {{2, 33, 5}}, {{3, 2, 36}}, {{2, 3, 36}, 1}, {{2, 17, 68}}};
constexpr SegmentSize backward_sizes[] = {{{1, 1, 1}}, {{2, 17, 5}}, {{3, 2, 36}}, {{2, 3, 12}, 1}};

}  // namespace

TEMPLATE_TEST_CASE("cuda lstm: forward equals the naive loop", "[simt][recurrent]", float, double) {
  for (const SegmentSize& size : segment_sizes) {
    INFO(text(size));
    Lstm<TestType> problem(size);
    problem.with_shared = size.batch != 2;
    problem.check_forward(Choices::all);
  }
}

TEMPLATE_TEST_CASE("cuda lstm: backward equals the naive chain rule", "[simt][recurrent]", float,
                   double) {
  for (const SegmentSize& size : backward_sizes) {
    INFO(text(size));
    Lstm<TestType> problem(size);
    problem.add = size.batch % 2 == 1;
    problem.forward();
    problem.check_backward(Choices::all);
  }
}

TEMPLATE_TEST_CASE("cuda gru: forward equals the naive loop", "[simt][recurrent]", float, double) {
  for (const SegmentSize& size : segment_sizes) {
    for (const GruReset reset : resets) {
      INFO(text(size) << ", reset " << static_cast<int>(reset));
      Gru<TestType> problem(size, reset);
      problem.with_shared = size.batch != 2;
      problem.check_forward(Choices::all);
    }
  }
}

TEMPLATE_TEST_CASE("cuda gru: backward equals the naive chain rule", "[simt][recurrent]", float,
                   double) {
  for (const SegmentSize& size : backward_sizes) {
    for (const GruReset reset : resets) {
      INFO(text(size) << ", reset " << static_cast<int>(reset));
      Gru<TestType> problem(size, reset);
      problem.add = size.batch % 2 == 1;
      problem.forward();
      problem.check_backward(Choices::all);
    }
  }
}

TEST_CASE(
    "cuda lstm, gru: sums over more steps than a part of dshared, more rows than a part of "
    "dweight",
    "[simt][recurrent]") {
  check_segments<EmulatedBackend, float>({{66, 1, 1}}, Choices::all, true, true);
  check_segments<EmulatedBackend, float>({{9, 29, 4}}, Choices::all, true, true);
}

TEMPLATE_TEST_CASE("cuda lstm, gru: each output separately, and dweight accumulated",
                   "[simt][recurrent]", float, double) {
  using T = TestType;
  const SegmentSize size{{2, 3, 12}};
  check_segments<EmulatedBackend, T>(size, Choices::each, true, false);
  check_segments<EmulatedBackend, T>(size, Choices::all, true, true);
  Lstm<T> idle(size);  // without upstream gradients dweight keeps its values
  idle.with_upstream = false;
  idle.add = true;
  idle.forward();
  idle.check_backward(Choices::all, tolerance::exact);
}

namespace {

/// sum of weights_i values_i: the loss of the central differences.
double weighted_sum(const DeviceArray<double>& values, const DeviceArray<double>& weights) {
  return std::inner_product(values.span().begin(), values.span().end(), weights.span().begin(),
                            0.0);
}

/// `gradient` against central differences of `loss` by every element of `x`.
template <class Loss>
void check_differences(const char* name, DeviceArray<double>& x,
                       const DeviceArray<double>& gradient, const Loss& loss) {
  INFO("gradient of " << name);
  naive::Values expected;
  for (std::size_t i = 0; i < x.span().size(); ++i) {
    const double kept = x.data()[i], step = 1e-5;
    x.data()[i] = kept + step;
    const double above = loss();
    x.data()[i] = kept - step;
    expected.push_back((above - loss()) / (2 * step));
    x.data()[i] = kept;
  }
  check_close<double>(gradient.span(), expected, {1e-8, 1e-8});
}

}  // namespace

TEST_CASE("cuda lstm, gru: backward is the derivative of forward", "[simt][recurrent]") {
  const SegmentSize size{{2, 1, 2}};
  Lstm<double> lstm(size);
  lstm.forward();
  const auto of_lstm = lstm.check_backward(Choices::all);
  const auto loss = [&] {
    lstm.forward();
    return weighted_sum(lstm.h, lstm.dh) + weighted_sum(lstm.c_last, lstm.dc_last);
  };
  check_differences("inputs", lstm.inputs, of_lstm.array(0), loss);
  check_differences("shared", lstm.shared, of_lstm.array(1), loss);
  check_differences("weight", lstm.weight, of_lstm.array(2), loss);
  check_differences("h0", lstm.h0, of_lstm.array(3), loss);
  check_differences("c0", lstm.c0, of_lstm.array(4), loss);
  for (const GruReset reset : resets) {
    Gru<double> gru(size, reset);
    gru.forward();
    const auto of_gru = gru.check_backward(Choices::all);
    const auto gru_loss = [&] {
      gru.forward();
      return weighted_sum(gru.h, gru.dh);
    };
    check_differences("inputs", gru.inputs, of_gru.array(0), gru_loss);
    check_differences("shared", gru.shared, of_gru.array(1), gru_loss);
    check_differences("weight", gru.weight, of_gru.array(2), gru_loss);
    check_differences("bias", gru.bias, of_gru.array(3), gru_loss);
    check_differences("h0", gru.h0, of_gru.array(4), gru_loss);
  }
}

namespace {

/// Row l of the 4 of a sequence.
template <class T>
std::span<const T> row(const DeviceArray<T>& sequence, std::int64_t l) {
  const std::size_t count = sequence.span().size() / 4;
  return sequence.span().subspan(static_cast<std::size_t>(l) * count, count);
}
template <class T>
void copy(std::span<const T> from, DeviceArray<T>& to) {
  std::copy(from.begin(), from.end(), to.data());
}
template <class T>
bool equal(std::span<const T> a, const DeviceArray<T>& b) {
  return std::equal(a.begin(), a.end(), b.span().begin(), b.span().end());
}

}  // namespace

TEMPLATE_TEST_CASE("cuda lstm, gru: a segment equals its single steps, bit for bit",
                   "[simt][recurrent]", float, double) {
  using T = TestType;
  const SegmentSize size{{4, 5, 12}}, one{{1, 5, 12}};
  Lstm<T> lstm(size), lstm_step(one);
  lstm.forward();
  copy(lstm.shared.span(), lstm_step.shared);
  copy(lstm.weight.span(), lstm_step.weight);
  for (std::int64_t l = 0; l < 4; ++l) {
    copy(row(lstm.inputs, l), lstm_step.inputs);
    lstm_step.forward();
    CHECK(equal(row(lstm.h, l), lstm_step.h));
    CHECK(equal(row(lstm.c, l), lstm_step.c));
    copy(lstm_step.h.span(), lstm_step.h0);
    copy(lstm_step.c_last.span(), lstm_step.c0);
  }
  for (const GruReset reset : resets) {
    Gru<T> gru(size, reset), gru_step(one, reset);
    gru.forward();
    copy(gru.shared.span(), gru_step.shared);
    copy(gru.weight.span(), gru_step.weight);
    copy(gru.bias.span(), gru_step.bias);
    for (std::int64_t l = 0; l < 4; ++l) {
      copy(row(gru.inputs, l), gru_step.inputs);
      gru_step.forward();
      CHECK(equal(row(gru.h, l), gru_step.h));
      copy(gru_step.h.span(), gru_step.h0);
    }
  }
}

TEST_CASE("cuda lstm, gru: launches of a segment", "[simt][recurrent]") {
  const SegmentSize size{{5, 3, 4}};
  /// Launches of a backward pass for dinputs and the other outputs that are `wanted`.
  const auto launches_back = [](const auto& problem, const Shape& bias, std::vector<int> wanted) {
    DeviceArray<float> dinputs(problem.inputs.shape()), dshared(problem.shared.shape()),
        dweight(problem.weight.shape()), third(bias), fourth(problem.h0.shape());
    DeviceArray<float>* const arrays[] = {&dinputs, &dshared, &dweight, &third, &fourth};
    std::vector<MutableView> outputs(5);
    outputs[0] = dinputs;
    for (const int i : wanted) outputs[static_cast<std::size_t>(i)] = *arrays[i];
    return launches_of([&] { problem.backward(outputs); });
  };
  const std::vector<int> all{1, 2, 3, 4};
  Lstm<float> lstm(size);
  CHECK(launches_of([&] { lstm.forward(); }) == 5);
  CHECK(launches_back(lstm, size.state(), {}) == 5);
  CHECK(launches_back(lstm, size.state(), {3, 4}) == 6);  // dh0: one more product; dc0: none
  CHECK(launches_back(lstm, size.state(), all) == 8);
  Gru<float> after(size, GruReset::after), before(size, GruReset::before);
  CHECK(launches_of([&] { after.forward(); }) == 5);
  CHECK(launches_of([&] { before.forward(); }) == 10);
  CHECK(launches_back(after, after.bias.shape(), {}) == 5);
  CHECK(launches_back(before, after.bias.shape(), {}) == 10);
  CHECK(launches_back(after, after.bias.shape(), all) == 9);
  CHECK(launches_back(before, after.bias.shape(), all) == 15);
}

TEST_CASE("cuda lstm, gru: on tensor cores, if rows are multiples of 16 bytes",
          "[simt][recurrent]") {
  for (const SegmentSize& size :
       {SegmentSize{{2, 18, 36}}, SegmentSize{{2, 1, 68}}, SegmentSize{{2, 3, 4}, 1}}) {
    INFO(text(size));
    const auto check = [&](auto problem) {
      problem.forward();
      const auto exact = problem.check_forward(Choices::all);
      for (const MathMode mode : {MathMode::tf32, MathMode::bf16}) {
        INFO(name(mode));
        const MathScope scope(mode);
        const auto rounded = problem.check_forward(Choices::all, tolerance_of<float>(mode));
        problem.check_backward(Choices::all, tolerance_of<float>(mode));
        CHECK(rounded.same_as(exact) == (size.offset != 0));
      }
    };
    check(Lstm<float>(size));
    for (const GruReset reset : resets) check(Gru<float>(size, reset));
  }
}

TEST_CASE("cuda lstm, gru: saturated gates", "[simt][recurrent]") {
  check_segments<EmulatedBackend, float>({{3, 2, 4}}, Choices::all, true, false, 1e5);
}
