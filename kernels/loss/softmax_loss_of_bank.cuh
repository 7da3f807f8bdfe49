#pragma once
/// Device templates of softmax_loss_of_bank; formulas and grids: cuda_softmax_loss_of_bank.cu.

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/simt.hpp"
#include "kernels/tiling/bank_rows.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// The heads of a bank. A sequence is one row of the batch.
template <class T>
struct BankHeads {
  const T* weight;  ///< [K,V,C]
  const T* bias;    ///< [K,V]
  const std::int32_t* classes;
  const T* weights;  ///< [K], or null: 1
  std::int64_t widest;
  std::int64_t channels;
  BankRows bank;
  T smoothing;

  __device__ __forceinline__ std::int64_t classes_of(std::int64_t row) const {
    return row == 0 ? 0 : classes[row];
  }
  __device__ __forceinline__ T weight_of(std::int64_t row) const {
    return weights == nullptr ? T{1} : weights[row];
  }
};

/// The rows of the batch.
template <class T>
struct HeadRows {
  const T* hidden;  ///< [P,C]
  const std::int32_t* targets;
  T* scores;       ///< [P,V]; after head_rows() their gradients, zero past the classes
  double* losses;  ///< [P]
  T* dhidden;      ///< [P,C], or null
};

inline constexpr int head_warps = 4;

template <class T>
inline constexpr T lowest = std::numeric_limits<T>::lowest();

/// Scores, loss and gradients of the scores of each row, and dhidden. A warp per row; `n` elements
/// of C per lane, and four classes at a time. The scores of class v are written by lane v % 32.
template <class T, int n>
__global__ void __launch_bounds__(head_warps * 32) head_rows(BankHeads<T> heads, HeadRows<T> rows) {
  constexpr int at_once = 4;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * head_warps + simt::warp();
  if (row >= heads.bank.sequences) return;  // the whole warp
  const std::int64_t of_bank = heads.bank.row_of(row);
  const std::int64_t classes = heads.classes_of(of_bank);
  const std::int64_t channels = heads.channels;
  const std::int64_t target = rows.targets[row];
  const T* const hidden = rows.hidden + row * channels;
  const T* const weight = heads.weight + of_bank * heads.widest * channels;
  const T* const bias = heads.bias + of_bank * heads.widest;
  T* const scores = rows.scores + row * heads.widest;
  T top = lowest<T>;
  T total = 0;
  T of_target = 0;
  for (std::int64_t first = 0; first < classes; first += at_once) {
    T sums[at_once] = {};
    for (std::int64_t c = simt::lane() * n; c < channels; c += 32 * n) {
      T h[n];
      simt::load_group(hidden + c, h);
      REFRAIN_UNROLL
      for (int j = 0; j < at_once; ++j) {
        if (first + j >= classes) continue;
        T w[n];
        simt::load_group(weight + (first + j) * channels + c, w);
        REFRAIN_UNROLL
        for (int i = 0; i < n; ++i) sums[j] += h[i] * w[i];
      }
    }
    REFRAIN_UNROLL
    for (int j = 0; j < at_once; ++j) {
      const T product = simt::warp_sum(sums[j]);
      const std::int64_t v = first + j;
      if (v >= classes) continue;
      const T score = product + bias[v];
      top = score > top ? score : top;
      total += score;
      of_target = v == target ? score : of_target;
      if (simt::lane() == static_cast<int>(v % 32)) scores[v] = score;
    }
  }
  T z = 0;
  for (std::int64_t v = simt::lane(); v < classes; v += 32) z += std::exp(scores[v] - top);
  z = simt::warp_sum(z);
  const std::int64_t begin = first_sequence(heads.bank, 0, of_bank);
  const std::int64_t count = first_sequence(heads.bank, row, of_bank + 1) - begin;
  const T scale = heads.weight_of(of_bank) / static_cast<T>(count);
  if (simt::lane() == 0) {
    const double score = static_cast<double>(of_target);
    const double mean = static_cast<double>(total) / static_cast<double>(classes);
    const double loss = std::log(static_cast<double>(z)) + (static_cast<double>(top) - score) +
                        static_cast<double>(heads.smoothing) * (score - mean);
    rows.losses[row] = classes == 0 ? 0.0 : loss;
  }
  const T factor = scale / z;
  const T elsewhere = scale * heads.smoothing / static_cast<T>(classes);
  const T at_target = scale * (T{1} - heads.smoothing) + elsewhere;
  for (std::int64_t v = simt::lane(); v < heads.widest; v += 32) {
    scores[v] = v < classes
                    ? std::exp(scores[v] - top) * factor - (v == target ? at_target : elsewhere)
                    : T{0};
  }
  if (rows.dhidden == nullptr) return;
  __syncwarp();
  for (std::int64_t c = simt::lane() * n; c < channels; c += 32 * n) {
    T sum[n] = {};
    for (std::int64_t v = 0; v < classes; ++v) {
      const T d = scores[v];
      T w[n];
      simt::load_group(weight + v * channels + c, w);
      REFRAIN_UNROLL
      for (int i = 0; i < n; ++i) sum[i] += d * w[i];
    }
    simt::store_group(rows.dhidden + row * channels + c, sum);
  }
}

inline constexpr int head_weight_threads = 128;

/// dweight [G,V,C]: sums over the rows of a head in order. Block (x, y): `n` elements per thread of
/// the y-th head that the batch uses.
template <class T, int n>
__global__ void __launch_bounds__(head_weight_threads)
    head_weights(BankHeads<T> heads, HeadRows<T> rows, T* dweight) {
  const std::int64_t head = static_cast<std::int64_t>(blockIdx.y);
  const BankSegment segment = segment_of(heads.bank, head);
  const std::int64_t size = heads.widest * heads.channels;
  const std::int64_t element = simt::global_thread() * n;
  if (element >= size) return;
  const std::int64_t v = element / heads.channels;
  const T* const hidden = rows.hidden + element % heads.channels;
  T sum[n] = {};
  if (segment.begin < segment.end && v < heads.classes_of(heads.bank.rows[segment.begin])) {
    for (std::int64_t row = segment.begin; row < segment.end; ++row) {
      const T d = rows.scores[row * heads.widest + v];
      T h[n];
      simt::load_group(hidden + row * heads.channels, h);
      REFRAIN_UNROLL
      for (int i = 0; i < n; ++i) sum[i] += d * h[i];
    }
  }
  simt::store_group(dweight + head * size + element, sum);
}

/// losses[g] = the mean of the losses of the rows of the g-th head, times its weight. A warp per
/// head.
template <class T>
__global__ void __launch_bounds__(32)
    head_losses(BankHeads<T> heads, const double* of_rows, T* losses) {
  const std::int64_t head = static_cast<std::int64_t>(blockIdx.x);
  const BankSegment segment = segment_of(heads.bank, head);
  double sum = 0;
  for (std::int64_t row = segment.begin + simt::lane(); row < segment.end; row += 32)
    sum += of_rows[row];
  sum = simt::warp_sum(sum);
  if (simt::lane() != 0) return;
  const std::int64_t count = segment.end - segment.begin;
  losses[head] = count == 0 ? T{0}
                            : static_cast<T>(sum / static_cast<double>(count)) *
                                  heads.weight_of(heads.bank.rows[segment.begin]);
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
