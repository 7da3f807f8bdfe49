#pragma once
/// Products of matrix tiles by one block of threads, used by convolution, patch, recurrent and loss
/// kernels.
///
///   sum[m,n] += sum_k a[m,k] b[k,n],   m < rows, n < columns of the tile; k in slices of `depth`
///
/// The factors stream through shared memory in `stages` panels each, copied asynchronously while
/// earlier ones are multiplied; a may also be in shared memory already. A source provides the
/// address of each row (another time step, the row of an item, null for zeros), so that neither
/// im2col nor a gathered copy is made. Sums stay in registers; a kernel's epilogue visits them or
/// stores them to shared memory.
///
/// Arithmetic by MathMode: exact uses fused multiply-adds of T in ascending k; tf32 and bf16 use
/// tensor cores on factors that are rounded when they are loaded from shared memory, with f32 sums.
///
/// Threads: row_warps x column_warps warps share the tile; a warp takes rows / row_warps by columns
/// / column_warps of it. With depth_warps > 1 that many groups of warps split the k of every slice,
/// for small tiles with long sums; each group then holds partial sums.
///   exact   lanes as 4 x 8, a lane every 4th row and 8th column, or every 4th and 8th group of 16
///           bytes where the side of the factor is contiguous
///   tensor  fragments of 16 x 8 (simt_cuda.hpp)
/// Panels are padded so that the reads of a warp fall into different banks.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/simt.hpp"
#include "kernels/tiling/panels.cuh"
#include "refrain/core/math_mode.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// Extents of a tile and the warps that share it.
struct TileShape {
  int rows;
  int columns;
  int depth;  ///< depth of a slice
  int row_warps;
  int column_warps;
  int stages = 2;
  int depth_warps = 1;  ///< parts of the k of a slice, each with its own sums
};

/// Stride of rows of `width` elements in shared memory that TileProduct::add_resident reads.
template <MathMode mode>
__host__ __device__ constexpr int resident_stride(int width) {
  return (width + 31) / 32 * 32 + (mode == MathMode::bf16 ? 8 : 4);
}

/// The sums of one tile. `aligned`: every row of a source starts at a multiple of 16 bytes and its
/// count is a multiple of 16 bytes, so that copies move 16 bytes; otherwise single elements.
template <class T, MathMode mode, TileShape shape, Contiguous a_contiguous, Contiguous b_contiguous,
          bool aligned>
class TileProduct {
 public:
  using Element = T;
  using PanelA = Panel<T, mode, a_contiguous, shape.rows, shape.depth>;
  using PanelB = Panel<T, mode, b_contiguous, shape.columns, shape.depth>;
  static constexpr int threads = 32 * shape.row_warps * shape.column_warps * shape.depth_warps;
  static constexpr int depth = shape.depth;
  static constexpr bool tensor = mode != MathMode::exact;

  /// The panels of both factors.
  struct Shared {
    T* a;  ///< [stages][PanelA]
    T* b;  ///< [stages][PanelB]
  };
  __device__ __forceinline__ static Shared take(simt::SharedCarver& carver) {
    T* const a = carver.take<T>(shape.stages * PanelA::elements);
    return {a, carver.take<T>(shape.stages * PanelB::elements)};
  }
  static constexpr std::size_t shared_bytes() {
    return simt::piece_bytes<T>(shape.stages * PanelA::elements) + shared_bytes_b();
  }
  /// For add_resident, which has panels of b only.
  __device__ __forceinline__ static T* take_b(simt::SharedCarver& carver) {
    return carver.take<T>(shape.stages * PanelB::elements);
  }
  static constexpr std::size_t shared_bytes_b() {
    return simt::piece_bytes<T>(shape.stages * PanelB::elements);
  }

  __device__ __forceinline__ void clear() {
    REFRAIN_UNROLL
    for (int i = 0; i < row_parts; ++i) {
      REFRAIN_UNROLL
      for (int j = 0; j < column_parts; ++j) {
        REFRAIN_UNROLL
        for (int e = 0; e < part; ++e) sums_[i][j][e] = 0;
      }
    }
  }

