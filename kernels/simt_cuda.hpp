#pragma once
/// The GPU side of kernels/simt.hpp: shared memory, packs, asynchronous copies, tensor cores,
/// launches. All inline PTX is in this file.

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <type_traits>
#include <unordered_map>

#include "kernels/cuda_check.hpp"

#define REFRAIN_SHARED_ARRAY(T, name, count) __shared__ __align__(16) T name[count]
#define REFRAIN_UNROLL _Pragma("unroll")

namespace refrain::simt {
inline namespace device {

// ---- shared memory ----

extern __shared__ __align__(128) unsigned char dynamic_shared[];

/// Takes typed pieces, 16-byte aligned, of the dynamic shared memory. Every thread takes the same
/// pieces in the same order; the host requests the sum of their piece_bytes.
class SharedCarver {
 public:
  template <class T>
  __device__ __forceinline__ T* take(int count) {
    const unsigned at = used_bytes_;
    used_bytes_ =
        (at + static_cast<unsigned>(count) * static_cast<unsigned>(sizeof(T)) + 15u) & ~15u;
    return reinterpret_cast<T*>(dynamic_shared + at);
  }

 private:
  unsigned used_bytes_ = 0;
};

// ---- 16 bytes at once ----

/// The elements of 16 bytes.
template <class T>
struct alignas(16) Pack {
  static constexpr int count = 16 / static_cast<int>(sizeof(T));
  T at[16 / sizeof(T)];
};

template <class T>
__device__ __forceinline__ Pack<T> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T>*>(from);
}

template <class T>
__device__ __forceinline__ void store_pack(T* to, const Pack<T>& pack) {
  *reinterpret_cast<Pack<T>*>(to) = pack;
}

// ---- asynchronous copies ----

__device__ __forceinline__ unsigned shared_address(const void* generic) {
  return static_cast<unsigned>(__cvta_generic_to_shared(generic));
}

/// Starts a copy of 4, 8 or 16 bytes from global to shared memory, both aligned to that size. When
/// not `valid`, zeros are written and `from` is not read. This thread may read the data after
/// wait_copies, other threads after the barrier that follows it.
template <int bytes>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool valid = true) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
  const int read = valid ? bytes : 0;
  if constexpr (bytes == 16) {  // bypasses the first-level cache: tiles are read once
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(to)),
                 "l"(from), "r"(read)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;\n" ::"r"(shared_address(to)),
                 "l"(from), "n"(bytes), "r"(read)
                 : "memory");
  }
}

/// Ends the group of the copies started since the last call.
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}

/// Waits until at most the `left` most recent groups of this thread are in flight.
template <int left>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(left) : "memory");
}

// ---- tensor cores ----
// Fragments of a warp's product d[16,8] += a[16,K] b[K,8]; with g = lane / 4 and q = lane % 4:
//   d    d[0], d[1] = rows g, columns 2q, 2q+1;   d[2], d[3] = row g + 8
//   tf32 (K = 8)   a[0] = (g, q), a[1] = (g+8, q), a[2] = (g, q+4), a[3] = (g+8, q+4);
//                  b[0] = (q, g), b[1] = (q+4, g)
//   bf16 (K = 16)  pairs along K:
//                  a[0] = (g, 2q), a[1] = (g+8, 2q), a[2] = (g, 2q+8), a[3] = (g+8, 2q+8);
//                  b[0] = (2q, g), b[1] = (2q+8, g);
//                  the lower half of a register has the smaller k

/// Rounds to 10 bits of mantissa, ties away from zero.
__device__ __forceinline__ std::uint32_t to_tf32(float value) {
  std::uint32_t rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
  return rounded;
}

/// Rounds both to 7 bits of mantissa, ties to even.
__device__ __forceinline__ std::uint32_t to_bf16x2(float low, float high) {
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

__device__ __forceinline__ void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4],
                                         const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4],
                                         const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// Four matrices of 8 rows of 16 bytes (8 bf16) from shared memory: lane 8 i + r names row r of
/// matrix i. With g and q as above, out[i] holds the two bf16 at row g, columns 2q and 2q+1 of
/// matrix i; transposed: at rows 2q and 2q+1, column g.
template <bool transposed = false>
__device__ __forceinline__ void load_matrix(std::uint32_t (&out)[4], const void* row) {
  if constexpr (transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
  }
}

// ---- launches ----

/// The launch parameters of a kernel.
struct Launch {
  const char* name = "";  ///< in error messages
  dim3 grid{};
  dim3 block{};
  std::size_t shared_bytes = 0;  ///< dynamic
};

/// Sets the dynamic shared memory limit of a kernel. The default limit of 48 KiB includes its fixed
/// arrays; in addition to dynamic memory these take at most 8 KiB. The limit is only raised:
/// another thread may be about to launch with more.
inline void allow_shared_bytes(const void* function, std::size_t bytes, const char* name) {
  if (bytes <= 40 * 1024) return;
  static std::mutex mutex;
  static std::unordered_map<const void*, std::size_t> allowed;
  const std::lock_guard<std::mutex> lock(mutex);
  std::size_t& limit = allowed[function];
  if (bytes <= limit) return;
  cuda::check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(bytes)),
              name);
  limit = bytes;
}

/// Queues a kernel in the current stream.  Throws DeviceError when it cannot be started.
template <class... Parameters>
void launch(const Launch& how, void (*kernel)(Parameters...),
            std::type_identity_t<Parameters>... arguments) {
  const void* const function = reinterpret_cast<const void*>(kernel);
  allow_shared_bytes(function, how.shared_bytes, how.name);
  void* addresses[] = {static_cast<void*>(&arguments)..., nullptr};
  cuda::check(cudaLaunchKernel(function, how.grid, how.block, addresses, how.shared_bytes,
                               cuda::current_queue()),
              how.name);
}

/// The maximum dynamic shared memory of a block on the current device.
inline std::size_t shared_limit_bytes() {
  int current = 0;
  int bytes = 0;
  cuda::check(cudaGetDevice(&current), "cudaGetDevice");
  cuda::check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, current),
              "cudaDeviceGetAttribute");
  return static_cast<std::size_t>(bytes);
}

}  // namespace device
}  // namespace refrain::simt
