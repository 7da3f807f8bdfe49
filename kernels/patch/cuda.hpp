#pragma once
/// The functions of this family that other families call on CUDA.

#include "kernels/backend.hpp"
#include "kernels/scratch.hpp"
#include "refrain/kernels/patch.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// y = base + gelu(x down + down_bias) up + up_bias for rows of any width, in several launches;
/// base may be x or y, y may be x.
void add_patch(const PatchForward& args, const View& base, Scratch& scratch);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
