#include "refrain/data/batches.hpp"

#include <algorithm>
#include <numeric>

#include "refrain/data/sequences.hpp"

namespace refrain {
namespace {

/// differs from the stream numbers that other components split off the same seed
constexpr std::uint64_t batch_stream = 0x4241'5443'48;

void expect_count(std::int64_t count) {
  if (count < 0 || count > max_rows)
    throw OptionError(
        detail::concat("BatchSampler: expected a count from 0 to ", max_rows, ", got ", count));
}

std::vector<std::int64_t> first_rows(std::int64_t count) {
  expect_count(count);
  std::vector<std::int64_t> rows(static_cast<std::size_t>(count));
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  return rows;
}

/// Writes the newest ids of a row, right-aligned, into `out`.
void write_padded(std::span<const std::int32_t> ids, std::span<std::int32_t> out) {
  const std::size_t kept = std::min(ids.size(), out.size());
  std::fill(out.begin(), out.end() - static_cast<std::ptrdiff_t>(kept), padding_id);
  std::copy(ids.end() - static_cast<std::ptrdiff_t>(kept), ids.end(),
            out.end() - static_cast<std::ptrdiff_t>(kept));
}

void check_length(const char* where, std::int64_t length, std::int64_t min_length) {
  constexpr std::int64_t max_length = 0x7FFF'FFFF;
  if (length < min_length || length > max_length)
    throw OptionError(detail::concat(where, ": expected length from ", min_length, " to ",
                                     max_length, ", got ", length));
}

std::int32_t as_target(std::int32_t id) noexcept { return id < special_ids ? padding_id : id; }

/// A matrix of ids or targets, and its rows.
struct Matrix {
  Matrix(std::size_t rows, std::int64_t columns)
      : tensor(Shape{static_cast<std::int64_t>(rows), columns}, DType::i32),
        all(tensor.span<std::int32_t>()),
        width(static_cast<std::size_t>(columns)) {}
  std::span<std::int32_t> operator[](std::size_t row) const {
    return all.subspan(row * width, width);
  }

