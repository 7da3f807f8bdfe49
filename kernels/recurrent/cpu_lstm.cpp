// One segment of an LSTM: L steps over B rows, H hidden.
//   forward    per step: a = inputs (+ shared) + h W^T, then the gates while the tile's a (rows x 4H) is in cache
//   backward   per step, last first: gate derivatives da, then dh of the step before = da W;  dW = sum da^T h in one product
// 8 L B H^2 FLOPs forward, 16 backward with dW.  Per step a tile reads the packed weight (4 H^2 elements) once, and its inputs, gates
// and h once.  Parallel over tiles of rows, without barriers inside a segment.  Any L, B, H >= 1.

#include "kernels/cpu.hpp"
#include "kernels/recurrent/tiles.hpp"

namespace refrain::kernels::cpu {
namespace {

template <class T>
struct ForwardPlan {
  PackedOrPacking<T> weight;
  T* gates = nullptr;  ///< one tile's, for each worker, when they are not saved

  ForwardPlan(const LstmForward& args, Scratch& scratch) : weight(args.weight, args.packed, true, scratch) {
    if (!args.gates) gates = scratch.take<T>(threads() * largest_batch_tile * args.inputs.shape[2]);
  }
};

/// Activations in place over a [4H] = i, f, g, o of one row, then c and h.
template <class T>
void lstm_row(std::int64_t hidden, T* a, const T* c_before, T* c, T* h) {
  for_lanes<T>(hidden, [&](auto lanes, std::int64_t j) {
    using L = decltype(lanes);
    const auto i = sigmoid(L::load(a + j));
    const auto f = sigmoid(L::load(a + hidden + j));
    const auto g = tanh(L::load(a + 2 * hidden + j));
    const auto o = sigmoid(L::load(a + 3 * hidden + j));
    const auto cell = f * L::load(c_before + j) + i * g;
    L::store(a + j, i);
    L::store(a + hidden + j, f);
    L::store(a + 2 * hidden + j, g);
    L::store(a + 3 * hidden + j, o);
    L::store(c + j, cell);
    L::store(h + j, o * tanh(cell));
  });
}

template <class T>
void forward(const LstmForward& args) {
  const std::int64_t steps = args.inputs.shape[0];
  const std::int64_t batch = args.inputs.shape[1];
  const std::int64_t hidden = args.h0.shape[1];
  const std::int64_t width = 4 * hidden;
  Scratch scratch(args.workspace.data);
  const ForwardPlan<T> plan(args, scratch);
  const T* const packed = plan.weight.get();
  for_batch_tiles(batch, [&](std::int64_t first, std::int64_t count, int worker) {
    const T* shared = args.shared ? args.shared.as<T>() + first * width : nullptr;
    const T* h_before = args.h0.as<T>() + first * hidden;
    const T* c_before = args.c0.as<T>() + first * hidden;
    for (std::int64_t l = 0; l < steps; ++l) {
      const std::int64_t row = l * batch + first;
      T* const a = args.gates ? args.gates.as<T>() + row * width : plan.gates + worker * largest_batch_tile * width;
      T* const h = args.h.as<T>() + row * hidden;
      T* const c = args.c ? args.c.as<T>() + row * hidden : args.c_last.as<T>() + first * hidden;
      copy_sum(args.inputs.as<T>() + row * width, shared, count * width, a);
      block_product<T>(h_before, hidden, count, hidden, Panels<T>::packed(packed, hidden), width, a, width, true);
      for (std::int64_t r = 0; r < count; ++r) {
        lstm_row(hidden, a + r * width, c_before + r * hidden, c + r * hidden, h + r * hidden);
      }
      h_before = h;
      c_before = c;
    }
    if (args.c) std::copy_n(c_before, count * hidden, args.c_last.as<T>() + first * hidden);
  });
}

template <class T>
struct BackwardPlan {
  PackedOrPacking<T> weight;
  T* dh;  ///< gradients that one tile carries to the step before, for each worker
  T* dc;

