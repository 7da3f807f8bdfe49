#pragma once
/// What the cuDNN sources share: statuses as exceptions, the handle, pieces of a workspace.

#define CUDNN_WARN_DEPRECATED
#include <cudnn.h>

#include <cstddef>
#include <cstdint>
#include <mutex>

#include "kernels/cuda_check.hpp"
#include "refrain/core/view.hpp"

namespace refrain::cuda {

/// Throws Unsupported when cuDNN says that it cannot do this, DeviceError for every other failure,
/// with the call and cuDNN's reason.
void check(cudnnStatus_t status, const char* call);

}  // namespace refrain::cuda

namespace refrain::kernels::cudnn {

/// The process's cuDNN handle for one call: it is locked while this lives.
class HandleLock {
 public:
  HandleLock();                              ///< for questions
  explicit HandleLock(cudaStream_t stream);  ///< for work

  operator cudnnHandle_t() const noexcept {
    return handle_;
  }  // NOLINT(google-explicit-constructor): it stands for the handle

 private:
  std::unique_lock<std::mutex> lock_;
  cudnnHandle_t handle_;
};

/// Lays out a workspace, like kernels::Scratch: on a null base it counts. Pieces start at
/// multiples of 256 bytes, as blocks of cudaMalloc do.
class Pieces {
 public:
  explicit Pieces(void* base) : base_(static_cast<std::byte*>(base)) {}

  MutableView bytes(std::size_t count) {
    void* const piece = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (count + 255) / 256 * 256;
    return {piece, Shape{static_cast<std::int64_t>(count / sizeof(float))}, DType::f32,
            Device::cuda};
  }
  float* floats(std::int64_t count) {
    return bytes(static_cast<std::size_t>(count) * sizeof(float)).as<float>();
  }
  std::size_t used() const { return used_; }

 private:
  std::byte* base_;
  std::size_t used_ = 0;
};

/// Throws DTypeError unless the element type is f32.
template <class Args>
void check_f32(DType dtype) {
  if (dtype != DType::f32)
    throw DTypeError(concat("cuDNN ", Args::name, ": expected f32, got ", dtype));
}

}  // namespace refrain::kernels::cudnn
