#pragma once
/// The functions of this family that other families call on CUDA.

#include "kernels/kernel.hpp"
#include "refrain/kernels/layer_norm.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

template <>
void kernel(const LayerNormForward& args);
template <>
void kernel(const LayerNormBackward& args, Scratch& scratch);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
