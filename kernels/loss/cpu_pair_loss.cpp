// Losses of one positive against one negative item, with their gradients.
//   bpr       loss = softplus(n - p)              dp = -sigmoid(n - p)    dn = sigmoid(n - p)
//   logistic  loss = softplus(-p) + softplus(n)   dp = -sigmoid(-p)       dn = sigmoid(n)
//   duser = (dp * positive + dn * negative) / B,  dpositive = dp * user / B,
//   dnegative = dn * user / B
// A task takes a range of rows. The losses of the rows are kept in double in the scratch memory and
// added in order.

#include <cmath>

#include "kernels/kernel.hpp"
#include "kernels/simd.hpp"
#include "kernels/tiling/row_blocks.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/kernels/loss.hpp"

namespace refrain::kernels::cpu {
namespace {

/// log(1 + exp(x)), for any x.
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

/// 1 / (1 + exp(-x)), for any x.
double probability(double x) {
  const double e = std::exp(-std::abs(x));
  return (x >= 0 ? 1.0 : e) / (1.0 + e);
}

struct PairTerm {
  double loss;
  double dpositive;
  double dnegative;
};

PairTerm pair_term(PairLossKind kind, double positive, double negative) {
  if (kind == PairLossKind::bpr) {
    const double slope = probability(negative - positive);
    return {softplus(negative - positive), -slope, slope};
  }
  return {softplus(-positive) + softplus(negative), -probability(-positive), probability(negative)};
}

template <class T>
T inner_product(const T* a, const T* b, std::int64_t count) {
  return sum_lanes<T>(count,
                      [=]<class L>(L, std::int64_t i) { return L::load(a + i) * L::load(b + i); });
}

template <class T>
void compute(const PairLoss& args, Scratch& scratch) {
  const std::int64_t rows = args.user.shape[0];
  const std::int64_t width = args.user.shape[1];
  const double mean = rows == 0 ? 0.0 : 1.0 / static_cast<double>(rows);
  double* losses = scratch.take<double>(rows);
  if (scratch.is_counting()) return;
  parallel_for(rows, rows_per_task(width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const T* __restrict user = args.user.as<T>() + row * width;
      const T* __restrict positive =
          args.table.as<T>() + args.positives.as<std::int32_t>()[row] * width;
      const T* __restrict negative =
          args.table.as<T>() + args.negatives.as<std::int32_t>()[row] * width;
      const T positive_score = inner_product(user, positive, width);
      const T negative_score = inner_product(user, negative, width);
      const PairTerm term = pair_term(args.kind, positive_score, negative_score);
      losses[row] = term.loss;
      const T dp = static_cast<T>(term.dpositive * mean);
      const T dn = static_cast<T>(term.dnegative * mean);
      if (args.duser) {
        T* __restrict duser = args.duser.as<T>() + row * width;
        for (std::int64_t c = 0; c < width; ++c) duser[c] = dp * positive[c] + dn * negative[c];
      }
      if (args.dtable_rows) {
        T* __restrict dpositive = args.dtable_rows.as<T>() + row * width;
        T* __restrict dnegative = args.dtable_rows.as<T>() + (rows + row) * width;
        for (std::int64_t c = 0; c < width; ++c) {
          dpositive[c] = dp * user[c];
          dnegative[c] = dn * user[c];
        }
      }
    }
  });
  const double sum =
      sum_lanes<double>(rows, [=]<class L>(L, std::int64_t row) { return L::load(losses + row); });
  *args.loss.as<T>() = static_cast<T>(mean * sum);
}

}  // namespace

template <>
void kernel(const PairLoss& args, Scratch& scratch) {
  for_floating<PairLoss>(args.user.dtype, [&]<class T>(T) { compute<T>(args, scratch); });
}

template void entry(const PairLoss&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
