#pragma once
// A small training run that tells whether two processes compute alike.

#include <string>

namespace refrain {

/// The hash of the parameters of a small model after two training steps on the CPU. Processes whose
/// kernels round differently, such as builds for other CPUs or by other compilers, have other
/// hashes. Computed once, in about a millisecond.
const std::string& arithmetic_probe();

}  // namespace refrain
