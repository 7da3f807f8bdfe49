// Matrix product c = op(a) op(b) (+ bias).
//   a row-major    register tiles of gemm.hpp: a task packs up to four panels of op(b) and
//                  multiplies up to 256 rows with them, 512 of k at a time, in order: the result
//                  of a row depends only on the row.
//   few rows       with a transposed b: dot products of rows in place, so that b is read once
//                  and nothing is packed.
//   a transposed   Eigen, one output tile per task. Tiles are at most 256 x 256, so that Eigen's
//                  packed panels fit its stack buffers and no memory is allocated; smaller when
//                  the product has few tiles. A product with a small output and a long inner axis
//                  (the gradient of a weight) is also divided along the inner axis: the partial
//                  sums are in scratch memory and are added in order. All divisions depend only
//                  on sizes.

// Two packed panels of at most 256 x about 512 elements; Eigen allocates heap memory above this
// limit.
#define EIGEN_STACK_ALLOCATION_LIMIT (1 << 20)

// gcc 12 warns about the deliberately undefined vectors of its own AVX-512 intrinsics.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <Eigen/Core>

#include "kernels/kernel.hpp"
#include "kernels/tiling/gemm.hpp"
#include "kernels/tiling/row_blocks.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/kernels/matmul.hpp"

namespace refrain::kernels::cpu {
namespace {

using Eigen::Dynamic;

constexpr std::int64_t largest_tile = 256;
constexpr std::int64_t smallest_tile = 32;
constexpr std::int64_t wanted_tasks = 16;
constexpr std::int64_t multiplications_per_task = std::int64_t{1} << 19;

constexpr std::int64_t pieces(std::int64_t extent, std::int64_t piece) {
  return (extent + piece - 1) / piece;
}

/// How a product with a transposed a is divided into tasks.
struct Cut {
  explicit Cut(const Matmul& args)
      : m(args.c.shape[0]), n(args.c.shape[1]), k(args.a.shape[0]), inner(k) {
    const std::int64_t output_tasks = pieces(m, tile_m) * pieces(n, tile_n);
    if (m * n > 0 && output_tasks < wanted_tasks / 2 && k >= 2 * shortest_inner) {
      const std::int64_t min_task = std::max<std::int64_t>(1, m * n * k / multiplications_per_task);
      const std::int64_t parts_wanted =
          std::min({wanted_tasks / output_tasks, k / shortest_inner, min_task});
      inner = pieces(k, parts_wanted);
      parts = pieces(k, inner);
    }
    while (pieces(m, tile_m) * pieces(n, tile_n) * parts < wanted_tasks &&
           tile_m * tile_n * inner > multiplications_per_task &&
           std::max(tile_m, tile_n) > smallest_tile) {
      (tile_m >= tile_n ? tile_m : tile_n) /= 2;
    }
  }

