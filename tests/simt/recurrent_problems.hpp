#pragma once
/// Segments of recurrent layers as the emulated CUDA entries take them, and what the loops of
/// naive_recurrent.hpp make of them.

#include <array>
#include <ostream>
#include <vector>

#include "refrain/kernels/recurrent.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/guarded_array.hpp"
#include "support/naive_recurrent.hpp"
#include "support/simt/run_emulated.hpp"

namespace refrain::test::recurrent {

using kernels::GruReset;
using naive::Values;
namespace cuda = kernels::cuda;

struct SegmentSize : naive::Segment {
  SegmentSize(std::int64_t l, std::int64_t b, std::int64_t h, int past = 0)
      : Segment{l, b, h}, offset(past) {}
  Shape state() const { return {batch, hidden}; }
  Shape states() const { return {steps, batch, hidden}; }
  Shape gates(std::int64_t count) const { return {steps, batch, count * hidden}; }
  Shape shared(std::int64_t count) const { return {batch, count * hidden}; }
  Shape weight(std::int64_t count) const { return {count * hidden, hidden}; }

  int offset;  ///< elements that tensors start past a multiple of 16 bytes
};

inline std::ostream& operator<<(std::ostream& out, const SegmentSize& s) {
  return out << s.steps << " steps, " << s.batch << " sequences, " << s.hidden << " units, "
             << s.offset << " past a multiple of 16 bytes";
}

/// Elements of the outputs that an entry computed; empty for an output that was not requested.
template <class T, std::size_t count>
using SegmentOutputs = std::array<std::vector<T>, count>;

/// Tolerance of sums of up to 272 terms, with a chain of steps after them.
template <class T>
inline constexpr Tolerance segment_tolerance = tolerance::pick<T>({1e-5, 1e-5}, {4e-14, 4e-14});

template <class T, std::size_t count>
void check_outputs(const SegmentOutputs<T, count>& got, const std::array<Values, count>& expected,
                   const std::array<const char*, count>& names,
                   Tolerance tolerance = segment_tolerance<T>) {
  for (std::size_t i = 0; i < count; ++i) {
    INFO("output " << names[i]);
    check_close<T>(std::span<const T>(got[i]), std::span<const double>(expected[i]), tolerance);
  }
}

/// Checks that `only`, computed without the other outputs, has the same bits as with them.
template <class T, std::size_t count>
void check_single(const SegmentOutputs<T, count>& alone, const SegmentOutputs<T, count>& all,
                  std::size_t only, std::size_t always) {
  for (std::size_t i = 0; i < count; ++i) {
    INFO("output " << i << " where " << only << " is wanted");
    if (i == only || i < always) CHECK(alone[i] == all[i]);
    if (i != only && i >= always) CHECK(alone[i].empty());
  }
}

/// An output of the shape, if it is requested.
template <class T>
MutableView wanted(bool yes, DeviceArray<T>& array) {
  return yes ? array.mutable_view() : MutableView();
}
template <class T>
std::vector<T> wanted_copy(bool yes, const DeviceArray<T>& array) {
  return yes ? array.values() : std::vector<T>();
}

inline constexpr unsigned all_outputs = ~0u;

// ---- LSTM ----

inline constexpr std::array<const char*, 4> lstm_outputs{"h", "c_last", "c", "gates"};
inline constexpr std::array<const char*, 5> lstm_gradients{"dinputs", "dshared", "dweight", "dh0",
                                                           "dc0"};

template <class T>
struct LstmProblem {
  SegmentSize size;
  DeviceArray<T> inputs, shared, weight, h0, c0, dh, dc_last, kept;
  bool with_shared = true;
  bool with_upstream = true;  ///< dh, dc_last
  bool add = false;

  explicit LstmProblem(const SegmentSize& s, double deviation = 1)
      : size(s),
        inputs(random_array<T>(s.gates(4), 1, deviation, s.offset)),
        shared(random_array<T>(s.shared(4), 2, deviation, s.offset)),
        weight(random_array<T>(s.weight(4), 3, 0.3, s.offset)),
        h0(random_array<T>(s.state(), 4, 1, s.offset)),
        c0(random_array<T>(s.state(), 5, 1, s.offset)),
        dh(random_array<T>(s.states(), 6, 1, s.offset)),
        dc_last(random_array<T>(s.state(), 7, 1, s.offset)),
        kept(random_array<T>(s.weight(4), 8)) {}

