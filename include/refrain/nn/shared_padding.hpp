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
#include "refrain/ops/gather.hpp"
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
///   M = sum over the segments of L_s n_s,   L_s time steps of n_s rows, those of padding included.
///
/// A network in training that drops elements drops the same ones of row 0 for all rows.
///
///   if (const auto shared = SharedPadding::of(ids, targets, padding_id, borders)) {
///     for (const SharedPadding::Segment& segment : shared->segments()) {
///       state = segment.start(layer, state);
///       ...  // the time steps of segment.of(x)
///     }
///   }
class SharedPadding {
 public:
  struct Options {
    /// Sharing pays when it leaves at most this fraction of the B T entries.
    double worth = 0.8;
    /// Rows of padding only. Products of a few rows add in another order: with as many rows as
    /// least_rows_of_scores a row has the bits that it has in the whole batch.
    std::int64_t padding_rows = 1;
  };
  static constexpr std::int64_t least_rows_of_scores = 8;

  /// The time steps [begin, end) of the same rows.
  struct Segment {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    std::int64_t first = 0;         ///< number of entries of the segments before
    std::int64_t rows = 0;          ///< n_s
    std::int64_t joining = 0;       ///< rows that join at `begin`, copies of row 0
    std::int64_t padding_rows = 0;  ///< the first rows are padding only; none after the last joined
    std::int64_t leaving = 0;       ///< padding rows of the segment before that are left out

    std::int64_t steps() const noexcept { return end - begin; }

    /// The rows of a state at the end of the segment before: x [n,...] -> [n_s,...].
    Variable join(const Variable& x) const {
      std::vector<Variable> rows_of_state(static_cast<std::size_t>(joining) + 1,
                                          slice_steps(x, 0, 1));
      rows_of_state[0] = leaving == 0 ? x : slice_steps(x, leaving, x.size(0));
      if (rows_of_state[0].size(0) == 0) rows_of_state.erase(rows_of_state.begin());
      return concat_steps(rows_of_state);
    }

    /// The state of a recurrent layer at `begin`: its initial one, or the joined rows of the state
    /// after the segment before.
    template <class Layer>
    typename Layer::State start(const Layer& layer, const typename Layer::State& before) const {
      if (begin == 0) return layer.initial(rows);
      return before.map([this](const Variable& x) { return join(x); });
    }

    /// The entries of this segment of x [M,C], time-major: [L_s,n_s,C].
    Variable of(const Variable& x) const {
      return reshape(slice_steps(x, first, first + steps() * rows), {steps(), rows, x.size(1)});
    }
  };

  /// The batch ids i32 [B,T] with padding before the first items, and targets i32 [B,T] or
  /// undefined; nullopt where sharing does not pay, for fewer rows than options.padding_rows, and
  /// off the CPU, where a captured training step requires fixed shapes. Rows join at the time steps
  /// `borders`, ascending, or at a few of them. Throws ShapeError, DTypeError.
  static std::optional<SharedPadding> of(const Tensor& ids, const Tensor& targets,
                                         std::int32_t padding,
                                         std::span<const std::int64_t> borders,
                                         const Options& options) {
    detail::check_rank("SharedPadding", "ids", ids, 2);
    expect_ids(ids);
    if (targets.defined()) {
      detail::check_shape("SharedPadding", "targets", targets, ids.shape());
      expect_ids(targets);
    }
    const bool is_on_cpu =
        ids.device() == Device::cpu && (!targets.defined() || targets.device() == Device::cpu);
    if (!is_on_cpu || ids.size(0) < options.padding_rows) return std::nullopt;
    SharedPadding shared(ids, targets, padding, borders, options.padding_rows);
    const auto entries = static_cast<double>(shared.source_.size());
    if (shared.segments_.size() < 2 || entries > options.worth * static_cast<double>(ids.numel()))
      return std::nullopt;
    return shared;
  }
  static std::optional<SharedPadding> of(const Tensor& ids, const Tensor& targets,
                                         std::int32_t padding,
                                         std::span<const std::int64_t> borders) {
    return of(ids, targets, padding, borders, Options{});
  }
  /// of() for the scores after the last time step: each row has the bits of the whole batch.
  static std::optional<SharedPadding> for_scores(const Tensor& ids, std::int32_t padding,
                                                 std::span<const std::int64_t> borders) {
    return of(ids, {}, padding, borders, {.padding_rows = least_rows_of_scores});
  }

