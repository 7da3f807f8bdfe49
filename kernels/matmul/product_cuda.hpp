#pragma once
/// What sources that call cuBLAS share.

#include <cublasLt.h>
#include <cublas_v2.h>

#include "kernels/cuda_check.hpp"
#include "kernels/matmul/product.hpp"

namespace refrain::cuda {

/// Throws DeviceError with the name of the call unless it succeeded.
void check(cublasStatus_t status, const char* call);

/// The process's cuBLAS handle, bound to `stream`, for one call: it is locked while this lives.
class BlasCall {
 public:
  explicit BlasCall(cudaStream_t stream);
  ~BlasCall();
  BlasCall(const BlasCall&) = delete;
  BlasCall& operator=(const BlasCall&) = delete;

  operator cublasHandle_t() const noexcept {
    return handle_;
  }  // NOLINT(google-explicit-constructor): it stands for the handle

 private:
  cublasHandle_t handle_;
};

}  // namespace refrain::cuda
