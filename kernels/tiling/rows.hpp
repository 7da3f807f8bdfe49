#pragma once
/// Rows of the outermost axis, for kernels that copy or add whole rows.

#include <cstdint>

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// Elements in one row of the outermost axis.
inline std::int64_t row_elements(const Shape& shape) {
  std::int64_t product = 1;
  for (int axis = 1; axis < shape.rank(); ++axis) product *= shape[axis];
  return product;
}

inline std::int64_t row_bytes(const View& x) {
  return row_elements(x.shape) * static_cast<std::int64_t>(size_bytes(x.dtype));
}

}  // namespace refrain::kernels
