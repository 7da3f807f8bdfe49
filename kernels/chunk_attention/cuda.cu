// Attention over the l hidden vectors of a chunk on the GPU.  Device: f32, f64.
//   forward    s_j = tanh(weight c_j + query),  z_j = score . s_j
//              alpha = softmax(z),  out = sum_j alpha_j c_j
//   backward   dalpha_j = dout . c_j,  dz = alpha (dalpha - sum alpha dalpha)
//              ds_j = dz_j score (1 - s_j^2),  dc_j = alpha_j dout + ds_j weight
//              dweight = sum ds_j^T c_j,  dquery = sum_j ds_j,  dscore = sum dz_j s_j
// Shapes: c_1 [B,H], the rest [l-1,B,H]; weight [A,H]; query [B,A]; score [A]; alpha [l,B]; s
// [l,B,A].
//
// Forward, one launch: a block of 8 warps takes whole sequences, about 32 rows if there are 4,096
// rows or more, otherwise about 8, so that small batches also fill the GPU. A warp has 4 rows or 1,
// a lane 2 of 64 units. Hidden vectors and weight pass through shared memory 32 elements deep; the
// weight has a stride of 33 to avoid bank conflicts. The scores of a chunk stay in shared memory,
// which allows l up to about 30,000 in f32. Products are fused multiply-adds of T. Backward: one
// launch for all gradients of single sequences (about 32 or 8 rows per block; a thread per column
// sums 8 rows of ds weight). dweight takes one launch for its tiles of 64 by 64, with rows divided
// among at most 64 blocks, and up to two that add the blocks in order; dscore takes up to two.
//
// FLOPs: 2 l B A H forward, 4 l B A H backward. Memory traffic: l B H elements from memory and once
// more from the caches; twice that backward. Bound by loads from shared memory (forward, 4 rows: 12
// loads for 32 multiply-adds in f32), and in small batches by the latency of the barriers. Tensor
// cores would raise the first bound several times, with 10 (tf32) or 7 (bf16) bits of mantissa in
// z; the forward product would then be bound by reading the hidden vectors (A = 64: 32 FLOPs a
// byte).

#include <algorithm>

#include "kernels/chunk_attention/chunk_attention.cuh"
#include "kernels/kernel.hpp"
#include "kernels/tiling/column_sums.cuh"
#include "refrain/kernels/chunk_attention.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

// 32 rows per block then give a block to each multiprocessor of a large GPU.
constexpr std::int64_t many_rows = 4096;

template <class Args>
AttentionDims dims_of(const Args& args, std::int64_t length) {
  const std::int64_t hidden = args.weight.shape[1];
  const std::int64_t width = args.weight.shape[0];
  constexpr std::int64_t limit = std::int64_t{1} << 30;
  if (length > limit || hidden > limit || width > limit) {
    throw Unsupported(refrain::detail::concat(Args::name,
                                              ": expected l, H and A up to 2^30 on CUDA, got l ",
                                              length, ", H ", hidden, ", A ", width));
  }
  return {args.first.shape[0], static_cast<int>(length), static_cast<int>(hidden),
          static_cast<int>(width)};
}

/// Sequences of a block with about `rows` rows.
int sequences_of(const AttentionDims& d, int rows) { return std::max(1, rows / d.length); }

template <class Args>
void check_shared(const AttentionDims& d, std::size_t bytes) {
  if (bytes <= simt::shared_limit_bytes()) return;
  throw Unsupported(
      refrain::detail::concat(Args::name, ": expected at most ", simt::shared_limit_bytes(),
                              " bytes of shared memory for the scores of a chunk on CUDA, got ",
                              bytes, " with l = ", d.length));
}

template <class T>
ChunkRows<const T> chunk_of(const View& first, const View& rest) {
  return {first.as<T>(), rest.as<T>()};
}

template <class T, int warp_rows>
void forward_with(const AttentionForwardTensors<T>& tensors, const AttentionDims& d) {
  const int sequences = sequences_of(d, attention_warps * warp_rows);
  const std::size_t bytes = attention_forward_bytes<T, warp_rows>(d.length, sequences);
  check_shared<ChunkAttentionForward>(d, bytes);
  simt::launch({.name = ChunkAttentionForward::name,
                .grid = simt::blocks_for(d.batch, sequences),
                .block = attention_threads,
                .shared_bytes = bytes},
               chunk_attention<T, warp_rows>, tensors, d, sequences);
}

template <class T>
void forward(const ChunkAttentionForward& args) {
  const AttentionDims d = dims_of(args, args.rest ? args.rest.shape[0] + 1 : 1);
  if (d.batch == 0) return;
  const AttentionForwardTensors<T> tensors{.chunk = chunk_of<T>(args.first, args.rest),
                                           .weight = args.weight.as<T>(),
                                           .query = args.query.as<T>(),
                                           .score = args.score.as<T>(),
                                           .out = args.out.as<T>(),
                                           .alpha = args.alpha.as<T>(),
                                           .tanh = args.tanh.as<T>()};
  if (d.batch * d.length >= many_rows) {
    forward_with<T, 4>(tensors, d);
  } else {
    forward_with<T, 1>(tensors, d);
  }
}

