#pragma once
/// Plain matrix products on the GPU, for every family that needs one: cuBLASLt's (cuda_product.cu),
/// loops under the tests' emulation.

#include <cstddef>
#include <cstdint>

#include "kernels/backend.hpp"
#include "refrain/core/view.hpp"

namespace refrain::kernels::cuda {

/// c = op(a) op(b) (+ bias to every row) (+ added), row-major, for `batch` problems of one size.
///
/// op(a) [rows,depth], op(b) [depth,columns], c [rows,columns]; op = transpose where asked. f32
/// products follow math_mode().
struct Product {
  const void* a = nullptr;
  const void* b = nullptr;
  const void* bias = nullptr;   ///< [columns], or null; not together with `added`
  const void* added = nullptr;  ///< laid out as c, or c itself; null: nothing
  void* c = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t depth = 0;
  bool transpose_a = false;
  bool transpose_b = false;
  std::int64_t a_stride =
      0;  ///< elements from one stored row to the next; 0: rows lie without gaps
  std::int64_t b_stride = 0;
  std::int64_t c_stride = 0;
  std::int64_t batch = 1;
  std::int64_t a_step = 0;  ///< elements from one problem's a to the next
  std::int64_t b_step = 0;
  std::int64_t c_step = 0;
  DType dtype = DType::f32;
  MutableView workspace{};  ///< product_workspace() bytes, or less: then fewer algorithms fit;
                            ///< product_workspace_alignment
};

/// Of the address of a product's workspace, in bytes.
inline constexpr std::size_t product_workspace_alignment = 256;

inline namespace REFRAIN_SIMT_BACKEND {

/// Scratch memory that lets the library choose freely.
std::size_t product_workspace();

/// Throws Unsupported when the library has no algorithm for the sizes, DeviceError.
void multiply_matrices(const Product& product);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