  static constexpr std::int64_t shortest_inner = 512;
  std::int64_t m, n, k;
  std::int64_t tile_m = largest_tile;
  std::int64_t tile_n = largest_tile;
  std::int64_t inner;      ///< length of one part of the inner axis
  std::int64_t parts = 1;  ///< parts of the inner axis
};

template <class T>
using Matrix = Eigen::Matrix<T, Dynamic, Dynamic, Eigen::RowMajor>;
template <class T>
using Block = Eigen::Map<const Matrix<T>, Eigen::Unaligned, Eigen::OuterStride<>>;
template <class T>
using OutputBlock = Eigen::Map<Matrix<T>, Eigen::Unaligned, Eigen::OuterStride<>>;

/// A range of an axis.
struct Range {
  std::int64_t begin;
  std::int64_t size;
};

/// The stored block for rows x columns of op(matrix): columns x rows when transposed.
template <class T>
Block<T> stored_block(const View& matrix, bool transposed, Range rows, Range columns) {
  if (transposed) std::swap(rows, columns);
  const std::int64_t stride = matrix.shape[1];
  return {matrix.as<T>() + rows.begin * stride + columns.begin, rows.size, columns.size,
          Eigen::OuterStride<>(stride)};
}

/// out = start + a^T[rows, inner] op(b)[inner, columns], start = bias or zero.
template <class T>
void compute_tile(const Matmul& args, Range rows, Range columns, Range inner, const T* bias, T* out,
                  std::int64_t out_stride) {
  OutputBlock<T> c(out + rows.begin * out_stride + columns.begin, rows.size, columns.size,
                   Eigen::OuterStride<>(out_stride));
  if (bias != nullptr) {
    c.rowwise() =
        Eigen::Map<const Eigen::Matrix<T, 1, Dynamic>>(bias + columns.begin, columns.size);
  } else {
    c.setZero();
  }
  if (inner.size == 0) return;
  const Block<T> a = stored_block<T>(args.a, true, rows, inner);
  const Block<T> b = stored_block<T>(args.b, args.transpose_b, inner, columns);
  if (args.transpose_b) {
    c.noalias() += a.transpose() * b.transpose();
  } else {
    c.noalias() += a.transpose() * b;
  }
}

template <class T>
void compute(const Matmul& args, Scratch& scratch) {
  const Cut cut(args);
  const std::int64_t elements = cut.m * cut.n;
  T* const parts = cut.parts == 1 ? nullptr : scratch.take<T>(cut.parts * elements);
  if (scratch.is_counting() || elements == 0) return;
  const std::int64_t columns_of_tiles = pieces(cut.n, cut.tile_n);
  const std::int64_t tiles = pieces(cut.m, cut.tile_m) * columns_of_tiles;
  parallel_tasks(tiles * cut.parts, [&](std::int64_t task, int) {
    const std::int64_t part = task / tiles;
    const std::int64_t row = task % tiles / columns_of_tiles * cut.tile_m;
    const std::int64_t column = task % tiles % columns_of_tiles * cut.tile_n;
    const std::int64_t first = part * cut.inner;
    const T* bias = part == 0 && args.bias ? args.bias.as<T>() : nullptr;
    compute_tile<T>(args, {row, std::min(cut.tile_m, cut.m - row)},
                    {column, std::min(cut.tile_n, cut.n - column)},
                    {first, std::min(cut.inner, cut.k - first)}, bias,
                    cut.parts == 1 ? args.c.as<T>() : parts + part * elements, cut.n);
  });
  if (cut.parts == 1) return;
  parallel_for(elements, task_elements, [&](std::int64_t begin, std::int64_t end) {
    T* __restrict c = args.c.as<T>();
    std::copy(parts + begin, parts + end, c + begin);
    for (std::int64_t part = 1; part < cut.parts; ++part) {
      const T* __restrict from = parts + part * elements;
      for (std::int64_t i = begin; i < end; ++i) c[i] += from[i];
    }
  });
}

/// How a product with a row-major a is divided: a task packs some columns of op(b) and multiplies a
/// block of rows with them.
template <class T>
struct PanelCut {
  static constexpr std::int64_t panel = 2 * Lanes<T>::count;
  static constexpr std::int64_t max_columns = 4 * panel;
  static constexpr std::int64_t max_depth = 512;  // packed panels stay in second-level cache
  static constexpr std::int64_t max_rows = 256;   // packing costs a few per cent of the product
  static constexpr std::int64_t min_task = std::int64_t{1} << 18;  // multiply-adds of a task

  explicit PanelCut(const Matmul& args)
      : m(args.c.shape[0]), n(args.c.shape[1]), k(args.a.shape[1]) {
    while (columns > panel && pieces(m, rows) * pieces(n, columns) < wanted_tasks &&
           std::min(m, rows) * columns * k > 2 * min_task) {
      columns /= 2;
    }
  }
  std::int64_t tasks() const { return pieces(m, rows) * pieces(n, columns); }
  /// Packed columns of one worker.
  std::int64_t packed() const { return std::min(k, max_depth) * columns; }

