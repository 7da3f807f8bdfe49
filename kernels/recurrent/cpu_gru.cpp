// One segment of a GRU: L time steps over B rows, H hidden units; structured like cpu_lstm.cpp.
//   reset after   u = h W^T + bias in one product per time step
//   reset before  two products a step: h with the rows of r and z, then r * h with those of n
// 6 L B H^2 FLOPs forward, 12 backward with dW.  Any L, B, H >= 1.

#include "kernels/kernel.hpp"
#include "kernels/recurrent/tiles.hpp"
#include "refrain/kernels/recurrent.hpp"

namespace refrain::kernels::cpu {
namespace {

/// weight [3H,H] in the layout that products read: as a whole (reset after), or the rows of r and z
/// separate from those of n (reset before).
template <class T>
class GruWeights {
 public:
  GruWeights(const View& weight, const View& packed, GruReset reset, bool transposed,
             Scratch& scratch)
      : whole_(weight, packed, transposed, scratch, reset == GruReset::after),
        gates_(rows(weight, 0, 2), {}, transposed, scratch, reset == GruReset::before),
        candidate_(rows(weight, 2, 3), {}, transposed, scratch, reset == GruReset::before) {}

  struct Packed {
    const T* whole;
    const T* gates;
    const T* candidate;
  };
  Packed get() const { return {whole_.get(), gates_.get(), candidate_.get()}; }

 private:
  /// Rows from third `begin` to third `end`.
  static View rows(const View& weight, std::int64_t begin, std::int64_t end) {
    const std::int64_t hidden = weight.shape[1];
    return {weight.as<T>() + begin * hidden * hidden,
            {(end - begin) * hidden, hidden},
            weight.dtype,
            weight.device};
  }

  PackedOrPacking<T> whole_;
  PackedOrPacking<T> gates_;
  PackedOrPacking<T> candidate_;
};

template <class T>
struct ForwardPlan {
  GruWeights<T> weights;
  T* u;      ///< recurrent product of a tile, for each worker
  T* reset;  ///< r * h of a tile, for each worker

