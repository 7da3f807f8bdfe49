#pragma once
/// Device templates of pair_loss; formulas, grids and bytes: cuda_pair_loss.cu.

#include <cmath>
#include <cstdint>

#include "kernels/simt.hpp"
#include "refrain/kernels/loss.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

inline constexpr int pair_warps = 8;

/// The loss of one row and its derivatives by both scores.
struct PairTerm {
  double loss;
  double dpositive;
  double dnegative;
};

/// log(1 + exp(x)), for any x.
__device__ __forceinline__ double softplus(double x) {
  return (x > 0 ? x : 0.0) + std::log1p(std::exp(-std::abs(x)));
}

/// 1 / (1 + exp(-x)), for any x.
__device__ __forceinline__ double probability(double x) {
  const double e = std::exp(-std::abs(x));
  return (x >= 0 ? 1.0 : e) / (1.0 + e);
}

__device__ __forceinline__ PairTerm pair_term(PairLossKind kind, double positive, double negative) {
  if (kind == PairLossKind::bpr) {
    const double slope = probability(negative - positive);
    return {softplus(negative - positive), -slope, slope};
  }
  return {softplus(-positive) + softplus(negative), -probability(-positive), probability(negative)};
}

template <class T>
struct PairTensors {
  const T* user;
  const T* table;
  const std::int32_t* positives;
  const std::int32_t* negatives;
  T* duser;        ///< or null
  T* dtable_rows;  ///< or null
};

/// A warp per row, its columns in groups of n; the rows are read twice, the second time from the
/// first-level cache. losses[block] = sum of the losses of the block's rows, in order, divided by
/// the number of all rows.
template <int n, class T>
__global__ void __launch_bounds__(pair_warps * 32, 3)
    pair_rows(PairTensors<T> tensors, std::int64_t rows, std::int64_t width, PairLossKind kind,
              double* losses) {
  REFRAIN_SHARED_ARRAY(double, row_losses, pair_warps);
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * pair_warps + simt::warp();
  const double mean = 1.0 / static_cast<double>(rows);
  double loss = 0;
  if (row < rows) {
    const T* const user = tensors.user + row * width;
    const T* const positive = tensors.table + tensors.positives[row] * width;
    const T* const negative = tensors.table + tensors.negatives[row] * width;
    T positive_score = 0;
    T negative_score = 0;
    for (std::int64_t c = n * simt::lane(); c < width; c += 32 * n) {
      T u[n];
      T p[n];
      T q[n];
      simt::load_group(user + c, u);
      simt::load_group(positive + c, p);
      simt::load_group(negative + c, q);
      REFRAIN_UNROLL
      for (int i = 0; i < n; ++i) {
        positive_score += u[i] * p[i];
        negative_score += u[i] * q[i];
      }
    }
    const PairTerm term =
        pair_term(kind, simt::warp_sum(positive_score), simt::warp_sum(negative_score));
    loss = term.loss * mean;
    const T dp = static_cast<T>(term.dpositive * mean);
    const T dn = static_cast<T>(term.dnegative * mean);
    for (std::int64_t c = n * simt::lane(); c < width; c += 32 * n) {
      T u[n];
      if (tensors.duser != nullptr) {
        T p[n];
        T q[n];
        simt::load_group(positive + c, p);
        simt::load_group(negative + c, q);
        REFRAIN_UNROLL
        for (int i = 0; i < n; ++i) u[i] = dp * p[i] + dn * q[i];
        simt::store_group(tensors.duser + row * width + c, u);
      }
      if (tensors.dtable_rows != nullptr) {
        T scaled[n];
        simt::load_group(user + c, u);
        REFRAIN_UNROLL
        for (int i = 0; i < n; ++i) scaled[i] = dp * u[i];
        simt::store_group(tensors.dtable_rows + row * width + c, scaled);
        REFRAIN_UNROLL
        for (int i = 0; i < n; ++i) scaled[i] = dn * u[i];
        simt::store_group(tensors.dtable_rows + (rows + row) * width + c, scaled);
      }
    }
  }
  if (simt::lane() == 0) row_losses[simt::warp()] = loss;
  __syncthreads();
  if (threadIdx.x != 0) return;
  double sum = 0;
  REFRAIN_UNROLL
  for (int w = 0; w < pair_warps; ++w) sum += row_losses[w];
  losses[blockIdx.x] = sum;
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
