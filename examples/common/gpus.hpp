#pragma once
/// The GPUs of several processes.

#include <string>

#include "refrain/distributed/communicator.hpp"

namespace refrain::examples {

/// The GPU of process `local`, counted from 0, of those on a host, as a value of
/// CUDA_VISIBLE_DEVICES: of the entries of `visible`, its value so far, or of `count` GPUs when it
/// is null, the one with the number of the process, beginning anew after the last one. Empty when
/// there is no choice.
std::string own_gpu(const char* visible, int count, int local);

/// Makes Device::cuda of this process its own GPU, by CUDA_VISIBLE_DEVICES, as far as its host has
/// enough of them. Before the first use of Device::cuda.
void choose_own_gpu(const Communicator& ranks);

}  // namespace refrain::examples