  ForwardPlan(const GruForward& args, Scratch& scratch)
      : weights(args.weight, args.packed, args.reset, true, scratch),
        u(scratch.take<T>(threads() * largest_batch_tile * 3 * args.h0.shape[1])),
        reset(scratch.take<T>(threads() * largest_batch_tile * args.h0.shape[1])) {}
};

template <class T>
void forward(const GruForward& args, Scratch& scratch) {
  const std::int64_t steps = args.inputs.shape[0];
  const std::int64_t batch = args.inputs.shape[1];
  const std::int64_t hidden = args.h0.shape[1];
  const std::int64_t width = 3 * hidden;
  const bool after = args.reset == GruReset::after;
  const ForwardPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  const auto weights = plan.weights.get();
  const T* const bias = args.bias.as<T>();
  for_batch_tiles(batch, [&](std::int64_t first, std::int64_t count, int worker) {
    T* const u = plan.u + worker * largest_batch_tile * width;
    T* const reset_h = plan.reset + worker * largest_batch_tile * hidden;
    const T* h_before = args.h0.as<T>() + first * hidden;
    for (std::int64_t l = 0; l < steps; ++l) {
      const std::int64_t row = l * batch + first;
      T* const h = args.h.as<T>() + row * hidden;
      const auto inputs = [&](std::int64_t r) { return args.inputs.as<T>() + (row + r) * width; };
      const auto shared = [&](std::int64_t r) {
        return args.shared ? args.shared.as<T>() + (first + r) * width : nullptr;
      };
      const auto add = [](auto lanes, const T* x, const T* more, const T* product, std::int64_t j) {
        using L = decltype(lanes);
        const auto sum = L::load(x + j) + L::load(product + j);
        return more == nullptr ? sum : sum + L::load(more + j);
      };
      if (after) {
        block_product<T>(h_before, hidden, count, hidden, Panels<T>::packed(weights.whole, hidden),
                         width, u, width, Start<T>::row(bias));
      } else {
        block_product<T>(h_before, hidden, count, hidden, Panels<T>::packed(weights.gates, hidden),
                         2 * hidden, u, width, Start<T>::row(bias));
        for (std::int64_t r = 0; r < count; ++r) {
          for_lanes<T>(hidden, [&](auto lanes, std::int64_t j) {
            using L = decltype(lanes);
            L::store(reset_h + r * hidden + j,
                     sigmoid(add(lanes, inputs(r), shared(r), u + r * width, j)) *
                         L::load(h_before + r * hidden + j));
          });
        }
        block_product<T>(reset_h, hidden, count, hidden,
                         Panels<T>::packed(weights.candidate, hidden), hidden, u + 2 * hidden,
                         width, Start<T>::row(bias + 2 * hidden));
      }
      for (std::int64_t r = 0; r < count; ++r) {
        const T* const u_row = u + r * width;
        T* const gates = args.gates ? args.gates.as<T>() + (row + r) * width : nullptr;
        T* const u_n = args.u_n ? args.u_n.as<T>() + (row + r) * hidden : nullptr;
        for_lanes<T>(hidden, [&](auto lanes, std::int64_t j) {
          using L = decltype(lanes);
          const auto reset = sigmoid(add(lanes, inputs(r), shared(r), u_row, j));
          const auto keep = sigmoid(add(lanes, inputs(r), shared(r), u_row, hidden + j));
          auto candidate = L::load(inputs(r) + 2 * hidden + j);
          if (args.shared) candidate = candidate + L::load(shared(r) + 2 * hidden + j);
          const auto product = L::load(u_row + 2 * hidden + j);
          const auto n = tanh(candidate + (after ? reset * product : product));
          if (gates != nullptr) {
            L::store(gates + j, reset);
            L::store(gates + hidden + j, keep);
            L::store(gates + 2 * hidden + j, n);
          }
          if (u_n != nullptr) L::store(u_n + j, product);
          L::store(h + r * hidden + j, (1 - keep) * n + keep * L::load(h_before + r * hidden + j));
        });
      }
      h_before = h;
    }
  });
}

template <class T>
struct BackwardPlan {
  GruWeights<T> weights;
  T* dh;  ///< gradient for the previous time step, for each worker
  T* du;  ///< reset after: gradient of u, [L,B,3H]
  T* dq;  ///< reset before: gradient of r * h of a tile, for each worker
  T* q;   ///< reset before: r * h, [L,B,H]

