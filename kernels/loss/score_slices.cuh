#pragma once
/// Device templates of the softmax losses, between the products of a slice of rows and all
/// candidates; formulas, grids and launches: cuda_softmax_loss.cu.

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/simt.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// The candidates: `count` rows of a table, all in order or those in `ids`.
template <class T>
struct Candidates {
  const T* weight;          ///< [V,C]
  const T* bias;            ///< [V], or null
  const std::int32_t* ids;  ///< [count] rows of weight, or null: row v is candidate v
  const T* log_q;           ///< [count] subtracted from the scores of named candidates, or null
  std::int64_t count;
  std::int64_t channels;
  bool remove_hits;  ///< with ids: candidates equal to the target of the row are excluded
};

/// The rows as the caller passes them; take_rows() copies the counted ones to LossRows.
template <class T>
struct GivenRows {
  const T* hidden;              ///< [P,C]
  const std::int32_t* targets;  ///< [P]
  const T* log_q_true;          ///< [P], or null
  bool relu;
};

/// The rows in scratch memory: the counted rows, then the other rows as zeros.
template <class T>
struct LossRows {
  std::int64_t count;  ///< P
  std::int64_t channels;
  const std::int32_t* index;    ///< [P] the row of the caller
  const std::int64_t* counted;  ///< one element
  T* hidden;                    ///< [P,C], with relu where requested; replaced by dhidden
  std::int32_t* targets;        ///< [P]
  T* maxima;                    ///< [P] m, the largest score
  T* factors;                   ///< [P] gradient of a score z: exp(z - m) factor
  double* losses;               ///< [P]
  T* target_scores;             ///< [P] of targets that are separate from the candidates, or null
  T* dtarget;                   ///< [P] gradients of these
  T smoothing;                  ///< label smoothing; 0 where targets are separate

  __device__ __forceinline__ bool target_apart() const { return target_scores != nullptr; }
  /// The factor of a row's gradient in the mean.
  __device__ __forceinline__ T scale() const { return T{1} / static_cast<T>(*counted); }
};

/// Scores of neighbouring rows, then their gradients.
template <class T>
struct ScoreSlice {
  T* scores;  ///< [rows,stride]
  /// elements from row to row: a multiple of 16 bytes; gradients past the last candidate are zeros
  std::int64_t stride;
  std::int64_t candidates;
  std::int64_t first;  ///< the first row of the slice
  std::int64_t rows;
  /// [candidates] ids, or null; a candidate with the id of a row's target is excluded in that row
  const std::int32_t* ids;
};

/// The score of an excluded candidate.
template <class T>
inline constexpr T no_score = -std::numeric_limits<T>::infinity();

/// min(limit, left), at least 0.
__device__ __forceinline__ int up_to(int limit, std::int64_t left) {
  return left >= limit ? limit : left < 0 ? 0 : static_cast<int>(left);
}

inline constexpr int loss_warps = 8;  // warps of a block

/// The row of this warp, one row per warp.
__device__ __forceinline__ std::int64_t loss_row() {
  return static_cast<std::int64_t>(blockIdx.x) * loss_warps + simt::warp();
}

/// Gathers the counted rows, with relu where requested, and computes the scores of separate
/// targets. A warp per row, n elements per lane. Writes zeros after the rows of scores of the
/// slice, which 16-byte reads touch and the products do not write.
template <class T, int n>
__global__ void __launch_bounds__(loss_warps * 32, 4)
    take_rows(GivenRows<T> from, Candidates<T> candidates, LossRows<T> to, ScoreSlice<T> slice) {
  const std::int64_t row = loss_row();
  if (row >= to.count) return;  // the whole warp
  const std::int64_t behind = slice.candidates + simt::lane();
  if (row < slice.rows && behind < slice.stride) slice.scores[row * slice.stride + behind] = T{0};
  const bool counts = row < *to.counted;
  const std::int64_t at = to.index[row];
  const std::int64_t target = counts ? from.targets[at] : 0;
  const T* const h = from.hidden + at * to.channels;
  const T* const w = candidates.weight + target * to.channels;
  T* const taken = to.hidden + row * to.channels;
  T score = 0;
  for (std::int64_t c = simt::lane() * n; c < to.channels; c += 32 * n) {
    T group[n] = {};
    if (counts) {
      simt::load_group(h + c, group);
      REFRAIN_UNROLL
      for (int i = 0; i < n; ++i) group[i] = from.relu && group[i] < 0 ? T{0} : group[i];
      if (to.target_apart()) {
        T weights[n];
        simt::load_group(w + c, weights);
        REFRAIN_UNROLL
        for (int i = 0; i < n; ++i) score += group[i] * weights[i];
      }
    }
    simt::store_group(taken + c, group);
  }
  score = simt::warp_sum(score);
  if (simt::lane() != 0 || !counts) return;
  to.targets[row] = static_cast<std::int32_t>(target);
  if (!to.target_apart()) return;
  to.target_scores[row] = score + (candidates.bias == nullptr ? T{0} : candidates.bias[target]) -
                          (from.log_q_true == nullptr ? T{0} : from.log_q_true[at]);
}

