// One segment of an LSTM: L time steps over B rows, H hidden.
//   forward    per step: a = inputs (+ shared) + h W^T, then the gates while a of the tile
//              (rows x 4H) is in cache
//   backward   per step, last first: gate derivatives da, then dh of the previous step = da W;
//              dW = sum da^T h in one product
// 8 L B H^2 FLOPs forward, 16 backward with dW. Per step a tile reads the packed weight (4 H^2
// elements) once, and its inputs, gates and h once. Parallel over tiles of rows, without barriers
// inside a segment; with too few rows, parallel over hidden units, step by step. Any L, B, H >= 1.

#include "kernels/kernel.hpp"
#include "kernels/recurrent/tiles.hpp"
#include "refrain/kernels/recurrent.hpp"

namespace refrain::kernels::cpu {
namespace {

template <class T>
struct ForwardPlan {
  PackedOrPacking<T> weight;
  T* gates = nullptr;  ///< gates of a tile, for each worker, when they are not saved

  ForwardPlan(const LstmForward& args, Scratch& scratch)
      : weight(args.weight, args.packed, true, scratch) {
    if (!args.gates) gates = scratch.take<T>(threads() * largest_batch_tile * args.inputs.shape[2]);
  }
};

/// Applies the activations in place to `count` units of one row, whose gates i, f, g, o are
/// `hidden` elements apart in a, then computes c and h.
template <class T>
void lstm_row(std::int64_t hidden, std::int64_t count, T* a, const T* c_before, T* c, T* h) {
  for_lanes<T>(count, [&](auto lanes, std::int64_t j) {
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

/// The addresses of one time step for some rows.
template <class T>
struct StepRows {
  const T* inputs;
  const T* shared;  ///< or null
  const T* h_before;
  const T* c_before;
  T* gates;
  T* h;
  T* c;
};

/// Computes units [begin, end) of one time step for `count` rows.
template <class T>
void lstm_units(const StepRows<T>& rows, std::int64_t count, std::int64_t hidden,
                std::int64_t begin, std::int64_t end, const T* packed) {
  const std::int64_t width = 4 * hidden;
  const std::int64_t units = end - begin;
  const bool whole = units == hidden;  // the gates are contiguous
  for (std::int64_t gate = 0; gate < (whole ? 1 : 4); ++gate) {
    const std::int64_t column = gate * hidden + begin;
    const std::int64_t columns = whole ? width : units;
    auto start = Start<T>::rows(rows.inputs + column, width);
    if (rows.shared != nullptr) {
      for (std::int64_t r = 0; r < count; ++r) {
        const std::int64_t at = r * width + column;
        sum_of(rows.inputs + at, rows.shared + at, columns, rows.gates + at);
      }
      start.at = rows.gates + column;
    }
    block_product<T>(rows.h_before, hidden, count, hidden,
                     Panels<T>::packed(packed + column * hidden, hidden), columns,
                     rows.gates + column, width, start);
  }
  for (std::int64_t r = 0; r < count; ++r) {
    const std::int64_t at = r * hidden + begin;
    lstm_row(hidden, units, rows.gates + r * width + begin, rows.c_before + at, rows.c + at,
             rows.h + at);
  }
}

template <class T>
void forward(const LstmForward& args, Scratch& scratch) {
  const std::int64_t steps = args.inputs.shape[0];
  const std::int64_t batch = args.inputs.shape[1];
  const std::int64_t hidden = args.h0.shape[1];
  const std::int64_t width = 4 * hidden;
  const ForwardPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  const T* const packed = plan.weight.get();
  const auto step_rows = [&](std::int64_t l, std::int64_t first, int worker) {
    const std::int64_t row = l * batch + first;
    const T* const c_saved =
        args.c ? args.c.as<T>() + (row - batch) * hidden : args.c_last.as<T>() + first * hidden;
    return StepRows<T>{
        .inputs = args.inputs.as<T>() + row * width,
        .shared = args.shared ? args.shared.as<T>() + first * width : nullptr,
        .h_before =
            l == 0 ? args.h0.as<T>() + first * hidden : args.h.as<T>() + (row - batch) * hidden,
        .c_before = l == 0 ? args.c0.as<T>() + first * hidden : c_saved,
        .gates = args.gates ? args.gates.as<T>() + row * width
                            : plan.gates + worker * largest_batch_tile * width,
        .h = args.h.as<T>() + row * hidden,
        .c = args.c ? args.c.as<T>() + row * hidden : args.c_last.as<T>() + first * hidden};
  };
  const std::int64_t parts = unit_parts<T>(batch, hidden);
  if (parts > 1) {
    constexpr std::int64_t panel = 2 * Lanes<T>::count;
    const std::int64_t units = round_up((hidden + parts - 1) / parts, panel);
    for (std::int64_t l = 0; l < steps; ++l) {
      const StepRows<T> rows = step_rows(l, 0, 0);
      parallel_for(hidden, units, [&](std::int64_t begin, std::int64_t end) {
        lstm_units(rows, batch, hidden, begin, end, packed);
      });
    }
  } else {
    for_batch_tiles(batch, [&](std::int64_t first, std::int64_t count, int worker) {
      for (std::int64_t l = 0; l < steps; ++l)
        lstm_units(step_rows(l, first, worker), count, hidden, 0, hidden, packed);
    });
  }
  if (args.c)
    std::copy_n(args.c.as<T>() + (steps - 1) * batch * hidden, batch * hidden, args.c_last.as<T>());
}

template <class T>
struct BackwardPlan {
  PackedOrPacking<T> weight;
  T* dh;  ///< gradients of a tile for the previous time step, for each worker
  T* dc;

  BackwardPlan(const LstmBackward& args, Scratch& scratch)
      : weight(args.weight, args.packed, false, scratch),
        dh(scratch.take<T>(threads() * largest_batch_tile * args.h0.shape[1])),
        dc(scratch.take<T>(threads() * largest_batch_tile * args.h0.shape[1])) {}
};

/// Gradients of lstm_row: `dh` is the sum of the gradients from the output and from the next time
/// step; da [4H]; dc is replaced by the gradient for the previous time step.
template <class T>
void lstm_row_backward(std::int64_t hidden, const T* gates, const T* c_before, const T* c,
                       const T* dh_out, const T* dh, T* dc, T* da) {
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
void backward(const LstmBackward& args, Scratch& scratch) {
  const std::int64_t steps = args.gates.shape[0];
  const std::int64_t batch = args.gates.shape[1];
  const std::int64_t hidden = args.h0.shape[1];
  const std::int64_t width = 4 * hidden;
  const BackwardPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
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
      const T* const c_before =
          l == 0 ? args.c0.as<T>() + first * hidden : args.c.as<T>() + (row - batch) * hidden;
      T* const da = args.dinputs.as<T>() + row * width;
      for (std::int64_t r = 0; r < count; ++r) {
        lstm_row_backward(hidden, args.gates.as<T>() + (row + r) * width, c_before + r * hidden,
                          args.c.as<T>() + (row + r) * hidden,
                          args.dh ? args.dh.as<T>() + (row + r) * hidden : nullptr, dh + r * hidden,
                          dc + r * hidden, da + r * width);
      }
      if (l > 0 || args.dh0)
        block_product<T>(da, width, count, width, Panels<T>::packed(packed, width), hidden, dh,
                         hidden, Start<T>::zero());
    }
    if (args.dh0) std::copy_n(dh, count * hidden, args.dh0.as<T>() + first * hidden);
    if (args.dc0) std::copy_n(dc, count * hidden, args.dc0.as<T>() + first * hidden);
  });
  if (args.dshared) sum_over_steps(args.dinputs.as<T>(), steps, batch, width, args.dshared.as<T>());
  if (args.dweight) {
    if (!args.add_dweight) std::fill_n(args.dweight.as<T>(), width * hidden, T(0));
    add_recurrent_gradient(args.dinputs.as<T>(), width, width, args.h0.as<T>(), args.h.as<T>(),
                           steps, batch, hidden, args.dweight.as<T>());
  }
}

}  // namespace

template <>
void kernel(const LstmForward& args, Scratch& scratch) {
  for_floating<LstmForward>(args.inputs.dtype, [&]<class T>(T) { forward<T>(args, scratch); });
}
template <>
void kernel(const LstmBackward& args, Scratch& scratch) {
  for_floating<LstmBackward>(args.gates.dtype, [&]<class T>(T) { backward<T>(args, scratch); });
}
template void entry(const LstmForward&, ScratchMemory&);
template void entry(const LstmBackward&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