  BackwardPlan(const GruBackward& args, Scratch& scratch)
      : weights(args.weight, args.packed, args.reset, false, scratch),
        dh(scratch.take<T>(threads() * largest_batch_tile * args.h0.shape[1])),
        du(args.reset == GruReset::after ? scratch.take<T>(args.gates.shape.numel()) : nullptr),
        dq(args.reset == GruReset::before
               ? scratch.take<T>(threads() * largest_batch_tile * args.h0.shape[1])
               : nullptr),
        q(args.reset == GruReset::before ? scratch.take<T>(args.h.shape.numel()) : nullptr) {}
};

/// out[c] (+)= sum over rows of x[row,c], rows in order.
template <class T>
void sum_columns(const T* x, std::int64_t rows, std::int64_t width, bool add, T* out) {
  parallel_for(width, 64, [&](std::int64_t begin, std::int64_t end) {
    if (!add) std::fill(out + begin, out + end, T(0));
    for (std::int64_t row = 0; row < rows; ++row) {
      const T* const from = x + row * width;
      for (std::int64_t c = begin; c < end; ++c) out[c] += from[c];
    }
  });
}

template <class T>
void backward(const GruBackward& args, Scratch& scratch) {
  const std::int64_t steps = args.gates.shape[0];
  const std::int64_t batch = args.gates.shape[1];
  const std::int64_t hidden = args.h0.shape[1];
  const std::int64_t width = 3 * hidden;
  const bool after = args.reset == GruReset::after;
  const BackwardPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  const auto weights = plan.weights.get();
  for_batch_tiles(batch, [&](std::int64_t first, std::int64_t count, int worker) {
    T* const dh = plan.dh + worker * largest_batch_tile * hidden;
    std::fill_n(dh, count * hidden, T(0));
    for (std::int64_t l = steps - 1; l >= 0; --l) {
      const std::int64_t row = l * batch + first;
      const T* const h_before =
          l == 0 ? args.h0.as<T>() + first * hidden : args.h.as<T>() + (row - batch) * hidden;
      T* const da = args.dinputs.as<T>() + row * width;
      // Gates z and n; with the reset after the product, r as well. dh keeps the part that bypasses
      // the gates.
      for (std::int64_t r = 0; r < count; ++r) {
        const T* const gates = args.gates.as<T>() + (row + r) * width;
        T* const da_row = da + r * width;
        for_lanes<T>(hidden, [&](auto lanes, std::int64_t j) {
          using L = decltype(lanes);
          const auto reset = L::load(gates + j);
          const auto keep = L::load(gates + hidden + j);
          const auto n = L::load(gates + 2 * hidden + j);
          auto dhidden = L::load(dh + r * hidden + j);
          if (args.dh) dhidden = dhidden + L::load(args.dh.as<T>() + (row + r) * hidden + j);
          const auto before = L::load(h_before + r * hidden + j);
          const auto dn = dhidden * (1 - keep) * (1 - n * n);
          const auto dkeep = dhidden * (before - n) * keep * (1 - keep);
          L::store(da_row + hidden + j, dkeep);
          L::store(da_row + 2 * hidden + j, dn);
          L::store(dh + r * hidden + j, dhidden * keep);
          if (after) {
            const auto dreset =
                dn * L::load(args.u_n.as<T>() + (row + r) * hidden + j) * reset * (1 - reset);
            T* const du = plan.du + (row + r) * width;
            L::store(da_row + j, dreset);
            L::store(du + j, dreset);
            L::store(du + hidden + j, dkeep);
            L::store(du + 2 * hidden + j, dn * reset);
          } else {
            L::store(plan.q + (row + r) * hidden + j, reset * before);
          }
        });
      }
      if (after) {
        block_product<T>(plan.du + row * width, width, count, width,
                         Panels<T>::packed(weights.whole, width), hidden, dh, hidden,
                         Start<T>::rows(dh, hidden));
        continue;
      }
      T* const dq = plan.dq + worker * largest_batch_tile * hidden;
      block_product<T>(da + 2 * hidden, width, count, hidden,
                       Panels<T>::packed(weights.candidate, hidden), hidden, dq, hidden,
                       Start<T>::zero());
      for (std::int64_t r = 0; r < count; ++r) {
        for_lanes<T>(hidden, [&](auto lanes, std::int64_t j) {
          using L = decltype(lanes);
          const auto reset = L::load(args.gates.as<T>() + (row + r) * width + j);
          const auto product = L::load(dq + r * hidden + j);
          L::store(da + r * width + j,
                   product * L::load(h_before + r * hidden + j) * reset * (1 - reset));
          L::store(dh + r * hidden + j, L::load(dh + r * hidden + j) + product * reset);
        });
      }
      block_product<T>(da, width, count, 2 * hidden, Panels<T>::packed(weights.gates, 2 * hidden),
                       hidden, dh, hidden, Start<T>::rows(dh, hidden));
    }
    if (args.dh0) std::copy_n(dh, count * hidden, args.dh0.as<T>() + first * hidden);
  });
  const T* const du = after ? plan.du : args.dinputs.as<T>();
  if (args.dshared) sum_over_steps(args.dinputs.as<T>(), steps, batch, width, args.dshared.as<T>());
  if (args.dbias) sum_columns(du, steps * batch, width, args.add_dweight, args.dbias.as<T>());
  if (args.dweight) {
    T* const dweight = args.dweight.as<T>();
    if (!args.add_dweight) std::fill_n(dweight, width * hidden, T(0));
    add_recurrent_gradient(du, width, after ? width : 2 * hidden, args.h0.as<T>(), args.h.as<T>(),
                           steps, batch, hidden, dweight);
    if (!after) {
      add_outer<T>(du + 2 * hidden, width, hidden, plan.q, hidden, steps * batch,
                   dweight + 2 * hidden * hidden);
    }
  }
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

}  // namespace refrain::kernels::cpu
