#pragma once
/// The cells of a GRU, for the kernels of steps.cuh; formulas: cuda_gru.cu.

#include <cmath>
#include <cstdint>

#include "kernels/pointwise/kernels.cuh"
#include "kernels/recurrent/steps.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// The tensors of the cells of one forward step.
template <class T>
struct GruStep {
  std::int64_t hidden;
  const T* inputs;    ///< [B,3H]
  const T* shared;    ///< [B,3H], or null
  const T* bias;      ///< [3H]
  const T* h_before;  ///< [B,H]
  T* h;               ///< [B,H]
  T* saved_gates;     ///< [B,3H], or null
  T* u_n;             ///< [B,H], or null
  T* reset_h;         ///< [B,H] r h_before, for GruReset::before
  T* keep;            ///< stores z from the first product to the second
  std::int64_t keep_stride;

  __device__ __forceinline__ T input(std::int64_t b, std::int64_t unit, int gate) const {
    const std::int64_t at = (3 * b + gate) * hidden + unit;
    return shared == nullptr ? inputs[at] : inputs[at] + shared[at];
  }
  __device__ __forceinline__ T bias_of(std::int64_t unit, int gate) const {
    return bias[gate * hidden + unit];
  }
  __device__ __forceinline__ void save(std::int64_t b, std::int64_t unit, int gate, T value) const {
    if (saved_gates != nullptr) saved_gates[(3 * b + gate) * hidden + unit] = value;
  }
};

/// GruReset::after: a whole time step.
template <class T>
struct GruCell {
  static constexpr int gates = 3;
  static constexpr int units = 8;
  struct Operands {
    T reset, keep, n;
    T bias_n;
    T h_before;
  };

  GruStep<T> step;

  __device__ __forceinline__ Operands read(std::int64_t b, std::int64_t unit) const {
    return {step.input(b, unit, 0) + step.bias_of(unit, 0),
            step.input(b, unit, 1) + step.bias_of(unit, 1), step.input(b, unit, 2),
            step.bias_of(unit, 2), step.h_before[b * step.hidden + unit]};
  }

  __device__ __forceinline__ void write(std::int64_t b, std::int64_t unit, const Operands& x,
                                        const T (&sums)[3]) const {
    const std::int64_t at = b * step.hidden + unit;
    const T reset = logistic(x.reset + sums[0]);
    const T keep = logistic(x.keep + sums[1]);
    const T product = x.bias_n + sums[2];
    const T n = std::tanh(x.n + reset * product);
    step.h[at] = (T{1} - keep) * n + keep * x.h_before;
    step.save(b, unit, 0, reset);
    step.save(b, unit, 1, keep);
    step.save(b, unit, 2, n);
    if (step.u_n != nullptr) step.u_n[at] = product;
  }
};

/// GruReset::before, first product: r and z, and with r the factor of the second product.
template <class T>
struct GruResetCell {
  static constexpr int gates = 2;
  static constexpr int units = 8;
  struct Operands {
    T reset, keep;
    T h_before;
  };

  GruStep<T> step;

  __device__ __forceinline__ Operands read(std::int64_t b, std::int64_t unit) const {
    return {step.input(b, unit, 0) + step.bias_of(unit, 0),
            step.input(b, unit, 1) + step.bias_of(unit, 1), step.h_before[b * step.hidden + unit]};
  }

  __device__ __forceinline__ void write(std::int64_t b, std::int64_t unit, const Operands& x,
                                        const T (&sums)[2]) const {
    const T reset = logistic(x.reset + sums[0]);
    step.reset_h[b * step.hidden + unit] = reset * x.h_before;
    step.keep[b * step.keep_stride + unit] = logistic(x.keep + sums[1]);
    step.save(b, unit, 0, reset);
  }
};

/// GruReset::before, second product: n and h.
template <class T>
struct GruCandidateCell {
  static constexpr int gates = 1;
  static constexpr int units = 16;
  struct Operands {
    T n;
    T keep;
    T h_before;
  };

  GruStep<T> step;

