// The k largest scores of each row. A selection keeps a buffer of candidates above the threshold,
// the k-th best so far. When the buffer is full it is reduced to the best k, which raises the
// threshold; blocks of scores at or below the threshold are skipped. The initial threshold comes
// from a pass over the maxima of some interleaved groups: the k-th of them is not above the k-th of
// all scores. The order is total (score, then index; NaN last), so the result does not depend on
// how a row is divided: a few long rows are divided into segments to occupy all threads, and a
// second selection joins the best of the segments.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>

#include "kernels/kernel.hpp"
#include "kernels/simd.hpp"
#include "kernels/tiling/row_blocks.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/kernels/top_k.hpp"

namespace refrain::kernels::cpu {
namespace {

template <class T>
struct Candidate {
  T score;
  std::int32_t index;
};

template <class T>
bool ranks_before(const Candidate<T>& a, const Candidate<T>& b) {
  if (a.score > b.score) return true;
  if (a.score < b.score) return false;
  if (a.score == b.score) return a.index < b.index;
  const bool a_is_nan = std::isnan(a.score);
  const bool b_is_nan = std::isnan(b.score);
  return a_is_nan == b_is_nan ? a.index < b.index : b_is_nan;
}

/// How the work is divided; depends only on sizes.
struct Plan {
  explicit Plan(const TopK& args)
      : rows(args.scores.shape.rows()),
        length(args.scores.shape[-1]),
        k(args.values.shape[-1]),
        segment(length) {
    constexpr std::int64_t long_segment = 65536;
    if (rows < 64 && length > long_segment && k <= long_segment / 16) segment = long_segment;
    segments = length == 0 ? 1 : (length + segment - 1) / segment;
  }
  /// Capacity of the candidate buffer of one worker.
  std::int64_t buffer() const { return 2 * k + 64; }
  /// Number of candidates of all segments.
  std::int64_t segment_candidates() const { return segments > 1 ? rows * segments * k : 0; }

  std::int64_t rows;
  std::int64_t length;
  std::int64_t k;
  std::int64_t segment;
  std::int64_t segments;
};

template <class T>
class Selection {
 public:
  Selection(Candidate<T>* buffer, const Plan& plan)
      : buffer_(buffer), k_(plan.k), capacity_(plan.buffer()) {}

  void add(const Candidate<T>& candidate) {
    if (!open_ && !(candidate.score > threshold_)) return;
    buffer_[size_++] = candidate;
    if (size_ == capacity_) cut();
  }

  /// Adds scores in ascending order of their index.
  void add(const T* scores, std::int64_t begin, std::int64_t end) {
    if (size_ == 0) set_first_threshold(scores, begin, end);
    constexpr std::int64_t block = 8 * Lanes<T>::count, part = Lanes<T>::count;
    std::int64_t i = begin;
    while (i < end) {
      if (!open_ && i + block <= end && is_below_limit<block>(scores + i)) {
        i += block;
        continue;
      }
      for (const std::int64_t stop = std::min(end, i + block); i < stop;) {
        if (!open_ && i + part <= stop && is_below_limit<part>(scores + i)) {
          i += part;
          continue;
        }
        for (const std::int64_t next = std::min(stop, i + part); i < next; ++i)
          add({scores[i], static_cast<std::int32_t>(i)});
      }
    }
  }

  /// Sorts the best k, or all candidates when there are fewer, in descending order; returns their
  /// number.
  std::int64_t finish() {
    if (size_ > k_) cut();
    std::sort(buffer_, buffer_ + size_, ranks_before<T>);
    return size_;
  }

 private:
  /// Sets the threshold just below the k-th largest of the maxima of the groups, if there are at
  /// least k groups of sufficient length.
  void set_first_threshold(const T* scores, std::int64_t begin, std::int64_t end) {
    using L = Lanes<T>;
    constexpr std::int64_t groups = 128;
    if (k_ > groups / 2 || end - begin < 4 * groups) return;
    typename L::Vector tops[groups / L::count];
    for (auto& top : tops) top = L::broadcast(-std::numeric_limits<T>::infinity());
    for (std::int64_t i = begin; i + groups <= end; i += groups) {
      for (std::int64_t v = 0; v < groups / L::count; ++v) {
        const typename L::Vector score = L::load(scores + i + v * L::count);
        tops[v] = score > tops[v] ? score : tops[v];  // skips NaN
      }
    }
    T maxima[groups];
    for (std::int64_t v = 0; v < groups / L::count; ++v) L::store(maxima + v * L::count, tops[v]);
    std::nth_element(maxima, maxima + k_ - 1, maxima + groups, std::greater<T>());
    const T bound = maxima[k_ - 1];
    if (!std::isfinite(bound)) return;
    using Limits = std::numeric_limits<T>;
    threshold_ = bound - std::max(std::abs(bound) * Limits::epsilon(),
                                  Limits::min());  // also below it where subnormals are flushed
    open_ = false;
  }

