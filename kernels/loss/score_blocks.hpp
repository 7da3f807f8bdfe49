#pragma once
/// Softmax over many items without storing the [P,V] scores, for the full and the sampled loss.
///
/// The P rows are taken in blocks of up to 128; the items in slices, one task each.  Per row block:
///   1. per slice:   scores^T [items, rows] = W h^T + offset;  m = max over the items of the slice;
///                   e = exp(scores - m), s = sum of e
///   2. per row:     log Z from (m, s) of all slices, and from a separate score of the positive
///   3. per slice:   p = e * exp(m - log Z) / P, minus 1/P at the target;  dW += p h;
///                   dh_slice = p^T W
/// With label smoothing s, (1 - s)/P is subtracted at the target and s/(P V) at every item; step 1
/// also adds up the scores of the slice.
/// Items are the slow axis of the scores, so that maxima and sums run along vectors, W is read in
/// place, and the exponential is computed once per score. Memory: the scores of one block of rows
/// (at most 16 MiB up to V = 262,144).

#include <cmath>
#include <limits>

#include "kernels/scratch.hpp"
#include "kernels/tiling/gemm.hpp"
#include "refrain/core/parallel.hpp"

namespace refrain::kernels::cpu {

template <class T>
struct ScoreArgs {
  std::int64_t rows = 0, channels = 0, items = 0;
  const T* hidden = nullptr;  ///< [rows, C]
  const T* weight = nullptr;  ///< [items, C]
  const T* offset = nullptr;  ///< [items] added to the scores, or null
  /// [rows]: item of the target; or, with `positive`, its id for `ids`
  const std::int32_t* targets = nullptr;
  const T* positive = nullptr;  ///< [rows] score of a target that is not among the items, or null
  /// [items] with `positive`: items with the id of the row's target are excluded; or null
  const std::int32_t* ids = nullptr;
  double smoothing = 0;    ///< without `positive`: share of all items in the target distribution
  T* dhidden = nullptr;    ///< [rows, C] overwritten, or null
  T* dweight = nullptr;    ///< [items, C] overwritten, or null
  T* doffset = nullptr;    ///< [items] overwritten, or null
  T* dpositive = nullptr;  ///< [rows] overwritten, or null
};

template <class T>
class ScoreBlocks {
 public:
  /// Plans for at most `rows` rows; `gradients`: true when a gradient is requested; `smooth`: true
  /// with label smoothing.
  ScoreBlocks(std::int64_t rows, std::int64_t items, std::int64_t channels, bool gradients,
              bool smooth, Scratch& scratch) {
    constexpr std::int64_t budget_bytes = 16 << 20;
    block_ = 128;
    while (block_ > 16 && block_ * items * static_cast<std::int64_t>(sizeof(T)) > budget_bytes)
      block_ /= 2;
    block_ = std::min(block_, round_up(std::max<std::int64_t>(rows, 1), 16));
    // About 192 items a slice and at most 64 slices, for any number of threads: the sums of the
    // slices are added in order. The number of slices is a multiple of eight, so that a small
    // number of threads gets equal shares.
    const std::int64_t wanted = std::min<std::int64_t>(64, round_up((items + 191) / 192, 8));
    slice_ = round_up(
        std::max<std::int64_t>(64, (items + wanted - 1) / std::max<std::int64_t>(1, wanted)),
        tile_rows);
    slices_ = std::max<std::int64_t>(1, (items + slice_ - 1) / slice_);
    scores_ = scratch.take<T>(items * block_);
    packed_t_ = scratch.take<T>(packed_size<T>(channels, block_));
    maxima_ = scratch.take<T>(slices_ * block_);
    sums_ = scratch.take<T>(slices_ * block_);
    target_scores_ = scratch.take<T>(block_);
    z_ = scratch.take<T>(block_);
    if (smooth) totals_ = scratch.take<T>(slices_ * block_);
    if (!gradients) return;
    packed_ = scratch.take<T>(packed_size<T>(block_, channels));
    partial_ = scratch.take<T>(slices_ * block_ * channels);
  }

  /// Mean over the rows of log Z - (1 - s) target score - s mean score, s = smoothing.  Gradients
  /// are those of that mean.
  double run(const ScoreArgs<T>& args) const {
    const bool gradients =
        args.dhidden != nullptr || args.dweight != nullptr || args.doffset != nullptr;
    double loss = 0;
    for (std::int64_t first = 0; first < args.rows; first += block_) {
      const std::int64_t count = std::min(block_, args.rows - first);
      const T* const h = args.hidden + first * args.channels;
      pack<T>(h, 1, args.channels, args.channels, count, 0, args.channels, packed_t_);
      if (gradients) pack<T>(h, args.channels, 1, count, args.channels, 0, count, packed_);
      parallel_tasks(slices_, [&](std::int64_t slice, int) { score(args, first, count, slice); });
      loss += finish_rows(args, first, count);
      if (!gradients) continue;
      parallel_tasks(slices_,
                     [&](std::int64_t slice, int) { differentiate(args, first, count, slice); });
      if (args.dhidden != nullptr) sum_slices(args, first, count);
    }
    if (args.rows == 0) clear(args);
    return args.rows == 0 ? 0 : loss / static_cast<double>(args.rows);
  }

