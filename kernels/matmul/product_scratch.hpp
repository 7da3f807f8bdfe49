#pragma once
/// Scratch memory for products of cuBLASLt within the scratch memory of a kernel.

#include <cstddef>
#include <cstdint>

#include "kernels/matmul/product.hpp"
#include "kernels/scratch.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// Call it once: consecutive products share the memory.
inline MutableView take_product_scratch(Scratch& scratch) {
  const auto bytes = static_cast<std::int64_t>(product_workspace());
  std::byte* const piece = scratch.take<std::byte, product_workspace_alignment>(bytes);
  return {piece, Shape{bytes / static_cast<std::int64_t>(sizeof(float))}, DType::f32, Device::cuda};
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
