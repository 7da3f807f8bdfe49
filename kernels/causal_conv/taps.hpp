#pragma once
/// Convolution as a product over row pointers: for every tap, row m of A is the row of x `offset`
/// steps away, or zeros.

#include <cstdint>

#include "kernels/tiling/gemm.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/kernels/causal_conv.hpp"

namespace refrain::kernels::cpu {

/// Maximum number of taps of one product; wider kernels are divided into groups.
inline constexpr std::int64_t group_taps = 16;

/// Extents of a convolution over rows = batch * steps.
struct ConvExtents {
  std::int64_t batch, steps, in, out, taps, dilation, ahead;

  std::int64_t rows() const { return batch * steps; }
  /// Number of multiply-adds of one row.
  std::int64_t multiply_adds() const { return taps * in * out; }
  /// The offset that tap k reads, in steps from the current one.
  std::int64_t offset(std::int64_t tap) const { return ahead - tap * dilation; }
};

inline ConvExtents conv_extents(const Shape& x, const Shape& w, std::int64_t dilation,
                                Padding padding) {
  return {x[0], x[1], w[1], w[2], w[0], dilation, look_ahead(padding, w[0], dilation)};
}

/// Packs w [K,in,out] for products with x (or, transposed, with dy), group after group.
template <class T>
void pack_taps(const T* w, const ConvExtents& conv, bool transposed, T* packed) {
  const std::int64_t depth = transposed ? conv.out : conv.in;
  const std::int64_t columns = transposed ? conv.in : conv.out;
  parallel_tasks(conv.taps, [&](std::int64_t tap, int) {
    const std::int64_t first = tap / group_taps * group_taps;
    const std::int64_t grouped = std::min(group_taps, conv.taps - first);
    pack<T>(w + tap * conv.in * conv.out, transposed ? 1 : conv.out, transposed ? conv.out : 1,
            depth, columns, (tap - first) * depth, grouped * depth,
            packed + packed_size<T>(first * depth, columns));
  });
}

/// out [count, columns] = start + sum over taps k of source(k, i) times the weights of the tap, for
/// the rows i < count <= tile_rows of a tile.
template <class T, class Source>
void taps_tile(std::int64_t taps, std::int64_t depth, const WeightPanels<T>& weights,
               std::int64_t columns, std::int64_t count, T* out, std::int64_t stride,
               Start<T> start, const Source& source) {
  const T* rows[static_cast<std::size_t>(group_taps * tile_rows)];
  for (std::int64_t group = 0; group < taps; group += group_taps) {
    const std::int64_t here = std::min(group_taps, taps - group);
    for (std::int64_t tap = 0; tap < here; ++tap) {
      for (std::int64_t i = 0; i < tile_rows; ++i)
        rows[tap * tile_rows + i] = source(group + tap, std::min(i, count - 1));
    }
    rows_product<T>(rows, here, depth, weights.group(group * depth, here * depth, columns), columns,
                    count, out, stride, group > 0 ? Start<T>::rows(out, stride) : start);
  }
}

/// out [count, columns] = start + sum over taps of the shifted rows of x times their weights, for
/// rows [first, first + count), count <= tile_rows. With `adjoint` the shifts are negated, which
/// gives the product from dy to dx.
template <class T>
void conv_tile(const T* x, std::int64_t depth, const WeightPanels<T>& weights, std::int64_t columns,
               const ConvExtents& conv, bool adjoint, const T* zeros, std::int64_t first,
               std::int64_t count, T* out, std::int64_t stride, Start<T> start) {
  std::int64_t step_of[extent(tile_rows)];
  for (std::int64_t i = 0; i < count; ++i) step_of[i] = (first + i) % conv.steps;
  taps_tile(conv.taps, depth, weights, columns, count, out, stride, start,
            [&](std::int64_t tap, std::int64_t i) {
              const std::int64_t offset = adjoint ? -conv.offset(tap) : conv.offset(tap);
              const std::int64_t t = step_of[i] + offset;
              return t >= 0 && t < conv.steps ? x + (first + i + offset) * depth : zeros;
            });
}

/// dw [K,in,out] = sum over rows of x[row + offset] (outer) dz[row]. Parallel over taps and blocks
/// of `in`.
template <class T>
void weight_gradient(const T* x, const T* dz, const ConvExtents& conv, T* dw) {
  constexpr std::int64_t block = 2 * tile_rows;
  const std::int64_t blocks = (conv.in + block - 1) / block;
  parallel_tasks(conv.taps * blocks, [&](std::int64_t task, int) {
    const std::int64_t tap = task / blocks;
    const std::int64_t begin = task % blocks * block;
    const std::int64_t inner = std::min(block, conv.in - begin);
    T* const out = dw + (tap * conv.in + begin) * conv.out;
    std::fill_n(out, inner * conv.out, T(0));
    const std::int64_t offset = conv.offset(tap);
    const std::int64_t t_begin = std::max<std::int64_t>(0, -offset);
    const std::int64_t t_end = std::min(conv.steps, conv.steps - offset);
    if (t_begin >= t_end) return;
    for (std::int64_t b = 0; b < conv.batch; ++b) {
      const std::int64_t row = b * conv.steps + t_begin;
      sum_of_outer<T>(x + (row + offset) * conv.in + begin, conv.in, dz + row * conv.out, conv.out,
                      t_end - t_begin, out, conv.out, inner, conv.out);
    }
  });
}

}  // namespace refrain::kernels::cpu
