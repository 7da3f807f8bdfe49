#pragma once
/// Helpers of the cuDNN sources: statuses as exceptions, the handle, pieces of the scratch memory.

#define CUDNN_WARN_DEPRECATED
#include <cudnn.h>

#include <cstddef>
#include <cstdint>
#include <mutex>

#include "kernels/cuda_check.hpp"
#include "kernels/scratch.hpp"
#include "refrain/core/view.hpp"

namespace refrain::cuda {

/// Throws Unsupported when cuDNN reports that it does not support the call, DeviceError for every
/// other failure, with the call and cuDNN's reason.
void check(cudnnStatus_t status, const char* call);

}  // namespace refrain::cuda

namespace refrain::kernels::cudnn {

/// The cuDNN handle of the process, locked during the lifetime of this object.
class HandleLock {
 public:
  HandleLock();                              ///< for queries
  explicit HandleLock(cudaStream_t stream);  ///< for work

  operator cudnnHandle_t() const noexcept {
    return handle_;
  }  // NOLINT(google-explicit-constructor): converts to the handle

 private:
  std::unique_lock<std::mutex> lock_;
  cudnnHandle_t handle_;
};

/// The next bytes of the scratch memory, aligned like blocks of cudaMalloc.
inline MutableView take_bytes(Scratch& scratch, std::size_t count) {
  const auto bytes = static_cast<std::int64_t>(count);
  return {scratch.take<std::byte, 256>(bytes),
          Shape{bytes / static_cast<std::int64_t>(sizeof(float))}, DType::f32, Device::cuda};
}
inline float* take_floats(Scratch& scratch, std::int64_t count) {
  return scratch.take<float, 256>(count);
}

/// Throws DTypeError unless the element type is f32.
template <class Args>
void check_f32(DType dtype) {
  if (dtype != DType::f32)
    throw DTypeError(refrain::detail::concat("cuDNN ", Args::name, ": expected f32, got ", dtype));
}

}  // namespace refrain::kernels::cudnn
