#pragma once
/// Instruction sets of the CPU kernels.

#include "refrain/core/export.hpp"

namespace refrain {

/// The instruction set level of the CPU kernels in use: "native" when the library was built for one
/// machine (REFRAIN_NATIVE), otherwise the best level of the build that this CPU supports among
/// "baseline", "v3" (AVX2, FMA) and "v4" (AVX-512). The environment variable REFRAIN_ISA, read
/// once, selects another. Throws OptionError when the build lacks that level, Unsupported when the
/// CPU does; so does every computation on the CPU.
REFRAIN_API const char* cpu_isa();

}  // namespace refrain
