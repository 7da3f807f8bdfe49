#pragma once
/// The tables of the CPU kernels, one for each instruction set level.
///
/// All of kernels/*/cpu*.cpp and cpu_table.cpp are compiled once per level; REFRAIN_ISA is the
/// level of the compiled source:
///   native     the CPU of the machine that built the library (REFRAIN_NATIVE); then the only level
///   baseline   the default target of the compiler, for instance x86-64
///   v3, v4     x86-64-v3 (AVX2, FMA), x86-64-v4 (AVX-512); see cmake/isa.cmake
/// Only the table of a level is visible to the linker, so levels use the same names: calls between
/// kernels, and instantiated templates of the standard library, stay within the level.

#include "refrain/kernels/table.hpp"

#if !defined(REFRAIN_ISA)
#define REFRAIN_ISA baseline
#endif

namespace refrain::kernels::cpu {

namespace REFRAIN_ISA {
extern const Table table;
}
namespace v3 {
extern const Table table;
}
namespace v4 {
extern const Table table;
}

/// The table in use: that of the best level that this CPU supports, or of the level in the
/// environment variable REFRAIN_ISA. The choice is made once, so that weights are packed and read
/// by kernels of one level. Throws OptionError, Unsupported; see cpu_isa().
const Table& best_table();

}  // namespace refrain::kernels::cpu
