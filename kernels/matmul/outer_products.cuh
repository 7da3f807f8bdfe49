#pragma once
/// The gradient of weights that many rows went through, on the GPU.
///
///   out[task][m,n] (+)= sum_{p < count} a(task, p)[m] b(task, p)[n],   a row that is null counts as zeros
///
/// Block (x, y): one tile of one task's [M,N], over the y-th part of the rows p, in rising order.  The parts' sums are added in order by a
/// second launch (columns.cuh).  The number of parts depends on the shape alone, so equal input gives equal bits.
/// Moved: each row of a and b once per 64 columns of the other.  FLOPs 2 M N count per task.  Limit: arithmetic from M and N of 64 on.

#include <algorithm>
#include <cstdint>

#include "kernels/rows/columns.cuh"
#include "kernels/tiles.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// What to sum: A and B are functions of (task, p) that return a row of M, or N, elements, or null.
template <class T, class A, class B>
struct OuterProducts {
  A a;
  B b;
  std::int64_t count;  ///< rows p
  std::int64_t inner;  ///< M
  std::int64_t columns;
  std::int64_t tasks = 1;
  bool aligned = false;                   ///< rows are multiples of 16 bytes and start at such
  std::int64_t padded_inner = 0;          ///< elements in a row of a, finite ones past M; 0: just M
  const std::int64_t* present = nullptr;  ///< in device memory: rows p from there on do not count; null: all count
};

inline constexpr int outer_tile = 64;
template <class T>
inline constexpr TileShape outer_shape{
    .rows = outer_tile, .columns = outer_tile, .depth = sizeof(T) == 4 ? 32 : 16, .row_warps = 2, .column_warps = 2};

/// How the rows are cut.
struct OuterCut {
  std::int64_t tiles;  ///< of all tasks
  std::int64_t parts;
  std::int64_t rows_per_part;
};

/// Enough blocks to fill a GPU, none with fewer than 256 rows; the parts' sums, and what they are added to, make one chunk of sum_columns.
inline OuterCut outer_cut(std::int64_t count, std::int64_t inner, std::int64_t columns, std::int64_t tasks) {
  const auto over = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
  const std::int64_t tiles = tasks * over(inner, outer_tile) * over(columns, outer_tile);
  const std::int64_t wanted = std::clamp<std::int64_t>(over(512, std::max<std::int64_t>(1, tiles)), 1, 63);
  const std::int64_t rows_per_part = std::max<std::int64_t>(256, over(over(count, wanted), 32) * 32);
  return {tiles, std::max<std::int64_t>(1, over(count, rows_per_part)), rows_per_part};
}

/// Elements of the scratch memory of sum_of_outer_products.
inline std::int64_t outer_parts(std::int64_t count, std::int64_t inner, std::int64_t columns, std::int64_t tasks = 1) {
  const OuterCut cut = outer_cut(count, inner, columns, tasks);
  return cut.parts == 1 ? 0 : cut.parts * tasks * inner * columns;
}

template <class T, MathMode mode, bool aligned, class A, class B>
__global__ void __launch_bounds__(128)
    outer_product_tile(OuterProducts<T, A, B> products, std::int64_t rows_per_part, bool add, T* out) {
  using Product = TileProduct<T, mode, outer_shape<T>, Contiguous::side, Contiguous::side, aligned>;
  const std::int64_t row_tiles = (products.inner + outer_tile - 1) / outer_tile;
  const std::int64_t column_tiles = (products.columns + outer_tile - 1) / outer_tile;
  const std::int64_t task = static_cast<std::int64_t>(blockIdx.x) / (row_tiles * column_tiles);
  const std::int64_t tile = static_cast<std::int64_t>(blockIdx.x) % (row_tiles * column_tiles);
  const std::int64_t first_row = tile / column_tiles * outer_tile;
  const std::int64_t first_column = tile % column_tiles * outer_tile;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.y) * rows_per_part;
  const std::int64_t count =
      products.present != nullptr && *products.present < products.count ? *products.present : products.count;
  const std::int64_t end = begin + rows_per_part < count ? begin + rows_per_part : count;
  if (add && end <= begin) return;
  const std::int64_t inner = products.padded_inner > 0 ? products.padded_inner : products.inner;
  const int slices = end <= begin ? 0 : static_cast<int>((end - begin + Product::depth - 1) / Product::depth);
  simt::SharedCarver carver;
  const auto shared = Product::take(carver);
  Product sum;
  sum.clear();
  const auto row_of = [&](const auto& source, int slice, int outer, std::int64_t first, std::int64_t width) -> PanelRow<T> {
    const std::int64_t p = begin + static_cast<std::int64_t>(slice) * Product::depth + outer;
    const T* const row = p < end ? source(task, p) : nullptr;
    return {row == nullptr ? nullptr : row + first, row == nullptr ? 0 : width - first};
  };
  sum.add(
      shared, slices, [&](int slice, int outer) { return row_of(products.a, slice, outer, first_row, inner); },
      [&](int slice, int outer) { return row_of(products.b, slice, outer, first_column, products.columns); });
  const std::int64_t part = static_cast<std::int64_t>(blockIdx.y);
  T* const to = out + (part * products.tasks + task) * products.inner * products.columns;
  sum.visit([&](int i, int j, T value) {
    const std::int64_t m = first_row + i;
    const std::int64_t n = first_column + j;
    if (m >= products.inner || n >= products.columns) return;
    T& element = to[m * products.columns + n];
    element = add ? element + value : value;
  });
}

/// Terms of the second launch: the parts' sums, and behind them what is added to.
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

/// out [tasks,M,N] = the sums, or out += the sums with `add`; `parts` holds outer_parts elements.  f32 follows math_mode().
template <class T, class A, class B>
void sum_of_outer_products(const char* name, const OuterProducts<T, A, B>& products, bool add, T* out, T* parts,
                           Stream stream) {
  const std::int64_t width = products.tasks * products.inner * products.columns;
  if (width == 0) return;
  const OuterCut cut = outer_cut(products.count, products.inner, products.columns, products.tasks);
  const bool direct = cut.parts == 1;
  for_math_mode<T>([&]<MathMode mode>() {
    const auto start = [&]<bool aligned>() {
      using Product = TileProduct<T, mode, outer_shape<T>, Contiguous::side, Contiguous::side, aligned>;
      const simt::Launch how{.name = name,
                             .grid = dim3(simt::blocks_for(cut.tiles, 1), static_cast<unsigned>(cut.parts)),
                             .block = Product::threads,
                             .shared_bytes = Product::shared_bytes(),
                             .stream = stream};
      simt::launch(how, outer_product_tile<T, mode, aligned, A, B>, products, cut.rows_per_part, add && direct,
                   direct ? out : parts);
    };
    products.aligned ? start.template operator()<true>() : start.template operator()<false>();
  });
  if (direct) return;
  const PartTerms<T> terms{.parts = parts, .kept = out, .count = cut.parts, .width = width};
  const std::int64_t rows = cut.parts + (add ? 1 : 0);
  sum_columns(name, terms, rows, width, ColumnTargets<T, 1>{.to = {out}, .stride = 0}, static_cast<T*>(nullptr), stream);
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
