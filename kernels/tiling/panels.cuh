#pragma once
/// Panels of the factors of a product in shared memory (tiles.cuh), and the matrices they are
/// copied from.

#include <cstdint>

#include "kernels/simt.hpp"
#include "refrain/core/math_mode.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// The contiguous axis of a factor: the summed axis, or the other (m of a, n of b).
enum class Contiguous : std::uint8_t { depth, side };

/// Part of a row of a panel: `count` elements from `from` on, then zeros.
template <class T>
struct PanelRow {
  const T* from;
  std::int64_t count;
};

/// A slice of one factor in shared memory: [outer][stride], with the contiguous axis inside.
template <class T, MathMode mode, Contiguous contiguous_, int side, int depth>
struct Panel {
  static constexpr Contiguous contiguous = contiguous_;
  static constexpr int outer = contiguous == Contiguous::depth ? side : depth;
  static constexpr int inner = contiguous == Contiguous::depth ? depth : side;
  // The lanes of a fragment read its rows g and columns q, as (g, q) or (q, g): a stride of 4 or 8
  // modulo 32 avoids bank conflicts.
  static constexpr int padding =
      mode == MathMode::exact || (mode == MathMode::tf32) == (contiguous == Contiguous::depth) ? 4
                                                                                               : 8;
  static constexpr int stride = inner + padding;
  static constexpr int elements = outer * stride;
};

// ---- sources of panel rows: plain row-major matrices ----

/// A matrix whose rows run along k: panel row `outer` is matrix row first + outer.
template <class T>
struct DepthRows {
  const T* at;
  std::int64_t stride;  ///< elements from row to row
  std::int64_t first;   ///< row of the panel's row 0
  std::int64_t rows;
  std::int64_t depth;  ///< elements of a row
  int slice_depth;
  __device__ __forceinline__ PanelRow<T> operator()(int slice, int outer) const {
    const std::int64_t row = first + outer;
    const std::int64_t k = static_cast<std::int64_t>(slice) * slice_depth;
    return {at + row * stride + k, row < rows ? depth - k : 0};
  }
};

/// A matrix with one row for each k: panel row `outer` of a slice is matrix row slice * slice_depth
/// + outer.
template <class T>
struct SideRows {
  const T* at;
  std::int64_t stride;
  std::int64_t first;  ///< column of the panel's element 0
  std::int64_t columns;
  std::int64_t depth;  ///< rows
  int slice_depth;
  __device__ __forceinline__ PanelRow<T> operator()(int slice, int outer) const {
    const std::int64_t k = static_cast<std::int64_t>(slice) * slice_depth + outer;
    return {at + k * stride + first, k < depth ? columns - first : 0};
  }
};

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