  Tensor tensor;
  std::span<std::int32_t> all;
  std::size_t width;
};

RaggedIds pieces_of(const RaggedIds& sequences, const NextItemBatches::Options& options) {
  check_length("NextItemBatches", options.length, 1);
  if (options.min_length < 2 || options.min_length > options.length + 1) {
    throw OptionError(detail::concat("NextItemBatches: expected min_length from 2 to ",
                                     options.length + 1, ", got ", options.min_length));
  }
  RaggedIds pieces =
      cut(sequences, {.length = options.length + 1, .min_length = options.min_length}).rows;
  if (pieces.empty()) {
    throw OptionError(detail::concat("NextItemBatches: expected a sequence of at least ",
                                     options.min_length, " items, got none"));
  }
  return pieces;
}

}  // namespace

BatchSampler::BatchSampler(std::int64_t count, Options options)
    : BatchSampler(std::vector<std::int64_t>(), options) {
  expect_count(count);
  count_ = count;
}

BatchSampler::BatchSampler(std::vector<std::int64_t> rows, Options options)
    : count_(std::ssize(rows)), rows_(std::move(rows)), options_(options) {
  if (options_.batch_size < 1)
    throw OptionError(
        detail::concat("BatchSampler: expected batch_size >= 1, got ", options_.batch_size));
}

std::int64_t BatchSampler::steps_per_epoch() const noexcept {
  return options_.drop_last
             ? count() / options_.batch_size
             : count() / options_.batch_size + (count() % options_.batch_size != 0 ? 1 : 0);
}

std::span<const std::int64_t> BatchSampler::rows(std::int64_t epoch, std::int64_t step,
                                                 BatchSlice slice) {
  if (epoch < 0 || step < 0 || step >= steps_per_epoch()) {
    throw OptionError(detail::concat("BatchSampler: expected epoch >= 0 and 0 <= step < ",
                                     steps_per_epoch(), ", got step ", step, " of epoch ", epoch));
  }
  if (slice.index < 0 || slice.index >= slice.count) {
    throw OptionError(detail::concat("BatchSampler: expected a slice from 0 to ", slice.count - 1,
                                     ", got ", slice.index));
  }
  const std::int64_t in_batch = std::min(options_.batch_size, count() - step * options_.batch_size);
  const std::int64_t begin = step * options_.batch_size + in_batch * slice.index / slice.count;
  const std::int64_t rows =
      in_batch * (slice.index + 1) / slice.count - in_batch * slice.index / slice.count;
  if (options_.shuffle == Shuffle::full) return shuffled_rows(epoch, begin, rows);
  const BlockOrder order(count_, options_.seed);
  order_.clear();
  for (std::int64_t place = begin; place < begin + rows; ++place) {
    const std::int64_t at = options_.shuffle == Shuffle::blocks ? order.at(epoch, place) : place;
    order_.push_back(rows_.empty() ? at : rows_[static_cast<std::size_t>(at)]);
  }
  return order_;
}

/// A part of the rows in the order of an epoch.
std::span<const std::int64_t> BatchSampler::shuffled_rows(std::int64_t epoch, std::int64_t begin,
                                                          std::int64_t rows) {
  if (epoch != epoch_) {
    order_ = rows_.empty() ? first_rows(count_) : rows_;
    Random random =
        Random(options_.seed, batch_stream).split(static_cast<std::uint64_t>(epoch)).split(0);
    random.shuffle(order_);
    epoch_ = epoch;
  }
  return std::span<const std::int64_t>(order_).subspan(static_cast<std::size_t>(begin),
                                                       static_cast<std::size_t>(rows));
}

Random BatchSampler::random(std::int64_t epoch, std::int64_t step, BatchSlice slice) const {
  const Random random = Random(options_.seed, batch_stream)
                            .split(static_cast<std::uint64_t>(epoch))
                            .split(static_cast<std::uint64_t>(step) + 1);
  return slice.count == 1 ? random : random.split(static_cast<std::uint64_t>(slice.index));
}

std::int64_t counted_ids(const Tensor& ids) {
  if (ids.numel() == 0) return 0;
  const std::span<const std::int32_t> all = ids.span<std::int32_t>();
  return std::ssize(all) - std::ranges::count(all, padding_id);
}

Tensor padded_batch(const RaggedIds& sequences, std::span<const std::int64_t> rows,
                    std::int64_t length) {
  check_length("padded_batch", length, 1);
  Matrix ids(rows.size(), length);
  for (std::size_t b = 0; b < rows.size(); ++b) write_padded(sequences[rows[b]], ids[b]);
  return ids.tensor;
}

SequenceBatch next_item_batch(const RaggedIds& sequences, std::span<const std::int64_t> rows,
                              std::int64_t length) {
  check_length("next_item_batch", length, 2);
  Matrix ids(rows.size(), length - 1);
  Matrix targets(rows.size(), length - 1);
  for (std::size_t b = 0; b < rows.size(); ++b) {
    const std::span<const std::int32_t> sequence = sequences[rows[b]];
    write_padded(sequence.first(sequence.empty() ? 0 : sequence.size() - 1), ids[b]);
    write_padded(sequence, targets[b]);
    std::transform(targets[b].begin(), targets[b].end(), targets[b].begin(), as_target);
  }
  return {ids.tensor, targets.tensor};
}

Tensor last_ids(const Tensor& ids) {
  const std::int64_t steps = ids.size(1);
  Tensor last(Shape{ids.size(0)}, DType::i32);
  for (std::int64_t b = 0; b < ids.size(0); ++b) {
    last.data<std::int32_t>()[b] = ids.data<std::int32_t>()[b * steps + steps - 1];
  }
  return last;
}

Tensor only_last_ids(const Tensor& ids) {
  const std::int64_t steps = ids.size(1);
  Tensor last = Tensor::full(ids.shape(), padding_id, DType::i32);
  for (std::int64_t b = 0; b < ids.size(0); ++b) {
    const std::int64_t at = b * steps + steps - 1;
    last.data<std::int32_t>()[at] = ids.data<std::int32_t>()[at];
  }
  return last;
}

NextItemBatches::NextItemBatches(const RaggedIds& sequences, Options options)
    : pieces_(pieces_of(sequences, options)),
      options_(options),
      sampler_(
          pieces_.rows(),
          {.batch_size = options.batch_size, .seed = options.seed, .shuffle = options.shuffle}) {}

SequenceBatch NextItemBatches::operator()(std::int64_t epoch, std::int64_t step, BatchSlice slice) {
  SequenceBatch batch =
      next_item_batch(pieces_, sampler_.rows(epoch, step, slice), options_.length + 1);
  if (options_.positions == LossPositions::last) batch.targets = only_last_ids(batch.targets);
  return batch;
}

SequenceBatch masked_batch(const RaggedIds& sequences, std::span<const std::int64_t> rows,
                           std::int64_t length, double fraction, Random& random) {
  check_length("masked_batch", length, 1);
  if (!(fraction > 0 && fraction <= 1))
    throw OptionError(detail::concat("masked_batch: expected 0 < fraction <= 1, got ", fraction));
  Matrix ids(rows.size(), length);
  Matrix targets(rows.size(), length);
  for (std::size_t b = 0; b < rows.size(); ++b) {
    const std::span<std::int32_t> input = ids[b];
    const std::span<std::int32_t> target = targets[b];
    write_padded(sequences[rows[b]], input);
    std::fill(target.begin(), target.end(), padding_id);
    const auto mask = [&](std::size_t t) { target[t] = std::exchange(input[t], mask_id); };
    std::int64_t items = 0;
    bool masked = false;
    for (std::size_t t = 0; t < input.size(); ++t) {
      if (input[t] < special_ids) continue;
      ++items;
      if (random.uniform() >= fraction) continue;
      mask(t);
      masked = true;
    }
    if (masked || items == 0) continue;
    std::int64_t chosen = random.below(items);
    for (std::size_t t = 0; t < input.size(); ++t) {
      if (input[t] >= special_ids && chosen-- == 0) {
        mask(t);
        break;
      }
    }
  }
  return {ids.tensor, targets.tensor};
}

Tensor tcl_batch(const RaggedIds& sequences, std::span<const std::int64_t> rows,
                 std::int64_t length, TclPlacement placement) {
  check_length("tcl_batch", length, 1);
  const std::size_t before = placement == TclPlacement::both ? 1 : 0;
  Matrix ids(rows.size(), length + static_cast<std::int64_t>(before) + 1);
  for (std::size_t b = 0; b < rows.size(); ++b) {
    const std::span<std::int32_t> row = ids[b];
    if (before != 0) row.front() = tcl_id;
    write_padded(sequences[rows[b]], row.subspan(before, static_cast<std::size_t>(length)));
    row.back() = tcl_id;
  }
  return ids.tensor;
}

TransferExamples transfer_examples(const RaggedIds& targets, std::span<const std::int64_t> rows) {
  TransferExamples examples;
  for (const std::int64_t row : rows) {
    for (const std::int32_t target : targets[row]) {
      examples.source.push_back(row);
      examples.target.push_back(target);
    }
  }
  return examples;
}

TransferExamples transfer_examples(const RaggedIds& targets) {
  return transfer_examples(targets, first_rows(targets.rows()));
}

TransferBatch transfer_batch(const RaggedIds& sources, const TransferExamples& examples,
                             std::span<const std::int64_t> batch, std::int64_t length,
                             TclPlacement placement) {
  std::vector<std::int64_t> rows;
  rows.reserve(batch.size());
  Tensor targets(Shape{static_cast<std::int64_t>(batch.size())}, DType::i32);
  std::int32_t* target = targets.data<std::int32_t>();
  for (const std::int64_t example : batch) {
    if (example < 0 || example >= examples.size()) {
      throw OptionError(detail::concat("transfer_batch: expected 0 <= example < ", examples.size(),
                                       ", got ", example));
    }
    rows.push_back(examples.source[static_cast<std::size_t>(example)]);
    *target++ = examples.target[static_cast<std::size_t>(example)];
  }
  return {tcl_batch(sources, rows, length, placement), targets};
}

}  // namespace refrain
