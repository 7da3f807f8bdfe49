#pragma once
/// Device templates of the backward pass of conv_norm; formulas, grids and bytes: cuda_backward.cu.

#include <cstdint>

#include "kernels/layer_norm/normalize.cuh"
#include "kernels/patch/patch_backward.cuh"
#include "kernels/simt.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// Through ReLU and normalization: dh = inv_std * (g - mean(g) - normalized * mean(g *
/// normalized)), g = gamma * open, open = dy where gamma * normalized + beta > 0, else 0.
template <class T>
struct NormInputGradient {
  const T* dy;          ///< [rows,channels]
  const T* normalized;  ///< [rows,channels]
  const T* inv_std;     ///< [rows]
  const T* gamma;
  const T* beta;
  T* dh;    ///< [rows,channels], or null
  T* sums;  ///< [blocks,3,channels]: the sums of a block: open * normalized, open, dh; or null
  std::int64_t rows;
  std::int64_t channels;
  BankRows bank;       ///< of all rows
  bool has_norm_bank;  ///< gamma and beta are banks [K,channels]
};

inline constexpr int norm_tile_warps = patch_threads / 32;

/// A tile of patch_rows rows of at most 32 * items channels by one block; a warp takes every fourth
/// row, a lane every 32nd channel with the sums of its channels over the rows. Calls keep(row of
/// the tile, channel, dh) for all rows of the tile and 32 * items channels; outside the tensor dh
/// is 0.
template <class T, int items, class Keep>
__device__ __forceinline__ void norm_tile(const NormInputGradient<T>& norm, const RowTile& tile,
                                          Keep&& keep) {
  using Row = WarpRow<T, 1, items>;
  constexpr int columns = 32 * items;
  REFRAIN_SHARED_ARRAY(T, parts, norm_tile_warps * columns);  // [warps][columns]
  const std::int64_t first = tile.first;
  const std::int64_t of_bank =
      norm.has_norm_bank ? norm.bank.row_of(tile.sequence) * norm.channels : 0;
  Row gamma;
  Row beta;
  gamma.load(norm.gamma + of_bank, norm.channels);
  beta.load(norm.beta + of_bank, norm.channels);
  T sums[3][items] = {};
  for (int r = simt::warp(); r < patch_rows; r += norm_tile_warps) {
    const bool valid = first + r < tile.end;
    const std::int64_t at = (first + r) * norm.channels;
    Row g;
    Row n;
    g.load(norm.dy + at, valid ? norm.channels : 0);
    n.load(norm.normalized + at, valid ? norm.channels : 0);
    g.map([&](int i, int j, T dy) {
      const T open = gamma.at[i][j] * n.at[i][j] + beta.at[i][j] > T{0} ? dy : T{0};
      sums[0][i] += open * n.at[i][j];
      sums[1][i] += open;
      return open * gamma.at[i][j];
    });
    normalize_backward(g, n, valid ? norm.inv_std[first + r] : T{0}, norm.channels);
    REFRAIN_UNROLL
    for (int i = 0; i < items; ++i) {
      const int c = 32 * i + simt::lane();
      const T dh = c < norm.channels ? g.at[i][0] : T{0};
      sums[2][i] += dh;
      if (norm.dh != nullptr && valid && c < norm.channels) norm.dh[at + c] = dh;
      keep(r, c, dh);
    }
  }
  if (norm.sums == nullptr) return;
  REFRAIN_UNROLL
  for (int s = 0; s < 3; ++s) {
    REFRAIN_UNROLL
    for (int i = 0; i < items; ++i)
      parts[simt::warp() * columns + 32 * i + simt::lane()] = sums[s][i];
    __syncthreads();
    for (int c = static_cast<int>(threadIdx.x); c < norm.channels; c += patch_threads) {
      T total = 0;
      REFRAIN_UNROLL
      for (int w = 0; w < norm_tile_warps; ++w) total += parts[w * columns + c];
      norm.sums[(static_cast<std::int64_t>(blockIdx.x) * 3 + s) * norm.channels + c] = total;
    }
    __syncthreads();
  }
}

template <class T, int items>
__global__ void __launch_bounds__(patch_threads) norm_input_gradient(NormInputGradient<T> norm) {
  norm_tile<T, items>(norm, norm.bank.template tile<patch_rows>(blockIdx.x), [](int, int, T) {});
}

/// The previous kernel followed by the backward pass of the patch that produced h.
template <MathMode mode, int items>
__global__ void __launch_bounds__(patch_threads)
    norm_patch_input_gradient(NormInputGradient<float> norm, PatchInputGradient<float> patch) {
  using Tile = PatchGradientTile<mode>;
  simt::SharedCarver carver;
  const auto shared = Tile::take(carver, patch);
  const int stride = Tile::stride(patch.channels);
  const int columns = slices_of(patch.channels, Tile::depth) * Tile::depth;
  const RowTile tile = norm.bank.tile<patch_rows>(blockIdx.x);
  norm_tile<float, items>(norm, tile, [&](int row, int channel, float dh) {
    if (channel < columns) shared.dh[row * stride + channel] = dh;
  });
  Tile::run(shared, patch, tile);
}

/// Only open [count], for rows of any length.
template <class T>
__global__ void __launch_bounds__(pointwise_threads)
    open_gradient(NormInputGradient<T> norm, std::int64_t count, T* open) {
  const std::int64_t i = simt::global_thread();
  if (i >= count) return;
  const std::int64_t c = i % norm.channels;
  open[i] = norm.gamma[c] * norm.normalized[i] + norm.beta[c] > T{0} ? norm.dy[i] : T{0};
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
