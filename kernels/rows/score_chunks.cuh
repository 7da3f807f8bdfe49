#pragma once
/// Device templates of the softmax losses: a chunk of counted rows against all candidates; formulas and grids: cuda_softmax_loss.cu.

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/simt.hpp"
#include "kernels/tiles.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// What the rows are compared with: `count` rows of a table, all in order or those that are named.
template <class T>
struct Candidates {
  const T* weight;          ///< [V,C]
  const T* bias;            ///< [V], or null
  const std::int32_t* ids;  ///< [count] rows of weight, or null: row v is candidate v
  const T* log_q;           ///< [count] taken from the scores, or null
  std::int64_t count;
  std::int64_t channels;
  bool remove_hits;  ///< with ids: a candidate equal to the row's target is left out

  __device__ __forceinline__ std::int64_t id(std::int64_t v) const { return ids == nullptr ? v : ids[v]; }
  __device__ __forceinline__ const T* row(std::int64_t v) const { return weight + id(v) * channels; }
  __device__ __forceinline__ T offset(std::int64_t v) const {
    return (bias == nullptr ? T{0} : bias[id(v)]) - (log_q == nullptr ? T{0} : log_q[v]);
  }
};

/// A chunk of counted rows, in the workspace.  Spans are the candidates that one warp of score_tiles takes; `rows` counts those that there
/// is room for, *present those that are there.
template <class T>
struct ScoreChunk {
  std::int64_t rows;
  std::int64_t channels;
  std::int64_t spans;
  std::int64_t stride;    ///< elements between rows of scores: a multiple of 16 bytes; zeros after the last candidate
  std::int64_t* present;  ///< one element
  T* hidden;              ///< [rows,C]
  std::int32_t* targets;  ///< [rows]
  T* target_scores;       ///< [rows]
  T* dtarget;             ///< [rows] gradients of the targets' scores where those stand apart from the candidates, else null
  T* maxima;              ///< [rows,spans] m; row_statistics makes factors of them
  T* sums;                ///< [rows,spans] of exp(score - m)
  T* scores;              ///< [rows,stride] exp(score - m); score_gradients makes gradients of them.  Null: not kept
  const std::int64_t* counted;  ///< rows of all chunks together; one element

  __device__ __forceinline__ bool target_apart() const { return dtarget != nullptr; }
  /// What the mean makes of a row's gradient.
  __device__ __forceinline__ T scale() const { return T{1} / static_cast<T>(*counted); }
};

inline constexpr int loss_warps = 8;  // of a block whose warps take a row each

/// The row of this warp.
__device__ __forceinline__ std::int64_t loss_row() { return static_cast<std::int64_t>(blockIdx.x) * loss_warps + simt::warp(); }

/// Rows as the caller has them.
template <class T>
struct LossRows {
  const T* hidden;              ///< [P,C]
  const std::int32_t* targets;  ///< [P]
  const T* log_q_true;          ///< [P], or null
  const std::int32_t* index;    ///< of the chunk's rows: where they lie in [P]
  std::int64_t first;           ///< counted rows before the chunk
  bool relu;
};

/// Takes the chunk's rows together, rectified where asked for; scores of targets that stand apart.  A warp per row.
template <class T>
__global__ void __launch_bounds__(loss_warps * 32) take_rows(LossRows<T> from, Candidates<T> candidates, ScoreChunk<T> chunk) {
  const std::int64_t left = *chunk.counted - from.first;
  const std::int64_t present = left < 0 ? 0 : left < chunk.rows ? left : chunk.rows;
  if (blockIdx.x == 0 && threadIdx.x == 0) *chunk.present = present;
  const std::int64_t row = loss_row();
  if (row >= present) return;  // the whole warp
  const std::int64_t at = from.index[row];
  const std::int64_t target = from.targets[at];
  const T* const h = from.hidden + at * chunk.channels;
  const T* const w = candidates.weight + target * chunk.channels;
  T score = 0;
  for (std::int64_t c = simt::lane(); c < chunk.channels; c += 32) {
    const T value = from.relu && h[c] < 0 ? T{0} : h[c];
    chunk.hidden[row * chunk.channels + c] = value;
    if (chunk.target_apart()) score += value * w[c];
  }
  score = simt::warp_sum(score);
  if (simt::lane() != 0) return;
  chunk.targets[row] = static_cast<std::int32_t>(target);
  if (!chunk.target_apart()) return;
  chunk.target_scores[row] = score + (candidates.bias == nullptr ? T{0} : candidates.bias[target]) -
                             (from.log_q_true == nullptr ? T{0} : from.log_q_true[at]);
}

