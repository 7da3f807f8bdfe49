// Layer normalization over the last axis on the GPU.  Device: f32, f64.
//   forward   y = gamma * normalized + beta,  normalized = (x - mean) * inv_std
//             inv_std = 1 / sqrt(var + epsilon)
//   backward  g = dy * gamma,  dx = inv_std * (g - mean(g) - normalized * mean(g * normalized))
//             dgamma[c] = sum_rows dy * normalized,  dbeta[c] = sum_rows dy
// Shapes: x, y, dy, dx, normalized [rows,C]; gamma, beta [C]; inv_std [rows].
//
// A warp keeps a row in registers, up to 8 groups per lane: 1,024 f32 or 512 f64 in groups of 16
// bytes, or 256 elements where C or an address is not a multiple of 16 bytes. x is read once for
// any set of outputs. Backward keeps two rows and the sums of the columns, so its limit is half of
// that. A longer row takes a block and several passes; then sum_columns computes dgamma and dbeta.
// A block has only four warps, so that the last blocks of a grid end together. Backward uses at
// most 1,024 blocks, which keeps the second launch short: it adds the sums of the blocks for dgamma
// and dbeta in order.
//
// FLOPs: 8 C rows forward, 12 backward. Memory traffic: 2 C rows elements forward, 3 with
// normalized; 3 C rows backward. Bound by memory bandwidth. Up to 2^31 - 1 rows.

#include <algorithm>

#include "kernels/kernel.hpp"
#include "kernels/layer_norm/cuda.hpp"
#include "kernels/layer_norm/layer_norm.cuh"
#include "kernels/tiling/column_sums.cuh"
#include "refrain/kernels/layer_norm.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

constexpr std::int64_t max_gradient_blocks = 1024;

/// Rows of a block in the backward pass: at least four per warp.
std::int64_t rows_per_gradient_block(std::int64_t rows) {
  return std::max<std::int64_t>(4 * norm_warps,
                                (rows + max_gradient_blocks - 1) / max_gradient_blocks);
}

std::int64_t gradient_blocks(std::int64_t rows) {
  return (rows + rows_per_gradient_block(rows) - 1) / rows_per_gradient_block(rows);
}

template <class T>
void forward(const LayerNormForward& args) {
  const std::int64_t rows = args.x.shape.rows();
  const std::int64_t width = args.x.shape[-1];
  if (rows == 0 || width == 0) return;
  const LayerNormTensors<T> tensors{.x = args.x.as<T>(),
                                    .gamma = args.gamma.as<T>(),
                                    .beta = args.beta.as<T>(),
                                    .y = args.y.as<T>(),
                                    .normalized = args.normalized.as<T>(),
                                    .inv_std = args.inv_std.as<T>()};
  const T epsilon = static_cast<T>(args.epsilon);
  const bool aligned =
      simt::aligned_16(tensors.x, tensors.gamma, tensors.beta, tensors.y, tensors.normalized);
  const bool in_registers = for_register_row<T, 8>(width, aligned, [&]<int n, int items>() {
    const simt::Launch how{.name = LayerNormForward::name,
                           .grid = simt::blocks_for(rows, norm_warps),
                           .block = norm_warps * 32};
    simt::launch(how, layer_norm_rows<T, n, items>, tensors, rows, width, epsilon);
  });
  if (in_registers) return;
  const simt::Launch how{.name = LayerNormForward::name,
                         .grid = simt::blocks_for(rows, 1),
                         .block = wide_norm_warps * 32};
  simt::launch(how, layer_norm_wide<T>, tensors, width, epsilon);
}

template <class T>
void backward(const LayerNormBackward& args, Scratch& scratch) {
  const std::int64_t rows = args.dy.shape.rows();
  const std::int64_t width = args.dy.shape[-1];
  const std::int64_t blocks = gradient_blocks(rows);
  T* const parts = scratch.take<T>(
      std::max(blocks * 2 * width + column_parts(blocks, width, 2), column_parts(rows, width, 2)));
  if (scratch.is_counting() || width == 0) return;
  const ColumnTargets<T, 2> sums{.to = {args.dgamma.as<T>(), args.dbeta.as<T>()}, .stride = 0};
  const bool want_sums = sums.to[0] != nullptr || sums.to[1] != nullptr;
  LayerNormGradients<T> tensors{.gamma = args.gamma.as<T>(),
                                .normalized = args.normalized.as<T>(),
                                .inv_std = args.inv_std.as<T>(),
                                .dy = args.dy.as<T>(),
                                .dx = args.dx.as<T>(),
                                .dgamma = sums.to[0] == nullptr ? nullptr : parts,
                                .dbeta = sums.to[1] == nullptr ? nullptr : parts + width,
                                .stride = 2 * width};
  const bool aligned = simt::aligned_16(tensors.gamma, tensors.normalized, tensors.dy, tensors.dx);
  const bool in_registers =
      rows > 0 && for_register_row<T, 4>(width, aligned, [&]<int n, int items>() {
        const simt::Launch how{.name = LayerNormBackward::name,
                               .grid = simt::blocks_for(blocks, 1),
                               .block = norm_warps * 32};
        simt::launch(how, layer_norm_gradients<T, n, items>, tensors, rows,
                     rows_per_gradient_block(rows), width);
      });
  if (in_registers) {
    if (!want_sums) return;
    const MatrixTerms<T, 2> of_blocks{
        .from = parts, .stride = 2 * width, .apart = width, .wanted = sums.wanted()};
    sum_columns(LayerNormBackward::name, of_blocks, blocks, width, sums,
                parts + blocks * 2 * width);
    return;
  }
  if (rows > 0 && tensors.dx != nullptr) {
    const simt::Launch how{.name = LayerNormBackward::name,
                           .grid = simt::blocks_for(rows, 1),
                           .block = wide_norm_warps * 32};
    simt::launch(how, layer_norm_gradient_wide<T>, tensors, width);
  }
  if (!want_sums) return;
  const NormTerms<T> terms{.dy = tensors.dy, .normalized = tensors.normalized, .width = width};
  sum_columns(LayerNormBackward::name, terms, rows, width, sums, parts);
}

}  // namespace

template <>
void kernel(const LayerNormForward& args) {
  for_floating<LayerNormForward>(args.x.dtype, [&]<class T>(T) { forward<T>(args); });
}

template <>
void kernel(const LayerNormBackward& args, Scratch& scratch) {
  for_floating<LayerNormBackward>(args.dy.dtype, [&]<class T>(T) { backward<T>(args, scratch); });
}

template void entry(const LayerNormForward&, ScratchMemory&);
template void entry(const LayerNormBackward&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
