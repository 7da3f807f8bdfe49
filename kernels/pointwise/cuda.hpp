#pragma once
/// The functions of this family that other families call on CUDA.

#include "kernels/kernel.hpp"
#include "refrain/kernels/pointwise.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

template <>
void kernel(const UnaryForward& args);
template <>
void kernel(const UnaryBackward& args);
template <>
void kernel(const LinearCombination& args);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
