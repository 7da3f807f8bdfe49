#pragma once
/// Gradients of the input and the weights of a convolution or a dense layer; formulas, grids and
/// bytes: cuda_conv_backward.cu.

#include <algorithm>
#include <cstdint>

#include "kernels/causal_conv/conv_rows.cuh"
#include "kernels/matmul/outer_products.cuh"
#include "kernels/pointwise/kernels.cuh"
#include "kernels/simt.hpp"
#include "kernels/tiling/bank_rows.cuh"
#include "kernels/tiling/tiles.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// True when rows of `width` elements are multiples of 16 bytes.
template <class T>
bool whole_packs(std::int64_t width) {
  return width % simt::Pack<T>::count == 0;
}

/// A bank of weights [K,columns,depth] of the dense layer of an InputGradient. The elements of a
/// smaller layer come first in its row.
struct DenseBank {
  BankRows of{};
  const std::int32_t* depths = nullptr;   ///< [K] of each layer, or null for the largest
  const std::int32_t* columns = nullptr;  ///< [K] likewise
  /// A sequence without a layer is also without skip.
  bool omits_skip = false;
};

/// dx = (gradient through a convolution + gradient through a dense layer + skip) * gelu'(before). A
/// convolution without taps, a dense layer without depth and null tensors are omitted. With a bank
/// the sequences without a layer omit the dense layer.
template <class T>
struct InputGradient {
  // sum_{k,o} dy[row of tap k, o] w[k,c,o]
  const T* dy = nullptr;  ///< [rows,out]
  const T* w = nullptr;   ///< [taps,columns,out]
  TapSteps steps{};       ///< TapSteps::backward
  std::int64_t taps = 0;
  std::int64_t out = 0;
  // sum_d dm[row,d] down[c,d]
  const T* dm = nullptr;    ///< [rows,depth]
  const T* down = nullptr;  ///< [columns,depth]
  std::int64_t depth = 0;
  DenseBank bank{};

  const T* skip = nullptr;    ///< [rows,columns]
  const T* before = nullptr;  ///< [rows,columns]
  T* dx = nullptr;            ///< [rows,columns]
  std::int64_t rows = 0;
  std::int64_t columns = 0;
};

inline constexpr int gradient_tile = 64;  // rows and columns
/// f32: 16 warps, in four groups that split k, as in conv_tile.cuh.
template <class T>
inline constexpr TileShape gradient_shape{.rows = gradient_tile,
                                          .columns = gradient_tile,
                                          .depth = sizeof(T) == 4 ? 64 : 16,
                                          .row_warps = 2,
                                          .column_warps = 2,
                                          .stages = sizeof(T) == 4 ? 2 : 3,
                                          .depth_warps = sizeof(T) == 4 ? 4 : 1};

template <class T, MathMode mode, bool aligned>
using GradientProduct =
    TileProduct<T, mode, gradient_shape<T>, Contiguous::depth, Contiguous::depth, aligned>;

/// The panels of both factors, later overwritten by the parts of the sums.
template <class T, MathMode mode, bool aligned>
inline constexpr int gradient_elements =
    std::max(gradient_shape<T>.stages*(GradientProduct<T, mode, aligned>::PanelA::elements +
                                       GradientProduct<T, mode, aligned>::PanelB::elements),
             GradientProduct<T, mode, aligned>::totals_elements);

