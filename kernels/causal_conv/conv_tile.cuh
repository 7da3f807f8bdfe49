#pragma once
/// A tile of a convolution's output in shared memory: causal_conv_forward stores it,
/// conv_norm_forward continues with it.

#include <algorithm>
#include <cstdint>

#include "kernels/causal_conv/conv_rows.cuh"
#include "kernels/simt.hpp"
#include "kernels/tiling/register_row.cuh"
#include "kernels/tiling/tiles.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

inline constexpr int conv_tile_rows = 64;

/// The narrow tile of f32 has 16 warps in four groups that split k: a batch of 6,400 rows has only
/// 100 tiles for 132 multiprocessors, so that a single block has to occupy a multiprocessor.
template <class T>
constexpr bool splits_depth(int columns) {
  return sizeof(T) == 4 && columns <= 64;
}

/// A product whose sums are the tile: warps of 32 x 32 sums, or 32 x 64 in the tile of 256 columns.
template <class T>
constexpr TileShape tile_shape(int columns) {
  return {.rows = conv_tile_rows,
          .columns = columns,
          .depth = splits_depth<T>(columns) ? 64 : 16,
          .row_warps = 2,
          .column_warps = columns > 64 ? 4 : 2,
          .stages = splits_depth<T>(columns) ? 2 : 3,
          .depth_warps = splits_depth<T>(columns) ? 4 : 1};
}
template <class T>
constexpr int tile_warps(int columns) {
  return tile_shape<T>(columns).row_warps * tile_shape<T>(columns).column_warps *
         tile_shape<T>(columns).depth_warps;
}

/// Blocks per multiprocessor, which bound the registers: 128 per thread except for the tile of 256
/// columns and for f64.
template <class T>
constexpr int blocks_per_processor(int columns) {
  return columns == 128 ? 2 : 1;
}

/// A row of the tile in the registers of a warp, 16 bytes per lane where the row has enough
/// elements for all lanes.
template <class T, int columns, bool aligned>
struct TileRowOf {
  static constexpr int pack = simt::Pack<T>::count;
  static constexpr int n = aligned && columns % (32 * pack) == 0 ? pack : 1;
  using type = WarpRow<T, n, columns / (32 * n)>;
};
template <class T, int columns, bool aligned>
using TileRow = typename TileRowOf<T, columns, aligned>::type;

/// Calls function(m, row) for the rows m = row - first of the tile that exist in the tensor, one
/// warp per row.
template <int threads, class Function>
__device__ __forceinline__ void for_tile_rows(std::int64_t first, std::int64_t rows,
                                              Function&& function) {
  for (int m = simt::warp(); m < conv_tile_rows && first + m < rows; m += threads / 32)
    function(m, first + m);
}

/// Initializes the sums of a product with the bias of columns `first` onwards of `count`; zero
/// without a bias and past the end.
template <class Product, class T>
__device__ __forceinline__ void start_from_bias(Product& product, const T* bias, std::int64_t first,
                                                std::int64_t count) {
  const bool there = bias != nullptr && Product::depth_part() == 0;
  product.visit([&](int, int column, T& sum) {
    const std::int64_t n = first + column;
    sum = there && n < count ? bias[n] : T{0};
  });
}

template <class T>
struct Convolution {
  const T* x;     ///< [rows,in]
  const T* w;     ///< [taps,in,out]
  const T* bias;  ///< [out], or null
  TapSteps steps;
  std::int64_t taps;
  std::int64_t rows;
  std::int64_t in;
  std::int64_t out;
};

template <class T>
Convolution<T> convolution_of(const CausalConvForward& args) {
  const std::int64_t taps = args.w.shape[0];
  return {.x = args.x.as<T>(),
          .w = args.w.as<T>(),
          .bias = args.bias.as<T>(),
          .steps = TapSteps::forward(args.padding, taps, args.dilation, args.x.shape[1]),
          .taps = taps,
          .rows = args.x.shape[0] * args.x.shape[1],
          .in = args.w.shape[1],
          .out = args.w.shape[2]};
}

template <class T, MathMode mode, int columns, bool aligned>
struct ConvTile {
  static constexpr TileShape shape = tile_shape<T>(columns);
  using Product = TileProduct<T, mode, shape, Contiguous::depth, Contiguous::side, aligned>;
  using Row = TileRow<T, columns, aligned>;
  static constexpr int threads = Product::threads;
  static constexpr int stride = resident_stride<mode>(columns);
  static constexpr int a_elements = shape.stages * Product::PanelA::elements;
  static constexpr int b_elements = shape.stages * Product::PanelB::elements;
  /// shared memory in addition to the tile
  static constexpr std::size_t fixed_bytes = conv_tile_rows * sizeof(std::int32_t);
  /// The panels of the factors share memory with the sums; when k is split, the partial sums follow
  /// the tile.
  static constexpr int elements =
      std::max(conv_tile_rows * stride + Product::totals_elements, a_elements + b_elements);

  /// tile [conv_tile_rows][stride] = rows first_row and columns first_column onwards of bias + the
  /// sum over taps and channels; zeros in columns past the end. All threads may read the tile
  /// afterwards.
  __device__ __forceinline__ static void make(const Convolution<T>& conv, std::int64_t first_row,
                                              std::int64_t first_column, T* tile) {
    REFRAIN_SHARED_ARRAY(std::int32_t, steps, conv_tile_rows);  // t of each row
    note_steps<conv_tile_rows, threads>(steps, first_row, conv.steps);
    __syncthreads();
    const TapRows<T> rows{.x = conv.x,
                          .taps = conv.steps,
                          .first = first_row,
                          .rows = conv.rows,
                          .channels = conv.in,
                          .step_of_row = steps,
                          .slice_depth = Product::depth};
    const TapWeights<T> weights{.w = conv.w,
                                .in = conv.in,
                                .out = conv.out,
                                .first = first_column,
                                .slice_depth = Product::depth};
    Product sum;
    start_from_bias(sum, conv.bias, first_column, conv.out);
    sum.add({.a = tile, .b = tile + a_elements},
            static_cast<int>(conv.taps) * slices_of(conv.in, Product::depth), rows, weights);
    sum.visit_totals(tile + conv_tile_rows * stride,
                     [&](int m, int n, T value) { tile[m * stride + n] = value; });
    __syncthreads();
  }
};

/// Maximum number of columns of a tile. f64 has only the narrow tile, since it serves comparisons.
template <class T>
inline constexpr std::int64_t max_tile_columns = sizeof(T) == 4 ? 256 : 64;

/// Calls visit.template operator()<columns, aligned>() with the smallest tile that holds rows of
/// `channels` elements; returns false without a call when no tile does.
template <class T, class Visit>
bool for_tile_columns(std::int64_t channels, bool aligned, Visit&& visit) {
  const auto fits = [&]<int columns, bool in_groups>() {
    if (channels > columns) return false;
    visit.template operator()<columns, in_groups>();
    return true;
  };
  constexpr int max_columns = static_cast<int>(max_tile_columns<T>);
  if (!aligned || channels % simt::Pack<T>::count != 0) {
    if (fits.template operator()<64, false>()) return true;
    if constexpr (max_columns > 64) return fits.template operator()<max_columns, false>();
    return false;
  }
  if (fits.template operator()<64, true>()) return true;
  if constexpr (max_columns > 64)
    return fits.template operator()<128, true>() || fits.template operator()<max_columns, true>();
  return false;
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