  /// True when no score is above the threshold; NaN is not above.
  template <std::int64_t count>
  bool is_below_limit(const T* scores) const {
    using L = Lanes<T>;
    typename L::Vector top = L::broadcast(threshold_);
    for (std::int64_t j = 0; j < count; j += L::count) {
      const typename L::Vector score = L::load(scores + j);
      top = score > top ? score : top;
    }
    return !(L::largest(top) > threshold_);
  }

  /// Later scores that equal the threshold have a higher index and rank behind, so a strict
  /// comparison suffices. A NaN threshold accepts everything.
  void cut() {
    std::nth_element(buffer_, buffer_ + k_ - 1, buffer_ + size_, ranks_before<T>);
    size_ = k_;
    threshold_ = buffer_[k_ - 1].score;
    open_ = std::isnan(threshold_);
  }

  Candidate<T>* buffer_;
  std::int64_t k_;
  std::int64_t capacity_;
  std::int64_t size_ = 0;
  T threshold_ = 0;
  bool open_ = true;
};

template <class T>
void write_out(const Candidate<T>* best, const Plan& plan, std::int64_t row, const TopK& args) {
  for (std::int64_t j = 0; j < plan.k; ++j) {
    args.values.as<T>()[row * plan.k + j] = best[j].score;
    args.indices.as<std::int32_t>()[row * plan.k + j] = best[j].index;
  }
}

template <class T>
void select(const TopK& args, Scratch& scratch) {
  const Plan plan(args);
  if (plan.k == 0) return;
  Candidate<T>* segment_candidates = scratch.take<Candidate<T>>(plan.segment_candidates());
  Candidate<T>* buffers = scratch.take<Candidate<T>>(threads() * plan.buffer());
  if (scratch.is_counting()) return;
  const bool whole_rows = plan.segments == 1;
  const auto select_segment = [&](std::int64_t task, int worker) {
    const std::int64_t row = task / plan.segments;
    const std::int64_t begin = task % plan.segments * plan.segment;
    Candidate<T>* buffer = buffers + worker * plan.buffer();
    Selection<T> selection(buffer, plan);
    selection.add(args.scores.as<T>() + row * plan.length, begin,
                  std::min(plan.length, begin + plan.segment));
    const std::int64_t found = selection.finish();
    if (whole_rows) return write_out(buffer, plan, row, args);
    Candidate<T>* to = std::copy_n(buffer, found, segment_candidates + task * plan.k);
    // The last segment may be shorter than k: fill it with candidates that rank behind all scores.
    std::fill_n(to, plan.k - found,
                Candidate<T>{std::numeric_limits<T>::quiet_NaN(),
                             std::numeric_limits<std::int32_t>::max()});
  };
  const auto join_segments = [&](std::int64_t row, int worker) {
    Candidate<T>* buffer = buffers + worker * plan.buffer();
    Selection<T> selection(buffer, plan);
    const Candidate<T>* from = segment_candidates + row * plan.segments * plan.k;
    for (std::int64_t i = 0; i < plan.segments * plan.k; ++i) selection.add(from[i]);
    selection.finish();
    write_out(buffer, plan, row, args);
  };
  const std::int64_t tasks_at_once = whole_rows ? rows_per_task(plan.length) : 1;
  const std::int64_t tasks = plan.rows * plan.segments;
  parallel_tasks((tasks + tasks_at_once - 1) / tasks_at_once, [&](std::int64_t group, int worker) {
    const std::int64_t end = std::min(tasks, (group + 1) * tasks_at_once);
    for (std::int64_t task = group * tasks_at_once; task < end; ++task)
      select_segment(task, worker);
  });
  if (!whole_rows) parallel_tasks(plan.rows, join_segments);
}

}  // namespace

template <>
void kernel(const TopK& args, Scratch& scratch) {
  for_floating<TopK>(args.scores.dtype, [&]<class T>(T) { select<T>(args, scratch); });
}

template void entry(const TopK&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
