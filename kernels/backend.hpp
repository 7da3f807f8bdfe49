#pragma once
/// The compilation target of a CUDA source: GPU code, or its emulation in the tests.
///
/// Kernels and the entries that launch them are in an inline namespace with the name of the target,
/// so that a program that links both targets cannot mix them. Only the tests define
/// REFRAIN_SIMT_EMULATED, which selects the emulation.

#if defined(REFRAIN_SIMT_EMULATED)
#define REFRAIN_SIMT_BACKEND emulated
#else
#define REFRAIN_SIMT_BACKEND device
#endif
