// One segment of a GRU on the GPU: L time steps over B sequences, H hidden units, gates r, z, n.
// Device: f32, f64.
//   forward    x = inputs_t + shared,  u = h_{t-1} weight^T + bias
//              r = sigmoid(x_r + u_r),  z = sigmoid(x_z + u_z)
//              n = tanh(x_n + r u_n), or with the reset before the product
//              n = tanh(x_n + (r h_{t-1}) weight_n^T + bias_n)
//              h_t = (1 - z) n + z h_{t-1}
//   backward   dh_t += z_{t+1} dh_{t+1} + du_{t+1} weight
//              dn, dz and dr by the derivatives of the gates,  du = (dr, dz, r dn)
//              reset before: q = r h_{t-1}, dq = dn weight_n, dr by dq h_{t-1},
//              dh_{t-1} += r dq + (dr, dz) weight_rz
//              dshared = sum_t (dr, dz, dn),  dbias (+)= sum_t,b du
//              dweight (+)= sum_t du^T h_{t-1} (reset before: its n rows dn^T q)
// Shapes: inputs, gates, dinputs [L,B,3H]; h, u_n, dh [L,B,H]; shared, dshared [B,3H]; weight,
// dweight [3H,H]; bias [3H]; h0 [B,H].
//
// A time step is one launch with the reset after the product, two with the reset before it; each
// launch computes product and cells (steps.cuh).
//   forward    block: 32 sequences x 8 units of three gates; reset before: 8 units of r and z,
//              then 16 units of n
//   backward   block: 16 sequences x 32 units (16 on tensor cores), k = 3H; reset before: 2H,
//              then H
// Launches: forward L or 2L; backward as many, one more for dh0 and one for dshared, one or two
// each for dbias and dweight (twice that for dweight with the reset before). `packed` is not
// needed.
//
// FLOPs: 6 L B H^2 forward, 12 backward with dweight. Memory traffic per time step: the weight once
// per tile of sequences, from the second-level cache; 9 B H elements forward with all saved
// tensors, 16 B H backward. Bound as the LSTM by the latency of a time step, then by arithmetic.

#include <algorithm>

#include "kernels/kernel.hpp"
#include "kernels/recurrent/gru.cuh"
#include "kernels/recurrent/segment_sums.hpp"
#include "refrain/kernels/recurrent.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

template <class T>
struct ForwardPlan {
  T* reset_h = nullptr;  ///< [B,H]
  T* keep = nullptr;     ///< [B,H], when z is not saved
  ForwardPlan(const GruForward& args, Scratch& scratch) {
    if (args.reset == GruReset::after) return;
    reset_h = scratch.take<T>(args.h0.shape.numel());
    if (!args.gates) keep = scratch.take<T>(args.h0.shape.numel());
  }
};

template <class T>
void forward(const GruForward& args, Scratch& scratch) {
  const std::int64_t steps = args.inputs.shape[0];
  const StepSize size{.batch = args.inputs.shape[1], .hidden = args.h0.shape[1]};
  const std::int64_t state = size.batch * size.hidden;
  const std::int64_t width = 3 * size.hidden;
  const ForwardPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  const T* const weight = args.weight.as<T>();
  const T* h_before = args.h0.as<T>();
  T* const h = args.h.as<T>();
  const bool aligned = size.hidden % simt::Pack<T>::count == 0 &&
                       simt::aligned_16(weight, h_before, h, plan.reset_h);
  const Steps<T> launches(GruForward::name, size, aligned);
  for (std::int64_t t = 0; t < steps; ++t) {
    T* const gates = args.gates ? args.gates.as<T>() + t * 3 * state : nullptr;
    const GruStep<T> step{.hidden = size.hidden,
                          .inputs = args.inputs.as<T>() + t * 3 * state,
                          .shared = args.shared.as<T>(),
                          .bias = args.bias.as<T>(),
                          .h_before = h_before,
                          .h = h + t * state,
                          .saved_gates = gates,
                          .u_n = args.u_n ? args.u_n.as<T>() + t * state : nullptr,
                          .reset_h = plan.reset_h,
                          .keep = gates != nullptr ? gates + size.hidden : plan.keep,
                          .keep_stride = gates != nullptr ? width : size.hidden};
    if (args.reset == GruReset::after) {
      launches.forward(h_before, weight, GruCell<T>{step});
    } else {
      launches.forward(h_before, weight, GruResetCell<T>{step});
      launches.forward(static_cast<const T*>(plan.reset_h), weight + 2 * size.hidden * size.hidden,
                       GruCandidateCell<T>{step});
    }
    h_before = step.h;
  }
}

template <class T>
struct GruBackwardPlan {
  T* carry;              ///< [B,H]
  T* du = nullptr;       ///< [L,B,3H], reset after
  T* reset_h = nullptr;  ///< [L,B,H], reset before, for dweight
  T* parts;              ///< partial sums over the segment