  BackwardPlan(const LstmBackward& args, Scratch& scratch)
      : weight(args.weight, args.packed, false, scratch),
        dh(scratch.take<T>(threads() * largest_batch_tile * args.h0.shape[1])),
        dc(scratch.take<T>(threads() * largest_batch_tile * args.h0.shape[1])) {}
};

/// Gradients of lstm_row: `dh` arrives from this step's output and from the step after; da [4H]; dc is replaced by that of the step before.
template <class T>
void lstm_row_backward(std::int64_t hidden, const T* gates, const T* c_before, const T* c, const T* dh_out, const T* dh, T* dc,
                       T* da) {
  for_lanes<T>(hidden, [&](auto lanes, std::int64_t j) {
    using L = decltype(lanes);
    const auto i = L::load(gates + j);
    const auto f = L::load(gates + hidden + j);
    const auto g = L::load(gates + 2 * hidden + j);
    const auto o = L::load(gates + 3 * hidden + j);
    const auto t = tanh(L::load(c + j));
    auto dhidden = L::load(dh + j);
    if (dh_out != nullptr) dhidden = dhidden + L::load(dh_out + j);
    const auto dcell = L::load(dc + j) + dhidden * o * (1 - t * t);
    L::store(da + j, dcell * g * i * (1 - i));
    L::store(da + hidden + j, dcell * L::load(c_before + j) * f * (1 - f));
    L::store(da + 2 * hidden + j, dcell * i * (1 - g * g));
    L::store(da + 3 * hidden + j, dhidden * t * o * (1 - o));
    L::store(dc + j, dcell * f);
  });
}

template <class T>
void backward(const LstmBackward& args) {
  const std::int64_t steps = args.gates.shape[0];
  const std::int64_t batch = args.gates.shape[1];
  const std::int64_t hidden = args.h0.shape[1];
  const std::int64_t width = 4 * hidden;
  Scratch scratch(args.workspace.data);
  const BackwardPlan<T> plan(args, scratch);
  const T* const packed = plan.weight.get();
  for_batch_tiles(batch, [&](std::int64_t first, std::int64_t count, int worker) {
    T* const dh = plan.dh + worker * largest_batch_tile * hidden;
    T* const dc = plan.dc + worker * largest_batch_tile * hidden;
    std::fill_n(dh, count * hidden, T(0));
    if (args.dc_last) {
      std::copy_n(args.dc_last.as<T>() + first * hidden, count * hidden, dc);
    } else {
      std::fill_n(dc, count * hidden, T(0));
    }
    for (std::int64_t l = steps - 1; l >= 0; --l) {
      const std::int64_t row = l * batch + first;
      const T* const c_before = l == 0 ? args.c0.as<T>() + first * hidden : args.c.as<T>() + (row - batch) * hidden;
      T* const da = args.dinputs.as<T>() + row * width;
      for (std::int64_t r = 0; r < count; ++r) {
        lstm_row_backward(hidden, args.gates.as<T>() + (row + r) * width, c_before + r * hidden,
                          args.c.as<T>() + (row + r) * hidden, args.dh ? args.dh.as<T>() + (row + r) * hidden : nullptr,
                          dh + r * hidden, dc + r * hidden, da + r * width);
      }
      if (l > 0 || args.dh0)
        block_product<T>(da, width, count, width, Panels<T>::packed(packed, width), hidden, dh, hidden, false);
    }
    if (args.dh0) std::copy_n(dh, count * hidden, args.dh0.as<T>() + first * hidden);
    if (args.dc0) std::copy_n(dc, count * hidden, args.dc0.as<T>() + first * hidden);
  });
  if (args.dshared) sum_over_steps(args.dinputs.as<T>(), steps, batch, width, args.dshared.as<T>());
  if (args.dweight) {
    if (!args.add_dweight) std::fill_n(args.dweight.as<T>(), width * hidden, T(0));
    add_recurrent_gradient(args.dinputs.as<T>(), width, width, args.h0.as<T>(), args.h.as<T>(), steps, batch, hidden,
                           args.dweight.as<T>());
  }
}

}  // namespace

void lstm_forward(const LstmForward& args, Stream) {
  for_floating<LstmForward>(args.inputs.dtype, [&]<class T>(T) { forward<T>(args); });
}
std::size_t lstm_forward_workspace(const LstmForward& args) { return recurrent_workspace<LstmForward, ForwardPlan>(args); }

void lstm_backward(const LstmBackward& args, Stream) {
  for_floating<LstmBackward>(args.gates.dtype, [&]<class T>(T) { backward<T>(args); });
}
std::size_t lstm_backward_workspace(const LstmBackward& args) { return recurrent_workspace<LstmBackward, BackwardPlan>(args); }

}  // namespace refrain::kernels::cpu
