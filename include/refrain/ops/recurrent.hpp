#pragma once
/// Segments of recurrent layers, time-major [L,B,C]: L time steps in one call, forward and
/// backward. Dtypes f32, f64.

#include <array>
#include <cstdint>
#include <utility>

#include "refrain/kernels/recurrent.hpp"
#include "refrain/ops/packed.hpp"

namespace refrain {

using kernels::GruReset;

/// The tensors that a segment saves for its backward pass. The results are bit-identical either
/// way.
enum class Recompute : std::uint8_t {
  /// Gates, cells and hidden vectors of all time steps: 6 H elements per row for an LSTM, 5 H for a
  /// GRU.
  none,
  /// Only the hidden vectors, H elements per row; the backward pass recomputes the others with a
  /// second forward pass.
  segments
};

/// The hidden vectors of all time steps and the cells after the last one.
struct LstmResult {
  Variable h;  ///< [L,B,H]
  Variable c;  ///< [B,H]
};

namespace detail {

/// Returns the extents L, B, H of a segment whose inputs are [L,B,gates * H]. Throws ShapeError
/// unless all shapes match.
inline std::array<std::int64_t, 3> check_segment(const char* op, std::int64_t gates,
                                                 const Variable& inputs, const Variable& shared,
                                                 const PackedWeight& weight, const Variable& h0) {
  check_rank(op, "inputs", inputs, 3);
  check_rank(op, "h0", h0, 2);
  const std::int64_t hidden = h0.size(1);
  const std::int64_t batch = inputs.size(1);
  if (inputs.size(0) == 0 || batch == 0 || hidden == 0) {
    throw ShapeError(detail::concat(
        op, ": expected at least one step, row and hidden unit, got inputs ", inputs.shape()));
  }
  check_shape(op, "inputs", inputs, {inputs.size(0), batch, gates * hidden});
  check_shape(op, "h0", h0, {batch, hidden});
  check_shape(op, "weight", weight.weight, {gates * hidden, hidden});
  check_optional(op, "shared", shared, {batch, gates * hidden});
  check_like(op, inputs, shared, weight.weight, h0);
  return {inputs.size(0), batch, hidden};
}

}  // namespace detail

/// L time steps of an LSTM, gates i, f, g, o:
///
///   a_t = inputs_t + shared + h_{t-1} weight^T
///   c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g),  h_t = sigmoid(o) tanh(c_t)
///
/// inputs [L,B,4H] (bias included), shared [B,4H] or undefined, weight [4H,H], h0, c0 [B,H].
/// Throws ShapeError, DTypeError, DeviceError. Source: Hochreiter and Schmidhuber 1997; CmnRec,
/// equations 17 to 20.
inline LstmResult lstm_segment(const Variable& inputs, const Variable& shared,
                               const PackedWeight& weight, const Variable& h0, const Variable& c0,
                               Recompute recompute = Recompute::none) {
  constexpr const char* op = "lstm_segment";
  const auto [steps, batch, hidden] = detail::check_segment(op, 4, inputs, shared, weight, h0);
  detail::check_shape(op, "c0", c0, {batch, hidden});
  detail::check_like(op, inputs, c0);
  const bool recorded = is_recorded(inputs, shared, weight.weight, h0, c0);
  const bool saved = recorded && recompute == Recompute::none;
  const Tensor& x = inputs.value();
  Tensor h = empty_like(x, {steps, batch, hidden});
  Tensor c = saved ? empty_like(h) : Tensor();
  Tensor gates = saved ? empty_like(x) : Tensor();
  Tensor c_last = empty_like(x, {batch, hidden});
  kernels::run(kernels::LstmForward{.inputs = x,
                                    .shared = shared,
                                    .weight = weight.weight,
                                    .packed = weight.forward,
                                    .h0 = h0,
                                    .c0 = c0,
                                    .h = h,
                                    .c = c,
                                    .gates = gates,
                                    .c_last = c_last});
  if (!recorded) return {Variable(std::move(h)), Variable(std::move(c_last))};
  // Only a recomputing backward pass reads the inputs.
  const Tensor kept_inputs = saved ? Tensor() : x;
  const Tensor kept_shared = saved || !shared.defined() ? Tensor() : shared.value();
  auto [all_h, last_c] =
      record(op, {h, c_last}, {inputs, shared, weight.weight, h0, c0},
             [h, c, gates, inputs = kept_inputs, shared = kept_shared, h0 = h0.value(),
              c0 = c0.value(), weight = weight.weight.value(), packed_forward = weight.forward,
              packed = weight.backward](const Tensor& dh, const Tensor& dc_last, auto& dinputs,
                                        auto& dshared, auto& dweight, auto& dh0, auto& dc0) {
               Tensor cells = c;
               Tensor activations = gates;
               if (!activations.defined()) {
                 cells = empty_like(h);
                 activations = empty_like(inputs);
                 Tensor same_h = empty_like(h);
                 Tensor same_c_last = empty_like(c0);
                 kernels::run(kernels::LstmForward{.inputs = inputs,
                                                   .shared = shared,
                                                   .weight = weight,
                                                   .packed = packed_forward,
                                                   .h0 = h0,
                                                   .c0 = c0,
                                                   .h = same_h,
                                                   .c = cells,
                                                   .gates = activations,
                                                   .c_last = same_c_last});
               }
               // The kernel needs them even if the caller does not.
               Tensor dgates = empty_like(activations);
               kernels::run(kernels::LstmBackward{.weight = weight,
                                                  .packed = packed,
                                                  .h0 = h0,
                                                  .c0 = c0,
                                                  .h = h,
                                                  .c = cells,
                                                  .gates = activations,
                                                  .dh = dh,
                                                  .dc_last = dc_last,
                                                  .dinputs = dgates,
                                                  .dshared = dshared,
                                                  .dweight = dweight.sum(),
                                                  .dh0 = dh0,
                                                  .dc0 = dc0,
                                                  .add_dweight = true});
               dinputs.add(std::move(dgates));
             });
  return {std::move(all_h), std::move(last_c)};
}

/// L time steps of a GRU, gates r, z, n; hidden vectors [L,B,H]. With x = inputs_t + shared and
/// u = h_{t-1} weight^T + bias by thirds:
///
///   r = sigmoid(x_r + u_r),  z = sigmoid(x_z + u_z)
///   n = tanh(x_n + r u_n)                               (GruReset::after)
///   n = tanh(x_n + (r h_{t-1}) weight_n^T + bias_n)     (GruReset::before)
///   h_t = (1 - z) n + z h_{t-1}
///
/// inputs [L,B,3H] (input bias included), shared [B,3H] or undefined, weight [3H,H], bias [3H],
/// h0 [B,H]. Throws ShapeError, DTypeError, DeviceError. Source: Cho et al. 2014.
inline Variable gru_segment(const Variable& inputs, const Variable& shared,
                            const PackedWeight& weight, const Variable& bias, const Variable& h0,
                            GruReset reset = GruReset::after,
                            Recompute recompute = Recompute::none) {
  constexpr const char* op = "gru_segment";
  const auto [steps, batch, hidden] = detail::check_segment(op, 3, inputs, shared, weight, h0);
  detail::check_shape(op, "bias", bias, {3 * hidden});
  detail::check_like(op, inputs, bias);
  const bool recorded = is_recorded(inputs, shared, weight.weight, bias, h0);
  const bool saved = recorded && recompute == Recompute::none;
  // Only GruReset::after multiplies by the whole weight, which is the packed form.
  const bool after = reset == GruReset::after;
  const Tensor packed_forward = after ? weight.forward : Tensor();
  const Tensor packed_backward = after ? weight.backward : Tensor();
  const Tensor& x = inputs.value();
  Tensor h = empty_like(x, {steps, batch, hidden});
  Tensor gates = saved ? empty_like(x) : Tensor();
  Tensor u_n = saved && after ? empty_like(h) : Tensor();
  kernels::run(kernels::GruForward{.inputs = x,
                                   .shared = shared,
                                   .weight = weight.weight,
                                   .bias = bias,
                                   .packed = packed_forward,
                                   .h0 = h0,
                                   .h = h,
                                   .gates = gates,
                                   .u_n = u_n,
                                   .reset = reset});
  if (!recorded) return Variable(std::move(h));
  const Tensor kept_inputs = saved ? Tensor() : x;
  const Tensor kept_shared = saved || !shared.defined() ? Tensor() : shared.value();
  return record(
      op, h, {inputs, shared, weight.weight, bias, h0},
      [h, gates, u_n, inputs = kept_inputs, shared = kept_shared, h0 = h0.value(),
       weight = weight.weight.value(), bias = bias.value(), packed_forward, packed_backward, reset](
          const Tensor& dh, auto& dinputs, auto& dshared, auto& dweight, auto& dbias, auto& dh0) {
        Tensor activations = gates;
        Tensor products = u_n;
        if (!activations.defined()) {
          activations = empty_like(inputs);
          if (reset == GruReset::after) products = empty_like(h);
          Tensor same_h = empty_like(h);
          kernels::run(kernels::GruForward{.inputs = inputs,
                                           .shared = shared,
                                           .weight = weight,
                                           .bias = bias,
                                           .packed = packed_forward,
                                           .h0 = h0,
                                           .h = same_h,
                                           .gates = activations,
                                           .u_n = products,
                                           .reset = reset});
        }
        Tensor dgates = empty_like(activations);
        kernels::run(kernels::GruBackward{.weight = weight,
                                          .packed = packed_backward,
                                          .h0 = h0,
                                          .h = h,
                                          .gates = activations,
                                          .u_n = products,
                                          .dh = dh,
                                          .dinputs = dgates,
                                          .dshared = dshared,
                                          .dweight = dweight.sum(),
                                          .dbias = dbias.sum(),
                                          .dh0 = dh0,
                                          .add_dweight = true,
                                          .reset = reset});
        dinputs.add(std::move(dgates));
      });
}

}  // namespace refrain
