#pragma once
/// Device templates of the parameter updates; formulas, grids and bytes: cuda.cu.

#include <cmath>
#include <cstdint>

#include "kernels/simt.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

inline constexpr int update_threads = 256;
/// elements of a block for a parameter with a dense gradient
inline constexpr std::int64_t update_piece = 1024;

/// How a parameter is divided among threads. A piece is contiguous in the gradient, the parameter
/// and its moments: a row of a row-sparse gradient, or update_piece elements of a dense one.
struct Pieces {
  /// row of each piece, skipped if negative; null: the gradient is dense
  const std::int32_t* rows;
  std::int64_t count;
  std::int64_t length;  ///< elements of a piece; the last one of a dense gradient may be shorter
  std::int64_t end;     ///< elements of the gradient
  int team_bits;        ///< 2^team_bits threads take a piece
  bool packed;          ///< 16 bytes at a time; otherwise element by element
};

// ---- one element ----

/// The constants of one Adam step.
template <class T>
struct AdamRule {
  T learning_rate, inverse_correction1, inverse_correction2, beta1, one_minus_beta1, beta2,
      one_minus_beta2, epsilon, l2, decay;

  __device__ __forceinline__ void operator()(T& parameter, T gradient, T& m, T& v) const {
    const T g = gradient + l2 * parameter;
    m = beta1 * m + one_minus_beta1 * g;
    v = beta2 * v + one_minus_beta2 * g * g;
    const T direction = m * inverse_correction1 / (std::sqrt(v * inverse_correction2) + epsilon);
    parameter -= learning_rate * (direction + decay * parameter);
  }
};

/// The update of one parameter by Adam.
template <class T>
struct AdamTensor {
  using Element = T;
  Pieces pieces;
  T* parameter;
  const T* gradient;
  T* m;
  T* v;
  const double* rates;  ///< in device memory, in place of the rates of the rule; or null
  AdamRule<T> rule;

  __device__ __forceinline__ AdamRule<T> current_rule() const {
    AdamRule<T> current = rule;
    if (rates != nullptr) {
      current.learning_rate = static_cast<T>(rates[0]);
      current.inverse_correction1 = static_cast<T>(rates[1]);
      current.inverse_correction2 = static_cast<T>(rates[2]);
    }
    return current;
  }

  /// Updates n elements at `to` of the parameter with those at `from` of the gradient.
  template <int n>
  __device__ __forceinline__ void update(const AdamRule<T>& now, std::int64_t from,
                                         std::int64_t to) const {
    T p[n];
    T g[n];
    T first[n];
    T second[n];
    simt::load_group(parameter + to, p);
    simt::load_group(gradient + from, g);
    simt::load_group(m + to, first);
    simt::load_group(v + to, second);
    REFRAIN_UNROLL
    for (int i = 0; i < n; ++i) now(p[i], g[i], first[i], second[i]);
    simt::store_group(parameter + to, p);
    simt::store_group(m + to, first);
    simt::store_group(v + to, second);
  }
};

template <class T>
struct SgdRule {
  T learning_rate, momentum, l2;
};

/// The update of one parameter by gradient descent.
template <class T>
struct SgdTensor {
  using Element = T;
  Pieces pieces;
  T* parameter;
  const T* gradient;
  T* velocity;          ///< or null
  const double* rates;  ///< or null
  SgdRule<T> rule;

  __device__ __forceinline__ SgdRule<T> current_rule() const {
    SgdRule<T> current = rule;
    if (rates != nullptr) current.learning_rate = static_cast<T>(rates[0]);
    return current;
  }

  template <int n>
  __device__ __forceinline__ void update(const SgdRule<T>& now, std::int64_t from,
                                         std::int64_t to) const {
    T p[n];
    T g[n];
    simt::load_group(parameter + to, p);
    simt::load_group(gradient + from, g);
    REFRAIN_UNROLL
    for (int i = 0; i < n; ++i) g[i] += now.l2 * p[i];
    if (velocity != nullptr) {
      T speed[n];
      simt::load_group(velocity + to, speed);
      REFRAIN_UNROLL
      for (int i = 0; i < n; ++i) g[i] += now.momentum * speed[i];
      simt::store_group(velocity + to, g);
    }
    REFRAIN_UNROLL
    for (int i = 0; i < n; ++i) p[i] -= now.learning_rate * g[i];
    simt::store_group(parameter + to, p);
  }
};

