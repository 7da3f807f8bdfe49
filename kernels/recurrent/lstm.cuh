#pragma once
/// The cells of an LSTM, for the kernels of steps.cuh; formulas: cuda_lstm.cu.

#include <cmath>
#include <cstdint>

#include "kernels/pointwise/kernels.cuh"
#include "kernels/recurrent/steps.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// Gates, c and h of one step.
template <class T>
struct LstmCell {
  static constexpr int gates = 4;
  static constexpr int units = 8;
  struct Operands {
    T a[4];
    T c;
  };

  std::int64_t hidden;
  const T* inputs;    ///< [B,4H]
  const T* shared;    ///< [B,4H], or null
  const T* c_before;  ///< [B,H]
  T* h;               ///< [B,H]
  T* c;               ///< [B,H]; may be c_before
  T* c_last;          ///< a second copy of c, or null
  T* saved_gates;     ///< [B,4H], or null

  __device__ __forceinline__ Operands read(std::int64_t b, std::int64_t unit) const {
    Operands operands;
    REFRAIN_UNROLL
    for (int g = 0; g < 4; ++g) {
      const std::int64_t at = (4 * b + g) * hidden + unit;
      operands.a[g] = shared == nullptr ? inputs[at] : inputs[at] + shared[at];
    }
    operands.c = c_before[b * hidden + unit];
    return operands;
  }

  __device__ __forceinline__ void write(std::int64_t b, std::int64_t unit, const Operands& operands,
                                        const T (&sums)[4]) const {
    const T i = logistic(operands.a[0] + sums[0]);
    const T f = logistic(operands.a[1] + sums[1]);
    const T g = std::tanh(operands.a[2] + sums[2]);
    const T o = logistic(operands.a[3] + sums[3]);
    const T cell = f * operands.c + i * g;
    const std::int64_t at = b * hidden + unit;
    c[at] = cell;
    if (c_last != nullptr) c_last[at] = cell;
    h[at] = o * std::tanh(cell);
    if (saved_gates == nullptr) return;
    T* const to = saved_gates + 4 * b * hidden + unit;
    to[0] = i;
    to[hidden] = f;
    to[2 * hidden] = g;
    to[3 * hidden] = o;
  }
};

/// Gradients of the gates of one time step from `sum`, dh from the next time step; or the gradient
/// of h0, which is that sum.
template <class T>
struct LstmGradientCell {
  struct Operands {
    T i, f, g, o;
    T c;
    T c_before;
    T dh;
    T dc;
  };

  std::int64_t hidden;
  const T* gates = nullptr;     ///< [B,4H]
  const T* c = nullptr;         ///< [B,H]
  const T* c_before = nullptr;  ///< [B,H]
  const T* dh = nullptr;        ///< [B,H], or null
  const T* dc = nullptr;        ///< [B,H] from the next step, or null
  T* dinputs = nullptr;         ///< [B,4H]
  T* dc_before = nullptr;       ///< [B,H]; may be dc
  T* dh0 = nullptr;             ///< [B,H]: only the sum is computed; or null

  __device__ __forceinline__ Operands read(std::int64_t b, std::int64_t unit) const {
    if (dh0 != nullptr) return {};
    const std::int64_t at = b * hidden + unit;
    const T* const from = gates + 4 * b * hidden + unit;
    return {from[0],
            from[hidden],
            from[2 * hidden],
            from[3 * hidden],
            c[at],
            c_before[at],
            dh == nullptr ? T{0} : dh[at],
            dc == nullptr ? T{0} : dc[at]};
  }

  __device__ __forceinline__ void write(std::int64_t b, std::int64_t unit, const Operands& x,
                                        const T (&sum)[1]) const {
    const std::int64_t at = b * hidden + unit;
    if (dh0 != nullptr) {
      dh0[at] = sum[0];
      return;
    }
    const T t = std::tanh(x.c);
    const T dhidden = x.dh + sum[0];
    const T dcell = x.dc + dhidden * x.o * (T{1} - t * t);
    T* const to = dinputs + 4 * b * hidden + unit;
    to[0] = dcell * x.g * x.i * (T{1} - x.i);
    to[hidden] = dcell * x.c_before * x.f * (T{1} - x.f);
    to[2 * hidden] = dcell * x.i * (T{1} - x.g * x.g);
    to[3 * hidden] = dhidden * t * x.o * (T{1} - x.o);
    dc_before[at] = dcell * x.f;
  }
};

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
