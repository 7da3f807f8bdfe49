#pragma once
/// The functions that a CUDA kernel body may use in addition to CUDA's threadIdx, __syncthreads,
/// __syncwarp, shuffles, votes and arithmetic. The same source runs on a GPU and, in the tests, on
/// a CPU (tests/support/simt/, explained in docs/testing.md). Both sides define:
///
///   REFRAIN_SHARED_ARRAY(T, name, count)   a shared array of fixed size, 16-byte aligned,
///                                          instead of __shared__
///   REFRAIN_UNROLL                         before a loop of constant length
///   SharedCarver                           typed pieces of the dynamic shared memory
///   load_pack, store_pack                  16 bytes at once, aligned
///   load_group, store_group                one element or 16 bytes
///   copy_async<bytes>, commit_copies, wait_copies<n>
///                                          asynchronous copies from global to shared memory
///   to_tf32, mma_tf32, to_bf16x2, mma_bf16, load_matrix
///                                          tensor cores
///   launch                                 queues a kernel in the current stream; throws
///                                          DeviceError when it cannot be started
///   shared_limit_bytes                     the maximum shared memory of one block
///
/// Rules for kernel authors: docs/kernels.md, "Writing a CUDA kernel".

#include <cstddef>
#include <cstdint>

#include "refrain/core/device.hpp"
#include "refrain/core/error.hpp"

#if defined(REFRAIN_SIMT_EMULATED)
#include "support/simt/emulation.hpp"
#elif defined(__CUDACC__)
#include "kernels/simt_cuda.hpp"
#else
#error "kernels/simt.hpp is for CUDA sources: compile with nvcc, or define REFRAIN_SIMT_EMULATED"
#endif

#include "kernels/backend.hpp"

namespace refrain::simt {

// ---- sizes, on the host ----

/// Number of blocks that cover `items`, `per_block` each. Throws Unsupported above 2^31 - 1 blocks,
/// the limit of a grid's x axis.
inline unsigned blocks_for(std::int64_t items, std::int64_t per_block) {
  const std::int64_t blocks = (items + per_block - 1) / per_block;
  if (blocks > 0x7fffffff)
    throw Unsupported(
        refrain::detail::concat("CUDA: expected a grid of at most 2^31 - 1 blocks, got ", blocks));
  return static_cast<unsigned>(blocks);
}

/// Bytes that SharedCarver::take<T>(count) uses.
template <class T>
__host__ __device__ constexpr std::size_t piece_bytes(std::int64_t count) {
  return (static_cast<std::size_t>(count) * sizeof(T) + 15) / 16 * 16;
}

/// True when every address is a multiple of 16, as load_pack and copy_async<16> require. Null
/// counts as aligned.
template <class... Pointers>
bool aligned_16(const Pointers*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

inline namespace REFRAIN_SIMT_BACKEND {

// ---- one element or 16 bytes of them ----

/// True for the group sizes that load_group and store_group support.
template <class T, int n>
inline constexpr bool is_group = n == 1 || n == Pack<T>::count;

/// to[0..n) = from[0..n), in one instruction; from is aligned to the group.
template <int n, class T>
__device__ __forceinline__ void load_group(const T* from, T (&to)[n]) {
  static_assert(is_group<T, n>);
  if constexpr (n == 1) {
    to[0] = from[0];
  } else {
    const Pack<T> pack = load_pack(from);
    REFRAIN_UNROLL
    for (int i = 0; i < n; ++i) to[i] = pack.at[i];
  }
}

template <int n, class T>
__device__ __forceinline__ void store_group(T* to, const T (&from)[n]) {
  static_assert(is_group<T, n>);
  if constexpr (n == 1) {
    to[0] = from[0];
  } else {
    Pack<T> pack;
    REFRAIN_UNROLL
    for (int i = 0; i < n; ++i) pack.at[i] = from[i];
    store_pack(to, pack);
  }
}

// ---- warps: 32 threads ----

inline constexpr int warp_size = 32;
inline constexpr unsigned full_mask = 0xffffffffu;

/// Index of this thread in its warp, in [0,32). Blocks are one-dimensional.
__device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % warp_size; }
/// Index of this thread's warp in its block.
__device__ __forceinline__ int warp() { return static_cast<int>(threadIdx.x) / warp_size; }

/// Index of this thread among all threads of a one-dimensional grid.
__device__ __forceinline__ std::int64_t global_thread() {
  return static_cast<std::int64_t>(blockIdx.x) * static_cast<std::int64_t>(blockDim.x) +
         static_cast<std::int64_t>(threadIdx.x);
}

/// Sum over groups of `width` neighbouring lanes (a power of two), in a fixed order; every lane
/// receives it. All 32 lanes call it.
template <int width = warp_size, class T>
__device__ __forceinline__ T warp_sum(T value) {
  REFRAIN_UNROLL
  for (int distance = width / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(full_mask, value, distance);
  return value;
}

/// Maximum over groups of `width` neighbouring lanes; every lane receives it.  All 32 lanes call
/// it.
template <int width = warp_size, class T>
__device__ __forceinline__ T warp_max(T value) {
  REFRAIN_UNROLL
  for (int distance = width / 2; distance > 0; distance /= 2) {
    const T other = __shfl_xor_sync(full_mask, value, distance);
    value = other > value ? other : value;
  }
  return value;
}

/// Sum over the block, in a fixed order; every thread receives it. All threads call it; `scratch`
/// is shared and holds one element per warp. It may be reused immediately: the call contains two
/// barriers.
template <int warps, class T>
__device__ __forceinline__ T block_sum(T value, T* scratch) {
  value = warp_sum(value);
  if constexpr (warps > 1) {
    if (lane() == 0) scratch[warp()] = value;
    __syncthreads();
    value = scratch[0];
    REFRAIN_UNROLL
    for (int i = 1; i < warps; ++i) value += scratch[i];
    __syncthreads();
  }
  return value;
}

/// Maximum over the block; otherwise like block_sum().
template <int warps, class T>
__device__ __forceinline__ T block_max(T value, T* scratch) {
  value = warp_max(value);
  if constexpr (warps > 1) {
    if (lane() == 0) scratch[warp()] = value;
    __syncthreads();
    value = scratch[0];
    REFRAIN_UNROLL
    for (int i = 1; i < warps; ++i) value = scratch[i] > value ? scratch[i] : value;
    __syncthreads();
  }
  return value;
}

// ---- bf16: the upper half of an f32 ----

__device__ __forceinline__ float bf16_low(std::uint32_t pair) {
  return __uint_as_float(pair << 16);
}
__device__ __forceinline__ float bf16_high(std::uint32_t pair) {
  return __uint_as_float(pair & 0xffff0000u);
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::simt
