#pragma once
/// Matrix products on the GPU for all families: by cuBLASLt (cuda_product.cu), in the emulation of
/// the tests by loops.

#include <cstddef>
#include <cstdint>

#include "kernels/backend.hpp"
#include "refrain/core/view.hpp"

namespace refrain::kernels::cuda {

/// c = op(a) op(b) (+ bias to every row) (+ added), row-major, for `batch` problems of one size.
///
/// op(a) [rows,depth], op(b) [depth,columns], c [rows,columns]; op transposes where requested. f32
/// products follow math_mode().
struct Product {
  const void* a = nullptr;
  const void* b = nullptr;
  const void* bias = nullptr;   ///< [columns], or null; not together with `added`
  const void* added = nullptr;  ///< in the layout of c, or c itself; or null
  void* c = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t depth = 0;
  bool transpose_a = false;
  bool transpose_b = false;
  std::int64_t a_stride = 0;  ///< elements from one stored row to the next; 0: contiguous
  std::int64_t b_stride = 0;
  std::int64_t c_stride = 0;
  std::int64_t batch = 1;
  std::int64_t a_step = 0;  ///< elements between the a of consecutive problems
  std::int64_t b_step = 0;
  std::int64_t c_step = 0;
  DType dtype = DType::f32;
  /// product_workspace() bytes with product_workspace_alignment; with fewer bytes fewer algorithms
  /// are available
  MutableView workspace{};
};

/// Alignment of the workspace of a product, in bytes.
inline constexpr std::size_t product_workspace_alignment = 256;

inline namespace REFRAIN_SIMT_BACKEND {

/// The workspace that allows all algorithms of cuBLASLt.
std::size_t product_workspace();

/// Throws Unsupported when cuBLASLt has no algorithm for the sizes, DeviceError.
void multiply_matrices(const Product& product);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
