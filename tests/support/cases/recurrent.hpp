#pragma once
/// Segments of recurrent layers as every backend runs them, and their results by the loops of
/// naive_recurrent.hpp.

#include <cstdint>
#include <numeric>
#include <vector>

#include "refrain/kernels/recurrent.hpp"
#include "support/cases/backend.hpp"
#include "support/cases/outputs.hpp"
#include "support/naive_recurrent.hpp"

namespace refrain::test {

using kernels::GruReset;

struct SegmentSize : naive::Segment {
  int offset = 0;  ///< elements that tensors start past a multiple of 16 bytes

  Shape state() const { return {batch, hidden}; }
  Shape states() const { return {steps, batch, hidden}; }
  Shape gates(std::int64_t count) const { return {steps, batch, count * hidden}; }
  Shape shared(std::int64_t count) const { return {batch, count * hidden}; }
  Shape weight(std::int64_t count) const { return {count * hidden, hidden}; }
};

inline std::string text(const SegmentSize& s) {
  return detail::concat(s.steps, " steps, ", s.batch, " sequences, ", s.hidden, " units",
                        past(s.offset));
}

/// Sums of up to 272 terms, with a chain of steps behind them.
template <class T>
inline constexpr Tolerance segment_tolerance = tolerance::pick<T>({1e-5, 1e-5}, {4e-14, 4e-14});

/// values + added.
inline naive::Values sum_of(naive::Values values, const naive::Values& added) {
  for (std::size_t i = 0; i < values.size(); ++i) values[i] += added[i];
  return values;
}

template <class Backend, class T>
struct LstmProblem {
  static constexpr Device where = Backend::device;
  using Array = GuardedArray<T, where>;

  explicit LstmProblem(const SegmentSize& s, double deviation = 1)
      : size(s),
        inputs(random_array<T, where>(s.gates(4), 1, deviation, s.offset)),
        shared(random_array<T, where>(s.shared(4), 2, deviation, s.offset)),
        weight(random_array<T, where>(s.weight(4), 3, 0.3, s.offset)),
        h0(random_array<T, where>(s.state(), 4, 1, s.offset)),
        c0(random_array<T, where>(s.state(), 5, 1, s.offset)),
        dh(random_array<T, where>(s.states(), 6, 1, s.offset)),
        dc_last(random_array<T, where>(s.state(), 7, 1, s.offset)),
        kept(random_array<T, where>(s.weight(4), 8)),
        h(s.states(), {}, s.offset),
        c_last(s.state()),
        c(s.states(), {}, s.offset),
        gates(s.gates(4), {}, s.offset) {}

  void forward(MutableView to_h, MutableView to_c_last, MutableView to_c,
               MutableView to_gates) const {
    Backend::run(kernels::LstmForward{.inputs = inputs,
                                      .shared = with_shared ? shared.view() : View(),
                                      .weight = weight,
                                      .h0 = h0,
                                      .c0 = c0,
                                      .h = to_h,
                                      .c = to_c,
                                      .gates = to_gates,
                                      .c_last = to_c_last});
  }
  /// Keeps the results for the backward pass.
  void forward() { forward(h, c_last, c, gates); }

  Outputs<T, where> check_forward(Choices choices, Tolerance allowed = segment_tolerance<T>) const {
    const naive::LstmStates e =
        naive::lstm(size, inputs.doubles(), with_shared ? shared.doubles() : naive::Values(),
                    weight.doubles(), h0.doubles(), c0.doubles());
    return check_outputs<Backend, T>(
        {{size.states(), e.h, true},
         {size.state(), size.before(size.steps, {}, e.c), true},
         {size.states(), e.c},
         {size.gates(4), e.gates}},
        {.choices = choices, .offset = size.offset, .allowed = allowed},
        [&](auto& outputs) { forward(outputs[0], outputs[1], outputs[2], outputs[3]); });
  }

  /// `d`: gradients of inputs, shared, weight, h0, c0. Reads h only for that of the weight.
  template <class Gradients>
  void backward(Gradients& d) const {
    const MutableView dweight = d[2];
    Backend::run(kernels::LstmBackward{.weight = weight,
                                       .h0 = h0,
                                       .c0 = c0,
                                       .h = dweight ? h.view() : View(),
                                       .c = c,
                                       .gates = gates,
                                       .dh = with_upstream ? dh.view() : View(),
                                       .dc_last = with_upstream ? dc_last.view() : View(),
                                       .dinputs = d[0],
                                       .dshared = d[1],
                                       .dweight = dweight,
                                       .dh0 = d[3],
                                       .dc0 = d[4],
                                       .add_dweight = add});
  }
  /// After forward().
  Outputs<T, where> check_backward(Choices choices,
                                   Tolerance allowed = segment_tolerance<T>) const {
    const auto upstream = [&](const Array& array) {
      return with_upstream ? array.doubles() : naive::Values();
    };
    const naive::LstmGradients e = naive::lstm_gradients(
        size, weight.doubles(), h0.doubles(), c0.doubles(),
        {h.doubles(), c.doubles(), gates.doubles()}, upstream(dh), upstream(dc_last));
    return check_outputs<Backend, T>(
        {{size.gates(4), e.dinputs, true},
         {size.shared(4), e.dshared},
         {size.weight(4), add ? sum_of(e.dweight, kept.doubles()) : e.dweight},
         {size.state(), e.dh0},
         {size.state(), e.dc0}},
        {.choices = choices, .offset = size.offset, .allowed = allowed}, [&](auto& outputs) {
          if (add) outputs.fill(2, kept.span());
          backward(outputs);
        });
  }

