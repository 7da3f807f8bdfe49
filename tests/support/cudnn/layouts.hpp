#pragma once
/// Conversions between our tensors and those of cuDNN.

#include <cstdint>

#include "kernels/backend.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// Extents of a convolution's weight, [taps,in,out].
struct Taps {
  std::int64_t taps;
  std::int64_t in;
  std::int64_t out;
};

/// filter[o, taps-1-k, c] = w[k,c,o]: output channels outermost, input channels innermost, the
/// oldest step first.
void filter_from_taps(const float* w, const Taps& extents, float* filter);
/// w[k,c,o] = filter[o, taps-1-k, c]
void taps_from_filter(const float* filter, const Taps& extents, float* w);
/// y[r,:] = x[r,:] + row; y may be x.
void add_to_rows(const float* x, const float* row, std::int64_t rows, std::int64_t width, float* y);
/// matrix [rows,size] = rows `first`, first + 1, ... of the identity.
void write_identity(float* matrix, std::int64_t first, std::int64_t rows, std::int64_t size);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
