#pragma once
/// Which instructions the CPU kernels use.

#include "refrain/core/export.hpp"

namespace refrain {

/// The instruction set level of the CPU kernels in use: "native" when the library was built for one
/// machine (REFRAIN_NATIVE), else the best that this CPU runs of "baseline", "v3" (AVX2, FMA) and
/// "v4" (AVX-512), as far as the build has them. The environment variable REFRAIN_ISA, read once,
/// names another. Throws OptionError when the build has no such level, Unsupported when the CPU
/// cannot run it; so does everything that computes on the CPU.
REFRAIN_API const char* cpu_isa();

}  // namespace refrain
