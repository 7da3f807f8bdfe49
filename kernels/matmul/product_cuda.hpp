#pragma once
/// Helpers of the sources that call cuBLAS.

#include <cublasLt.h>
#include <cublas_v2.h>

#include "kernels/cuda_check.hpp"
#include "kernels/matmul/product.hpp"

namespace refrain::cuda {

/// Throws DeviceError with the name of the call unless the call succeeded.
void check(cublasStatus_t status, const char* call);

/// The cuBLAS handle of the process, bound to `stream`; locked during the lifetime of this object.
class BlasCall {
 public:
  explicit BlasCall(cudaStream_t stream);
  ~BlasCall();
  BlasCall(const BlasCall&) = delete;
  BlasCall& operator=(const BlasCall&) = delete;

  operator cublasHandle_t() const noexcept {
    return handle_;
  }  // NOLINT(google-explicit-constructor): converts to the handle

 private:
  cublasHandle_t handle_;
};

}  // namespace refrain::cuda