  /// Adds `slices` slices. a(slice, outer) and b(slice, outer) return the PanelRow of a panel's
  /// row: with Contiguous::depth, outer is m (or n) and the row holds the slice's k; with
  /// Contiguous::side, outer is k within the slice and the row holds m (or n). All threads call it;
  /// afterwards every thread may read what other threads wrote to shared memory before the call.
  template <class A, class B>
  __device__ __forceinline__ void add(const Shared& shared, int slices, const A& a, const B& b) {
    pipeline(
        slices,
        [&](int slice) {
          const int stage = slice % shape.stages;
          load<PanelA>(shared.a + stage * PanelA::elements, slice, a);
          load<PanelB>(shared.b + stage * PanelB::elements, slice, b);
        },
        [&](int slice) {
          const int stage = slice % shape.stages;
          multiply(shared.a + stage * PanelA::elements, PanelA::stride,
                   shared.b + stage * PanelB::elements);
        });
  }

  /// add() for a [rows][stride] in shared memory, contiguous along k and zero from its end to the
  /// end of the last slice; stride from resident_stride().
  template <class B>
  __device__ __forceinline__ void add_resident(const T* a, int stride, T* b_panels, int slices,
                                               const B& b) {
    static_assert(a_contiguous == Contiguous::depth);
    pipeline(
        slices,
        [&](int slice) {
          load<PanelB>(b_panels + slice % shape.stages * PanelB::elements, slice, b);
        },
        [&](int slice) {
          multiply(a + slice * shape.depth, stride,
                   b_panels + slice % shape.stages * PanelB::elements);
        });
  }

  /// The index of the part of the sums, of depth_warps parts, that this thread holds.
  __device__ __forceinline__ static int depth_part() {
    return shape.depth_warps == 1 ? 0 : simt::warp() / (shape.row_warps * shape.column_warps);
  }

  /// Calls function(m, n, sum) for every sum of this thread; the sum may be changed.
  template <class Function>
  __device__ __forceinline__ void visit(Function&& function) {
    REFRAIN_UNROLL
    for (int i = 0; i < row_parts; ++i) {
      REFRAIN_UNROLL
      for (int j = 0; j < column_parts; ++j) {
        REFRAIN_UNROLL
        for (int e = 0; e < part; ++e) function(row_of(i, e), column_of(j, e), sums_[i][j][e]);
      }
    }
  }

  /// Elements of the scratch memory of visit_totals.
  static constexpr int totals_elements =
      shape.depth_warps == 1 ? 0 : shape.depth_warps * shape.rows * shape.columns;

  /// Calls function(m, n, total) for every sum of the tile, in one thread each: the parts of the
  /// depth_warps are added in order, through shared memory that has no other use meanwhile. All
  /// threads call it.
  template <class Function>
  __device__ __forceinline__ void visit_totals(T* scratch, Function&& function) {
    if constexpr (shape.depth_warps == 1) {
      visit(function);
    } else {
      constexpr int group = threads / shape.depth_warps;
      constexpr int count = row_parts * column_parts * part;
      // Of a thread: it adds sums share * depth_part() onwards.
      constexpr int share = count / shape.depth_warps;
      static_assert(count % shape.depth_warps == 0);
      const int thread = static_cast<int>(threadIdx.x) % group;
      T* const parts = scratch + thread;  // [depth_warps][count][group]
      REFRAIN_UNROLL
      for (int i = 0; i < count; ++i) {
        parts[(depth_part() * count + i) * group] =
            sums_[i / (column_parts * part)][i / part % column_parts][i % part];
      }
      __syncthreads();
      REFRAIN_UNROLL
      for (int s = 0; s < share; ++s) {
        const int i = depth_part() * share + s;
        T total = parts[i * group];
        REFRAIN_UNROLL
        for (int d = 1; d < shape.depth_warps; ++d) total += parts[(d * count + i) * group];
        function(row_of(i / (column_parts * part), i % part),
                 column_of(i / part % column_parts, i % part), total);
      }
    }
  }

  /// The number of neighbouring lanes that hold the sums of one row within their warp.
  static constexpr int row_lanes = tensor ? 4 : 8;

  /// Calls function(m, sums) for every row of this thread, in which sums(each) calls each(n, sum)
  /// for its columns. All lanes of a warp call it together, so `function` may shuffle.
  template <class Function>
  __device__ __forceinline__ void visit_rows(Function&& function) {
    constexpr int rows_of_part = tensor ? 2 : 1;
    constexpr int columns_of_part = part / rows_of_part;
    REFRAIN_UNROLL
    for (int i = 0; i < row_parts; ++i) {
      REFRAIN_UNROLL
      for (int r = 0; r < rows_of_part; ++r) {
        function(row_of(i, r * columns_of_part), [&](auto&& each) {
          REFRAIN_UNROLL
          for (int j = 0; j < column_parts; ++j) {
            REFRAIN_UNROLL
            for (int e = 0; e < columns_of_part; ++e)
              each(column_of(j, e), sums_[i][j][r * columns_of_part + e]);
          }
        });
      }
    }
  }