/// rows [count,C] = those of the named candidates; offsets [count] = bias - log q, unless null. A
/// warp per candidate.
template <class T, int n>
__global__ void __launch_bounds__(loss_warps * 32)
    gather_candidates(Candidates<T> candidates, T* rows, T* offsets) {
  const std::int64_t v = loss_row();
  if (v >= candidates.count) return;
  const std::int64_t id = candidates.ids[v];
  for (std::int64_t c = simt::lane() * n; c < candidates.channels; c += 32 * n) {
    T group[n];
    simt::load_group(candidates.weight + id * candidates.channels + c, group);
    simt::store_group(rows + v * candidates.channels + c, group);
  }
  if (offsets == nullptr || simt::lane() != 0) return;
  offsets[v] = (candidates.bias == nullptr ? T{0} : candidates.bias[id]) -
               (candidates.log_q == nullptr ? T{0} : candidates.log_q[v]);
}

/// The maximum of numbers and the sum of exp(number - maximum), updated one number at a time.
template <class T>
struct ExponentialSum {
  T top = std::numeric_limits<T>::lowest();  // finite: if all are no_score the sum is 0, not NaN
  T sum = 0;

  template <int groups, int n>
  __device__ __forceinline__ void add(const T (&values)[groups][n]) {
    T highest = top;
    REFRAIN_UNROLL
    for (int j = 0; j < groups; ++j) {
      REFRAIN_UNROLL
      for (int i = 0; i < n; ++i) highest = values[j][i] > highest ? values[j][i] : highest;
    }
    sum *= std::exp(top - highest);
    top = highest;
    REFRAIN_UNROLL
    for (int j = 0; j < groups; ++j) {
      REFRAIN_UNROLL
      for (int i = 0; i < n; ++i) sum += std::exp(values[j][i] - highest);
    }
  }
};

inline constexpr int statistics_warps = 4;  // warps of a block

