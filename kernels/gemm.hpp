#pragma once
/// The two matrix products that convolution, patch and loss are built from.
///
/// rows_product: out[m,n] = start[m,n] + sum_{tap,k} A[tap][m][k] * B[tap*depth + k][n]. A is a
/// table of row pointers, so that
///   rows may come from anywhere (another time step, a block of zeros, a gathered item) without being copied; B is packed into panels,
///   or, for few rows, read as it lies.
/// sum_of_outer: out[i,o] += sum_r a[r][i] * b[r][o]. Reduces over rows that lie a fixed stride
/// apart; nothing is packed.
///
/// Both hold a tile of rows x 2 vectors of results in registers. Every element is summed in an
/// order that depends on the sizes alone.

#include <algorithm>
#include <cstdint>

#include "kernels/simd.hpp"
#include "refrain/kernels/matmul.hpp"

namespace refrain::kernels::cpu {

/// Rows of a register tile: 8 x 2 accumulators of 32 registers (AVX-512), 6 x 2 of 16 (AVX2 and
/// below).
inline constexpr int tile_rows = vector_bytes == 64 ? 8 : 6;

constexpr std::int64_t round_up(std::int64_t value, std::int64_t step) {
  return (value + step - 1) / step * step;
}

/// Elements that B [depth, columns] takes when packed.
template <class T>
constexpr std::int64_t packed_size(std::int64_t depth, std::int64_t columns) {
  return depth * round_up(columns, Lanes<T>::count);
}
static_assert(packed_size<float>(1, 1) <= packed_elements(1, 1));

/// Where the columns of B lie: column n's panel of two vectors begins at at + n * column_step, and
/// its row k is k rows further. A row of a packed panel is as wide as the panel; a row-major B has
/// rows of its own.
template <class T>
struct Panels {
  const T* at;
  std::int64_t column_step;
  std::int64_t row_step;  ///< 0: packed

  /// As pack() lays them out, `total_depth` rows.
  static Panels packed(const T* at, std::int64_t total_depth) { return {at, total_depth, 0}; }
  /// B as it lies in memory, rows of `columns` elements: worth it while few rows of A use it.
  /// `columns` must be whole vectors.
  static Panels row_major(const T* at, std::int64_t columns) { return {at, 1, columns}; }
  static constexpr bool fits_row_major(std::int64_t columns) {
    return columns % Lanes<T>::count == 0;
  }
};

/// What the sums of a product start from.
template <class T>
struct Start {
  const T* at = nullptr;    ///< null: zero
  std::int64_t stride = 0;  ///< between rows

  static Start zero() { return {}; }
  /// The same for each row, for instance a bias; null is zero.
  static Start row(const T* at) { return {at, 0}; }
  static Start rows(const T* at, std::int64_t stride) { return {at, stride}; }

