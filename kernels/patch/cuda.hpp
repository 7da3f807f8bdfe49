#pragma once
/// The functions of this family that other families call on CUDA.

#include "kernels/backend.hpp"
#include "kernels/scratch.hpp"
#include "refrain/kernels/patch.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// Throws Unsupported for a bank of patches.
void expect_no_bank(const PatchViews& patch);

/// Throws Unsupported unless add_bank() supports the sizes.
void expect_bank_fits(const PatchForward& args);

/// y = base + gelu(x down + down_bias) up + up_bias in one launch, for each sequence with its patch
/// of a bank; sequences without a patch have y = base. x may be empty for base, y may be base.
void add_bank(const PatchForward& args, const View& base);

/// y = base + gelu(x down + down_bias) up + up_bias for rows of any width, in several launches;
/// base may be x or y, y may be x.
void add_patch(const PatchForward& args, const View& base, Scratch& scratch);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
