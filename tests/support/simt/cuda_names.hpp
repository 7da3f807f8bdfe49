#pragma once
/// The names that CUDA provides to a kernel, for the emulation: keywords, built-in variables,
/// barriers, shuffles, votes, integer atomics, fast arithmetic. A float atomic does not compile:
/// its sum would depend on the order of the threads.

#include <atomic>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "refrain/core/error.hpp"
#include "support/simt/machine.hpp"
#include "support/simt/sanitizers.hpp"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned along_x = 1, unsigned along_y = 1,
                 unsigned along_z = 1)  // NOLINT: implicit, as in CUDA
      : x(along_x), y(along_y), z(along_z) {}
};

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

inline uint3 threadIdx{};
inline uint3 blockIdx{};
inline dim3 blockDim{};
inline dim3 gridDim{};

namespace refrain::simt::emulation {

/// The value that lane `source` of the mask provided.
template <class T>
T shuffled(const char* operation, unsigned mask, const T& value, unsigned source,
           const Site& site) {
  static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4, "CUDA shuffles 4 or 8 bytes");
  const Deposits& all = exchange(operation, mask, &value, sizeof value, false, site);
  const Overlook overlook;
  if ((mask >> source & 1) == 0)
    fail(refrain::detail::concat(operation, ": reads lane ", source, " outside the mask"), site);
  T result;
  std::memcpy(&result, all[source].data(), sizeof result);
  return result;
}

/// Lanes of the mask whose predicate holds.
inline unsigned votes(const char* operation, unsigned mask, int predicate, const Site& site) {
  const Deposits& all = exchange(operation, mask, &predicate, sizeof predicate, false, site);
  const Overlook overlook;
  unsigned result = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    int given = 0;
    if ((mask >> lane & 1) != 0) std::memcpy(&given, all[lane].data(), sizeof given);
    if (given != 0) result |= 1u << lane;
  }
  return result;
}

}  // namespace refrain::simt::emulation

/// The caller's source location, for messages: the last parameter of every function that may fail.
#define REFRAIN_SITE \
  ::refrain::simt::emulation::Site site = ::refrain::simt::emulation::Site::current()

// ---- barriers ----

inline void __syncthreads(REFRAIN_SITE) {
  refrain::simt::emulation::block_barrier(refrain::simt::emulation::Vote::count, 0, site);
}
inline int __syncthreads_count(int predicate, REFRAIN_SITE) {
  return refrain::simt::emulation::block_barrier(refrain::simt::emulation::Vote::count, predicate,
                                                 site);
}
inline int __syncthreads_and(int predicate, REFRAIN_SITE) {
  return refrain::simt::emulation::block_barrier(refrain::simt::emulation::Vote::all, predicate,
                                                 site);
}
inline int __syncthreads_or(int predicate, REFRAIN_SITE) {
  return refrain::simt::emulation::block_barrier(refrain::simt::emulation::Vote::any, predicate,
                                                 site);
}
inline void __syncwarp(unsigned mask = ~0u, REFRAIN_SITE) {
  const char nothing = 0;
  refrain::simt::emulation::exchange("__syncwarp", mask, &nothing, 1, true, site);
}

// ---- shuffles and votes ----

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, REFRAIN_SITE) {
  const unsigned last = static_cast<unsigned>(width) - 1;
  const unsigned from =
      (refrain::simt::emulation::current_lane() & ~last) + (static_cast<unsigned>(source) & last);
  return refrain::simt::emulation::shuffled("__shfl_sync", mask, value, from, site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, REFRAIN_SITE) {
  const unsigned group = ~(static_cast<unsigned>(width) - 1);
  const unsigned lane = refrain::simt::emulation::current_lane();
  const unsigned other = lane ^ static_cast<unsigned>(bits);
  return refrain::simt::emulation::shuffled("__shfl_xor_sync", mask, value,
                                            (other & group) > (lane & group) ? lane : other, site);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, REFRAIN_SITE) {
  const unsigned lane = refrain::simt::emulation::current_lane();
  const bool inside = lane % static_cast<unsigned>(width) + distance < static_cast<unsigned>(width);
  return refrain::simt::emulation::shuffled("__shfl_down_sync", mask, value,
                                            inside ? lane + distance : lane, site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, REFRAIN_SITE) {
  const unsigned lane = refrain::simt::emulation::current_lane();
  const bool inside = lane % static_cast<unsigned>(width) >= distance;
  return refrain::simt::emulation::shuffled("__shfl_up_sync", mask, value,
                                            inside ? lane - distance : lane, site);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, REFRAIN_SITE) {
  return refrain::simt::emulation::votes("__ballot_sync", mask, predicate, site);
}
inline int __any_sync(unsigned mask, int predicate, REFRAIN_SITE) {
  return refrain::simt::emulation::votes("__any_sync", mask, predicate, site) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int predicate, REFRAIN_SITE) {
  return refrain::simt::emulation::votes("__all_sync", mask, predicate, site) == mask ? 1 : 0;
}

// ---- integer atomics ----

template <std::integral T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*address).fetch_add(value, std::memory_order_relaxed);
}
template <std::integral T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*address).fetch_or(value, std::memory_order_relaxed);
}
template <std::integral T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*address).fetch_and(value, std::memory_order_relaxed);
}
template <std::integral T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*address).exchange(value, std::memory_order_relaxed);
}
template <std::integral T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  std::atomic_ref<T>(*address).compare_exchange_strong(expected, value, std::memory_order_relaxed);
  return expected;
}
template <std::integral T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  const std::atomic_ref<T> cell(*address);
  T seen = cell.load(std::memory_order_relaxed);
  while (seen < value && !cell.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
  return seen;
}
template <std::integral T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  const std::atomic_ref<T> cell(*address);
  T seen = cell.load(std::memory_order_relaxed);
  while (value < seen && !cell.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
  return seen;
}

// ---- arithmetic and loads with hints ----

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline long long __double_as_longlong(double value) { return std::bit_cast<long long>(value); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((std::uint64_t{a} * b) >> 32);
}
inline int __popc(unsigned bits) { return std::popcount(bits); }
inline int __clz(int bits) { return std::countl_zero(static_cast<unsigned>(bits)); }
inline int __ffs(int bits) {
  return bits == 0 ? 0 : std::countr_zero(static_cast<unsigned>(bits)) + 1;
}

template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
T __ldcs(const T* address) {
  return *address;
}
template <class T>
void __stcs(T* address, T value) {
  *address = value;
}
