#pragma once
/// The functions of this family that other families call on CUDA.

#include "kernels/backend.hpp"
#include "refrain/kernels/causal_conv.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// The convolution by tiles for any number of channels, plus a tensor: y = conv(x) + added; added
/// [B,T,Cout] may be y, or empty.
void convolve(const CausalConvForward& args, const View& added);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
