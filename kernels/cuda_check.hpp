#pragma once
/// Error checks of CUDA calls, and the current stream.

#include <cuda_runtime_api.h>

#include "refrain/core/error.hpp"
#include "refrain/core/stream.hpp"

namespace refrain::cuda {

/// Throws DeviceError with the name of the call unless the call succeeded.
inline void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // clears the error, so that the next call does not report it again
  throw DeviceError(
      detail::concat(call, ": ", cudaGetErrorName(status), " (", cudaGetErrorString(status), ")"));
}

/// After a launch: throws DeviceError when the kernel could not be started.
inline void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

/// The current stream of this thread. Throws Unsupported on a machine without a GPU.
inline cudaStream_t current_queue() {
  return static_cast<cudaStream_t>(current_stream(Device::cuda).handle);
}

}  // namespace refrain::cuda
