#pragma once
/// The two matrix products used by convolution, patch and loss.
///
/// rows_product: out[m,n] = start[m,n] + sum_{tap,k} A[tap][m][k] * B[tap*depth + k][n]. A is a
/// table of row pointers, so that rows may be anywhere (another time step, a block of zeros, a
/// gathered item) without a copy; B is packed into panels or, for few rows, read in place.
/// sum_of_outer: out[i,o] += sum_r a[r][i] * b[r][o]. Reduces over rows with a fixed stride;
/// nothing is packed.
///
/// Both hold a tile of rows x 2 vectors of results in registers. Every element is summed in an
/// order that depends only on the sizes.

#include <algorithm>
#include <cstdint>

#include "kernels/simd.hpp"
#include "kernels/tiling/panels.hpp"
#include "refrain/core/parallel.hpp"

namespace refrain::kernels::cpu {

/// Rows of a register tile: 8 x 2 accumulators of 32 registers (AVX-512), 6 x 2 of 16 (AVX2 and
/// below).
inline constexpr int tile_rows = vector_bytes == 64 ? 8 : 6;

/// The initial values of the sums of a product.
template <class T>
struct Start {
  const T* at = nullptr;    ///< null: zero
  std::int64_t stride = 0;  ///< between rows

  static Start zero() { return {}; }
  /// One initial row for all rows, for instance a bias; null is zero.
  static Start row(const T* at) { return {at, 0}; }
  static Start rows(const T* at, std::int64_t stride) { return {at, stride}; }

  Start from(std::int64_t row, std::int64_t column) const {
    return at == nullptr ? Start() : Start{at + row * stride + column, stride};
  }
};

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
/// `panel_step` elements apart. Each sum runs over taps and k in ascending order in every tile, so
/// that the results of a row do not depend on its neighbours.
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

/// rows_product for a tile of at most `Rows` rows, `Count` whole panels at a time while that many
/// remain.
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

/// One register tile of sum_of_outer: `Rows` values of a times `Vectors` vectors of b, of which
/// `valid` elements are in `out`. With `whole_b` elements of b past them can be read.
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
  // A small number of rows would leave most registers of a tile idle, waiting for each other's
  // sums; several panels at a time use them.
  if (count == 1) {
    detail::tile_product<T, 1, 4>(rows, taps, depth, b, columns, count, out, stride, start);
  } else if (count <= tile_rows / 2) {
    detail::tile_product<T, tile_rows / 2, 2>(rows, taps, depth, b, columns, count, out, stride,
                                              start);
  } else {
    detail::tile_product<T, tile_rows, 1>(rows, taps, depth, b, columns, count, out, stride, start);
  }
}

/// A row of a product with a matrix of its own: out = start + a B, B row-major.
template <class T>
struct OwnProduct {
  const T* a = nullptr;
  const T* b = nullptr;
  const T* start = nullptr;
  T* out = nullptr;
};

namespace detail {

/// Columns [n, n + Vectors) of own_products().
template <class T, int Rows, int Vectors>
inline void own_tile(const OwnProduct<T>* rows, std::int64_t count, std::int64_t depth,
                     std::int64_t columns, std::int64_t n) {
  using L = Lanes<T>;
  using Vector = typename L::Vector;
  Vector sums[extent(Rows)][extent(Vectors)];
  const T* a[extent(Rows)];
  const T* b[extent(Rows)];
  for (int i = 0; i < Rows; ++i) {
    const OwnProduct<T>& row = rows[std::min<std::int64_t>(i, count - 1)];
    a[i] = row.a;
    b[i] = row.b + n;
    for (int v = 0; v < Vectors; ++v) sums[i][v] = L::load(row.start + n + v * L::count);
  }
  for (std::int64_t k = 0; k < depth; ++k) {
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Vector x = L::broadcast(a[i][k]);
      for (int v = 0; v < Vectors; ++v)
        sums[i][v] += x * L::load(b[i] + k * columns + v * L::count);
    }
  }
  for (std::int64_t i = 0; i < count; ++i) {
    for (int v = 0; v < Vectors; ++v)
      L::store(rows[i].out + n + v * L::count, sums[static_cast<std::size_t>(i)][v]);
  }
}

template <class T, int Rows>
inline void own_tiles(const OwnProduct<T>* rows, std::int64_t count, std::int64_t depth,
                      std::int64_t columns) {
  constexpr std::int64_t lanes = Lanes<T>::count;
  std::int64_t n = 0;
  for (; columns - n > lanes; n += 2 * lanes) own_tile<T, Rows, 2>(rows, count, depth, columns, n);
  if (n < columns) own_tile<T, Rows, 1>(rows, count, depth, columns, n);
}

}  // namespace detail

/// Up to tile_rows products of one row with `depth` rows of a matrix of its own, side by side: one
/// alone would wait for its sums, and for memory. `columns` must be a multiple of the vector
/// length. A row has the bits of rows_product().
template <class T>
void own_products(const OwnProduct<T>* rows, std::int64_t count, std::int64_t depth,
                  std::int64_t columns) {
  if (count > tile_rows / 2) {
    detail::own_tiles<T, tile_rows>(rows, count, depth, columns);
  } else if (count > 1) {
    detail::own_tiles<T, tile_rows / 2>(rows, count, depth, columns);
  } else {
    detail::own_tiles<T, 1>(rows, count, depth, columns);
  }
}

/// out [count, columns] = start + A B for any number of rows with a fixed stride; one tap. Each
/// panel is used for all rows while it is in the first-level cache, so `count` rows of A should fit
/// the second-level cache.
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

/// Rows of a task of a row-parallel product: whole tiles, enough tasks to occupy all threads, and
/// enough work in each (`multiply_adds` a row) to outweigh waking a thread. The result depends on
/// the number of threads, so it must never divide a sum over rows.
inline std::int64_t product_rows_per_task(std::int64_t rows, std::int64_t multiply_adds) {
  constexpr std::int64_t min_task = std::int64_t{1} << 18;
  const std::int64_t wanted = std::min<std::int64_t>(rows / (4 * threads()) + 1, 8 * tile_rows);
  const std::int64_t min_rows = min_task / std::max<std::int64_t>(1, multiply_adds) + 1;
  return round_up(std::max({wanted, min_rows, std::int64_t{tile_rows}}), tile_rows);
}

}  // namespace refrain::kernels::cpu
