#pragma once
/// Plain matrix products on the GPU by cuBLASLt, for every family that needs one.

#include <cublasLt.h>
#include <cublas_v2.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda_check.hpp"
#include "refrain/core/view.hpp"

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

  operator cublasHandle_t() const noexcept { return handle_; }  // NOLINT(google-explicit-constructor): it stands for the handle

 private:
  cublasHandle_t handle_;
};

}  // namespace refrain::cuda

namespace refrain::kernels::cuda {

/// c = op(a) op(b) (+ bias to every row) (+ c), row-major, for `batch` problems of one size.
///
/// op(a) [rows,depth], op(b) [depth,columns], c [rows,columns]; op = transpose where asked.  f32 products follow math_mode().
struct Product {
  const void* a = nullptr;
  const void* b = nullptr;
  const void* bias = nullptr;  ///< [columns], or null; not together with `add`
  void* c = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t depth = 0;
  bool transpose_a = false;
  bool transpose_b = false;
  bool add = false;           ///< add to c
  std::int64_t a_stride = 0;  ///< elements from one stored row to the next; 0: rows lie without gaps
  std::int64_t b_stride = 0;
  std::int64_t c_stride = 0;
  std::int64_t batch = 1;
  std::int64_t a_step = 0;  ///< elements from one problem's a to the next
  std::int64_t b_step = 0;
  std::int64_t c_step = 0;
  DType dtype = DType::f32;
  MutableView workspace{};  ///< product_workspace() bytes, or less: then fewer algorithms fit
};

/// Scratch memory that lets cuBLASLt choose freely.
std::size_t product_workspace();

/// Throws Unsupported when cuBLASLt has no algorithm for the sizes, DeviceError.
void multiply(const Product& product, cudaStream_t stream);

}  // namespace refrain::kernels::cuda
