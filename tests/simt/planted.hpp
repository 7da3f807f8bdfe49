#pragma once
/// Kernels with one defect each, and the same kernels without it: the emulation and the sanitizers
/// must report the former and accept the latter.

#include "kernels/simt.hpp"

namespace refrain::test::planted {

/// out[t] = in[(t + 1) % 64], through shared memory.
template <bool barrier>
__global__ void neighbour(const int* in, int* out) {
  REFRAIN_SHARED_ARRAY(int, row, 64);
  const unsigned t = threadIdx.x;
  row[t] = in[t];
  if constexpr (barrier) __syncthreads();
  out[t] = row[(t + 1) % 64];
}

/// out[t] = in[0], which thread 0 copies to shared memory. Without the barrier the result is
/// correct as long as thread 0 runs first.
template <bool barrier>
__global__ void pass_on(const int* in, int* out) {
  REFRAIN_SHARED_ARRAY(int, first, 1);
  if (threadIdx.x == 0) first[0] = in[0];
  if constexpr (barrier) __syncthreads();
  out[threadIdx.x] = first[0];
}

/// out[t] = sum over steps of in[step * 64 + (t + 1) % 64]. Without the trailing barrier a fast
/// thread overwrites an element before a slow one has read it.
template <bool trailing_barrier>
__global__ void sum_of_steps(const int* in, int* out, int steps) {
  REFRAIN_SHARED_ARRAY(int, row, 64);
  const unsigned t = threadIdx.x;
  int sum = 0;
  for (int step = 0; step < steps; ++step) {
    row[t] = in[step * 64 + static_cast<int>(t)];
    __syncthreads();
    sum += row[(t + 1) % 64];
    if constexpr (trailing_barrier) __syncthreads();
  }
  out[t] = sum;
}

enum class WarpOrder { none, shuffle, syncwarp };

/// out[lane] = in[lane ^ 1] within one warp. A shuffle synchronizes lanes but does not order memory
/// accesses; only __syncwarp is correct.
template <WarpOrder order>
__global__ void swap_pairs(const int* in, int* out) {
  REFRAIN_SHARED_ARRAY(int, row, 32);
  const int lane = simt::lane();
  row[lane] = in[lane];
  if constexpr (order == WarpOrder::shuffle) __shfl_sync(simt::full_mask, lane, 0);
  if constexpr (order == WarpOrder::syncwarp) __syncwarp();
  out[lane] = row[lane ^ 1];
}

/// Two blocks write one element.
__global__ inline void blocks_collide(int* out) {
  if (threadIdx.x == blockIdx.x) out[0] = static_cast<int>(blockIdx.x);
}

/// out[t] = sum of 4 tiles of 32, copied one tile ahead. At most one group may be pending when a
/// tile is read.
template <int left>
__global__ void copied_tiles(const float* in, float* out) {
  REFRAIN_SHARED_ARRAY(float, tiles, 64);
  const int t = static_cast<int>(threadIdx.x);
  simt::copy_async<4>(tiles + t, in + t);
  simt::commit_copies();
  float sum = 0;
  for (int tile = 0; tile < 4; ++tile) {
    if (tile + 1 < 4) {
      simt::copy_async<4>(tiles + (tile + 1) % 2 * 32 + t, in + (tile + 1) * 32 + t);
      simt::commit_copies();
      simt::wait_copies<left>();
    } else {
      simt::wait_copies<0>();
    }
    __syncthreads();
    sum += tiles[tile % 2 * 32 + (t ^ 1)];
    __syncthreads();
  }
  out[t] = sum;
}

/// An asynchronous copy that is never waited for.
__global__ inline void forgotten_copy(const float* in) {
  REFRAIN_SHARED_ARRAY(float, tile, 32);
  simt::copy_async<4>(tile + threadIdx.x, in + threadIdx.x);
  simt::commit_copies();
}

__global__ inline void misaligned_copy(const float* in) {
  REFRAIN_SHARED_ARRAY(float, tile, 32);
  simt::copy_async<16>(tile + 1, in);
  simt::commit_copies();
  simt::wait_copies<0>();
}

/// Writes element `at` of a fixed array of 32.
__global__ inline void write_fixed_shared(int at, int* out) {
  REFRAIN_SHARED_ARRAY(int, row, 32);
  row[at] = 1;
  out[0] = row[0];
}

/// Writes element `at` of a carved array of `count`, which another array follows.
__global__ inline void write_carved_shared(int count, int at, int* out) {
  simt::SharedCarver carver;
  int* const first = carver.take<int>(count);
  int* const second = carver.take<int>(count);
  first[at] = 1;
  second[0] = 2;
  out[0] = first[0] + second[0];
}

__global__ inline void write_global(int at, int* out) { out[at] = 1; }

__global__ inline void read_float4(const float* in, float* out) {
  const float4 four = *reinterpret_cast<const float4*>(in);
  out[0] = four.x + four.w;
}

__global__ inline void read_pack(const float* in, float* out) {
  out[0] = simt::load_pack(in).at[3];
}

__global__ inline void divergent_barrier(int* out) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1;
}

__global__ inline void early_exit(int* out) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}

/// Half of the lanes in the mask never arrive.
__global__ inline void absent_lanes(int* out) {
  int value = static_cast<int>(threadIdx.x);
  if (threadIdx.x < 16) value = __shfl_down_sync(simt::full_mask, value, 1);
  out[threadIdx.x] = value;
}

__global__ inline void caller_outside_mask(int* out) {
  out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1, 0);
}

__global__ inline void source_outside_mask(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1, 20);
}

__global__ inline void different_operations(int* out) {
  out[threadIdx.x] = threadIdx.x < 16 ? __shfl_sync(simt::full_mask, 1, 0)
                                      : __shfl_xor_sync(simt::full_mask, 1, 1);
}

/// d[16,8] = a[16,8] b[8,8] by one mma; with `swapped`, two registers of a are exchanged.
template <bool swapped>
__global__ void product_tf32(const float* a, const float* b, float* d) {
  const int g = simt::lane() / 4;
  const int q = simt::lane() % 4;
  std::uint32_t left[4];
  left[0] = simt::to_tf32(a[g * 8 + q]);
  left[swapped ? 2 : 1] = simt::to_tf32(a[(g + 8) * 8 + q]);
  left[swapped ? 1 : 2] = simt::to_tf32(a[g * 8 + q + 4]);
  left[3] = simt::to_tf32(a[(g + 8) * 8 + q + 4]);
  const std::uint32_t right[2] = {simt::to_tf32(b[q * 8 + g]), simt::to_tf32(b[(q + 4) * 8 + g])};
  float sum[4] = {0, 0, 0, 0};
  simt::mma_tf32(sum, left, right);
  for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * q + i % 2] = sum[i];
}

}  // namespace refrain::test::planted
