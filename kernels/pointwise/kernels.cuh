#pragma once
/// Device templates of the pointwise kernels; formulas, grids and bytes: cuda.cu.

#include <cmath>
#include <cstdint>

#include "kernels/pointwise/philox.cuh"
#include "kernels/simt.hpp"
#include "refrain/kernels/pointwise.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

inline constexpr int pointwise_threads = 256;

// ---- one element ----

template <class T>
__device__ __forceinline__ T logistic(T x) {
  return T{1} / (T{1} + std::exp(-x));
}

/// 2 u with gelu(x) = 0.5 x (1 + tanh(u)) = x logistic(2 u), u = sqrt(2/pi) (x + 0.044715 x^3).
template <class T>
__device__ __forceinline__ T gelu_argument(T x) {
  return static_cast<T>(1.5957691216057308) * (x + static_cast<T>(0.044715) * x * x * x);
}

template <class T, UnaryFunction function>
struct Unary {
  __device__ __forceinline__ T operator()(T x) const {
    if constexpr (function == UnaryFunction::relu) {
      return x < T{0} ? T{0} : x;
    } else if constexpr (function == UnaryFunction::gelu) {
      return x * logistic(gelu_argument(x));
    } else if constexpr (function == UnaryFunction::sigmoid) {
      return logistic(x);
    } else {
      return std::tanh(x);
    }
  }
};

template <class T, UnaryFunction function>
struct UnarySlope {
  __device__ __forceinline__ T operator()(T x, T dy) const {
    if constexpr (function == UnaryFunction::relu) {
      return x > T{0} ? dy : T{0};
    } else if constexpr (function == UnaryFunction::gelu) {
      const T s = logistic(gelu_argument(x));
      const T slope = s * (T{1} - s);
      const T inner =
          static_cast<T>(1.5957691216057308) * (T{1} + static_cast<T>(3 * 0.044715) * x * x);
      return dy * (slope == T{0} ? s : s + x * slope * inner);  // x * inner may overflow
    } else if constexpr (function == UnaryFunction::sigmoid) {
      const T s = logistic(x);
      return dy * s * (T{1} - s);
    } else {
      const T t = std::tanh(x);
      return dy * (T{1} - t * t);
    }
  }
};

template <class T>
struct Scaled {
  T alpha;
  __device__ __forceinline__ T operator()(T a) const { return alpha * a; }
};

template <class T>
struct Combined {
  T alpha;
  T beta;
  __device__ __forceinline__ T operator()(T a, T b) const { return alpha * a + beta * b; }
};

template <class T>
struct Multiplied {
  __device__ __forceinline__ T operator()(T a, T b) const { return a * b; }
};

/// a times one element in device memory.
template <class T>
struct ProductWithElement {
  const T* factor;
  __device__ __forceinline__ T operator()(T a) const { return *factor * a; }
};

// ---- kernels ----

/// The elements of one thread of a pointwise kernel: thread j takes group j of n elements, and the
/// threads after the last full group take one element each.
template <int n>
struct Share {
  __device__ __forceinline__ explicit Share(std::int64_t count) {
    const std::int64_t groups = count / n;
    const std::int64_t thread = simt::global_thread();
    whole = thread < groups;
    begin = whole ? thread * n : groups * n + (thread - groups);
    any = begin < count;
  }
  bool whole;  ///< a full group at `begin`, otherwise one element
  bool any;
  std::int64_t begin;
};

/// out[i] = function(a[i]). out may be a: a thread reads before it writes, and no other thread
/// reads its output.
template <int n, class T, class Function>
__global__ void __launch_bounds__(pointwise_threads)
    map_one(std::int64_t count, Function function, const T* a, T* out) {
  const Share<n> share(count);
  if (!share.any) return;
  if (share.whole) {
    T values[n];
    simt::load_group(a + share.begin, values);
    REFRAIN_UNROLL
    for (int i = 0; i < n; ++i) values[i] = function(values[i]);
    simt::store_group(out + share.begin, values);
  } else {
    out[share.begin] = function(a[share.begin]);
  }
}