 private:
  static constexpr T lowest = -std::numeric_limits<T>::infinity();

  void score(const ScoreArgs<T>& args, std::int64_t first, std::int64_t count,
             std::int64_t slice) const {
    const std::int64_t begin = slice * slice_;
    const std::int64_t end = std::min(args.items, begin + slice_);
    T* const maxima = maxima_ + slice * block_;
    T* const sums = sums_ + slice * block_;
    std::fill_n(maxima, count, lowest);
    std::fill_n(sums, count, T(0));
    for (std::int64_t item = begin; item < end; item += tile_rows) {
      const std::int64_t tile = std::min<std::int64_t>(tile_rows, end - item);
      const T* rows[extent(tile_rows)];
      for (std::int64_t i = 0; i < tile_rows; ++i)
        rows[i] = args.weight + (item + std::min(i, tile - 1)) * args.channels;
      rows_product<T>(rows, 1, args.channels, Panels<T>::packed(packed_t_, args.channels), count,
                      tile, scores_ + item * block_, block_, Start<T>::zero());
      for (std::int64_t i = 0; i < tile; ++i) {
        T* const row = scores_ + (item + i) * block_;
        const T offset = args.offset == nullptr ? T(0) : args.offset[item + i];
        if (args.ids != nullptr) leave_out(args.targets + first, args.ids[item + i], count, row);
        for_lanes<T>(count, [&]<class L>(L, std::int64_t p) {
          const typename L::Vector z = L::load(row + p) + offset;
          const typename L::Vector m = L::load(maxima + p);
          L::store(row + p, z);
          L::store(maxima + p, z > m ? z : m);
        });
      }
    }
    if (args.positive == nullptr) {
      for (std::int64_t p = 0; p < count; ++p) {
        const std::int64_t target = args.targets[first + p];
        if (target >= begin && target < end) target_scores_[p] = scores_[target * block_ + p];
      }
    }
    if (args.smoothing > 0) add_scores(count, slice, begin, end);
    for (std::int64_t item = begin; item < end; ++item) {
      T* const row = scores_ + item * block_;
      for_lanes<T>(count, [&]<class L>(L, std::int64_t p) {
        // If all items of the slice are excluded, the maximum stays -inf; any finite shift makes
        // the sum zero.
        const typename L::Vector m = L::load(maxima + p);
        const typename L::Vector shift = m < -std::numeric_limits<T>::max() ? L::broadcast(0) : m;
        const typename L::Vector e = exp(L::load(row + p) - shift);
        L::store(row + p, e);
        L::store(sums + p, L::load(sums + p) + e);
      });
    }
  }

  /// Adds up the scores of each row in the slice.
  void add_scores(std::int64_t count, std::int64_t slice, std::int64_t begin,
                  std::int64_t end) const {
    T* const totals = totals_ + slice * block_;
    std::fill_n(totals, count, T(0));
    for (std::int64_t item = begin; item < end; ++item) {
      const T* const row = scores_ + item * block_;
      for_lanes<T>(count, [&]<class L>(L, std::int64_t p) {
        L::store(totals + p, L::load(totals + p) + L::load(row + p));
      });
    }
  }

  static void leave_out(const std::int32_t* targets, std::int32_t id, std::int64_t count, T* row) {
    for (std::int64_t p = 0; p < count; ++p) row[p] = targets[p] == id ? lowest : row[p];
  }

  /// log Z of each row; replaces the maxima of the slices by the factors that turn their
  /// exponentials into probabilities.
  double finish_rows(const ScoreArgs<T>& args, std::int64_t first, std::int64_t count) const {
    const T scale = T(1) / static_cast<T>(args.rows);
    const T* const positive = args.positive == nullptr ? nullptr : args.positive + first;
    for_lanes<T>(count, [&]<class L>(L, std::int64_t p) {
      using Vector = typename L::Vector;
      Vector top = positive == nullptr ? L::load(maxima_ + p) : L::load(positive + p);
      for (std::int64_t slice = 0; slice < slices_; ++slice) {
        const Vector m = L::load(maxima_ + slice * block_ + p);
        top = m > top ? m : top;
      }
      Vector z = positive == nullptr ? L::broadcast(0) : exp(L::load(positive + p) - top);
      for (std::int64_t slice = 0; slice < slices_; ++slice) {
        z += L::load(sums_ + slice * block_ + p) * exp(L::load(maxima_ + slice * block_ + p) - top);
      }
      L::store(z_ + p, z);
      for (std::int64_t slice = 0; slice < slices_; ++slice) {
        T* const m = maxima_ + slice * block_ + p;
        L::store(m, exp(L::load(m) - top) * scale / z);
      }
      if (args.dpositive != nullptr) {
        L::store(args.dpositive + first + p, exp(L::load(positive + p) - top) * scale / z - scale);
      }
      L::store(sums_ + p, top);
    });
    double loss = 0;
    for (std::int64_t p = 0; p < count; ++p) {
      const T target = positive == nullptr ? target_scores_[p] : positive[p];
      loss += std::log(static_cast<double>(z_[p])) +
              (static_cast<double>(sums_[p]) - static_cast<double>(target));
      if (args.smoothing > 0)
        loss += args.smoothing * (static_cast<double>(target) - mean_score(args.items, p));
    }
    return loss;
  }