  SegmentOutputs<T, 4> forward(unsigned mask = all_outputs) const {
    DeviceArray<T> h(size.states(), {}, size.offset), c(size.states()), gates(size.gates(4)),
        c_last(size.state());
    run_emulated<kernels::LstmForward>({.inputs = inputs,
                                        .shared = with_shared ? shared.view() : View(),
                                        .weight = weight,
                                        .h0 = h0,
                                        .c0 = c0,
                                        .h = h,
                                        .c = wanted(mask & 4, c),
                                        .gates = wanted(mask & 8, gates),
                                        .c_last = c_last});
    return {h.values(), c_last.values(), wanted_copy(mask & 4, c), wanted_copy(mask & 8, gates)};
  }
  naive::LstmStates expected() const {
    return naive::lstm(size, inputs.doubles(), with_shared ? shared.doubles() : Values(),
                       weight.doubles(), h0.doubles(), c0.doubles());
  }
  static std::array<Values, 4> listed(const naive::LstmStates& states, const SegmentSize& size) {
    const auto state = static_cast<std::ptrdiff_t>(size.batch * size.hidden);
    return {states.h, Values(states.c.end() - state, states.c.end()), states.c, states.gates};
  }

  SegmentOutputs<T, 5> backward(const SegmentOutputs<T, 4>& saved,
                                unsigned mask = all_outputs) const {
    const DeviceArray<T> h(size.states(), saved[0], size.offset),
        c(size.states(), saved[2], size.offset);
    const DeviceArray<T> gates(size.gates(4), saved[3], size.offset);
    DeviceArray<T> dinputs(size.gates(4), {}, size.offset), dshared(size.shared(4)),
        dh0(size.state()), dc0(size.state());
    DeviceArray<T> dweight(size.weight(4), add ? kept.values() : std::vector<T>());
    run_emulated(kernels::LstmBackward{.weight = weight,
                                       .h0 = h0,
                                       .c0 = c0,
                                       .h = mask & 4 ? h.view() : View(),
                                       .c = c,
                                       .gates = gates,
                                       .dh = with_upstream ? dh.view() : View(),
                                       .dc_last = with_upstream ? dc_last.view() : View(),
                                       .dinputs = dinputs,
                                       .dshared = wanted(mask & 2, dshared),
                                       .dweight = wanted(mask & 4, dweight),
                                       .dh0 = wanted(mask & 8, dh0),
                                       .dc0 = wanted(mask & 16, dc0),
                                       .add_dweight = add});
    return {dinputs.values(), wanted_copy(mask & 2, dshared), wanted_copy(mask & 4, dweight),
            wanted_copy(mask & 8, dh0), wanted_copy(mask & 16, dc0)};
  }
  std::array<Values, 5> expected_gradients(const SegmentOutputs<T, 4>& saved) const {
    const auto doubles = [](const std::vector<T>& values) {
      return Values(values.begin(), values.end());
    };
    const naive::LstmStates states{doubles(saved[0]), doubles(saved[2]), doubles(saved[3])};
    naive::LstmGradients out = naive::lstm_gradients(
        size, weight.doubles(), h0.doubles(), c0.doubles(), states,
        with_upstream ? dh.doubles() : Values(), with_upstream ? dc_last.doubles() : Values());
    for (std::size_t i = 0; add && i < out.dweight.size(); ++i) out.dweight[i] += kept.doubles()[i];
    return {out.dinputs, out.dshared, out.dweight, out.dh0, out.dc0};
  }
};

// ---- GRU ----

inline constexpr std::array<const char*, 3> gru_outputs{"h", "gates", "u_n"};
inline constexpr std::array<const char*, 5> gru_gradients{"dinputs", "dshared", "dweight", "dbias",
                                                          "dh0"};

template <class T>
struct GruProblem {
  SegmentSize size;
  GruReset reset;
  DeviceArray<T> inputs, shared, weight, bias, h0, dh, kept, kept_bias;
  bool with_shared = true;
  bool add = false;

