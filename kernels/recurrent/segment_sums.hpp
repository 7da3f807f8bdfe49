#pragma once
/// The sums over the steps of a segment in its gradients, on the GPU; defined for float and double
/// in cuda_segment_sums.cu.

#include <cstdint>

#include "kernels/backend.hpp"
#include "refrain/core/device.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// dweight[m,n] = sum over steps l and sequences b of da_l[b,m] h_{l-1}[b,n].
template <class T>
struct RecurrentGradient {
  const T* da;          ///< [L,B,inner]
  std::int64_t stride;  ///< elements between its rows
  std::int64_t inner;
  const T* h0;  ///< [B,H] of the first step
  const T* h;   ///< [L-1,B,H] of the steps after it
  std::int64_t steps;
  std::int64_t batch;
  std::int64_t hidden;
};

/// dweight [inner,H] = the sum, or += it; `parts` holds recurrent_gradient_parts elements.
template <class T>
void sum_recurrent_gradient(const char* name, const RecurrentGradient<T>& gradient, bool add,
                            T* dweight, T* parts);
std::int64_t recurrent_gradient_parts(std::int64_t steps, std::int64_t batch, std::int64_t inner,
                                      std::int64_t hidden);

/// out [width] = the sum over rows of x [rows,width], or += it; `parts` holds row_sum_parts
/// elements. The sum over the steps of [L,B,C] is that of L rows of B C elements.
template <class T>
void sum_of_rows(const char* name, const T* x, std::int64_t rows, std::int64_t width, bool add,
                 T* out, T* parts);
std::int64_t row_sum_parts(std::int64_t rows, std::int64_t width);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
