#pragma once
/// Batches for recurrent layers whose rows begin with padding. The state after padding alone does
/// not depend on the row, so one row of padding computes it for all rows.

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "refrain/ops/check.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/steps.hpp"

namespace refrain {

/// A batch [B,T] without most of its leading padding.
///
/// The time steps are cut into segments. A row joins at the beginning of a segment, at or before
/// its first time step with an item or a target; until then row 0, which is padding only, has its
/// state. The order of the rows is that of their first time steps. Ids, targets and what a network
/// computes from them have M entries: segment by segment, time-major within a segment,
///
///   M = sum over the segments of L_s n_s,   L_s time steps of n_s rows, row 0 included.
///
/// A network in training that drops elements drops the same ones of row 0 for all rows.
///
///   if (const auto shared = SharedPadding::of(ids, targets, padding_id, borders)) {
///     for (const SharedPadding::Segment& segment : shared->segments()) {
///       state = segment.begin == 0 ? initial(segment.rows)
///                                  : state.map([&](const Variable& x) { return segment.join(x); });
///       ...
///     }
///   }
class SharedPadding {
 public:
  /// The time steps [begin, end) of the same rows.
  struct Segment {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    std::int64_t first = 0;       ///< number of entries of the segments before
    std::int64_t rows = 0;        ///< n_s
    std::int64_t joining = 0;     ///< rows that join at `begin`, copies of row 0
    bool has_padding_row = true;  ///< row 0 is padding only; false after the last row has joined

    std::int64_t steps() const noexcept { return end - begin; }

    /// The rows of a state at the end of the segment before: x [n,...] -> [n_s,...].
    Variable join(const Variable& x) const {
      std::vector<Variable> rows_of_state(static_cast<std::size_t>(joining) + 1,
                                          slice_steps(x, 0, 1));
      rows_of_state[0] = has_padding_row ? x : slice_steps(x, 1, x.size(0));
      if (rows_of_state[0].size(0) == 0) rows_of_state.erase(rows_of_state.begin());
      return concat_steps(rows_of_state);
    }

    /// The entries of this segment of x [M,C], time-major: [L_s,n_s,C].
    Variable of(const Variable& x) const {
      return reshape(slice_steps(x, first, first + steps() * rows), {steps(), rows, x.size(1)});
    }
  };

  /// The batch ids i32 [B,T], targets i32 [B,T] with padding before the first items, or nullopt
  /// where sharing does not pay: unless it leaves at most `worth` of the B T entries, and off the
  /// CPU, where a captured training step requires fixed shapes. Rows join at the time steps
  /// `borders`, ascending, or at a few of them. Throws ShapeError unless ids and targets are [B,T],
  /// DTypeError.
  static std::optional<SharedPadding> of(const Tensor& ids, const Tensor& targets,
                                         std::int32_t padding,
                                         std::span<const std::int64_t> borders,
                                         double worth = 0.8) {
    detail::check_rank("SharedPadding", "ids", ids, 2);
    detail::check_shape("SharedPadding", "targets", targets, ids.shape());
    if (ids.dtype() != DType::i32 || targets.dtype() != DType::i32) {
      throw DTypeError(detail::concat("SharedPadding: expected ids and targets of i32, got ",
                                      ids.dtype(), " and ", targets.dtype()));
    }
    if (ids.device() != Device::cpu || targets.device() != Device::cpu) return std::nullopt;
    SharedPadding shared(ids, targets, padding, borders);
    const auto entries = static_cast<double>(shared.source_.size());
    if (shared.segments_.size() < 2 || entries > worth * static_cast<double>(ids.numel()))
      return std::nullopt;
    return shared;
  }

  std::span<const Segment> segments() const noexcept { return segments_; }

  /// M.
  std::int64_t entries() const noexcept { return static_cast<std::int64_t>(source_.size()); }

  /// The entries of batch-major values: i32 [B,T] -> [M]; those of row 0 are padding.
  Tensor arranged(const Tensor& values) const {
    Tensor out({entries()}, DType::i32);
    const std::int32_t* const from = values.data<std::int32_t>();
    std::transform(source_.begin(), source_.end(), out.data<std::int32_t>(),
                   [&](std::int64_t at) { return at < 0 ? padding_ : from[at]; });
    return out;
  }

 private:
  SharedPadding(const Tensor& ids, const Tensor& targets, std::int32_t padding,
                std::span<const std::int64_t> borders)
      : padding_(padding) {
    const std::int64_t batch = ids.size(0);
    const std::int64_t steps = ids.size(1);
    std::vector<std::int64_t> firsts(static_cast<std::size_t>(batch));
    for (std::int64_t row = 0; row < batch; ++row) {
      const std::int32_t* const id = ids.data<std::int32_t>() + row * steps;
      const std::int32_t* const target = targets.data<std::int32_t>() + row * steps;
      std::int64_t& first = firsts[static_cast<std::size_t>(row)];
      while (first < steps && id[first] == padding && target[first] == padding) ++first;
    }
    std::vector<std::int64_t> order(firsts.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      return firsts[static_cast<std::size_t>(a)] < firsts[static_cast<std::size_t>(b)];
    });

    const std::vector<std::int64_t> cuts = chosen(borders, steps);
    std::size_t joined = 0;
    for (std::size_t k = 0; k + 1 < cuts.size() && joined < order.size(); ++k) {
      const bool is_last = k + 2 == cuts.size();
      const std::size_t before = joined;
      while (joined < order.size() &&
             (is_last || firsts[static_cast<std::size_t>(order[joined])] < cuts[k + 1]))
        ++joined;
      if (joined == before && k > 0) {
        segments_.back().end = cuts[k + 1];
        continue;
      }
      const bool has_padding_row = joined < order.size();
      segments_.push_back({.begin = cuts[k],
                           .end = has_padding_row ? cuts[k + 1] : steps,
                           .rows = static_cast<std::int64_t>(joined) + (has_padding_row ? 1 : 0),
                           .joining = static_cast<std::int64_t>(joined - before),
                           .has_padding_row = has_padding_row});
    }
    for (Segment& segment : segments_) {
      segment.first = entries();
      for (std::int64_t step = segment.begin; step < segment.end; ++step) {
        if (segment.has_padding_row) source_.push_back(-1);
        const auto rows =
            static_cast<std::size_t>(segment.rows - (segment.has_padding_row ? 1 : 0));
        for (std::size_t row = 0; row < rows; ++row) source_.push_back(order[row] * steps + step);
      }
    }
  }

  /// 0, the borders that are far enough apart, and T: every segment costs a copy of the state.
  static std::vector<std::int64_t> chosen(std::span<const std::int64_t> borders,
                                          std::int64_t steps) {
    constexpr std::int64_t most_segments = 24;
    const std::int64_t least = (steps + most_segments - 1) / most_segments;
    std::vector<std::int64_t> cuts{0};
    for (const std::int64_t border : borders) {
      if (border - cuts.back() >= least && border < steps) cuts.push_back(border);
    }
    cuts.push_back(steps);
    return cuts;
  }

  std::int32_t padding_;
  std::vector<Segment> segments_;
  std::vector<std::int64_t> source_;  ///< place of each entry in [B,T]; -1: row 0
};

}  // namespace refrain