/// A tile of dx: one product over the slices of all taps and then of the dense layer. `banked`: of
/// the rows of one sequence, with its dense layer, whose row and sizes wait in shared memory,
/// because exact f32 products leave no registers for them.
template <class T, MathMode mode, bool aligned, bool banked>
__device__ __forceinline__ void make_input_gradient(const InputGradient<T>& gradient) {
  using Product = GradientProduct<T, mode, aligned>;
  REFRAIN_SHARED_ARRAY(std::int32_t, step_of_row, gradient_tile);  // [rows]
  REFRAIN_SHARED_ARRAY(std::int32_t, layer, 3);  // row of the bank, depth, columns
  const std::int64_t column_tiles = (gradient.columns + gradient_tile - 1) / gradient_tile;
  std::int64_t first = static_cast<std::int64_t>(blockIdx.x) / column_tiles * gradient_tile;
  std::int64_t rows = gradient.rows;
  const std::int64_t first_column =
      static_cast<std::int64_t>(blockIdx.x) % column_tiles * gradient_tile;
  if constexpr (banked) {
    const DenseBank& bank = gradient.bank;
    const RowTile tile = bank.of.template tile<gradient_tile>(
        static_cast<unsigned>(static_cast<std::int64_t>(blockIdx.x) / column_tiles));
    first = tile.first;
    rows = tile.end;
    if (threadIdx.x == 0) {
      const std::int32_t row = bank.of.rows[tile.sequence];
      const auto depth = static_cast<std::int32_t>(gradient.depth);
      const auto columns = static_cast<std::int32_t>(gradient.columns);
      layer[0] = row;
      layer[1] = row == 0 ? 0 : bank.depths == nullptr ? depth : bank.depths[row];
      layer[2] = bank.columns == nullptr ? columns : bank.columns[row];
    }
  }
  simt::SharedCarver carver;
  T* const panels = carver.take<T>(gradient_elements<T, mode, aligned>);
  const typename Product::Shared shared{
      panels, panels + gradient_shape<T>.stages * Product::PanelA::elements};
  if (gradient.taps > 0)
    note_steps<gradient_tile, Product::threads>(step_of_row, first, gradient.steps);
  __syncthreads();
  const TapRows<T> tap_rows{.x = gradient.dy,
                            .taps = gradient.steps,
                            .first = first,
                            .rows = rows,
                            .channels = gradient.out,
                            .step_of_row = step_of_row,
                            .slice_depth = Product::depth};
  const TransposedTapWeights<T> tap_weights{.w = gradient.w,
                                            .in = gradient.columns,
                                            .out = gradient.out,
                                            .first = first_column,
                                            .slice_depth = Product::depth};
  const auto depth = [&]() -> std::int64_t { return banked ? layer[1] : gradient.depth; };
  const auto dense_rows = [&](int slice, int outer) {
    return DepthRows<T>{.at = gradient.dm,
                        .stride = gradient.depth,
                        .first = first,
                        .rows = rows,
                        .depth = depth(),
                        .slice_depth = Product::depth}(slice, outer);
  };
  const auto dense_weights = [&](int slice, int outer) {
    const std::int64_t of_bank = banked ? layer[0] * gradient.columns * gradient.depth : 0;
    return DepthRows<T>{.at = gradient.down + of_bank,
                        .stride = depth(),
                        .first = first_column,
                        .rows = banked ? layer[2] : gradient.columns,
                        .depth = depth(),
                        .slice_depth = Product::depth}(slice, outer);
  };
  const int tap_slices = static_cast<int>(gradient.taps) * slices_of(gradient.out, Product::depth);
  Product sum;
  sum.clear();
  sum.add(
      shared, tap_slices + slices_of(depth(), Product::depth),
      [&](int slice, int outer) {
        return slice < tap_slices ? tap_rows(slice, outer) : dense_rows(slice - tap_slices, outer);
      },
      [&](int slice, int outer) {
        return slice < tap_slices ? tap_weights(slice, outer)
                                  : dense_weights(slice - tap_slices, outer);
      });
  sum.visit_totals(panels, [&](int i, int j, T value) {
    if (first + i >= rows || first_column + j >= gradient.columns) return;
    const std::int64_t at = (first + i) * gradient.columns + first_column + j;
    const bool has_skip = !banked || !gradient.bank.omits_skip || layer[0] != 0;
    if (gradient.skip != nullptr && has_skip) value += gradient.skip[at];
    if (gradient.before != nullptr)
      value = UnarySlope<T, UnaryFunction::gelu>{}(gradient.before[at], value);
    gradient.dx[at] = value;
  });
}

template <class T, MathMode mode, bool aligned>
__global__ void __launch_bounds__(GradientProduct<T, mode, aligned>::threads)
    input_gradient_tile(InputGradient<T> gradient) {
  make_input_gradient<T, mode, aligned, false>(gradient);
}
/// One block per multiprocessor: for two ptxas spills registers.
template <class T, MathMode mode, bool aligned>
__global__ void __launch_bounds__(GradientProduct<T, mode, aligned>::threads, 1)
    bank_gradient_tile(InputGradient<T> gradient) {
  make_input_gradient<T, mode, aligned, true>(gradient);
}

/// Launches the kernel; f32 follows math_mode(). Defined in cuda_conv_backward.cu for f32 and f64.
template <class T>
void input_gradient(const char* name, const InputGradient<T>& gradient);

/// dw[k] = sum over rows of x[row of tap k] (outer) dy[row].
template <class T>
struct WeightGradient {
  const T* x;      ///< [rows,in]
  const T* dy;     ///< [rows,out]
  TapSteps steps;  ///< TapSteps::forward
  std::int64_t taps;
  std::int64_t rows;
  std::int64_t in;
  std::int64_t out;
  T* dw;     ///< [taps,in,out]
  T* parts;  ///< outer_parts(rows, in, out, taps) elements

  /// The weight gradient of a dense layer.
  static WeightGradient dense(const T* x, const T* dy, std::int64_t rows, std::int64_t in,
                              std::int64_t out, T* dw, T* parts) {
    return {x, dy, {.steps = rows, .ahead = 0, .per_tap = 0}, 1, rows, in, out, dw, parts};
  }
};

/// Launches the kernel; f32 follows math_mode(). Defined in cuda_conv_backward.cu for f32 and f64.
template <class T>
void weight_gradient(const char* name, const WeightGradient<T>& gradient);

/// out[c] = sum over the rows of x [rows,width]; `parts` holds column_parts(rows, width, 1)
/// elements.
template <class T>
void bias_gradient(const char* name, const T* x, std::int64_t rows, std::int64_t width, T* out,
                   T* parts) {
  const MatrixTerms<T, 1> terms{.from = x, .stride = width, .apart = 0};
  sum_columns(name, terms, rows, width, ColumnTargets<T, 1>{.to = {out}, .stride = 0}, parts);
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
