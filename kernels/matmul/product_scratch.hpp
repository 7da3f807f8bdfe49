#pragma once
/// Scratch memory for products of the library, as a piece of an entry's workspace.

#include <cstddef>
#include <cstdint>

#include "kernels/matmul/product.hpp"
#include "kernels/scratch.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// Taken once: products that follow one another use it in turn. It starts where the library wants
/// it.
inline MutableView take_product_scratch(Scratch& scratch) {
  const auto count = static_cast<std::int64_t>(product_workspace() / sizeof(float));
  auto* const piece = scratch.take<std::byte>(count * static_cast<std::int64_t>(sizeof(float)) +
                                              product_workspace_alignment);
  const auto address = reinterpret_cast<std::uintptr_t>(piece);
  const std::size_t skipped =
      (product_workspace_alignment - address % product_workspace_alignment) %
      product_workspace_alignment;
  return {piece == nullptr ? nullptr : piece + skipped, Shape{count}, DType::f32, Device::cuda};
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
