#pragma once
/// The form that a CUDA source is compiled to: code for the GPU, or for its emulation in the tests.
///
/// Kernels and the entries that launch them live in an inline namespace of this name, so that a
/// program that links both forms never mixes them up. Only the tests define REFRAIN_SIMT_EMULATED,
/// which selects the emulated form.

#if defined(REFRAIN_SIMT_EMULATED)
#define REFRAIN_SIMT_BACKEND emulated
#else
#define REFRAIN_SIMT_BACKEND device
#endif
