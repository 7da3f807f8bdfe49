// One segment of an LSTM on the GPU: L time steps over B sequences, H hidden units, gates i, f, g,
// o. Device: f32, f64.
//   forward    a_t = inputs_t + shared + h_{t-1} weight^T
//              c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g),  h_t = sigmoid(o) tanh(c_t)
//   backward   dh_t += da_{t+1} weight,  dc_t = f_{t+1} dc_{t+1} + dh_t o (1 - tanh(c_t)^2)
//              da_t by the derivatives of the gates
//              dh0 = da_0 weight,  dc0 = f_0 dc_0
//              dshared = sum_t da_t,  dweight (+)= sum_t da_t^T h_{t-1}
// Shapes: inputs, gates, dinputs [L,B,4H]; h, c, dh [L,B,H]; shared, dshared [B,4H]; weight,
// dweight [4H,H]; h0, c0, c_last [B,H].
//
// A time step is one launch that computes product and cells (steps.cuh); the next launch is the
// barrier between time steps.
//   forward    block: 32 sequences x 8 units with all four gates; thread: 16 sums over half of k,
//              then 2 cells
//   backward   block: 16 sequences x 32 units (16 on tensor cores) over k = 4H; thread: 16 (8) sums
//              over a quarter of k, then 4 (2) cells
// For example, 128 sequences of 256 units take 128 blocks forward, and 64 (128) backward. Launches:
// forward L; backward L, one more for dh0 and one for dshared, one or two for dweight. `packed` is
// not needed.
//
// FLOPs: 8 L B H^2 forward, 16 backward with dweight. Memory traffic per time step: the weight once
// per tile of sequences, from the second-level cache; 11 B H elements forward with all saved
// tensors, 18 B H backward. Bound by the latency of a time step (launch, cache, k / 32 slices) up
// to B H of about 10^5, then by arithmetic.

#include <algorithm>

#include "kernels/kernel.hpp"
#include "kernels/recurrent/lstm.cuh"
#include "kernels/recurrent/segment_sums.hpp"
#include "refrain/kernels/recurrent.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

template <class T>
void forward(const LstmForward& args) {
  const std::int64_t steps = args.inputs.shape[0];
  const StepSize size{.batch = args.inputs.shape[1], .hidden = args.h0.shape[1]};
  const std::int64_t state = size.batch * size.hidden;
  const T* const weight = args.weight.as<T>();
  const T* h_before = args.h0.as<T>();
  const T* c_before = args.c0.as<T>();
  T* const h = args.h.as<T>();
  T* const c_last = args.c_last.as<T>();
  const bool aligned =
      size.hidden % simt::Pack<T>::count == 0 && simt::aligned_16(weight, h_before, h);
  const Steps<T> launches(LstmForward::name, size, aligned);
  for (std::int64_t t = 0; t < steps; ++t) {
    const LstmCell<T> cell{
        .hidden = size.hidden,
        .inputs = args.inputs.as<T>() + t * 4 * state,
        .shared = args.shared.as<T>(),
        .c_before = c_before,
        .h = h + t * state,
        .c = args.c ? args.c.as<T>() + t * state : c_last,
        .c_last = args.c && t == steps - 1 ? c_last : nullptr,
        .saved_gates = args.gates ? args.gates.as<T>() + t * 4 * state : nullptr};
    launches.forward(h_before, weight, cell);
    h_before = cell.h;
    c_before = cell.c;
  }
}

template <class T>
struct LstmBackwardPlan {
  T* dc;     ///< [B,H] for the previous time step
  T* parts;  ///< partial sums over the segment

  LstmBackwardPlan(const LstmBackward& args, Scratch& scratch) {
    const std::int64_t steps = args.gates.shape[0];
    const std::int64_t batch = args.gates.shape[1];
    const std::int64_t hidden = args.h0.shape[1];
    dc = args.dc0 ? args.dc0.as<T>() : scratch.take<T>(batch * hidden);
    parts = scratch.take<T>(
        std::max(args.dshared ? row_sum_parts(steps, batch * 4 * hidden) : 0,
                 args.dweight ? recurrent_gradient_parts(steps, batch, 4 * hidden, hidden) : 0));
  }
};

template <class T>
void backward(const LstmBackward& args, Scratch& scratch) {
  const std::int64_t steps = args.gates.shape[0];
  const StepSize size{.batch = args.gates.shape[1], .hidden = args.h0.shape[1]};
  const std::int64_t state = size.batch * size.hidden;
  const std::int64_t width = 4 * size.hidden;
  const LstmBackwardPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  const T* const weight = args.weight.as<T>();
  T* const dinputs = args.dinputs.as<T>();
  const bool aligned = size.hidden % simt::Pack<T>::count == 0 && simt::aligned_16(weight, dinputs);
  const Steps<T> launches(LstmBackward::name, size, aligned);
  Upstream<T> upstream{.da = nullptr, .stride = width, .depth = 0};
  const T* dc = args.dc_last.as<T>();
  for (std::int64_t t = steps - 1; t >= 0; --t) {
    const LstmGradientCell<T> cell{
        .hidden = size.hidden,
        .gates = args.gates.as<T>() + t * 4 * state,
        .c = args.c.as<T>() + t * state,
        .c_before = t == 0 ? args.c0.as<T>() : args.c.as<T>() + (t - 1) * state,
        .dh = args.dh ? args.dh.as<T>() + t * state : nullptr,
        .dc = dc,
        .dinputs = dinputs + t * 4 * state,
        .dc_before = plan.dc};
    launches.backward(upstream, weight, cell);
    upstream = {.da = cell.dinputs, .stride = width, .depth = width};
    dc = plan.dc;
  }
  if (args.dh0)
    launches.backward(upstream, weight,
                      LstmGradientCell<T>{.hidden = size.hidden, .dh0 = args.dh0.as<T>()});
  if (args.dshared) {
    sum_of_rows(LstmBackward::name, dinputs, steps, 4 * state, false, args.dshared.as<T>(),
                plan.parts);
  }
  if (args.dweight) {
    const RecurrentGradient<T> gradient{.da = dinputs,
                                        .stride = width,
                                        .inner = width,
                                        .h0 = args.h0.as<T>(),
                                        .h = args.h.as<T>(),
                                        .steps = steps,
                                        .batch = size.batch,
                                        .hidden = size.hidden};
    sum_recurrent_gradient(LstmBackward::name, gradient, args.add_dweight, args.dweight.as<T>(),
                           plan.parts);
  }
}

}  // namespace

template <>
void kernel(const LstmForward& args) {
  for_floating<LstmForward>(args.inputs.dtype, [&]<class T>(T) { forward<T>(args); });
}

template <>
void kernel(const LstmBackward& args, Scratch& scratch) {
  for_floating<LstmBackward>(args.gates.dtype, [&]<class T>(T) { backward<T>(args, scratch); });
}

template void entry(const LstmForward&, ScratchMemory&);
template void entry(const LstmBackward&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