  std::span<const Segment> segments() const noexcept { return segments_; }

  /// M.
  std::int64_t entries() const noexcept { return static_cast<std::int64_t>(source_.size()); }

  /// The rows of the last segment in the order of the batch: x [B,C] -> [B,C].
  Variable in_order(const Variable& x) const {
    Tensor places({x.size(0)}, DType::i32);
    for (std::size_t place = 0; place < order_.size(); ++place)
      places.data<std::int32_t>()[order_[place]] = static_cast<std::int32_t>(place);
    return embedding(x, places);
  }

  /// The entries of batch-major values: i32 [B,T] -> [M]; those of padding rows are padding.
  Tensor arranged(const Tensor& values) const {
    Tensor out({entries()}, DType::i32);
    const std::int32_t* const from = values.data<std::int32_t>();
    std::transform(source_.begin(), source_.end(), out.data<std::int32_t>(),
                   [&](std::int64_t at) { return at < 0 ? padding_ : from[at]; });
    return out;
  }

 private:
  static void expect_ids(const Tensor& ids) {
    if (ids.dtype() != DType::i32)
      throw DTypeError(
          detail::concat("SharedPadding: expected ids and targets of i32, got ", ids.dtype()));
  }

  SharedPadding(const Tensor& ids, const Tensor& targets, std::int32_t padding,
                std::span<const std::int64_t> borders, std::int64_t padding_rows)
      : padding_(padding), order_(static_cast<std::size_t>(ids.size(0))) {
    const std::int64_t steps = ids.size(1);
    const std::vector<std::int64_t> firsts = first_steps(ids, targets);
    const auto first = [&](std::size_t place) {
      return firsts[static_cast<std::size_t>(order_[place])];
    };
    std::iota(order_.begin(), order_.end(), 0);
    std::stable_sort(order_.begin(), order_.end(), [&](std::int64_t a, std::int64_t b) {
      return firsts[static_cast<std::size_t>(a)] < firsts[static_cast<std::size_t>(b)];
    });

    const std::vector<std::int64_t> cuts = chosen(borders, steps);
    std::size_t joined = 0;
    for (std::size_t k = 0; k + 1 < cuts.size() && joined < order_.size(); ++k) {
      const bool is_last = k + 2 == cuts.size();
      const std::size_t before = joined;
      while (joined < order_.size() && (is_last || first(joined) < cuts[k + 1])) ++joined;
      if (joined == before && k > 0) {
        segments_.back().end = cuts[k + 1];
        continue;
      }
      const std::int64_t padded = joined < order_.size() ? padding_rows : 0;
      segments_.push_back({.begin = cuts[k],
                           .end = padded > 0 ? cuts[k + 1] : steps,
                           .rows = padded + static_cast<std::int64_t>(joined),
                           .joining = static_cast<std::int64_t>(joined - before),
                           .padding_rows = padded,
                           .leaving = padding_rows - padded});
    }
    for (Segment& segment : segments_) {
      segment.first = entries();
      const auto rows = static_cast<std::size_t>(segment.rows - segment.padding_rows);
      for (std::int64_t step = segment.begin; step < segment.end; ++step) {
        source_.insert(source_.end(), static_cast<std::size_t>(segment.padding_rows), -1);
        for (std::size_t place = 0; place < rows; ++place)
          source_.push_back(order_[place] * steps + step);
      }
    }
  }

  /// The first time step of each row with an item or a target; T where there is none.
  std::vector<std::int64_t> first_steps(const Tensor& ids, const Tensor& targets) const {
    const std::int64_t steps = ids.size(1);
    std::vector<std::int64_t> firsts(order_.size());
    const auto is_padding = [&](const Tensor& values, std::int64_t at) {
      return !values.defined() || values.data<std::int32_t>()[at] == padding_;
    };
    std::int64_t at = 0;
    for (std::int64_t& first : firsts) {
      while (first < steps && is_padding(ids, at + first) && is_padding(targets, at + first))
        ++first;
      at += steps;
    }
    return firsts;
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
  std::vector<std::int64_t> order_;  ///< the batch's row at each place
  std::vector<Segment> segments_;
  std::vector<std::int64_t> source_;  ///< place of each entry in [B,T]; -1: padding rows
};

}  // namespace refrain
