#pragma once
/// The gradient of weights that multiply many rows, on the GPU.
///
///   out[task][m,n] (+)= sum_{p < count} a(task, p)[m] b(task, p)[n]      a null row is zeros
///
/// Block (x, y) computes one tile of [M,N] of a task, 64 x 64 or, where M or N is at most 32, 32 x
/// 32, over the y-th part of the rows p, in ascending order. A second launch (column_sums.cuh) adds
/// the sums of the parts in order. The number of parts depends only on the shape, so equal input
/// gives equal bits.
///
/// FLOPs: 2 M N count per task. Memory traffic: each row of a and b once per tile of the other.
/// Bound by arithmetic for M and N from 64 on.

#include <algorithm>
#include <cstdint>

#include "kernels/tiling/column_sums.cuh"
#include "kernels/tiling/tiles.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// The factors: A and B are functions of (task, p) that return a row of M, or N, elements, or null.
template <class T, class A, class B>
struct OuterProducts {
  A a;
  B b;
  std::int64_t count;  ///< rows p
  std::int64_t inner;  ///< M
  std::int64_t columns;
  std::int64_t tasks = 1;
  bool aligned = false;  ///< rows start at and are multiples of 16 bytes
};

inline constexpr int outer_threads = 128;
/// Extent of a tile along M and N. If one of them is short the tile is small, and the warps split
/// the rows p of a slice.
constexpr int outer_tile(bool narrow) { return narrow ? 32 : 64; }
constexpr bool has_narrow_outer_tile(std::int64_t inner, std::int64_t columns) {
  return inner <= 32 || columns <= 32;
}
template <class T, bool narrow>
inline constexpr TileShape outer_shape{.rows = outer_tile(narrow),
                                       .columns = outer_tile(narrow),
                                       .depth = narrow           ? 64
                                                : sizeof(T) == 4 ? 32
                                                                 : 16,
                                       .row_warps = narrow ? 1 : 2,
                                       .column_warps = narrow ? 1 : 2,
                                       .stages = 3,
                                       .depth_warps = narrow ? 4 : 1};

/// How the rows are divided into parts.
struct OuterCut {
  std::int64_t tiles;  ///< number of tiles of all tasks
  std::int64_t parts;
  std::int64_t rows_per_part;
};

/// Number of tiles of `tasks` outputs [inner,columns].
inline std::int64_t outer_tiles(std::int64_t inner, std::int64_t columns, std::int64_t tasks) {
  const int tile = outer_tile(has_narrow_outer_tile(inner, columns));
  return tasks * ((inner + tile - 1) / tile) * ((columns + tile - 1) / tile);
}

/// Chooses enough blocks to fill a GPU, each with at least 64 rows; one launch of sum_columns adds
/// the sums of the parts and the previous value.
inline OuterCut outer_cut(std::int64_t count, std::int64_t inner, std::int64_t columns,
                          std::int64_t tasks) {
  const auto over = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
  const std::int64_t tiles = outer_tiles(inner, columns, tasks);
  const std::int64_t wanted =
      std::clamp<std::int64_t>(over(256, std::max<std::int64_t>(1, tiles)), 1, 255);
  const std::int64_t rows_per_part = std::max<std::int64_t>(64, over(over(count, wanted), 32) * 32);
  return {tiles, std::max<std::int64_t>(1, over(count, rows_per_part)), rows_per_part};
}

/// Elements of the scratch memory of sum_of_outer_products.
inline std::int64_t outer_parts(std::int64_t count, std::int64_t inner, std::int64_t columns,
                                std::int64_t tasks = 1) {
  const OuterCut cut = outer_cut(count, inner, columns, tasks);
  return cut.parts == 1 ? 0 : cut.parts * tasks * inner * columns;
}

template <class T, MathMode mode, bool narrow, bool aligned>
using OuterProduct =
    TileProduct<T, mode, outer_shape<T, narrow>, Contiguous::side, Contiguous::side, aligned>;