  GruProblem(const SegmentSize& s, GruReset when, double deviation = 1)
      : size(s),
        reset(when),
        inputs(random_array<T>(s.gates(3), 1, deviation, s.offset)),
        shared(random_array<T>(s.shared(3), 2, deviation, s.offset)),
        weight(random_array<T>(s.weight(3), 3, 0.3, s.offset)),
        bias(random_array<T>({3 * s.hidden}, 4, 1, s.offset)),
        h0(random_array<T>(s.state(), 5, 1, s.offset)),
        dh(random_array<T>(s.states(), 6, 1, s.offset)),
        kept(random_array<T>(s.weight(3), 7)),
        kept_bias(random_array<T>({3 * s.hidden}, 8)) {}

  bool after() const { return reset == GruReset::after; }

  SegmentOutputs<T, 3> forward(unsigned mask = all_outputs) const {
    if (!after()) mask &= ~4u;
    DeviceArray<T> h(size.states(), {}, size.offset), gates(size.gates(3)), u_n(size.states());
    run_emulated(kernels::GruForward{.inputs = inputs,
                                     .shared = with_shared ? shared.view() : View(),
                                     .weight = weight,
                                     .bias = bias,
                                     .h0 = h0,
                                     .h = h,
                                     .gates = wanted(mask & 2, gates),
                                     .u_n = wanted(mask & 4, u_n),
                                     .reset = reset});
    return {h.values(), wanted_copy(mask & 2, gates), wanted_copy(mask & 4, u_n)};
  }
  std::array<Values, 3> expected() const {
    naive::GruStates states =
        naive::gru(size, reset, inputs.doubles(), with_shared ? shared.doubles() : Values(),
                   weight.doubles(), bias.doubles(), h0.doubles());
    return {states.h, states.gates, after() ? states.u_n : Values()};
  }

  SegmentOutputs<T, 5> backward(const SegmentOutputs<T, 3>& saved,
                                unsigned mask = all_outputs) const {
    const DeviceArray<T> h(size.states(), saved[0], size.offset),
        gates(size.gates(3), saved[1], size.offset);
    const DeviceArray<T> u_n(size.states(), saved[2], size.offset);
    DeviceArray<T> dinputs(size.gates(3), {}, size.offset), dshared(size.shared(3)),
        dh0(size.state());
    DeviceArray<T> dweight(size.weight(3), add ? kept.values() : std::vector<T>());
    DeviceArray<T> dbias({3 * size.hidden}, add ? kept_bias.values() : std::vector<T>());
    run_emulated(kernels::GruBackward{.weight = weight,
                                      .h0 = h0,
                                      .h = h,
                                      .gates = gates,
                                      .u_n = after() ? u_n.view() : View(),
                                      .dh = dh,
                                      .dinputs = dinputs,
                                      .dshared = wanted(mask & 2, dshared),
                                      .dweight = wanted(mask & 4, dweight),
                                      .dbias = wanted(mask & 8, dbias),
                                      .dh0 = wanted(mask & 16, dh0),
                                      .add_dweight = add,
                                      .reset = reset});
    return {dinputs.values(), wanted_copy(mask & 2, dshared), wanted_copy(mask & 4, dweight),
            wanted_copy(mask & 8, dbias), wanted_copy(mask & 16, dh0)};
  }
  std::array<Values, 5> expected_gradients(const SegmentOutputs<T, 3>& saved) const {
    const auto doubles = [](const std::vector<T>& values) {
      return Values(values.begin(), values.end());
    };
    naive::GruGradients out = naive::gru_gradients(
        size, reset, weight.doubles(), h0.doubles(),
        {doubles(saved[0]), doubles(saved[1]), doubles(saved[2])}, dh.doubles());
    for (std::size_t i = 0; add && i < out.dweight.size(); ++i) out.dweight[i] += kept.doubles()[i];
    for (std::size_t i = 0; add && i < out.dbias.size(); ++i)
      out.dbias[i] += kept_bias.doubles()[i];
    return {out.dinputs, out.dshared, out.dweight, out.dbias, out.dh0};
  }
};

}  // namespace refrain::test::recurrent
