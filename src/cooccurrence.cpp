#include "refrain/train/cooccurrence.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <utility>

#include "refrain/core/parallel.hpp"
#include "src/counted_rows.hpp"

namespace refrain {
namespace {

/// The distinct ids >= first of a row, in ascending order.
void distinct_ids(std::span<const std::int32_t> row, std::int32_t first,
                  std::vector<std::int32_t>& ids) {
  ids.clear();
  std::copy_if(row.begin(), row.end(), std::back_inserter(ids),
               [first](std::int32_t id) { return id >= first; });
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

/// count^-power; 0 for items that do not occur.
std::vector<double> inverse_powers(const std::vector<std::int64_t>& counts, double power) {
  std::vector<double> weights(counts.size());
  std::transform(counts.begin(), counts.end(), weights.begin(), [power](std::int64_t count) {
    return count == 0 ? 0 : std::pow(static_cast<double>(count), -power);
  });
  return weights;
}

}  // namespace

/// The sums of one history; all zero between histories.
struct Cooccurrence::Scratch {
  std::vector<std::int32_t> items;  ///< the distinct items of the history
  std::vector<double> overlap;      ///< of each row: the summed weight of its items in the history
  std::vector<std::int32_t> touched;  ///< rows with an overlap
  std::vector<double> own;            ///< of each id of one domain: its weight if in the history
  std::vector<double> sums;           ///< of each target
};

Cooccurrence::Cooccurrence(const RaggedIds& sequences, const CooccurrenceOptions& options)
    : options_(options), is_one_domain_(true) {
  count(sequences, sequences, options.ids);
}

Cooccurrence::Cooccurrence(const RaggedIds& sources, const RaggedIds& targets,
                           std::int64_t target_ids, const CooccurrenceOptions& options)
    : options_(options), is_one_domain_(false) {
  if (sources.rows() != targets.rows())
    throw OptionError(detail::concat("Cooccurrence: expected a row of targets for each of the ",
                                     sources.rows(), " rows, got ", targets.rows()));
  detail::expect_counted_ids("Cooccurrence: targets", targets, 0, target_ids);
  count(sources, targets, target_ids);
}

void Cooccurrence::count(const RaggedIds& sources, const RaggedIds& targets,
                         std::int64_t target_ids) {
  if (options_.length < 1)
    throw OptionError(detail::concat("Cooccurrence: expected length >= 1, got ", options_.length));
  detail::expect_counted_ids("Cooccurrence", sources, options_.first_item, options_.ids);
  if (sources.rows() > std::numeric_limits<std::int32_t>::max())
    throw OptionError(
        detail::concat("Cooccurrence: expected fewer than 2^31 rows, got ", sources.rows()));
  std::vector<std::int64_t> source_counts(static_cast<std::size_t>(options_.ids));
  std::vector<std::int64_t> target_counts(static_cast<std::size_t>(target_ids));
  std::vector<std::int32_t> ids;
  for (std::int64_t row = 0; row < sources.rows(); ++row) {
    distinct_ids(sources[row], options_.first_item, ids);
    for (const std::int32_t id : ids) ++source_counts[static_cast<std::size_t>(id)];
    if (!is_one_domain_) distinct_ids(targets[row], 0, ids);
    for (const std::int32_t id : ids) ++target_counts[static_cast<std::size_t>(id)];
    targets_.push_back(ids);
  }
  rows_begin_.assign(source_counts.size() + 1, 0);
  for (std::size_t id = 0; id < source_counts.size(); ++id)
    rows_begin_[id + 1] = rows_begin_[id] + source_counts[id];
  rows_.resize(static_cast<std::size_t>(rows_begin_.back()));
  std::vector<std::int64_t> end = rows_begin_;
  for (std::int64_t row = 0; row < sources.rows(); ++row) {
    distinct_ids(sources[row], options_.first_item, ids);
    for (const std::int32_t id : ids) {
      rows_[static_cast<std::size_t>(end[static_cast<std::size_t>(id)]++)] =
          static_cast<std::int32_t>(row);
    }
  }
  const bool is_cosine = options_.weight == CooccurrenceWeight::cosine;
  const bool is_count = options_.weight == CooccurrenceWeight::count;
  source_weight_ = inverse_powers(source_counts, is_cosine ? 0.5 : is_count ? 0 : 1);
  target_weight_ = inverse_powers(target_counts, is_cosine ? 0.5 : 0);
  fallback_.resize(target_counts.size());
  std::transform(target_counts.begin(), target_counts.end(), fallback_.begin(),
                 [](std::int64_t count) { return -1 / (1 + static_cast<float>(count)); });
}

void Cooccurrence::score(std::span<const std::int32_t> history, Scratch& scratch,
                         float* out) const {
  const std::size_t length = static_cast<std::size_t>(options_.length);
  distinct_ids(history.last(std::min(length, history.size())), options_.first_item, scratch.items);
  for (const std::int32_t item : scratch.items) {
    const std::size_t id = static_cast<std::size_t>(item);
    const double weight = source_weight_[id];
    if (is_one_domain_) scratch.own[id] = weight;
    for (std::int64_t i = rows_begin_[id]; i < rows_begin_[id + 1]; ++i) {
      const std::int32_t row = rows_[static_cast<std::size_t>(i)];
      double& overlap = scratch.overlap[static_cast<std::size_t>(row)];
      if (overlap == 0) scratch.touched.push_back(row);
      overlap += weight;
    }
  }
  for (const std::int32_t row : scratch.touched) {
    const double overlap = std::exchange(scratch.overlap[static_cast<std::size_t>(row)], 0.0);
    for (const std::int32_t target : targets_[row]) {
      const std::size_t id = static_cast<std::size_t>(target);
      scratch.sums[id] += is_one_domain_ ? overlap - scratch.own[id] : overlap;
    }
  }
  scratch.touched.clear();
  if (is_one_domain_) {
    for (const std::int32_t item : scratch.items) scratch.own[static_cast<std::size_t>(item)] = 0;
  }
  for (std::size_t id = 0; id < scratch.sums.size(); ++id) {
    const double sum = std::exchange(scratch.sums[id], 0.0);
    out[id] = sum > 0 ? static_cast<float>(sum * target_weight_[id]) : fallback_[id];
  }
}

Tensor Cooccurrence::scores(const Tensor& ids) const {
  detail::expect_histories("Cooccurrence", ids, options_.ids);
  const std::int64_t width = static_cast<std::int64_t>(target_weight_.size());
  Tensor scores({ids.size(0), width}, DType::f32);
  float* out = scores.data<float>();
  // One for each thread: it is as large as the number of training sequences.
  std::vector<Scratch> scratch_of(static_cast<std::size_t>(threads()));
  parallel_tasks(ids.size(0), [&](std::int64_t row, int worker) {
    Scratch& scratch = scratch_of[static_cast<std::size_t>(worker)];
    if (scratch.sums.empty()) {
      scratch.overlap.resize(static_cast<std::size_t>(targets_.rows()));
      scratch.own.resize(source_weight_.size());
      scratch.sums.resize(target_weight_.size());
    }
    score(detail::history_of(ids, row), scratch, out + row * width);
  });
  return scores;
}

}  // namespace refrain