 private:
  static constexpr int warp_rows = shape.rows / shape.row_warps;
  static constexpr int warp_columns = shape.columns / shape.column_warps;
  static constexpr int row_parts = tensor ? warp_rows / 16 : warp_rows / 4;
  static constexpr int column_parts = tensor ? warp_columns / 8 : warp_columns / 8;
  static constexpr int part = tensor ? 4 : 1;
  static_assert(!tensor || std::is_same_v<T, float>);
  static_assert(shape.rows % (shape.row_warps * 16) == 0 &&
                shape.columns % (shape.column_warps * 8) == 0);
  static constexpr int warp_depth = shape.depth / shape.depth_warps;
  static_assert(shape.depth % (shape.depth_warps * (mode == MathMode::bf16 ? 16 : 8)) == 0 &&
                shape.stages >= 2);

  __device__ __forceinline__ static int first_row() {
    return simt::warp() / shape.column_warps % shape.row_warps * warp_rows;
  }
  __device__ __forceinline__ static int first_depth() { return depth_part() * warp_depth; }
  __device__ __forceinline__ static int first_column() {
    return simt::warp() % shape.column_warps * warp_columns;
  }

  /// True when a lane's elements of a side form packs of 16 contiguous bytes.
  template <class P, int count>
  static constexpr bool in_packs =
      P::contiguous == Contiguous::side&& count % simt::Pack<T>::count == 0;
  /// Index of element i of a lane along a side whose elements are divided among `lanes` lanes.
  template <class P, int count, int lanes>
  __device__ __forceinline__ static int place(int lane, int i) {
    constexpr int n = in_packs<P, count> ? simt::Pack<T>::count : 1;
    return (lane + i / n * lanes) * n + i % n;
  }
  __device__ __forceinline__ static int row_of(int i, int e) {
    if constexpr (tensor) return first_row() + 16 * i + simt::lane() / 4 + e / 2 * 8;
    return first_row() + place<PanelA, row_parts, 4>(simt::lane() / 8, i);
  }
  __device__ __forceinline__ static int column_of(int j, int e) {
    if constexpr (tensor) return first_column() + 8 * j + simt::lane() % 4 * 2 + e % 2;
    return first_column() + place<PanelB, column_parts, 8>(simt::lane() % 8, j);
  }

  template <class P, class Source>
  __device__ __forceinline__ static void load(T* panel, int slice, const Source& source) {
    constexpr int group = aligned ? simt::Pack<T>::count : 1;
    constexpr int groups = P::inner / group;
    for (int i = static_cast<int>(threadIdx.x); i < P::outer * groups; i += threads) {
      const int outer = i / groups;
      const int at = i % groups * group;
      const PanelRow<T> row = source(slice, outer);
      const bool valid = at < row.count;
      simt::copy_async<group* static_cast<int>(sizeof(T))>(panel + outer * P::stride + at,
                                                           valid ? row.from + at : nullptr, valid);
    }
  }

  /// Slice s is multiplied while slices s + 1 .. s + stages - 1 are in flight. One barrier per
  /// slice: after it the slice has arrived, and every thread has finished with the panel that the
  /// next copies overwrite.
  template <class Load, class Multiply>
  __device__ __forceinline__ static void pipeline(int slices, const Load& start,
                                                  const Multiply& multiply_slice) {
    REFRAIN_UNROLL
    for (int slice = 0; slice < shape.stages - 1; ++slice) {
      if (slice < slices) start(slice);
      simt::commit_copies();
    }
    for (int slice = 0; slice < slices; ++slice) {
      simt::wait_copies<shape.stages - 2>();
      __syncthreads();
      if (slice + shape.stages - 1 < slices) start(slice + shape.stages - 1);
      simt::commit_copies();
      multiply_slice(slice);
    }
    simt::wait_copies<0>();
    __syncthreads();
  }

  /// Element (side, k) of a panel.
  template <class P>
  __device__ __forceinline__ static T element(const T* panel, int stride, int side, int k) {
    return P::contiguous == Contiguous::depth ? panel[side * stride + k] : panel[k * stride + side];
  }

