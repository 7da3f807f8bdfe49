#pragma once
/// The entries of the kernel tables, and the reasons for absent entries.

#include "kernels/backend.hpp"
#include "refrain/core/device.hpp"
#include "refrain/kernels/table.hpp"

namespace refrain::kernels {

/// Runs the kernel of a contract with scratch memory of exactly the required size. The file of the
/// kernel instantiates it (kernels/kernel.hpp); a contract without a kernel that is not declared
/// absent below does not link.
namespace cpu {
template <class Args>
void entry(const Args& args, ScratchMemory& memory);
}
namespace cuda {
inline namespace REFRAIN_SIMT_BACKEND {
template <class Args>
void entry(const Args& args, ScratchMemory& memory);
}
}  // namespace cuda

/// The reason why a device has no kernel for a contract, as a sentence; null when it has one.
template <Device device, class Args>
inline constexpr const char* absent = nullptr;

template <>
inline constexpr const char* absent<Device::cuda, ConvNormAtSteps> =
    "Models compute all steps with conv_norm_forward on CUDA; the gain of few steps is not "
    "measured.";
template <>
inline constexpr const char* absent<Device::cuda, ConvNormAtStepsBackward> =
    "There is no conv_norm_at_steps on CUDA.";
template <>
inline constexpr const char* absent<Device::cuda, ConvNormOfStreams> =
    "Streams of served users are kept on the CPU.";

}  // namespace refrain::kernels