/// out[i] = function(a[i], b[i]).  out may be a or b.
template <int n, class T, class Function>
__global__ void __launch_bounds__(pointwise_threads)
    map_two(std::int64_t count, Function function, const T* a, const T* b, T* out) {
  const Share<n> share(count);
  if (!share.any) return;
  if (share.whole) {
    T left[n];
    T right[n];
    simt::load_group(a + share.begin, left);
    simt::load_group(b + share.begin, right);
    REFRAIN_UNROLL
    for (int i = 0; i < n; ++i) left[i] = function(left[i], right[i]);
    simt::store_group(out + share.begin, left);
  } else {
    out[share.begin] = function(a[share.begin], b[share.begin]);
  }
}

/// Elements that one block of dot_parts multiplies and adds.
inline constexpr std::int64_t dot_slice = 4096;

/// parts[block] = sum of a[i] b[i] (b null: of a[i]) over the block's slice: 16 terms per thread in
/// T, then 256 sums in double.
template <class T>
__global__ void __launch_bounds__(pointwise_threads)
    dot_parts(std::int64_t count, const T* a, const T* b, double* parts) {
  REFRAIN_SHARED_ARRAY(double, scratch, pointwise_threads / simt::warp_size);
  const std::int64_t begin =
      static_cast<std::int64_t>(blockIdx.x) * dot_slice + static_cast<std::int64_t>(threadIdx.x);
  T sum = 0;
  REFRAIN_UNROLL
  for (int step = 0; step < dot_slice / pointwise_threads; ++step) {
    const std::int64_t i = begin + step * pointwise_threads;
    if (i < count) sum += b == nullptr ? a[i] : a[i] * b[i];
  }
  const double total =
      simt::block_sum<pointwise_threads / simt::warp_size>(static_cast<double>(sum), scratch);
  if (threadIdx.x == 0) parts[blockIdx.x] = total;
}

inline constexpr int dot_total_threads = 1024;

/// out[0] = sum of parts, by one block: thread t adds parts t, t + 1024, ... in ascending order.
template <class T>
__global__ void __launch_bounds__(dot_total_threads)
    dot_total(std::int64_t count, const double* parts, T* out) {
  REFRAIN_SHARED_ARRAY(double, scratch, dot_total_threads / simt::warp_size);
  double sum = 0;
  for (std::int64_t i = static_cast<std::int64_t>(threadIdx.x); i < count; i += dot_total_threads)
    sum += parts[i];
  sum = simt::block_sum<dot_total_threads / simt::warp_size>(sum, scratch);
  if (threadIdx.x == 0) *out = static_cast<T>(sum);
}

/// The parameters of dropout.
template <class T>
struct DropoutRule {
  T scale;                  ///< 1 / keep
  std::uint32_t last_kept;  ///< the largest word that keeps its element
  std::uint64_t seed;
  std::uint64_t stream;
  std::uint64_t position;
  const std::int64_t* shift;  ///< or null; added to position
};

/// Thread j computes Philox block position + shift + j and with it elements 4 j .. 4 j + 3. y may
/// be x.
template <bool aligned, class T>
__global__ void __launch_bounds__(pointwise_threads)
    drop(std::int64_t count, DropoutRule<T> rule, const T* x, T* y) {
  const std::int64_t thread = simt::global_thread();
  const std::int64_t begin = 4 * thread;
  if (begin >= count) return;
  const std::uint64_t first_block =
      rule.position + (rule.shift != nullptr ? static_cast<std::uint64_t>(*rule.shift) : 0);
  const PhiloxWords words =
      philox_words(rule.seed, rule.stream, first_block + static_cast<std::uint64_t>(thread));
  const auto kept = [&](T value, std::uint32_t word) {
    return word <= rule.last_kept ? value * rule.scale : T{0};
  };
  constexpr int n = simt::Pack<T>::count;
  if (aligned && begin + 4 <= count) {
    REFRAIN_UNROLL
    for (int first = 0; first < 4; first += n) {
      T values[n];
      simt::load_group(x + begin + first, values);
      REFRAIN_UNROLL
      for (int i = 0; i < n; ++i) values[i] = kept(values[i], words.at[first + i]);
      simt::store_group(y + begin + first, values);
    }
  } else {
    REFRAIN_UNROLL
    for (int i = 0; i < 4; ++i) {
      if (begin + i < count) y[begin + i] = kept(x[begin + i], words.at[i]);
    }
  }
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