// ---- kernels ----

/// The parameters that one launch updates. They are passed in the arguments of the kernel, which
/// hold 4 KiB, so that a captured launch needs no table in memory.
template <class Tensor>
struct UpdateGroup {
  static constexpr int max_size = sizeof(Tensor) <= 124 ? 32 : 16;  ///< a power of two
  Tensor at[max_size];
  unsigned first_block[max_size];  ///< ascending; 2^32 - 1 past the last

  /// The parameter that this block updates.
  __device__ __forceinline__ int member(unsigned block) const {
    int found = 0;
    REFRAIN_UNROLL
    for (int step = max_size / 2; step > 0; step /= 2) {
      if (first_block[found + step] <= block) found += step;
    }
    return found;
  }
};

/// The elements of one thread in a piece: groups of n elements, then the elements that fill no
/// group.
template <int n, class Tensor, class Rule>
__device__ __forceinline__ void update_share(const Tensor& tensor, const Rule& rule,
                                             std::int64_t from, std::int64_t to,
                                             std::int64_t length) {
  const int team = 1 << tensor.pieces.team_bits;
  const int member = static_cast<int>(threadIdx.x) & (team - 1);
  const std::int64_t grouped = length / n * n;
  for (std::int64_t i = member * n; i < grouped; i += team * n)
    tensor.template update<n>(rule, from + i, to + i);
  if constexpr (n > 1) {
    for (std::int64_t i = grouped + member; i < length; i += team)
      tensor.template update<1>(rule, from + i, to + i);
  }
}

/// A block takes 256 >> team_bits pieces of one parameter. Rows are distinct, so no element has two
/// writers.
template <class Tensor>
__global__ void __launch_bounds__(update_threads)
    update_pieces(const __grid_constant__ UpdateGroup<Tensor> group) {
  const int member = group.member(blockIdx.x);
  const Tensor& tensor = group.at[member];
  const Pieces& pieces = tensor.pieces;
  const std::int64_t block = blockIdx.x - group.first_block[member];
  const std::int64_t piece = block * (update_threads >> pieces.team_bits) +
                             (static_cast<int>(threadIdx.x) >> pieces.team_bits);
  if (piece >= pieces.count) return;
  const std::int64_t from = piece * pieces.length;
  std::int64_t to = from;
  if (pieces.rows != nullptr) {
    const std::int32_t row = pieces.rows[piece];
    if (row < 0) return;
    to = row * pieces.length;
  }
  const std::int64_t length = pieces.end - from < pieces.length ? pieces.end - from : pieces.length;
  const auto rule = tensor.current_rule();
  if (pieces.packed) {
    update_share<simt::Pack<typename Tensor::Element>::count>(tensor, rule, from, to, length);
  } else {
    update_share<1>(tensor, rule, from, to, length);
  }
}

/// norm and factor of ClipFactor, by one block: thread t adds squares t, t + 256, ... in ascending
/// order, in double.
template <class T>
__global__ void __launch_bounds__(update_threads)
    find_clip_factor(std::int64_t count, const T* squares, double max_norm, T* norm, T* factor) {
  REFRAIN_SHARED_ARRAY(double, scratch, update_threads / simt::warp_size);
  double sum = 0;
  for (std::int64_t i = static_cast<std::int64_t>(threadIdx.x); i < count; i += update_threads)
    sum += squares[i];
  sum = simt::block_sum<update_threads / simt::warp_size>(sum, scratch);
  if (threadIdx.x != 0) return;
  const double root = std::sqrt(sum);
  *norm = static_cast<T>(root);
  *factor = root > max_norm && std::isfinite(root) ? static_cast<T>(max_norm / root) : T{1};
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