  GruBackwardPlan(const GruBackward& args, Scratch& scratch) {
    const std::int64_t steps = args.gates.shape[0];
    const std::int64_t batch = args.gates.shape[1];
    const std::int64_t hidden = args.h0.shape[1];
    carry = args.dh0 ? args.dh0.as<T>() : scratch.take<T>(batch * hidden);
    if (args.reset == GruReset::after) {
      du = scratch.take<T>(args.gates.shape.numel());
    } else if (args.dweight) {
      reset_h = scratch.take<T>(steps * batch * hidden);
    }
    parts = scratch.take<T>(
        std::max({args.dshared ? row_sum_parts(steps, batch * 3 * hidden) : 0,
                  args.dbias ? row_sum_parts(steps * batch, 3 * hidden) : 0,
                  args.dweight ? recurrent_gradient_parts(steps, batch, hidden, hidden) : 0,
                  args.dweight ? recurrent_gradient_parts(steps, batch, 2 * hidden, hidden) : 0,
                  args.dweight ? recurrent_gradient_parts(steps, batch, 3 * hidden, hidden) : 0}));
  }
};

/// Runs the time steps from the last to the first.
template <class T>
void backward_steps(const GruBackward& args, const StepSize& size, const GruBackwardPlan<T>& plan) {
  const bool after = args.reset == GruReset::after;
  const std::int64_t steps = args.gates.shape[0];
  const std::int64_t state = size.batch * size.hidden;
  const std::int64_t width = 3 * size.hidden;
  const T* const weight = args.weight.as<T>();
  const T* const weight_n = weight + 2 * size.hidden * size.hidden;
  const bool aligned = size.hidden % simt::Pack<T>::count == 0 &&
                       simt::aligned_16(weight, args.dinputs.as<T>(), plan.du);
  const Steps<T> launches(GruBackward::name, size, aligned);
  Upstream<T> upstream{.da = nullptr, .stride = width, .depth = 0};
  GruGradientCell<T> cell{.hidden = size.hidden, .carry = plan.carry};
  for (std::int64_t t = steps - 1; t >= 0; --t) {
    cell.wanted = after ? GruGradient::all_gates : GruGradient::candidate;
    cell.last = t == steps - 1;
    cell.gates = args.gates.as<T>() + t * 3 * state;
    cell.h_before = t == 0 ? args.h0.as<T>() : args.h.as<T>() + (t - 1) * state;
    cell.u_n = after ? args.u_n.as<T>() + t * state : nullptr;
    cell.dh = args.dh ? args.dh.as<T>() + t * state : nullptr;
    cell.dinputs = args.dinputs.as<T>() + t * 3 * state;
    cell.du = after ? plan.du + t * 3 * state : nullptr;
    cell.reset_h = plan.reset_h != nullptr ? plan.reset_h + t * state : nullptr;
    launches.backward(upstream, weight, cell);
    cell.last = false;
    if (after) {
      upstream = {.da = cell.du, .stride = width, .depth = width};
      continue;
    }
    cell.wanted = GruGradient::reset;
    launches.backward({.da = cell.dinputs + 2 * size.hidden, .stride = width, .depth = size.hidden},
                      weight_n, cell);
    upstream = {.da = cell.dinputs, .stride = width, .depth = 2 * size.hidden};
  }
  if (!args.dh0) return;
  cell.wanted = GruGradient::h0;
  launches.backward(upstream, weight, cell);
}

template <class T>
void backward(const GruBackward& args, Scratch& scratch) {
  const std::int64_t steps = args.gates.shape[0];
  const StepSize size{.batch = args.gates.shape[1], .hidden = args.h0.shape[1]};
  const std::int64_t state = size.batch * size.hidden;
  const std::int64_t width = 3 * size.hidden;
  const GruBackwardPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  backward_steps<T>(args, size, plan);

  const T* const dinputs = args.dinputs.as<T>();
  const T* const du = plan.du != nullptr ? plan.du : dinputs;
  const char* const name = GruBackward::name;
  if (args.dshared)
    sum_of_rows(name, dinputs, steps, 3 * state, false, args.dshared.as<T>(), plan.parts);
  if (args.dbias) {
    sum_of_rows(name, du, steps * size.batch, width, args.add_dweight, args.dbias.as<T>(),
                plan.parts);
  }
  if (!args.dweight) return;
  T* const dweight = args.dweight.as<T>();
  RecurrentGradient<T> gradient{.da = du,
                                .stride = width,
                                .inner = plan.reset_h == nullptr ? width : 2 * size.hidden,
                                .h0 = args.h0.as<T>(),
                                .h = args.h.as<T>(),
                                .steps = steps,
                                .batch = size.batch,
                                .hidden = size.hidden};
  sum_recurrent_gradient(name, gradient, args.add_dweight, dweight, plan.parts);
  if (plan.reset_h == nullptr) return;
  gradient.da = du + 2 * size.hidden;  // the weight rows of n multiply r h_{t-1}
  gradient.inner = size.hidden;
  gradient.h0 = plan.reset_h;
  gradient.h = plan.reset_h + state;
  sum_recurrent_gradient(name, gradient, args.add_dweight, dweight + 2 * size.hidden * size.hidden,
                         plan.parts);
}

}  // namespace

template <>
void kernel(const GruForward& args, Scratch& scratch) {
  for_floating<GruForward>(args.inputs.dtype, [&]<class T>(T) { forward<T>(args, scratch); });
}

template <>
void kernel(const GruBackward& args, Scratch& scratch) {
  for_floating<GruBackward>(args.gates.dtype, [&]<class T>(T) { backward<T>(args, scratch); });
}

template void entry(const GruForward&, ScratchMemory&);
template void entry(const GruBackward&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