inline constexpr int score_span = 64;
/// FMA units take half the rows of tensor cores: registers for more blocks side by side.
template <class T, MathMode mode>
inline constexpr TileShape score_shape{.rows = mode == MathMode::exact ? 64 : 128,
                                       .columns = 2 * score_span,
                                       .depth = 16,
                                       .row_warps = mode == MathMode::exact ? 2 : 4,
                                       .column_warps = 2,
                                       .stages = sizeof(T) == 4 ? 3 : 2};
template <class T, MathMode mode, bool aligned>
using ScoreProduct = TileProduct<T, mode, score_shape<T, mode>, Contiguous::depth, Contiguous::depth, aligned>;
/// Blocks that a multiprocessor's registers should hold.
template <class T, MathMode mode>
inline constexpr int score_blocks = sizeof(T) == 4 && mode == MathMode::exact ? 3 : 2;

/// The score of what is left out.
template <class T>
inline constexpr T no_score = -std::numeric_limits<T>::infinity();

template <class T, MathMode mode, bool aligned>
constexpr std::size_t score_tiles_shared_bytes() {
  return ScoreProduct<T, mode, aligned>::shared_bytes() + simt::piece_bytes<T>(score_shape<T, mode>.columns) +
         simt::piece_bytes<std::int32_t>(score_shape<T, mode>.columns);
}

/// Scores of a tile of rows and candidates, and of each span the maximum and the sum of exponentials.
template <class T, MathMode mode, bool aligned>
__global__ void __launch_bounds__(ScoreProduct<T, mode, aligned>::threads, score_blocks<T, mode>)
    score_tiles(Candidates<T> candidates, ScoreChunk<T> chunk) {
  using Product = ScoreProduct<T, mode, aligned>;
  constexpr TileShape shape = score_shape<T, mode>;
  // Neighbouring blocks take the same candidates: the table passes through the caches once.
  const std::int64_t row_tiles = (chunk.rows + shape.rows - 1) / shape.rows;
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x) % row_tiles * shape.rows;
  const std::int64_t first_item = static_cast<std::int64_t>(blockIdx.x) / row_tiles * shape.columns;
  const std::int64_t present = *chunk.present;
  if (first_row >= present) return;
  simt::SharedCarver carver;
  const auto shared = Product::take(carver);
  T* const offsets = carver.take<T>(shape.columns);                    // [columns]
  std::int32_t* const ids = carver.take<std::int32_t>(shape.columns);  // [columns]
  for (int n = static_cast<int>(threadIdx.x); n < shape.columns; n += Product::threads) {
    const bool inside = first_item + n < candidates.count;
    offsets[n] = inside ? candidates.offset(first_item + n) : no_score<T>;
    ids[n] = inside ? static_cast<std::int32_t>(candidates.id(first_item + n)) : -1;
  }
  Product sum;
  sum.clear();
  sum.add(shared, static_cast<int>((chunk.channels + shape.depth - 1) / shape.depth),
          DepthRows<T>{chunk.hidden, chunk.channels, first_row, present, chunk.channels, shape.depth},
          [&](int slice, int outer) -> PanelRow<T> {
            if (first_item + outer >= candidates.count) return {nullptr, 0};
            const std::int64_t k = static_cast<std::int64_t>(slice) * shape.depth;
            return {candidates.row(first_item + outer) + k, candidates.channels - k};
          });
  const std::int64_t span = first_item / score_span + simt::warp() % shape.column_warps;
  sum.visit_rows([&](int m, const auto& scores) {
    const std::int64_t row = first_row + m;
    const bool there = row < present;
    const std::int32_t target = there ? chunk.targets[row] : -1;
    T top = no_score<T>;
    scores([&](int n, T& score) {
      score += offsets[n];
      if (ids[n] == target && there) {
        if (!chunk.target_apart()) {
          chunk.target_scores[row] = score;
        } else if (candidates.remove_hits) {
          score = no_score<T>;
        }
      }
      top = score > top ? score : top;
    });
    top = simt::warp_max<Product::row_lanes>(top);
    const T shift = top > no_score<T> ? top : T{0};  // where all are left out any finite shift makes the sum zero
    T total = 0;
    scores([&](int, T& score) {
      score = std::exp(score - shift);
      total += score;
    });
    total = simt::warp_sum<Product::row_lanes>(total);
    if (!there || span >= chunk.spans) return;
    if (simt::lane() % Product::row_lanes == 0) {
      chunk.maxima[row * chunk.spans + span] = top;
      chunk.sums[row * chunk.spans + span] = total;
    }
    if (chunk.scores == nullptr) return;
    scores([&](int n, T& score) {
      if (first_item + n < chunk.stride) chunk.scores[row * chunk.stride + first_item + n] = score;
    });
  });
}