/// log Z and loss of each row of the slice, and the input of score_gradients; marks excluded
/// candidates. One pass: row_warps warps, 1 or a whole block, take a row, and a thread takes 16
/// bytes at four positions at a time. `smooth`: with label smoothing the loss takes the mean of the
/// scores, which are added up in the same pass.
template <class T, int row_warps, bool smooth>
__global__ void __launch_bounds__(statistics_warps * 32, sizeof(T) == 4 ? 8 : 4)
    row_statistics(ScoreSlice<T> slice, LossRows<T> rows) {
  static_assert(row_warps == 1 || row_warps == statistics_warps);
  constexpr int n = simt::Pack<T>::count;
  constexpr int groups = 4;
  constexpr int step = row_warps * 32 * n;  // elements between two accesses of a thread
  REFRAIN_SHARED_ARRAY(T, scratch, row_warps);
  const std::int64_t place =
      static_cast<std::int64_t>(blockIdx.x) * (statistics_warps / row_warps) +
      simt::warp() / row_warps;
  const std::int64_t row = slice.first + place;
  if (place >= slice.rows || row >= *rows.counted) return;  // all threads of the row return
  const int thread = static_cast<int>(threadIdx.x) % (row_warps * 32);
  const std::int32_t target = rows.targets[row];
  T* const scores = slice.scores + place * slice.stride;
  const T score = rows.target_apart() ? rows.target_scores[row] : scores[target];
  const T scale = rows.scale();
  ExponentialSum<T> own;
  [[maybe_unused]] T total = 0;
  for (std::int64_t first = thread * n; first < slice.candidates; first += groups * step) {
    T values[groups][n];
    REFRAIN_UNROLL
    for (int j = 0; j < groups; ++j) {
      if (first + j * step < slice.candidates)
        simt::load_group(scores + first + j * step, values[j]);
    }
    REFRAIN_UNROLL
    for (int j = 0; j < groups; ++j) {
      const std::int64_t v = first + j * step;
      const int inside = up_to(n, slice.candidates - v);
      REFRAIN_UNROLL
      for (int i = 0; i < n; ++i) {
        if (i >= inside) {
          values[j][i] = no_score<T>;
        } else if (slice.ids != nullptr && slice.ids[v + i] == target) {
          values[j][i] = no_score<T>;
          scores[v + i] = no_score<T>;
        }
        if constexpr (smooth) total += i < inside ? values[j][i] : T{0};
      }
    }
    own.add(values);
  }
  T top = simt::block_max<row_warps>(own.top, scratch);
  T z = simt::block_sum<row_warps>(own.sum * std::exp(own.top - top), scratch);
  if constexpr (smooth) total = simt::block_sum<row_warps>(total, scratch);
  if (thread != 0) return;
  T of_target = 0;
  if (rows.target_apart()) {
    const T highest = score > top ? score : top;
    of_target = std::exp(score - highest);
    z = z * std::exp(top - highest) + of_target;
    top = highest;
  }
  const T factor = scale / z;
  rows.maxima[row] = top;
  rows.factors[row] = factor;
  if (rows.target_apart()) rows.dtarget[row] = of_target * factor - scale;
  rows.losses[row] =
      std::log(static_cast<double>(z)) + (static_cast<double>(top) - static_cast<double>(score));
  if constexpr (smooth) {
    const double mean = static_cast<double>(total) / static_cast<double>(slice.candidates);
    rows.losses[row] += static_cast<double>(rows.smoothing) * (static_cast<double>(score) - mean);
  }
}

inline constexpr int score_gradient_threads = 128;
inline constexpr int score_gradient_rows = 16;  // rows of a block
inline constexpr int score_gradients_at_once = 8;
/// Candidates of a block.
template <class T>
inline constexpr std::int64_t score_gradient_columns = score_gradient_threads* simt::Pack<T>::count;

/// scores = (softmax - (1 - s) onehot - s / candidates) / counted, in place, with the label
/// smoothing s; zeros in rows that are not counted. With `sum` the sums over the rows of the block
/// go to column_sums [row parts, stride]; with `add` they are added to those of earlier slices. A
/// thread takes 16 bytes of 16 rows, with the loads of eight rows in flight.
template <class T, bool sum>
__global__ void __launch_bounds__(score_gradient_threads, sizeof(T) == 4 ? 6 : 4)
    score_gradients(ScoreSlice<T> slice, LossRows<T> rows, T* column_sums, bool add) {
  constexpr int n = simt::Pack<T>::count;
  constexpr int at_once = score_gradients_at_once;
  const std::int64_t groups =
      (slice.stride + score_gradient_columns<T> - 1) / score_gradient_columns<T>;
  const std::int64_t part = static_cast<std::int64_t>(blockIdx.x) / groups;
  const std::int64_t column =
      static_cast<std::int64_t>(blockIdx.x) % groups * score_gradient_columns<T> +
      static_cast<int>(threadIdx.x) * n;
  const bool there = column < slice.stride;
  const std::int64_t begin = part * score_gradient_rows;
  const int all = up_to(score_gradient_rows, slice.rows - begin);  // rows of the block
  const int counted = up_to(all, *rows.counted - slice.first - begin);
  const int inside = up_to(n, slice.candidates - column);
  // Lane r loads the statistics of row r and broadcasts them.
  const std::int64_t row = slice.first + begin + simt::lane();
  const bool counts = simt::lane() < counted;
  const T row_maximum = counts ? rows.maxima[row] : T{0};
  const T row_factor = counts ? rows.factors[row] : T{0};
  const int row_target = counts && !rows.target_apart() ? rows.targets[row] : -1;
  const T elsewhere =
      rows.smoothing > 0 ? rows.smoothing * rows.scale() / static_cast<T>(slice.candidates) : T{0};
  const T at_target = rows.scale() * (T{1} - rows.smoothing) + elsewhere;
  T* const scores = slice.scores + begin * slice.stride + column;
  T sums[n] = {};
  REFRAIN_UNROLL
  for (int first = 0; first < score_gradient_rows; first += at_once) {
    T group[at_once][n];
    REFRAIN_UNROLL
    for (int j = 0; j < at_once; ++j) {
      if (there && first + j < counted)
        simt::load_group(scores + (first + j) * slice.stride, group[j]);
    }
    REFRAIN_UNROLL
    for (int j = 0; j < at_once; ++j) {
      const T top = __shfl_sync(simt::full_mask, row_maximum, first + j);
      const T factor = __shfl_sync(simt::full_mask, row_factor, first + j);
      const int target =
          __shfl_sync(simt::full_mask, row_target, first + j) - static_cast<int>(column);
      REFRAIN_UNROLL
      for (int i = 0; i < n; ++i) {
        const bool wanted = first + j < counted && i < inside;
        group[j][i] =
            wanted ? std::exp(group[j][i] - top) * factor - (target == i ? at_target : elsewhere)
                   : T{0};
        sums[i] += group[j][i];
      }
      if (there && first + j < all)
        simt::store_group(scores + (first + j) * slice.stride, group[j]);
    }
  }
  if constexpr (sum) {
    if (!there) return;
    T* const to = column_sums + part * slice.stride + column;
    if (add) {
      T before[n];
      simt::load_group(to, before);
      REFRAIN_UNROLL
      for (int i = 0; i < n; ++i) sums[i] = before[i] + sums[i];
    }
    simt::store_group(to, sums);
  }
}

