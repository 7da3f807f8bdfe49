#pragma once
/// Operations of a warp on a row of shared memory: lane l takes elements l, l + 32, ...

#include <cmath>
#include <limits>

#include "kernels/simt.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

template <class T>
inline constexpr T infinity = std::numeric_limits<T>::infinity();

template <class T>
__device__ __forceinline__ T warp_dot(const T* a, const T* b, int count) {
  T sum = 0;
  for (int i = simt::lane(); i < count; i += 32) sum += a[i] * b[i];
  return simt::warp_sum(sum);
}

/// weighting = softmax(strength score); both may be one array. The largest score is subtracted
/// before the product with the strength (1 or more), so that the exponent has no rounding error of
/// a huge product.
template <class T>
__device__ __forceinline__ void warp_softmax(const T* score, T* weighting, int count, T strength) {
  T largest = -infinity<T>;
  for (int n = simt::lane(); n < count; n += 32) largest = score[n] > largest ? score[n] : largest;
  largest = simt::warp_max(largest);
  T total = 0;
  for (int n = simt::lane(); n < count; n += 32)
    total += weighting[n] = std::exp(strength * (score[n] - largest));
  total = simt::warp_sum(total);
  for (int n = simt::lane(); n < count; n += 32) weighting[n] /= total;
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
