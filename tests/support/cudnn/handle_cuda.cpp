#include "support/cudnn/handle_cuda.hpp"

#include <array>

namespace refrain::cuda {

void check(cudnnStatus_t status, const char* call) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 512> reason{};
  cudnnGetLastErrorString(reason.data(), reason.size());
  const std::string message =
      refrain::detail::concat(call, ": ", cudnnGetErrorString(status), " (", reason.data(), ")");
  if (CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_NOT_SUPPORTED) throw Unsupported(message);
  throw DeviceError(message);
}

}  // namespace refrain::cuda

namespace refrain::kernels::cudnn {

using refrain::cuda::check;

namespace {

// Never destroyed: work may end later than static objects.
std::mutex& handle_mutex() {
  static std::mutex& mutex = *new std::mutex;
  return mutex;
}

cudnnHandle_t process_handle() {
  static cudnnHandle_t handle = [] {
    cudnnHandle_t made = nullptr;
    check(cudnnCreate(&made), "cudnnCreate");
    return made;
  }();
  return handle;
}

}  // namespace

HandleLock::HandleLock() : lock_(handle_mutex()), handle_(process_handle()) {}

HandleLock::HandleLock(cudaStream_t stream) : HandleLock() {
  check(cudnnSetStream(handle_, stream), "cudnnSetStream");
}

}  // namespace refrain::kernels::cudnn