/// The outputs for each row of [P]; null: not computed.
template <class T>
struct RowGradients {
  T* dhidden;         ///< [P,C]
  T* dtarget_weight;  ///< [P,C] of the target of each row, where targets are separate
  T* dtarget_bias;    ///< [P]
};

/// Scatters dhidden to the rows of the caller, applies the mask of relu, and adds the part of
/// separate targets; computes the gradients of these targets. Rows that are not counted get zeros.
/// A warp per row, n elements per lane.
template <class T, int n>
__global__ void __launch_bounds__(loss_warps * 32)
    write_rows(GivenRows<T> given, Candidates<T> candidates, LossRows<T> rows, RowGradients<T> to) {
  const std::int64_t row = loss_row();
  if (row >= rows.count) return;  // the whole warp
  const std::int64_t at = rows.index[row];
  const bool counts = row < *rows.counted;
  const bool apart = counts && rows.target_apart();
  const T dtarget = apart ? rows.dtarget[row] : T{0};
  const T* const target_weight =
      apart ? candidates.weight + rows.targets[row] * rows.channels : nullptr;
  const T* const hidden = counts && (given.relu || to.dtarget_weight != nullptr)
                              ? given.hidden + at * rows.channels
                              : nullptr;
  for (std::int64_t c = simt::lane() * n; c < rows.channels; c += 32 * n) {
    T h[n] = {};
    if (hidden != nullptr) simt::load_group(hidden + c, h);
    if (to.dhidden != nullptr) {
      T gradient[n] = {};
      T weights[n] = {};
      if (counts) simt::load_group(rows.hidden + row * rows.channels + c, gradient);
      if (apart) simt::load_group(target_weight + c, weights);
      REFRAIN_UNROLL
      for (int i = 0; i < n; ++i)
        gradient[i] = given.relu && h[i] <= 0 ? T{0} : gradient[i] + dtarget * weights[i];
      simt::store_group(to.dhidden + at * rows.channels + c, gradient);
    }
    if (to.dtarget_weight == nullptr) continue;
    REFRAIN_UNROLL
    for (int i = 0; i < n; ++i) h[i] *= dtarget;
    simt::store_group(to.dtarget_weight + at * rows.channels + c, h);
  }
  if (to.dtarget_bias != nullptr && simt::lane() == 0) to.dtarget_bias[at] = dtarget;
}

/// loss = mean of the losses of the counted rows, or 0. One block; thread t adds rows t, t +
/// threads, ...
template <class T, int threads>
__global__ void __launch_bounds__(threads)
    mean_loss(const double* losses, const std::int64_t* counted, T* loss) {
  REFRAIN_SHARED_ARRAY(double, scratch, threads / 32);
  const std::int64_t count = *counted;
  double sum = 0;
  for (std::int64_t row = threadIdx.x; row < count; row += threads) sum += losses[row];
  sum = simt::block_sum<threads / 32>(sum, scratch);
  if (threadIdx.x == 0)
    *loss = count == 0 ? T{0} : static_cast<T>(sum / static_cast<double>(count));
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