  template <class P, int count, int lanes>
  __device__ __forceinline__ static void line(T (&out)[count], const T* panel, int stride,
                                              int first, int lane, int k) {
    if constexpr (in_packs<P, count>) {
      constexpr int n = simt::Pack<T>::count;
      REFRAIN_UNROLL
      for (int i = 0; i < count; i += n) {
        T group[n];
        simt::load_group(panel + k * stride + first + place<P, count, lanes>(lane, i), group);
        REFRAIN_UNROLL
        for (int j = 0; j < n; ++j) out[i + j] = group[j];
      }
    } else {
      REFRAIN_UNROLL
      for (int i = 0; i < count; ++i)
        out[i] = element<P>(panel, stride, first + place<P, count, lanes>(lane, i), k);
    }
  }

  /// Two neighbours along k at (side, k), as the register of a fragment.
  template <class P>
  __device__ __forceinline__ static std::uint32_t fragment(const T* panel, int stride, int side,
                                                           int k) {
    if constexpr (mode == MathMode::tf32) return simt::to_tf32(element<P>(panel, stride, side, k));
    return simt::to_bf16x2(element<P>(panel, stride, side, k),
                           element<P>(panel, stride, side, k + 1));
  }

  __device__ __forceinline__ void multiply(const T* a, int a_stride, const T* b) {
    if constexpr (tensor) {
      multiply_fragments(a, a_stride, b);
    } else {
      REFRAIN_UNROLL
      for (int k = 0; k < warp_depth; ++k) {
        T left[row_parts];
        T right[column_parts];
        line<PanelA, row_parts, 4>(left, a, a_stride, first_row(), simt::lane() / 8,
                                   first_depth() + k);
        line<PanelB, column_parts, 8>(right, b, PanelB::stride, first_column(), simt::lane() % 8,
                                      first_depth() + k);
        REFRAIN_UNROLL
        for (int i = 0; i < row_parts; ++i) {
          REFRAIN_UNROLL
          for (int j = 0; j < column_parts; ++j) sums_[i][j][0] += left[i] * right[j];
        }
      }
    }
  }

  __device__ __forceinline__ void multiply_fragments(const T* a, int a_stride, const T* b) {
    constexpr int step = mode == MathMode::bf16 ? 16 : 8;  // k of one mma
    constexpr int apart = mode == MathMode::bf16 ? 8 : 4;  // k between the halves of a fragment
    const int g = simt::lane() / 4;
    const int q = simt::lane() % 4 * (mode == MathMode::bf16 ? 2 : 1) + first_depth();
    REFRAIN_UNROLL
    for (int k = 0; k < warp_depth; k += step) {
      std::uint32_t right[column_parts][2];
      REFRAIN_UNROLL
      for (int j = 0; j < column_parts; ++j) {
        const int column = first_column() + 8 * j + g;
        right[j][0] = fragment<PanelB>(b, PanelB::stride, column, k + q);
        right[j][1] = fragment<PanelB>(b, PanelB::stride, column, k + q + apart);
      }
      REFRAIN_UNROLL
      for (int i = 0; i < row_parts; ++i) {
        const int row = first_row() + 16 * i + g;
        const std::uint32_t left[4] = {fragment<PanelA>(a, a_stride, row, k + q),
                                       fragment<PanelA>(a, a_stride, row + 8, k + q),
                                       fragment<PanelA>(a, a_stride, row, k + q + apart),
                                       fragment<PanelA>(a, a_stride, row + 8, k + q + apart)};
        REFRAIN_UNROLL
        for (int j = 0; j < column_parts; ++j) multiply_add(sums_[i][j], left, right[j]);
      }
    }
  }
  template <int parts>
  __device__ __forceinline__ static void multiply_add(T (&sum)[parts], const std::uint32_t (&a)[4],
                                                      const std::uint32_t (&b)[2]) {
    if constexpr (mode == MathMode::tf32) {
      simt::mma_tf32(sum, a, b);
    } else if constexpr (mode == MathMode::bf16) {
      simt::mma_bf16(sum, a, b);
    }
  }

  T sums_[row_parts][column_parts][part];
};

/// Calls visit.template operator()<mode>() with the arithmetic of products of T: math_mode() for
/// f32, exact for f64.
template <class T, class Visit>
void for_math_mode(Visit&& visit) {
  if constexpr (std::is_same_v<T, float>) {
    switch (math_mode()) {
      case MathMode::tf32:
        return visit.template operator()<MathMode::tf32>();
      case MathMode::bf16:
        return visit.template operator()<MathMode::bf16>();
      case MathMode::exact:
        break;
    }
  }
  visit.template operator()<MathMode::exact>();
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