  /// The mean over the items of the scores of row p.
  double mean_score(std::int64_t items, std::int64_t p) const {
    double sum = 0;
    for (std::int64_t slice = 0; slice < slices_; ++slice)
      sum += static_cast<double>(totals_[slice * block_ + p]);
    return sum / static_cast<double>(items);
  }

  void differentiate(const ScoreArgs<T>& args, std::int64_t first, std::int64_t count,
                     std::int64_t slice) const {
    const std::int64_t begin = slice * slice_;
    const std::int64_t end = std::min(args.items, begin + slice_);
    const T* const factors = maxima_ + slice * block_;
    const T smoothing = static_cast<T>(args.smoothing);
    const T uniform = smoothing / static_cast<T>(args.items) / static_cast<T>(args.rows);
    for (std::int64_t item = begin; item < end; ++item) {
      T* const row = scores_ + item * block_;
      if (args.smoothing > 0) {
        for_lanes<T>(count, [&]<class L>(L, std::int64_t p) {
          L::store(row + p, L::load(row + p) * L::load(factors + p) - uniform);
        });
      } else {
        for_lanes<T>(count, [&]<class L>(L, std::int64_t p) {
          L::store(row + p, L::load(row + p) * L::load(factors + p));
        });
      }
    }
    if (args.positive == nullptr) {
      const T scale = (T(1) - smoothing) / static_cast<T>(args.rows);
      for (std::int64_t p = 0; p < count; ++p) {
        const std::int64_t target = args.targets[first + p];
        if (target >= begin && target < end) scores_[target * block_ + p] -= scale;
      }
    }
    const bool add = first > 0;
    if (args.dweight != nullptr) {
      for (std::int64_t item = begin; item < end; item += tile_rows) {
        const std::int64_t tile = std::min<std::int64_t>(tile_rows, end - item);
        T* const out = args.dweight + item * args.channels;
        const T* rows[extent(tile_rows)];
        for (std::int64_t i = 0; i < tile_rows; ++i)
          rows[i] = scores_ + (item + std::min(i, tile - 1)) * block_;
        rows_product<T>(rows, 1, count, Panels<T>::packed(packed_, count), args.channels, tile, out,
                        args.channels, add ? Start<T>::rows(out, args.channels) : Start<T>::zero());
      }
    }
    if (args.doffset != nullptr) {
      for (std::int64_t item = begin; item < end; ++item) {
        const T* const row = scores_ + item * block_;
        const T sum =
            sum_lanes<T>(count, [&]<class L>(L, std::int64_t p) { return L::load(row + p); });
        args.doffset[item] = add ? args.doffset[item] + sum : sum;
      }
    }
    if (args.dhidden != nullptr) {
      T* const partial = partial_ + slice * block_ * args.channels;
      std::fill_n(partial, count * args.channels, T(0));
      sum_of_outer<T>(scores_ + begin * block_, block_, args.weight + begin * args.channels,
                      args.channels, end - begin, partial, args.channels, count, args.channels);
    }
  }

  void sum_slices(const ScoreArgs<T>& args, std::int64_t first, std::int64_t count) const {
    T* const out = args.dhidden + first * args.channels;
    parallel_for(count * args.channels, 2048, [&](std::int64_t begin, std::int64_t end) {
      for_lanes<T>(end - begin, [&]<class L>(L, std::int64_t i) {
        typename L::Vector sum = L::load(partial_ + begin + i);
        for (std::int64_t slice = 1; slice < slices_; ++slice) {
          sum += L::load(partial_ + slice * block_ * args.channels + begin + i);
        }
        L::store(out + begin + i, sum);
      });
    });
  }

  static void clear(const ScoreArgs<T>& args) {
    if (args.dweight != nullptr) std::fill_n(args.dweight, args.items * args.channels, T(0));
    if (args.doffset != nullptr) std::fill_n(args.doffset, args.items, T(0));
  }

  std::int64_t block_, slice_, slices_;
  T* scores_ = nullptr;    ///< [items, block]
  T* packed_t_ = nullptr;  ///< h^T, packed
  T* packed_ = nullptr;    ///< h, packed
  T* maxima_ = nullptr;    ///< [slices, block]; after finish_rows() the factors of the exponentials
  /// [slices, block]; after finish_rows() the first row holds the maxima of the rows
  T* sums_ = nullptr;
  T* target_scores_ = nullptr;  ///< [block]
  T* z_ = nullptr;              ///< [block]: Z relative to the row's maximum
  T* totals_ = nullptr;         ///< [slices, block]: sums of the scores, with label smoothing
  T* partial_ = nullptr;        ///< [slices, block, C]
};

}  // namespace refrain::kernels::cpu