/// Rows of a block of dweight: a multiple of the rows in shared memory, and at most 64 blocks.
std::int64_t rows_per_block(std::int64_t rows) {
  const std::int64_t steps = std::max<std::int64_t>(
      4, (rows + 64 * attention_outer_depth - 1) / (64 * attention_outer_depth));
  return steps * attention_outer_depth;
}
std::int64_t blocks_of(std::int64_t rows) {
  return std::max<std::int64_t>(1,
                                (rows + rows_per_block(rows) - 1) /
                                    rows_per_block(rows));  // without rows one block writes zeros
}

template <class T>
struct AttentionBackwardPlan {
  std::int64_t rows;
  T* ds = nullptr;     ///< [rows,A], for dweight
  T* parts = nullptr;  ///< partial sums of dweight, when its rows are divided among several blocks
  T* sums_of_parts = nullptr;
  T* dz = nullptr;  ///< [rows], for dscore
  T* sums_of_scores = nullptr;

  AttentionBackwardPlan(const ChunkAttentionBackward& args, const AttentionDims& d,
                        Scratch& scratch)
      : rows(d.batch * d.length) {
    const std::int64_t weights = std::int64_t{d.width} * d.hidden;
    if (args.dweight) ds = scratch.take<T>(rows * d.width);
    if (args.dweight && blocks_of(rows) > 1) {
      parts = scratch.take<T>(blocks_of(rows) * weights);
      sums_of_parts = scratch.take<T>(column_parts(blocks_of(rows), weights, 1));
    }
    if (args.dscore) {
      dz = scratch.take<T>(rows);
      sums_of_scores = scratch.take<T>(column_parts(rows, d.width, 1));
    }
  }
};

template <class T>
void weights_back(const ChunkAttentionBackward& args, const AttentionDims& d,
                  const AttentionBackwardPlan<T>& plan) {
  constexpr int side = attention_outer_side;
  const std::int64_t weights = std::int64_t{d.width} * d.hidden;
  if (weights == 0) return;
  const std::int64_t blocks = blocks_of(plan.rows);
  T* const parts = blocks > 1 ? plan.parts : args.dweight.as<T>();
  const std::int64_t tiles =
      std::int64_t{(d.width + side - 1) / side} * ((d.hidden + side - 1) / side);
  simt::launch({.name = ChunkAttentionBackward::name,
                .grid = dim3(simt::blocks_for(tiles, 1), static_cast<unsigned>(blocks)),
                .block = attention_threads},
               chunk_attention_weights<T>, chunk_of<T>(args.first, args.rest), plan.ds, parts, d,
               rows_per_block(plan.rows));
  if (blocks == 1) return;
  const MatrixTerms<T, 1> of_blocks{.from = parts, .stride = weights, .apart = 0};
  const ColumnTargets<T, 1> out{.to = {args.dweight.as<T>()}, .stride = 0};
  sum_columns(ChunkAttentionBackward::name, of_blocks, blocks, weights, out, plan.sums_of_parts);
}

template <class T>
void backward(const ChunkAttentionBackward& args, Scratch& scratch) {
  const AttentionDims d = dims_of(args, args.alpha.shape[0]);
  const AttentionBackwardPlan<T> plan(args, d, scratch);
  if (scratch.is_counting()) return;
  if (d.batch > 0) {
    const AttentionBackwardTensors<T> tensors{.chunk = chunk_of<T>(args.first, args.rest),
                                              .weight = args.weight.as<T>(),
                                              .score = args.score.as<T>(),
                                              .alpha = args.alpha.as<T>(),
                                              .tanh = args.tanh.as<T>(),
                                              .dout = args.dout.as<T>(),
                                              .dchunk = {args.dfirst.as<T>(), args.drest.as<T>()},
                                              .dquery = args.dquery.as<T>(),
                                              .ds = plan.ds,
                                              .dz = plan.dz};
    const int sequences =
        sequences_of(d, plan.rows >= many_rows ? 4 * attention_back_rows : attention_back_rows);
    const std::size_t bytes = attention_backward_bytes<T>(d.length, sequences);
    check_shared<ChunkAttentionBackward>(d, bytes);
    simt::launch({.name = ChunkAttentionBackward::name,
                  .grid = simt::blocks_for(d.batch, sequences),
                  .block = attention_threads,
                  .shared_bytes = bytes},
                 chunk_attention_rows<T>, tensors, d, sequences);
  }
  if (args.dweight) weights_back(args, d, plan);
  if (args.dscore) {
    const ScoreTerms<T> terms{.dz = plan.dz, .tanh = args.tanh.as<T>(), .width = d.width};
    const ColumnTargets<T, 1> out{.to = {args.dscore.as<T>()}, .stride = 0};
    sum_columns(ChunkAttentionBackward::name, terms, plan.rows, d.width, out, plan.sums_of_scores);
  }
}

}  // namespace

template <>
void kernel(const ChunkAttentionForward& args) {
  for_floating<ChunkAttentionForward>(args.first.dtype, [&]<class T>(T) { forward<T>(args); });
}

template <>
void kernel(const ChunkAttentionBackward& args, Scratch& scratch) {
  for_floating<ChunkAttentionBackward>(args.first.dtype,
                                       [&]<class T>(T) { backward<T>(args, scratch); });
}

template void entry(const ChunkAttentionForward&, ScratchMemory&);
template void entry(const ChunkAttentionBackward&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