/// log Z and loss of each row; turns the spans' maxima into the factors that make gradients of their exponentials.  A warp per row.
template <class T>
__global__ void __launch_bounds__(loss_warps * 32) row_statistics(ScoreChunk<T> chunk, double* losses) {
  const std::int64_t row = loss_row();
  if (row >= *chunk.present) return;  // the whole warp
  const T target = chunk.target_scores[row];
  T* const maxima = chunk.maxima + row * chunk.spans;
  const T* const sums = chunk.sums + row * chunk.spans;
  T top = chunk.target_apart() ? target : no_score<T>;
  for (std::int64_t span = simt::lane(); span < chunk.spans; span += 32) top = maxima[span] > top ? maxima[span] : top;
  top = simt::warp_max(top);
  T z = 0;
  for (std::int64_t span = simt::lane(); span < chunk.spans; span += 32) z += sums[span] * std::exp(maxima[span] - top);
  z = simt::warp_sum(z);
  const T of_target = chunk.target_apart() ? std::exp(target - top) : T{0};
  z += of_target;
  const T scale = chunk.scale();
  const T factor = scale / z;
  if (chunk.scores != nullptr) {
    for (std::int64_t span = simt::lane(); span < chunk.spans; span += 32) maxima[span] = std::exp(maxima[span] - top) * factor;
  }
  if (simt::lane() != 0) return;
  if (chunk.target_apart()) chunk.dtarget[row] = of_target * factor - scale;
  losses[row] = std::log(static_cast<double>(z)) + (static_cast<double>(top) - static_cast<double>(target));
}

inline constexpr int score_gradient_threads = 256;
inline constexpr std::int64_t score_gradient_rows = 32;  // of a block
/// Candidates of a block.
template <class T>
inline constexpr std::int64_t score_gradient_columns = score_gradient_threads* simt::Pack<T>::count;

/// scores = (softmax - onehot) / counted, in place; their sums over the block's rows go to column_sums [row parts, stride], or nowhere.
/// A thread takes 16 bytes of 32 rows.
template <class T>
__global__ void __launch_bounds__(score_gradient_threads) score_gradients(ScoreChunk<T> chunk, T* column_sums) {
  constexpr int n = simt::Pack<T>::count;
  const std::int64_t groups = (chunk.stride + score_gradient_columns<T> - 1) / score_gradient_columns<T>;
  const std::int64_t part = static_cast<std::int64_t>(blockIdx.x) / groups;
  const std::int64_t column =
      static_cast<std::int64_t>(blockIdx.x) % groups * score_gradient_columns<T> + static_cast<int>(threadIdx.x) * n;
  if (column >= chunk.stride) return;  // no barrier follows
  const std::int64_t begin = part * score_gradient_rows;
  const std::int64_t end = begin + score_gradient_rows < *chunk.present ? begin + score_gradient_rows : *chunk.present;
  const T scale = chunk.scale();
  T sums[n] = {};
  for (std::int64_t row = begin; row < end; ++row) {
    T* const at = chunk.scores + row * chunk.stride + column;
    const T factor = chunk.maxima[row * chunk.spans + column / score_span];
    const std::int64_t target = chunk.target_apart() ? -1 : chunk.targets[row] - column;
    T group[n];
    simt::load_group(at, group);
    REFRAIN_UNROLL
    for (int i = 0; i < n; ++i) {
      group[i] = group[i] * factor - (target == i ? scale : T{0});
      sums[i] += group[i];
    }
    simt::store_group(at, group);
  }
  if (column_sums != nullptr) simt::store_group(column_sums + part * chunk.stride + column, sums);
}

template <class T>
inline constexpr TileShape dhidden_shape{.rows = 128, .columns = 64, .depth = 16, .row_warps = 4, .column_warps = 1};
template <class T, MathMode mode, bool aligned>
using DhiddenProduct = TileProduct<T, mode, dhidden_shape<T>, Contiguous::depth, Contiguous::side, aligned>;
template <class T, MathMode mode>
inline constexpr int dhidden_blocks = sizeof(T) == 8            ? 2
                                      : mode == MathMode::exact ? 3
                                                                : 4;