  std::int64_t m, n, k;
  std::int64_t rows = max_rows;
  std::int64_t columns = max_columns;
};

/// c = a op(b) + bias by the register tiles of gemm.hpp.
template <class T>
void compute_by_panels(const Matmul& args, Scratch& scratch) {
  const PanelCut<T> cut(args);
  T* const packed_of_workers = scratch.take<T>(threads() * cut.packed());
  if (scratch.is_counting()) return;
  if (cut.m * cut.n == 0) return;
  const std::int64_t row_blocks = pieces(cut.m, cut.rows);
  const T* const b = args.b.as<T>();
  parallel_tasks(cut.tasks(), [&](std::int64_t task, int worker) {
    const std::int64_t column = task / row_blocks * cut.columns;
    const std::int64_t width = std::min(cut.columns, cut.n - column);
    const std::int64_t row = task % row_blocks * cut.rows;
    const std::int64_t count = std::min(cut.rows, cut.m - row);
    T* const packed = packed_of_workers + worker * cut.packed();
    T* const c = args.c.as<T>() + row * cut.n + column;
    auto start = Start<T>::row(args.bias.as<T>()).from(0, column);
    std::int64_t first = 0;
    do {
      const std::int64_t depth = std::min(cut.max_depth, cut.k - first);
      if (args.transpose_b) {
        pack<T>(b + column * cut.k + first, 1, cut.k, depth, width, 0, depth, packed);
      } else {
        pack<T>(b + first * cut.n + column, cut.n, 1, depth, width, 0, depth, packed);
      }
      block_product<T>(args.a.as<T>() + row * cut.k + first, cut.k, count, depth,
                       Panels<T>::packed(packed, depth), width, c, cut.n, start);
      start = Start<T>::rows(c, cut.n);
      first += depth;
    } while (first < cut.k);
  });
}

/// out[i] = dot(x, rows + i * length) for as many rows as a vector has elements. The partial sums
/// of all rows are transposed and added in rounds, as in transpose_square(), which leaves the sum
/// of row i in element i.
template <class T>
typename Lanes<T>::Vector dots(const T* x, const T* rows, std::int64_t length) {
  using L = Lanes<T>;
  constexpr int count = L::count;
  typename L::Vector sums[extent(count)];
  for (int i = 0; i < count; ++i) {
    const T* const row = rows + i * length;
    typename L::Vector sum{};
    for (std::int64_t k = 0; k + count <= length; k += count)
      sum += L::load(x + k) * L::load(row + k);
    sums[i] = sum;
  }
  for (int left = count / 2; left > 0; left /= 2) {
    for (int i = 0; i < left; ++i) sums[i] = add_by_turns<T>(sums[i], sums[i + left]);
  }
  const std::int64_t whole = length / count * count;
  if (whole < length) {
    alignas(64) T rest[extent(count)];
    for (int i = 0; i < count; ++i) {
      rest[i] = 0;
      for (std::int64_t k = whole; k < length; ++k) rest[i] += x[k] * rows[i * length + k];
    }
    sums[0] += L::load(rest);
  }
  return sums[0];
}

/// c = a b^T + bias for up to this many rows of a.
constexpr std::int64_t few_rows = 4;

bool by_dots(const Matmul& args) {
  return !args.transpose_a && args.transpose_b && args.a.shape[0] <= few_rows;
}

template <class T>
void compute_by_dots(const Matmul& args) {
  constexpr std::int64_t lanes = Lanes<T>::count;
  constexpr std::int64_t min_task = std::int64_t{1} << 17;  // multiply-adds of a task
  const std::int64_t m = args.a.shape[0], k = args.a.shape[1], n = args.c.shape[1];
  const T* const a = args.a.as<T>();
  const T* const b = args.b.as<T>();
  T* const c = args.c.as<T>();
  const std::int64_t grain =
      round_up(std::max<std::int64_t>(1, min_task / std::max<std::int64_t>(1, m * k)), lanes);
  parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = 0; i < m; ++i) {
      const T* const x = a + i * k;
      T* const out = c + i * n;
      std::int64_t j = begin;
      for (; j + lanes <= end; j += lanes) Lanes<T>::store(out + j, dots(x, b + j * k, k));
      for (; j < end; ++j) {
        out[j] = sum_lanes<T>(k, [&]<class L>(L, std::int64_t at) {
          return L::load(x + at) * L::load(b + j * k + at);
        });
      }
      if (!args.bias) continue;
      const T* const bias = args.bias.as<T>();
      for_lanes<T>(end - begin, [&]<class L>(L, std::int64_t at) {
        L::store(out + begin + at, L::load(out + begin + at) + L::load(bias + begin + at));
      });
    }
  });
}

}  // namespace

template <>
void kernel(const Matmul& args, Scratch& scratch) {
  for_floating<Matmul>(args.c.dtype, [&]<class T>(T) {
    if (args.transpose_a) {
      compute<T>(args, scratch);
    } else if (!by_dots(args)) {
      compute_by_panels<T>(args, scratch);
    } else if (!scratch.is_counting()) {
      compute_by_dots<T>(args);
    }
  });
}

template void entry(const Matmul&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
