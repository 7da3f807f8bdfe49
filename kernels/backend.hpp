#pragma once
/// Which of its two forms a CUDA source is being compiled to: code for the GPU, or for the tests'
/// emulation of one.
///
/// Kernels and the entries that launch them live in an inline namespace of this name, so that a
/// program which links both forms can never call one for the other. The tests define
/// REFRAIN_SIMT_EMULATED for the emulated form; nothing else does.

#if defined(REFRAIN_SIMT_EMULATED)
#define REFRAIN_SIMT_BACKEND emulated
#else
#define REFRAIN_SIMT_BACKEND device
#endif
