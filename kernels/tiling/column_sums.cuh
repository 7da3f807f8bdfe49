#pragma once
/// Sums along the columns of a matrix in a fixed order, for gradients of biases, norms and replaced
/// rows.
///
/// One launch for up to 512 rows, otherwise two. The first divides the rows into slices: block (x,
/// y) adds the 32 columns from 32 x on over slice y; warp w takes rows w, w + 8, ... of the slice,
/// a lane takes one column, and the sums of the eight warps are added in order. The second adds the
/// sums of the slices in the same way. The size of a slice depends only on the matrix, so equal
/// input gives equal bits. Sums for the rows of a bank take one launch: a slice has the rows of one
/// row of the bank.

#include <algorithm>
#include <cstdint>

#include "kernels/simt.hpp"
#include "kernels/tiling/bank_rows.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

inline constexpr int column_warps = 8;

/// Terms of the plain sums of `count` matrices with equal row length, `apart` elements from one to
/// the next.
template <class T, int count>
struct MatrixTerms {
  using Element = T;
  static constexpr int sums = count;
  const T* from;
  std::int64_t stride;  ///< elements from row to row
  std::int64_t apart;
  unsigned wanted = ~0u;  ///< bit i: matrix i is read
  __device__ __forceinline__ void read(std::int64_t row, std::int64_t column,
                                       T (&terms)[count]) const {
    REFRAIN_UNROLL
    for (int i = 0; i < count; ++i)
      terms[i] = (wanted >> i & 1u) != 0 ? from[row * stride + i * apart + column] : T{0};
  }
};

/// The destination of sum i of a slice: to[i] + slice * stride; null: the sum is not computed.
template <class T, int sums>
struct ColumnTargets {
  T* to[sums];
  std::int64_t stride;

  /// The value of MatrixTerms::wanted for these destinations.
  unsigned wanted() const {
    unsigned bits = 0;
    for (int i = 0; i < sums; ++i) bits |= to[i] == nullptr ? 0u : 1u << i;
    return bits;
  }
};

/// The maximum number of rows that one launch sums.
inline constexpr std::int64_t max_rows_at_once = 512;
/// Rows per slice, so that the first launch has enough blocks to fill a GPU and the second launch
/// stays short.
inline std::int64_t rows_per_column_slice(std::int64_t rows) {
  return rows <= max_rows_at_once ? max_rows_at_once
                                  : std::max<std::int64_t>(64, (rows + 255) / 256);
}
inline std::int64_t column_slices(std::int64_t rows) {
  return (rows + rows_per_column_slice(rows) - 1) / rows_per_column_slice(rows);
}

template <class Terms, class Slices>
__global__ void __launch_bounds__(column_warps * 32)
    column_sums(Terms source, Slices slices, std::int64_t width,
                ColumnTargets<typename Terms::Element, Terms::sums> targets) {
  using T = typename Terms::Element;
  constexpr int sums = Terms::sums;
  REFRAIN_SHARED_ARRAY(T, parts, sums * column_warps * 32);  // [sums][warps][32]
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * 32 + simt::lane();
  const std::int64_t slice = static_cast<std::int64_t>(blockIdx.y);
  const auto [begin, end] = slices(slice);
  T sum[sums] = {};
  if (column < width) {
    constexpr int at_once = sums > 1 ? 8 : 4;  // rows whose loads overlap
    for (std::int64_t row = begin + simt::warp(); row < end; row += at_once * column_warps) {
      T terms[at_once][sums] = {};
      REFRAIN_UNROLL
      for (int r = 0; r < at_once; ++r) {
        if (row + r * column_warps < end) source.read(row + r * column_warps, column, terms[r]);
      }
      REFRAIN_UNROLL
      for (int r = 0; r < at_once; ++r) {
        REFRAIN_UNROLL
        for (int i = 0; i < sums; ++i) sum[i] += terms[r][i];
      }
    }
  }
  REFRAIN_UNROLL
  for (int i = 0; i < sums; ++i)
    parts[(i * column_warps + simt::warp()) * 32 + simt::lane()] = sum[i];
  __syncthreads();
  REFRAIN_UNROLL
  for (int i = 0; i < sums; ++i) {  // warp i adds sum i
    if (simt::warp() != i || column >= width || targets.to[i] == nullptr) continue;
    T total = 0;
    REFRAIN_UNROLL
    for (int w = 0; w < column_warps; ++w)
      total += parts[(i * column_warps + w) * 32 + simt::lane()];
    targets.to[i][slice * targets.stride + column] = total;
  }
}

/// out[i] = the sums of `source` over its rows; a null out is not computed. `parts` holds
/// column_parts() elements.
template <class Terms>
void sum_columns(const char* name, const Terms& source, std::int64_t rows, std::int64_t width,
                 const ColumnTargets<typename Terms::Element, Terms::sums>& out,
                 typename Terms::Element* parts) {
  using T = typename Terms::Element;
  constexpr int sums = Terms::sums;
  if (width == 0) return;
  const unsigned tiles = simt::blocks_for(width, 32);
  // Without rows one empty slice writes zeros.
  const std::int64_t slices = std::max<std::int64_t>(1, column_slices(rows));
  const auto how = [&](std::int64_t along_y) {
    return simt::Launch{.name = name,
                        .grid = dim3(tiles, static_cast<unsigned>(along_y)),
                        .block = column_warps * 32};
  };
  if (slices == 1) {
    simt::launch(how(1), column_sums<Terms, EvenSlices>, source, EvenSlices{rows, rows}, width,
                 out);
    return;
  }
  ColumnTargets<T, sums> between{.to = {}, .stride = sums * width};
  for (int i = 0; i < sums; ++i) between.to[i] = out.to[i] == nullptr ? nullptr : parts + i * width;
  simt::launch(how(slices), column_sums<Terms, EvenSlices>, source,
               EvenSlices{rows, rows_per_column_slice(rows)}, width, between);
  const MatrixTerms<T, sums> sums_of_slices{
      .from = parts, .stride = sums * width, .apart = width, .wanted = out.wanted()};
  simt::launch(how(1), column_sums<MatrixTerms<T, sums>, EvenSlices>, sums_of_slices,
               EvenSlices{slices, slices}, width, out);
}

/// out[i][g] = the sums of `source` over the rows of the g-th of `used` rows of a bank, in the
/// order of the batch. A sequence has bank.steps rows of `source`.
template <class Terms>
void sum_columns_of_bank(const char* name, const Terms& source, const BankRows& bank,
                         std::int64_t used, std::int64_t width,
                         const ColumnTargets<typename Terms::Element, Terms::sums>& out) {
  if (width == 0 || used == 0) return;
  const simt::Launch how{.name = name,
                         .grid = dim3(simt::blocks_for(width, 32), blocks_of_bank(used)),
                         .block = column_warps * 32};
  simt::launch(how, column_sums<Terms, BankSlices>, source, BankSlices{bank}, width, out);
}

/// Elements of the scratch memory of sum_columns.
inline std::int64_t column_parts(std::int64_t rows, std::int64_t width, int sums) {
  return column_slices(rows) * sums * width;
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
