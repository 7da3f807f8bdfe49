#pragma once
/// The two matrix products that convolution, patch and loss are built from.
///
/// rows_product:   out[m,n] (+)= sum_{tap,k} A[tap][m][k] * B[tap*depth + k][n].  A is a table of row pointers, so that rows may come
///   from anywhere (another time step, a block of zeros, a gathered item) without being copied; B is packed into panels.
/// sum_of_outer:   out[i,o] += sum_r a[r][i] * b[r][o].  Reduces over rows that lie a fixed stride apart; nothing is packed.
///
/// Both hold a tile of rows x 2 vectors of results in registers.  Every element is summed in an order that depends on the sizes alone.

#include <algorithm>
#include <cstdint>

#include "kernels/simd.hpp"

namespace refrain::kernels::cpu {

/// Rows of a register tile: 8 x 2 accumulators of 32 registers (AVX-512), 6 x 2 of 16 (AVX2 and below).
inline constexpr int tile_rows = vector_bytes == 64 ? 8 : 6;

constexpr std::int64_t round_up(std::int64_t value, std::int64_t step) { return (value + step - 1) / step * step; }

/// Elements that B [depth, columns] takes when packed.
template <class T>
constexpr std::int64_t packed_size(std::int64_t depth, std::int64_t columns) {
  return depth * round_up(columns, Lanes<T>::count);
}

/// Packs rows [0, depth) of one tap: element (k, n) is b[k * row_stride + n * column_stride].  Panels are two vectors wide, the last one
/// one vector where that is enough; columns past the end are zero.  `total_depth` rows make a panel, of which these start at `first`.
template <class T>
void pack(const T* b, std::int64_t row_stride, std::int64_t column_stride, std::int64_t depth, std::int64_t columns,
          std::int64_t first, std::int64_t total_depth, T* packed) {
  constexpr std::int64_t lanes = Lanes<T>::count;
  for (std::int64_t n = 0; n < columns; n += 2 * lanes) {
    const std::int64_t width = columns - n > lanes ? 2 * lanes : lanes;
    const std::int64_t valid = std::min(width, columns - n);
    T* panel = packed + n * total_depth + first * width;
    for (std::int64_t k = 0; k < depth; ++k) {
      const T* from = b + k * row_stride + n * column_stride;
      for (std::int64_t j = 0; j < valid; ++j) panel[k * width + j] = from[j * column_stride];
      for (std::int64_t j = valid; j < width; ++j) panel[k * width + j] = 0;
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

/// One register tile of rows_product over one panel.
template <class T, int Vectors>
inline void rows_tile(const T* const* rows, std::int64_t taps, std::int64_t depth, const T* panel, std::int64_t count, T* out,
                      std::int64_t stride, std::int64_t valid, bool accumulate) {
  using L = Lanes<T>;
  using Vector = typename L::Vector;
  constexpr int lanes = L::count;
  Vector sums[extent(tile_rows)][extent(Vectors)];
  for (int i = 0; i < tile_rows; ++i) {
    for (int v = 0; v < Vectors; ++v) sums[i][v] = Vector{};
  }
  for (std::int64_t tap = 0; tap < taps; ++tap) {
    const T* a[extent(tile_rows)];
    for (int i = 0; i < tile_rows; ++i) a[i] = rows[tap * tile_rows + i];
    for (std::int64_t k = 0; k < depth; ++k) {
      Vector b[extent(Vectors)];
      for (int v = 0; v < Vectors; ++v) b[v] = L::load(panel + v * lanes);
      panel += Vectors * lanes;
#pragma GCC unroll 8
      for (int i = 0; i < tile_rows; ++i) {
        const Vector x = L::broadcast(a[i][k]);
        for (int v = 0; v < Vectors; ++v) sums[i][v] += x * b[v];
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < tile_rows; ++i) {
    if (i >= count) break;
    if (accumulate) {
      Vector before[extent(Vectors)];
      load_row<T, Vectors>(out + i * stride, valid, before);
      for (int v = 0; v < Vectors; ++v) sums[i][v] += before[v];
    }
    store_row<T, Vectors>(out + i * stride, valid, sums[i]);
  }
}

/// One register tile of sum_of_outer: `Rows` values of a against `Vectors` vectors of b.  Of these `valid` elements lie in `out`; with
/// `whole_b` b can be read past them.
template <class T, int Rows, int Vectors, bool whole_b = false>
inline void outer_tile(const T* a, std::int64_t a_stride, const T* b, std::int64_t b_stride, std::int64_t count, T* out,
                       std::int64_t stride, std::int64_t valid) {
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
inline void outer_rows(const T* a, std::int64_t a_stride, const T* b, std::int64_t b_stride, std::int64_t count, T* out,
                       std::int64_t stride, std::int64_t columns) {
  constexpr std::int64_t lanes = Lanes<T>::count;
  std::int64_t o = 0;
  for (; columns - o > lanes; o += 2 * lanes) {
    outer_tile<T, Rows, 2>(a, a_stride, b + o, b_stride, count, out + o, stride, columns - o);
  }
  if (o < columns) outer_tile<T, Rows, 1>(a, a_stride, b + o, b_stride, count, out + o, stride, columns - o);
}

}  // namespace detail

/// out [count, columns] (+)= A B for one tile of at most tile_rows rows.
/// rows: [taps][tile_rows] pointers (past `count` any readable row); packed: B of taps * depth rows, see pack().
template <class T>
void rows_product(const T* const* rows, std::int64_t taps, std::int64_t depth, const T* packed, std::int64_t columns,
                  std::int64_t count, T* out, std::int64_t stride, bool accumulate) {
  constexpr std::int64_t lanes = Lanes<T>::count;
  for (std::int64_t n = 0; n < columns; n += 2 * lanes) {
    const T* panel = packed + n * taps * depth;
    if (columns - n > lanes) {
      detail::rows_tile<T, 2>(rows, taps, depth, panel, count, out + n, stride, columns - n, accumulate);
    } else {
      detail::rows_tile<T, 1>(rows, taps, depth, panel, count, out + n, stride, columns - n, accumulate);
    }
  }
}

/// out [count, columns] (+)= A B for any number of rows that lie a fixed stride apart; one tap.  Each packed panel is used for all rows
/// while it is in the nearest cache, so `count` rows of A should fit the next one.
template <class T>
void block_product(const T* a, std::int64_t a_stride, std::int64_t count, std::int64_t depth, const T* packed,
                   std::int64_t columns, T* out, std::int64_t stride, bool accumulate) {
  constexpr std::int64_t lanes = Lanes<T>::count;
  for (std::int64_t n = 0; n < columns; n += 2 * lanes) {
    const T* panel = packed + n * depth;
    for (std::int64_t first = 0; first < count; first += tile_rows) {
      const std::int64_t rows_here = std::min<std::int64_t>(tile_rows, count - first);
      const T* rows[extent(tile_rows)];
      for (std::int64_t i = 0; i < tile_rows; ++i) rows[i] = a + (first + std::min(i, rows_here - 1)) * a_stride;
      T* const to = out + first * stride + n;
      if (columns - n > lanes) {
        detail::rows_tile<T, 2>(rows, 1, depth, panel, rows_here, to, stride, columns - n, accumulate);
      } else {
        detail::rows_tile<T, 1>(rows, 1, depth, panel, rows_here, to, stride, columns - n, accumulate);
      }
    }
  }
}

/// out [inner, columns] += a^T b over `count` rows; a [count, inner] and b [count, columns] with the given row strides.
template <class T>
void sum_of_outer(const T* a, std::int64_t a_stride, const T* b, std::int64_t b_stride, std::int64_t count, T* out,
                  std::int64_t stride, std::int64_t inner, std::int64_t columns) {
  std::int64_t i = 0;
  for (; i + tile_rows <= inner; i += tile_rows) {
    detail::outer_rows<T, tile_rows>(a + i, a_stride, b, b_stride, count, out + i * stride, stride, columns);
  }
  for (; i + 2 <= inner; i += 2) {
    detail::outer_rows<T, 2>(a + i, a_stride, b, b_stride, count, out + i * stride, stride, columns);
  }
  if (i < inner) detail::outer_rows<T, 1>(a + i, a_stride, b, b_stride, count, out + i * stride, stride, columns);
}

}  // namespace refrain::kernels::cpu