/// parts[y] [rows,C] = gradients of the scores times the candidates' rows, over part y of the candidates: whole slices.
template <class T, MathMode mode, bool aligned>
__global__ void __launch_bounds__(DhiddenProduct<T, mode, aligned>::threads, dhidden_blocks<T, mode>)
    dhidden_tiles(Candidates<T> candidates, ScoreChunk<T> chunk, std::int64_t items_per_part, T* parts) {
  using Product = DhiddenProduct<T, mode, aligned>;
  constexpr TileShape shape = dhidden_shape<T>;
  const std::int64_t column_tiles = (chunk.channels + shape.columns - 1) / shape.columns;
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x) / column_tiles * shape.rows;
  const std::int64_t first_column = static_cast<std::int64_t>(blockIdx.x) % column_tiles * shape.columns;
  const std::int64_t present = *chunk.present;
  if (first_row >= present) return;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.y) * items_per_part;
  const std::int64_t end = begin + items_per_part < chunk.stride ? begin + items_per_part : chunk.stride;
  simt::SharedCarver carver;
  const auto shared = Product::take(carver);
  Product sum;
  sum.clear();
  sum.add(shared, static_cast<int>((end - begin + shape.depth - 1) / shape.depth),
          DepthRows<T>{chunk.scores + begin, chunk.stride, first_row, present, end - begin, shape.depth},
          [&](int slice, int outer) -> PanelRow<T> {
            const std::int64_t v = begin + static_cast<std::int64_t>(slice) * shape.depth + outer;
            if (v >= candidates.count) return {nullptr, 0};
            return {candidates.row(v) + first_column, candidates.channels - first_column};
          });
  T* const to = parts + static_cast<std::int64_t>(blockIdx.y) * chunk.rows * chunk.channels;
  sum.visit([&](int m, int n, T value) {
    const std::int64_t row = first_row + m;
    const std::int64_t column = first_column + n;
    if (row < present && column < chunk.channels) to[row * chunk.channels + column] = value;
  });
}

/// What is written for each row of [P]; null: not wanted.
template <class T>
struct RowGradients {
  T* dhidden;         ///< [P,C]
  T* dtarget_weight;  ///< [P,C] of each row's target, where targets stand apart
  T* dtarget_bias;    ///< [P]
};

/// Adds up the parts of dhidden, and the targets' where they stand apart; rows that do not count get zeros.  A warp per row.
template <class T>
__global__ void __launch_bounds__(loss_warps * 32) write_rows(LossRows<T> from, Candidates<T> candidates, ScoreChunk<T> chunk,
                                                              const T* parts, int part_count, RowGradients<T> to) {
  const std::int64_t row = loss_row();
  if (row >= chunk.rows) return;  // the whole warp
  const std::int64_t at = from.index[row];
  const bool there = row < *chunk.present;
  const T dtarget = there && chunk.target_apart() ? chunk.dtarget[row] : T{0};
  const T* const target_weight = there ? candidates.weight + chunk.targets[row] * chunk.channels : nullptr;
  for (std::int64_t c = simt::lane(); c < chunk.channels; c += 32) {
    const T h = there ? chunk.hidden[row * chunk.channels + c] : T{0};
    if (to.dtarget_weight != nullptr) to.dtarget_weight[at * chunk.channels + c] = dtarget * h;
    if (to.dhidden == nullptr) continue;
    T sum = 0;
    if (there && !(from.relu && h == 0)) {
      for (int part = 0; part < part_count; ++part) sum += parts[(part * chunk.rows + row) * chunk.channels + c];
      if (chunk.target_apart()) sum += dtarget * target_weight[c];
    }
    to.dhidden[at * chunk.channels + c] = sum;
  }
  if (to.dtarget_bias != nullptr && simt::lane() == 0) to.dtarget_bias[at] = dtarget;
}

/// Rows of a matrix, for sum_of_outer_products.
template <class T>
struct ScoreChunkRows {
  const T* at;
  std::int64_t stride;
  __device__ __forceinline__ const T* operator()(std::int64_t, std::int64_t row) const { return at + row * stride; }
};

/// loss = mean of the counted rows' losses, or 0.  One block; thread t adds rows t, t + threads, ...
template <class T, int threads>
__global__ void __launch_bounds__(threads) mean_loss(const double* losses, const std::int64_t* counted, T* loss) {
  REFRAIN_SHARED_ARRAY(double, scratch, threads / 32);
  double sum = 0;
  for (std::int64_t row = threadIdx.x; row < *counted; row += threads) sum += losses[row];
  sum = simt::block_sum<threads / 32>(sum, scratch);
  if (threadIdx.x == 0) *loss = *counted == 0 ? T{0} : static_cast<T>(sum / static_cast<double>(*counted));
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