  SegmentSize size;
  Array inputs, shared, weight, h0, c0, dh, dc_last, kept, h, c_last, c, gates;
  bool with_shared = true;
  bool with_upstream = true;  ///< dh, dc_last
  bool add = false;
};

template <class Backend, class T>
struct GruProblem {
  static constexpr Device where = Backend::device;
  using Array = GuardedArray<T, where>;

  GruProblem(const SegmentSize& s, GruReset when, double deviation = 1)
      : size(s),
        reset(when),
        inputs(random_array<T, where>(s.gates(3), 1, deviation, s.offset)),
        shared(random_array<T, where>(s.shared(3), 2, deviation, s.offset)),
        weight(random_array<T, where>(s.weight(3), 3, 0.3, s.offset)),
        bias(random_array<T, where>({3 * s.hidden}, 4, 1, s.offset)),
        h0(random_array<T, where>(s.state(), 5, 1, s.offset)),
        dh(random_array<T, where>(s.states(), 6, 1, s.offset)),
        kept(random_array<T, where>(s.weight(3), 7)),
        kept_bias(random_array<T, where>({3 * s.hidden}, 8)),
        h(s.states(), {}, s.offset),
        gates(s.gates(3), {}, s.offset),
        u_n(s.states(), {}, s.offset) {}

  bool after() const { return reset == GruReset::after; }

  void forward(MutableView to_h, MutableView to_gates, MutableView to_u_n) const {
    Backend::run(kernels::GruForward{.inputs = inputs,
                                     .shared = with_shared ? shared.view() : View(),
                                     .weight = weight,
                                     .bias = bias,
                                     .h0 = h0,
                                     .h = to_h,
                                     .gates = to_gates,
                                     .u_n = after() ? to_u_n : MutableView(),
                                     .reset = reset});
  }
  /// Keeps the results for the backward pass.
  void forward() { forward(h, gates, u_n); }

  Outputs<T, where> check_forward(Choices choices, Tolerance allowed = segment_tolerance<T>) const {
    const naive::GruStates e =
        naive::gru(size, reset, inputs.doubles(), with_shared ? shared.doubles() : naive::Values(),
                   weight.doubles(), bias.doubles(), h0.doubles());
    std::vector<Expected> expected{{size.states(), e.h, true}, {size.gates(3), e.gates}};
    if (after()) expected.push_back({size.states(), e.u_n});
    return check_outputs<Backend, T>(
        expected, {.choices = choices, .offset = size.offset, .allowed = allowed},
        [&](auto& outputs) {
          forward(outputs[0], outputs[1], after() ? outputs[2] : MutableView());
        });
  }

  /// `d`: gradients of inputs, shared, weight, bias, h0.
  template <class Gradients>
  void backward(Gradients& d) const {
    Backend::run(kernels::GruBackward{.weight = weight,
                                      .h0 = h0,
                                      .h = h,
                                      .gates = gates,
                                      .u_n = after() ? u_n.view() : View(),
                                      .dh = dh,
                                      .dinputs = d[0],
                                      .dshared = d[1],
                                      .dweight = d[2],
                                      .dbias = d[3],
                                      .dh0 = d[4],
                                      .add_dweight = add,
                                      .reset = reset});
  }
  /// After forward().
  Outputs<T, where> check_backward(Choices choices,
                                   Tolerance allowed = segment_tolerance<T>) const {
    const naive::GruGradients e =
        naive::gru_gradients(size, reset, weight.doubles(), h0.doubles(),
                             {h.doubles(), gates.doubles(), u_n.doubles()}, dh.doubles());
    return check_outputs<Backend, T>(
        {{size.gates(3), e.dinputs, true},
         {size.shared(3), e.dshared},
         {size.weight(3), add ? sum_of(e.dweight, kept.doubles()) : e.dweight},
         {{3 * size.hidden}, add ? sum_of(e.dbias, kept_bias.doubles()) : e.dbias},
         {size.state(), e.dh0}},
        {.choices = choices, .offset = size.offset, .allowed = allowed}, [&](auto& outputs) {
          if (add) outputs.fill(2, kept.span());
          if (add) outputs.fill(3, kept_bias.span());
          backward(outputs);
        });
  }

  SegmentSize size;
  GruReset reset;
  Array inputs, shared, weight, bias, h0, dh, kept, kept_bias, h, gates, u_n;
  bool with_shared = true;
  bool add = false;
};

/// Both passes of an LSTM and of a GRU with either reset.
template <class Backend, class T>
void check_segments(const SegmentSize& size, Choices choices, bool with_shared, bool add,
                    double deviation = 1) {
  INFO(text(size) << " shared " << with_shared << " add " << add);
  LstmProblem<Backend, T> lstm(size, deviation);
  lstm.with_shared = with_shared;
  lstm.add = add;
  lstm.check_forward(choices);
  lstm.forward();
  lstm.check_backward(choices);
  for (const GruReset reset : {GruReset::after, GruReset::before}) {
    INFO("reset " << (reset == GruReset::after ? "after" : "before"));
    GruProblem<Backend, T> gru(size, reset, deviation);
    gru.with_shared = with_shared;
    gru.add = add;
    gru.check_forward(choices);
    gru.forward();
    gru.check_backward(choices);
  }
}

}  // namespace refrain::test