template <class T, MathMode mode, bool narrow, bool aligned, class A, class B, class Slices>
__global__ void __launch_bounds__(outer_threads)
    outer_product_tile(OuterProducts<T, A, B> products, Slices slices_of_rows, bool add, T* out) {
  using Product = OuterProduct<T, mode, narrow, aligned>;
  constexpr TileShape shape = outer_shape<T, narrow>;
  static_assert(Product::threads == outer_threads);
  const std::int64_t row_tiles = (products.inner + shape.rows - 1) / shape.rows;
  const std::int64_t column_tiles = (products.columns + shape.columns - 1) / shape.columns;
  const std::int64_t task = static_cast<std::int64_t>(blockIdx.x) / (row_tiles * column_tiles);
  const std::int64_t tile = static_cast<std::int64_t>(blockIdx.x) % (row_tiles * column_tiles);
  const std::int64_t first_row = tile / column_tiles * shape.rows;
  const std::int64_t first_column = tile % column_tiles * shape.columns;
  const RowRange part_rows = slices_of_rows(static_cast<std::int64_t>(blockIdx.y));
  const std::int64_t begin = part_rows.begin;
  const std::int64_t end = part_rows.end;
  if (add && end <= begin) return;
  const int slices =
      end <= begin ? 0 : static_cast<int>((end - begin + Product::depth - 1) / Product::depth);
  simt::SharedCarver carver;
  const auto shared = Product::take(carver);
  Product sum;
  sum.clear();
  const auto row_of = [&](const auto& source, int slice, int outer, std::int64_t first,
                          std::int64_t width) -> PanelRow<T> {
    const std::int64_t p = begin + static_cast<std::int64_t>(slice) * Product::depth + outer;
    const T* const row = p < end ? source(task, p) : nullptr;
    return {row == nullptr ? nullptr : row + first, row == nullptr ? 0 : width - first};
  };
  sum.add(
      shared, slices,
      [&](int slice, int outer) {
        return row_of(products.a, slice, outer, first_row, products.inner);
      },
      [&](int slice, int outer) {
        return row_of(products.b, slice, outer, first_column, products.columns);
      });
  const std::int64_t part = static_cast<std::int64_t>(blockIdx.y);
  T* const to = out + (part * products.tasks + task) * products.inner * products.columns;
  const auto store = [&](int i, int j, T value) {
    const std::int64_t m = first_row + i;
    const std::int64_t n = first_column + j;
    if (m >= products.inner || n >= products.columns) return;
    T& element = to[m * products.columns + n];
    element = add ? element + value : value;
  };
  static_assert(Product::totals_elements <= shape.stages * Product::PanelA::elements);
  sum.visit_totals(shared.a, store);  // reuses the memory of the panels of a
}

/// Terms of the second launch: the sums of the parts, followed by the previous value.
template <class T>
struct PartTerms {
  using Element = T;
  static constexpr int sums = 1;
  const T* parts;
  const T* kept;
  std::int64_t count;
  std::int64_t width;
  __device__ __forceinline__ void read(std::int64_t row, std::int64_t column, T (&terms)[1]) const {
    terms[0] = row < count ? parts[row * width + column] : kept[column];
  }
};

/// One launch: the sums over the rows of each slice to [slices,tasks,M,N]; with `add`, which needs
/// a single slice, added to the previous value. `tiles`: of all tasks, as in OuterCut.
template <class T, class A, class B, class Slices>
void start_outer_products(const char* name, const OuterProducts<T, A, B>& products,
                          std::int64_t tiles, const Slices& slices, unsigned slice_count, bool add,
                          T* to) {
  for_math_mode<T>([&]<MathMode mode>() {
    const auto start = [&]<bool narrow, bool aligned>() {
      using Product = OuterProduct<T, mode, narrow, aligned>;
      const simt::Launch how{.name = name,
                             .grid = dim3(simt::blocks_for(tiles, 1), slice_count),
                             .block = Product::threads,
                             .shared_bytes = Product::shared_bytes()};
      simt::launch(how, outer_product_tile<T, mode, narrow, aligned, A, B, Slices>, products,
                   slices, add, to);
    };
    if (has_narrow_outer_tile(products.inner, products.columns)) {
      products.aligned ? start.template operator()<true, true>()
                       : start.template operator()<true, false>();
    } else {
      products.aligned ? start.template operator()<false, true>()
                       : start.template operator()<false, false>();
    }
  });
}

/// The first of two launches: the sums of each part to [parts,tasks,M,N].
template <class T, class A, class B>
void start_outer_products(const char* name, const OuterProducts<T, A, B>& products,
                          const OuterCut& cut, bool add, T* to) {
  start_outer_products(name, products, cut.tiles, EvenSlices{products.count, cut.rows_per_part},
                       static_cast<unsigned>(cut.parts), add, to);
}

/// out [tasks,M,N] = the sums, or out += the sums with `add`; `parts` holds outer_parts elements.
/// f32 follows math_mode().
template <class T, class A, class B>
void sum_of_outer_products(const char* name, const OuterProducts<T, A, B>& products, bool add,
                           T* out, T* parts) {
  const std::int64_t width = products.tasks * products.inner * products.columns;
  if (width == 0) return;
  const OuterCut cut = outer_cut(products.count, products.inner, products.columns, products.tasks);
  const bool direct = cut.parts == 1;
  start_outer_products(name, products, cut, add && direct, direct ? out : parts);
  if (direct) return;
  const PartTerms<T> terms{.parts = parts, .kept = out, .count = cut.parts, .width = width};
  const std::int64_t rows = cut.parts + (add ? 1 : 0);
  sum_columns(name, terms, rows, width, ColumnTargets<T, 1>{.to = {out}, .stride = 0},
              static_cast<T*>(nullptr));
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
