#pragma once
/// Scratch memory for products of the library, as a piece of an entry's workspace.

#include <cstdint>

#include "kernels/matmul/product.hpp"
#include "kernels/scratch.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// Taken once: products that follow one another use it in turn.
inline MutableView take_product_scratch(cpu::Scratch& scratch) {
  const auto count = static_cast<std::int64_t>(product_workspace() / sizeof(float));
  return {scratch.take<float>(count), Shape{count}, DType::f32, Device::cuda};
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
