#pragma once
/// Kernels of cuda_layouts.cu: one element of the output per thread, in order, so that writes are
/// coalesced.

#include "kernels/simt.hpp"
#include "support/cudnn/layouts.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

inline constexpr int layout_threads = 256;

__device__ __forceinline__ std::int64_t layout_element() {
  return static_cast<std::int64_t>(blockIdx.x) * layout_threads + threadIdx.x;
}

/// filter [out,taps,in] from w [taps,in,out].
template <class T>
__global__ void __launch_bounds__(layout_threads)
    order_as_filter(Taps extents, const T* w, T* filter) {
  const std::int64_t i = layout_element();
  if (i >= extents.taps * extents.in * extents.out) return;
  const std::int64_t channel = i % extents.in;
  const std::int64_t tap = extents.taps - 1 - i / extents.in % extents.taps;
  const std::int64_t out = i / extents.in / extents.taps;
  filter[i] = w[(tap * extents.in + channel) * extents.out + out];
}

/// w [taps,in,out] from filter [out,taps,in].
template <class T>
__global__ void __launch_bounds__(layout_threads)
    order_as_taps(Taps extents, const T* filter, T* w) {
  const std::int64_t i = layout_element();
  if (i >= extents.taps * extents.in * extents.out) return;
  const std::int64_t out = i % extents.out;
  const std::int64_t channel = i / extents.out % extents.in;
  const std::int64_t place = extents.taps - 1 - i / extents.out / extents.in;
  w[i] = filter[(out * extents.taps + place) * extents.in + channel];
}

/// y [rows,width] = x [rows,width] + row [width]
template <class T>
__global__ void __launch_bounds__(layout_threads)
    add_row(const T* x, const T* row, std::int64_t count, std::int64_t width, T* y) {
  const std::int64_t i = layout_element();
  if (i < count) y[i] = x[i] + row[i % width];
}

/// matrix [rows,size]
template <class T>
__global__ void __launch_bounds__(layout_threads)
    fill_identity(T* matrix, std::int64_t first, std::int64_t rows, std::int64_t size) {
  const std::int64_t i = layout_element();
  if (i < rows * size) matrix[i] = first + i / size == i % size ? T(1) : T(0);
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
