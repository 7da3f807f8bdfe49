#pragma once
/// The tables of the CPU kernels, one for each instruction set level.
///
/// All of kernels/*/cpu*.cpp and cpu_table.cpp are compiled once per level; REFRAIN_ISA is the
/// level of the source being compiled:
///   native     the CPU of the machine that built the library (REFRAIN_NATIVE): the only level then
///   baseline   what the compiler targets by itself, x86-64 for instance
///   v3, v4     x86-64-v3 (AVX2, FMA), x86-64-v4 (AVX-512); see cmake/isa.cmake
/// Only the table of a level is visible to the linker, so names need not differ: calls between
/// kernels, and of templates of the standard library, stay within the level.

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

/// The table in use: that of the best level that this CPU runs, or of the level that the
/// environment variable REFRAIN_ISA names. The choice is made once, so that weights are packed and
/// read by kernels of one level. Throws OptionError, Unsupported; see cpu_isa().
const Table& best_table();

}  // namespace refrain::kernels::cpu