  Start from(std::int64_t row, std::int64_t column) const {
    return at == nullptr ? Start() : Start{at + row * stride + column, stride};
  }
};

/// Packs rows [0, depth) of one tap: element (k, n) is b[k * row_stride + n * column_stride].
/// Panels are two vectors wide, the last one one vector where that is enough; columns past the end
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
      if (valid == lanes && row_stride == 1) {  // columns lie along k: squares of them are turned
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

namespace detail {

/// Loads or stores `valid` elements of a tile row of `Vectors` vectors.
template <class T, int Vectors>
inline void load_row(const T* from, std::int64_t valid, typename Lanes<T>::Vector* to) {
  constexpr int lanes = Lanes<T>::count;
  if (valid >= Vectors * lanes) {
    for (int v = 0; v < Vectors; ++v) to[v] = Lanes<T>::load(from + v * lanes);
  } else {
    alignas(64) T copy[extent(Vectors * lanes)] = {};
    std::copy_n(from, valid, copy);
    for (int v = 0; v < Vectors; ++v) to[v] = Lanes<T>::load(copy + v * lanes);
  }
}

template <class T, int Vectors>
inline void store_row(T* to, std::int64_t valid, const typename Lanes<T>::Vector* from) {
  constexpr int lanes = Lanes<T>::count;
  if (valid >= Vectors * lanes) {
    for (int v = 0; v < Vectors; ++v) Lanes<T>::store(to + v * lanes, from[v]);
  } else {
    alignas(64) T copy[extent(Vectors * lanes)];
    for (int v = 0; v < Vectors; ++v) Lanes<T>::store(copy + v * lanes, from[v]);
    std::copy_n(copy, valid, to);
  }
}

/// One register tile of rows_product: `Rows` rows by `Count` panels of `Vectors` vectors,
/// `panel_step` elements apart. Each sum runs over taps and k in rising order, whatever the tile,
/// so that a row's results do not depend on the rows beside it.
template <class T, int Rows, int Count, int Vectors>
inline void rows_tile(const T* const* rows, std::int64_t taps, std::int64_t depth, const T* panel,
                      std::int64_t panel_step, std::int64_t row_step, std::int64_t count, T* out,
                      std::int64_t stride, std::int64_t valid, Start<T> start) {
  using L = Lanes<T>;
  using Vector = typename L::Vector;
  constexpr int lanes = L::count;
  constexpr int width = Count * Vectors;
  Vector sums[extent(Rows)][extent(width)];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
    if (start.at != nullptr && i < count) {
      load_row<T, width>(start.at + i * start.stride, valid, sums[i]);
    } else {
      for (int v = 0; v < width; ++v) sums[i][v] = Vector{};
    }
  }
  for (std::int64_t tap = 0; tap < taps; ++tap) {
    const T* a[extent(Rows)];
    for (int i = 0; i < Rows; ++i) a[i] = rows[tap * tile_rows + i];
    for (std::int64_t k = 0; k < depth; ++k) {
      Vector b[extent(width)];
      for (int p = 0; p < Count; ++p) {
        for (int v = 0; v < Vectors; ++v)
          b[p * Vectors + v] = L::load(panel + p * panel_step + v * lanes);
      }
      panel += row_step;
#pragma GCC unroll 8
      for (int i = 0; i < Rows; ++i) {
        const Vector x = L::broadcast(a[i][k]);
        for (int v = 0; v < width; ++v) sums[i][v] += x * b[v];
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
    if (i >= count) break;
    store_row<T, width>(out + i * stride, valid, sums[i]);
  }
}

/// rows_product for a tile of at most `Rows` rows, `Count` whole panels at a time while there are
/// so many.
template <class T, int Rows, int Count>
inline void tile_product(const T* const* rows, std::int64_t taps, std::int64_t depth,
                         const Panels<T>& b, std::int64_t columns, std::int64_t count, T* out,
                         std::int64_t stride, Start<T> start) {
  constexpr std::int64_t lanes = Lanes<T>::count;
  const std::int64_t wide = b.row_step == 0 ? 2 * lanes : b.row_step;
  std::int64_t n = 0;
  if constexpr (Count > 1) {
    for (; columns - n >= Count * 2 * lanes; n += Count * 2 * lanes) {
      rows_tile<T, Rows, Count, 2>(rows, taps, depth, b.at + n * b.column_step,
                                   2 * lanes * b.column_step, wide, count, out + n, stride,
                                   Count * 2 * lanes, start.from(0, n));
    }
  }
  for (; columns - n > lanes; n += 2 * lanes) {
    rows_tile<T, Rows, 1, 2>(rows, taps, depth, b.at + n * b.column_step, 0, wide, count, out + n,
                             stride, columns - n, start.from(0, n));
  }
  if (n < columns) {
    rows_tile<T, Rows, 1, 1>(rows, taps, depth, b.at + n * b.column_step, 0,
                             b.row_step == 0 ? lanes : b.row_step, count, out + n, stride,
                             columns - n, start.from(0, n));
  }
}

/// One register tile of sum_of_outer: `Rows` values of a against `Vectors` vectors of b. Of these
/// `valid` elements lie in `out`; with
/// `whole_b` b can be read past them.
template <class T, int Rows, int Vectors, bool whole_b = false>
inline void outer_tile(const T* a, std::int64_t a_stride, const T* b, std::int64_t b_stride,
                       std::int64_t count, T* out, std::int64_t stride, std::int64_t valid) {
  using L = Lanes<T>;
  using Vector = typename L::Vector;
  constexpr int lanes = L::count;
  Vector sums[extent(Rows)][extent(Vectors)];
  for (int i = 0; i < Rows; ++i) load_row<T, Vectors>(out + i * stride, valid, sums[i]);
  if (whole_b || valid >= Vectors * lanes) {
    for (std::int64_t r = 0; r < count; ++r) {
      Vector row[extent(Vectors)];
      for (int v = 0; v < Vectors; ++v) row[v] = L::load(b + v * lanes);
#pragma GCC unroll 8
      for (int i = 0; i < Rows; ++i) {
        const Vector x = L::broadcast(a[i]);
        for (int v = 0; v < Vectors; ++v) sums[i][v] += x * row[v];
      }
      a += a_stride;
      b += b_stride;
    }
  } else {
    for (std::int64_t r = 0; r < count; ++r) {
      Vector row[extent(Vectors)];
      load_row<T, Vectors>(b, valid, row);
      for (int i = 0; i < Rows; ++i) {
        const Vector x = L::broadcast(a[i]);
        for (int v = 0; v < Vectors; ++v) sums[i][v] += x * row[v];
      }
      a += a_stride;
      b += b_stride;
    }
  }
  for (int i = 0; i < Rows; ++i) store_row<T, Vectors>(out + i * stride, valid, sums[i]);
}

template <class T, int Rows>
inline void outer_rows(const T* a, std::int64_t a_stride, const T* b, std::int64_t b_stride,
                       std::int64_t count, T* out, std::int64_t stride, std::int64_t columns) {
  constexpr std::int64_t lanes = Lanes<T>::count;
  std::int64_t o = 0;
  for (; columns - o > lanes; o += 2 * lanes) {
    outer_tile<T, Rows, 2>(a, a_stride, b + o, b_stride, count, out + o, stride, columns - o);
  }
  if (o < columns)
    outer_tile<T, Rows, 1>(a, a_stride, b + o, b_stride, count, out + o, stride, columns - o);
}

}  // namespace detail

/// out [count, columns] = start + A B for one tile of at most tile_rows rows.
/// rows: [taps][tile_rows] pointers (past `count` any readable row); b: taps * depth rows.
template <class T>
void rows_product(const T* const* rows, std::int64_t taps, std::int64_t depth, const Panels<T>& b,
                  std::int64_t columns, std::int64_t count, T* out, std::int64_t stride,
                  Start<T> start) {
  // Few rows would leave most of a tile's registers idle, and wait for one another's sums: more
  // panels at a time fill them.
  if (count == 1) {
    detail::tile_product<T, 1, 4>(rows, taps, depth, b, columns, count, out, stride, start);
  } else if (count <= tile_rows / 2) {
    detail::tile_product<T, tile_rows / 2, 2>(rows, taps, depth, b, columns, count, out, stride,
                                              start);
  } else {
    detail::tile_product<T, tile_rows, 1>(rows, taps, depth, b, columns, count, out, stride, start);
  }
}

/// out [count, columns] = start + A B for any number of rows that lie a fixed stride apart; one
/// tap. Each panel is used for all rows while it is in the nearest cache, so `count` rows of A
/// should fit the next one.
template <class T>
void block_product(const T* a, std::int64_t a_stride, std::int64_t count, std::int64_t depth,
                   const Panels<T>& b, std::int64_t columns, T* out, std::int64_t stride,
                   Start<T> start) {
  constexpr std::int64_t lanes = Lanes<T>::count;
  const std::int64_t step = count <= tile_rows ? columns : 2 * lanes;
  for (std::int64_t n = 0; n < columns; n += step) {
    const Panels<T> panel{b.at + n * b.column_step, b.column_step, b.row_step};
    for (std::int64_t first = 0; first < count; first += tile_rows) {
      const std::int64_t rows_here = std::min<std::int64_t>(tile_rows, count - first);
      const T* rows[extent(tile_rows)];
      for (std::int64_t i = 0; i < tile_rows; ++i)
        rows[i] = a + (first + std::min(i, rows_here - 1)) * a_stride;
      rows_product<T>(rows, 1, depth, panel, std::min(step, columns - n), rows_here,
                      out + first * stride + n, stride, start.from(first, n));
    }
  }
}

/// out [inner, columns] += a^T b over `count` rows; a [count, inner] and b [count, columns] with
/// the given row strides.
template <class T>
void sum_of_outer(const T* a, std::int64_t a_stride, const T* b, std::int64_t b_stride,
                  std::int64_t count, T* out, std::int64_t stride, std::int64_t inner,
                  std::int64_t columns) {
  std::int64_t i = 0;
  for (; i + tile_rows <= inner; i += tile_rows) {
    detail::outer_rows<T, tile_rows>(a + i, a_stride, b, b_stride, count, out + i * stride, stride,
                                     columns);
  }
  for (; i + 2 <= inner; i += 2) {
    detail::outer_rows<T, 2>(a + i, a_stride, b, b_stride, count, out + i * stride, stride,
                             columns);
  }
  if (i < inner)
    detail::outer_rows<T, 1>(a + i, a_stride, b, b_stride, count, out + i * stride, stride,
                             columns);
}

}  // namespace refrain::kernels::cpu