  __device__ __forceinline__ Operands read(std::int64_t b, std::int64_t unit) const {
    return {step.input(b, unit, 2) + step.bias_of(unit, 2), step.keep[b * step.keep_stride + unit],
            step.h_before[b * step.hidden + unit]};
  }

  __device__ __forceinline__ void write(std::int64_t b, std::int64_t unit, const Operands& x,
                                        const T (&sum)[1]) const {
    const T n = std::tanh(x.n + sum[0]);
    step.h[b * step.hidden + unit] = (T{1} - x.keep) * n + x.keep * x.h_before;
    step.save(b, unit, 2, n);
  }
};

/// The purpose of the product of a backward launch.
enum class GruGradient : std::uint8_t {
  all_gates,  ///< GruReset::after: dh through u of the next step; gives dr, dz, dn
  candidate,  ///< GruReset::before: dh through r and z of the next step; gives dz, dn
  reset,      ///< GruReset::before: the gradient of r h_before, by dn of this step; gives dr
  h0          ///< dh0 through the gates of the first step
};

/// Gradients of one time step. `carry` holds the part that bypasses the gates, for the previous
/// time step; at the end it is dh0.
template <class T>
struct GruGradientCell {
  struct Operands {
    T reset, keep, n;
    T h_before;
    T u_n;
    T dh;
    T carry;
  };

  std::int64_t hidden;
  T* carry;  ///< [B,H]
  GruGradient wanted = GruGradient::all_gates;
  bool last = false;            ///< the last time step of the segment, without a carry
  const T* gates = nullptr;     ///< [B,3H]
  const T* h_before = nullptr;  ///< [B,H]
  const T* u_n = nullptr;       ///< [B,H], for GruGradient::all_gates
  const T* dh = nullptr;        ///< [B,H], or null
  T* dinputs = nullptr;         ///< [B,3H]
  T* du = nullptr;              ///< [B,3H], for GruGradient::all_gates
  T* reset_h = nullptr;         ///< [B,H] r h_before, for GruGradient::candidate; or null

  __device__ __forceinline__ Operands read(std::int64_t b, std::int64_t unit) const {
    const std::int64_t at = b * hidden + unit;
    Operands x{};
    if (!last) x.carry = carry[at];
    if (wanted == GruGradient::h0) return x;
    const T* const from = gates + 3 * b * hidden + unit;
    x.reset = from[0];
    x.h_before = h_before[at];
    if (wanted == GruGradient::reset) return x;
    x.keep = from[hidden];
    x.n = from[2 * hidden];
    if (wanted == GruGradient::all_gates) x.u_n = u_n[at];
    if (dh != nullptr) x.dh = dh[at];
    return x;
  }

  __device__ __forceinline__ void write(std::int64_t b, std::int64_t unit, const Operands& x,
                                        const T (&sum)[1]) const {
    const std::int64_t at = b * hidden + unit;
    if (wanted == GruGradient::h0) {
      carry[at] = x.carry + sum[0];
      return;
    }
    T* const da = dinputs + 3 * b * hidden + unit;
    if (wanted == GruGradient::reset) {
      da[0] = sum[0] * x.h_before * x.reset * (T{1} - x.reset);
      carry[at] = x.carry + sum[0] * x.reset;
      return;
    }
    const T dhidden = x.dh + x.carry + sum[0];
    const T dkeep = dhidden * (x.h_before - x.n) * x.keep * (T{1} - x.keep);
    const T dn = dhidden * (T{1} - x.keep) * (T{1} - x.n * x.n);
    da[hidden] = dkeep;
    da[2 * hidden] = dn;
    carry[at] = dhidden * x.keep;
    if (wanted == GruGradient::candidate) {
      if (reset_h != nullptr) reset_h[at] = x.reset * x.h_before;
      return;
    }
    const T dreset = dn * x.u_n * x.reset * (T{1} - x.reset);
    da[0] = dreset;
    T* const to = du + 3 * b * hidden + unit;
    to[0] = dreset;
    to[hidden] = dkeep;
    to[2 * hidden] = dn * x.reset;
  }
};

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
