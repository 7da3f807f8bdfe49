#pragma once
/// The second factor of a product, packed into panels of two vectors or read in place.

#include <algorithm>
#include <cstdint>

#include "kernels/scratch.hpp"
#include "kernels/simd.hpp"
#include "refrain/kernels/matmul.hpp"

namespace refrain::kernels::cpu {

constexpr std::int64_t round_up(std::int64_t value, std::int64_t step) {
  return (value + step - 1) / step * step;
}

/// The number of elements of B [depth, columns] in packed form.
template <class T>
constexpr std::int64_t packed_size(std::int64_t depth, std::int64_t columns) {
  return depth * round_up(columns, Lanes<T>::count);
}
static_assert(packed_size<float>(1, 1) <= packed_elements(1, 1));

/// The layout of B: the panel of two vectors that contains column n begins at at + n * column_step,
/// and its row k is k rows further. A row of a packed panel has the width of the panel; a row-major
/// B is read in place.
template <class T>
struct Panels {
  const T* at;
  std::int64_t column_step;
  std::int64_t row_step;  ///< 0: packed

  /// The layout of pack() with `total_depth` rows.
  static Panels packed(const T* at, std::int64_t total_depth) { return {at, total_depth, 0}; }
  /// B in place, with rows of `columns` elements: faster when few rows of A use it. `columns` must
  /// be a multiple of the vector length.
  static Panels row_major(const T* at, std::int64_t columns) { return {at, 1, columns}; }
  static constexpr bool fits_row_major(std::int64_t columns) {
    return columns % Lanes<T>::count == 0;
  }
};

/// Packs rows [0, depth) of one tap: element (k, n) is b[k * row_stride + n * column_stride].
/// Panels are two vectors wide, the last one a single vector if that suffices; columns past the end
/// are zero. `total_depth` rows make a panel, of which these start at `first`.
template <class T>
void pack(const T* b, std::int64_t row_stride, std::int64_t column_stride, std::int64_t depth,
          std::int64_t columns, std::int64_t first, std::int64_t total_depth, T* packed) {
  constexpr std::int64_t lanes = Lanes<T>::count;
  for (std::int64_t n = 0; n < columns; n += 2 * lanes) {
    const std::int64_t width = columns - n > lanes ? 2 * lanes : lanes;
    T* const panel = packed + n * total_depth + first * width;
    for (std::int64_t v = 0; v < width; v += lanes) {
      const std::int64_t valid = std::min(lanes, columns - n - v);
      const T* const from = b + (n + v) * column_stride;
      std::int64_t k = 0;
      if (valid == lanes && row_stride == 1) {  // contiguous along k
        for (; k + lanes <= depth; k += lanes)
          transpose_square(from + k, column_stride, panel + k * width + v, width);
      } else if (valid == lanes && column_stride == 1) {
        for (; k < depth; ++k)
          Lanes<T>::store(panel + k * width + v, Lanes<T>::load(from + k * row_stride));
      }
      for (; k < depth; ++k) {
        T* const to = panel + k * width + v;
        for (std::int64_t j = 0; j < valid; ++j) to[j] = from[k * row_stride + j * column_stride];
        for (std::int64_t j = valid; j < lanes; ++j) to[j] = 0;
      }
    }
  }
}

/// Up to this number of rows a product reads its weights in place: packing them would cost more
/// than it saves.
inline constexpr std::int64_t max_unpacked_rows = 1024;

/// The weights of a convolution, or one matrix, in the layout that products read.
template <class T>
struct WeightPanels {
  const T* at;
  bool packed;  ///< by pack_taps(); otherwise row-major

  /// Plans weights [rows,columns] and takes scratch memory when they have to be packed. `uses`:
  /// number of rows of the other factor.
  static WeightPanels plan(const T* weights, std::int64_t rows, std::int64_t columns,
                           std::int64_t uses, Scratch& scratch) {
    if (uses <= max_unpacked_rows && Panels<T>::fits_row_major(columns)) return {weights, false};
    return {scratch.take<T>(packed_size<T>(rows, columns)), true};
  }
  /// The memory for the packed weights.
  T* storage() const { return const_cast<T*>(at); }

  /// The panels of `rows` rows from row `first` on.
  Panels<T> group(std::int64_t first, std::int64_t rows, std::int64_t columns) const {
    return packed ? Panels<T>::packed(at + packed_size<T>(first, columns), rows)
                  : Panels<T>::row_major(at + first * columns, columns);
  }
};

}  // namespace refrain::kernels::cpu
