#pragma once
/// Segments of recurrent layers, time-major [L,B,C]: L steps in one call, forward and backward.
/// Dtypes f32, f64.

#include <array>
#include <cstdint>
#include <utility>

#include "refrain/ops/packed.hpp"

namespace refrain {

using kernels::GruReset;

/// What the backward pass of a segment finds stored.  The results are the same bits either way.
enum class Recompute : std::uint8_t {
  none,     ///< the gates (and cells) of every step: 6 H numbers a row for an LSTM, 5 H for a GRU,
            ///< with the hidden vectors
  segments  ///< the hidden vectors alone, H numbers a row; one more forward run of the segment
            ///< makes the rest again
};

/// Hidden vectors of all steps and the cells after the last one.
struct LstmResult {
  Variable h;  ///< [L,B,H]
  Variable c;  ///< [B,H]
};

namespace ops {

/// Extents L, B, H of a segment whose inputs are [L,B,gates * H]; throws unless everything fits.
inline std::array<std::int64_t, 3> check_segment(const char* op, std::int64_t gates,
                                                 const Variable& inputs, const Variable& shared,
                                                 const PackedWeight& weight, const Variable& h0) {
  check_rank(op, "inputs", inputs, 3);
  check_rank(op, "h0", h0, 2);
  const std::int64_t hidden = h0.size(1);
  const std::int64_t batch = inputs.size(1);
  if (inputs.size(0) == 0 || batch == 0 || hidden == 0) {
    throw ShapeError(concat(op, ": expected at least one step, row and hidden unit, got inputs ",
                            inputs.shape()));
  }
  check_shape(op, "inputs", inputs, {inputs.size(0), batch, gates * hidden});
  check_shape(op, "h0", h0, {batch, hidden});
  check_shape(op, "weight", weight.weight, {gates * hidden, hidden});
  check_optional(op, "shared", shared, {batch, gates * hidden});
  check_like(op, inputs, {&shared, &weight.weight, &h0});
  return {inputs.size(0), batch, hidden};
}

inline Tensor like(const Tensor& x, const Shape& shape) {
  return Tensor(shape, x.dtype(), x.device());
}

}  // namespace ops

/// L steps of an LSTM, gates i, f, g, o:
///
///   a_t = inputs_t + shared + h_{t-1} weight^T,  c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g),  h_t = sigmoid(o) tanh(c_t)
///
/// inputs [L,B,4H] (bias included), shared [B,4H] or undefined, weight [4H,H], h0, c0 [B,H].
/// Throws ShapeError, DTypeError, DeviceError. Source: Hochreiter and Schmidhuber 1997; CmnRec,
/// equations 17 to 20.
inline LstmResult lstm_segment(const Variable& inputs, const Variable& shared,
                               const PackedWeight& weight, const Variable& h0, const Variable& c0,
                               Recompute recompute = Recompute::none) {
  constexpr const char* op = "lstm_segment";
  const auto [steps, batch, hidden] = ops::check_segment(op, 4, inputs, shared, weight, h0);
  ops::check_shape(op, "c0", c0, {batch, hidden});
  ops::check_like(op, inputs, {&c0});
  const bool saved =
      is_recorded({&inputs, &shared, &weight.weight, &h0, &c0}) && recompute == Recompute::none;
  const Tensor& x = inputs.value();
  kernels::LstmForward args{.inputs = x.view(),
                            .shared = ops::view_of(shared),
                            .weight = weight.weight.value().view(),
                            .packed = ops::view_of(weight.forward),
                            .h0 = h0.value().view(),
                            .c0 = c0.value().view()};
  Tensor h = ops::like(x, {steps, batch, hidden});
  Tensor c = saved ? ops::like(x, h.shape()) : Tensor();
  Tensor gates = saved ? ops::like(x, x.shape()) : Tensor();
  Tensor c_last = ops::like(x, {batch, hidden});
  args.h = h.mutable_view();
  args.c = ops::mutable_view_of(c);
  args.gates = ops::mutable_view_of(gates);
  args.c_last = c_last.mutable_view();
  kernels::table(x.device()).lstm_forward(args);
  // The inputs are kept for recomputing alone.
  const Tensor kept_inputs = saved ? Tensor() : x;
  const Tensor kept_shared = saved || !shared.defined() ? Tensor() : shared.value();
  const auto outputs = record<2>(
      op, {h, c_last}, {inputs, shared, weight.weight, h0, c0},
      [h, c, gates, kept_inputs, kept_shared, first_h = h0.value(), first_c = c0.value(),
       w = weight.weight.value(), forward = weight.forward,
       backward = weight.backward](const std::array<Tensor, 2>& dy, InputGradients& in) {
        const kernels::Table& table = kernels::table(h.device());
        Tensor cells = c;
        Tensor activations = gates;
        if (!activations.defined()) {
          activations = ops::like(h, kept_inputs.shape());
          cells = ops::like(h, h.shape());
          Tensor again = ops::like(h, h.shape());
          Tensor last = ops::like(h, first_c.shape());
          table.lstm_forward({.inputs = kept_inputs.view(),
                              .shared = ops::view_of(kept_shared),
                              .weight = w.view(),
                              .packed = ops::view_of(forward),
                              .h0 = first_h.view(),
                              .c0 = first_c.view(),
                              .h = again.mutable_view(),
                              .c = cells.mutable_view(),
                              .gates = activations.mutable_view(),
                              .c_last = last.mutable_view()});
        }
        Tensor dinputs = ops::like(h, activations.shape());
        Tensor dshared = in.wants(1) ? ops::like(h, {h.size(1), activations.size(2)}) : Tensor();
        Tensor dh0 = in.wants(3) ? ops::like(h, first_h.shape()) : Tensor();
        Tensor dc0 = in.wants(4) ? ops::like(h, first_c.shape()) : Tensor();
        MutableView dweight = in.wants(2)
                                  ? in.sum(2, w.shape(), w.dtype(), w.device()).mutable_view()
                                  : MutableView();
        table.lstm_backward({.weight = w.view(),
                             .packed = ops::view_of(backward),
                             .h0 = first_h.view(),
                             .c0 = first_c.view(),
                             .h = h.view(),
                             .c = cells.view(),
                             .gates = activations.view(),
                             .dh = ops::view_of(dy[0]),
                             .dc_last = ops::view_of(dy[1]),
                             .dinputs = dinputs.mutable_view(),
                             .dshared = ops::mutable_view_of(dshared),
                             .dweight = dweight,
                             .dh0 = ops::mutable_view_of(dh0),
                             .dc0 = ops::mutable_view_of(dc0),
                             .add_dweight = true});
        if (in.wants(0)) in.add(0, std::move(dinputs));
        if (in.wants(1)) in.add(1, std::move(dshared));
        if (in.wants(3)) in.add(3, std::move(dh0));
        if (in.wants(4)) in.add(4, std::move(dc0));
      });
  return {outputs[0], outputs[1]};
}

/// L steps of a GRU, gates r, z, n; hidden vectors [L,B,H]. With u = h_{t-1} weight^T + bias by
/// thirds:
///
///   r = sigmoid(x_r + u_r),  z = sigmoid(x_z + u_z),  n = tanh(x_n + r u_n),  h_t = (1 - z) n + z h_{t-1},   x = inputs_t + shared
///
/// (GruReset::before: n = tanh(x_n + (r h_{t-1}) weight_n^T + bias_n).) inputs [L,B,3H] (input bias
/// included), shared [B,3H] or undefined, weight [3H,H], bias [3H], h0 [B,H]. Throws ShapeError,
/// DTypeError, DeviceError. Source: Cho et al. 2014.
inline Variable gru_segment(const Variable& inputs, const Variable& shared,
                            const PackedWeight& weight, const Variable& bias, const Variable& h0,
                            GruReset reset = GruReset::after,
                            Recompute recompute = Recompute::none) {
  constexpr const char* op = "gru_segment";
  const auto [steps, batch, hidden] = ops::check_segment(op, 3, inputs, shared, weight, h0);
  ops::check_shape(op, "bias", bias, {3 * hidden});
  ops::check_like(op, inputs, {&bias});
  const bool after = reset == GruReset::after;
  const bool saved =
      is_recorded({&inputs, &shared, &weight.weight, &bias, &h0}) && recompute == Recompute::none;
  const Tensor& x = inputs.value();
  Tensor h = ops::like(x, {steps, batch, hidden});
  Tensor gates = saved ? ops::like(x, x.shape()) : Tensor();
  Tensor u_n = saved && after ? ops::like(x, h.shape()) : Tensor();
  const auto packed = [after](const Tensor& form) { return after ? ops::view_of(form) : View(); };
  kernels::table(x.device())
      .gru_forward({.inputs = x.view(),
                    .shared = ops::view_of(shared),
                    .weight = weight.weight.value().view(),
                    .bias = bias.value().view(),
                    .packed = packed(weight.forward),
                    .h0 = h0.value().view(),
                    .h = h.mutable_view(),
                    .gates = ops::mutable_view_of(gates),
                    .u_n = ops::mutable_view_of(u_n),
                    .reset = reset});
  const Tensor kept_inputs = saved ? Tensor() : x;
  const Tensor kept_shared = saved || !shared.defined() ? Tensor() : shared.value();
  return record(
      op, h, {inputs, shared, weight.weight, bias, h0},
      [h, gates, u_n, kept_inputs, kept_shared, packed, reset, after, first_h = h0.value(),
       w = weight.weight.value(), b = bias.value(), forward = weight.forward,
       backward = weight.backward](const Tensor& dy, InputGradients& in) {
        const kernels::Table& table = kernels::table(h.device());
        Tensor activations = gates;
        Tensor products = u_n;
        if (!activations.defined()) {
          activations = ops::like(h, kept_inputs.shape());
          if (after) products = ops::like(h, h.shape());
          Tensor again = ops::like(h, h.shape());
          table.gru_forward({.inputs = kept_inputs.view(),
                             .shared = ops::view_of(kept_shared),
                             .weight = w.view(),
                             .bias = b.view(),
                             .packed = packed(forward),
                             .h0 = first_h.view(),
                             .h = again.mutable_view(),
                             .gates = activations.mutable_view(),
                             .u_n = ops::mutable_view_of(products),
                             .reset = reset});
        }
        Tensor dinputs = ops::like(h, activations.shape());
        Tensor dshared = in.wants(1) ? ops::like(h, {h.size(1), activations.size(2)}) : Tensor();
        Tensor dh0 = in.wants(4) ? ops::like(h, first_h.shape()) : Tensor();
        const auto sum = [&](int index, const Tensor& parameter) {
          return in.wants(index)
                     ? in.sum(index, parameter.shape(), parameter.dtype(), parameter.device())
                           .mutable_view()
                     : MutableView();
        };
        table.gru_backward({.weight = w.view(),
                            .packed = packed(backward),
                            .h0 = first_h.view(),
                            .h = h.view(),
                            .gates = activations.view(),
                            .u_n = ops::view_of(products),
                            .dh = dy.view(),
                            .dinputs = dinputs.mutable_view(),
                            .dshared = ops::mutable_view_of(dshared),
                            .dweight = sum(2, w),
                            .dbias = sum(3, b),
                            .dh0 = ops::mutable_view_of(dh0),
                            .add_dweight = true,
                            .reset = reset});
        if (in.wants(0)) in.add(0, std::move(dinputs));
        if (in.wants(1)) in.add(1, std::move(dshared));
        if (in.wants(4)) in.add(4, std::move(dh0));
      });
}

}  // namespace refrain
