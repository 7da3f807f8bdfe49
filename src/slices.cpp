#include "refrain/train/slices.hpp"

#include <algorithm>
#include <span>

#include "refrain/distributed/agreement.hpp"
#include "refrain/distributed/tree_sum.hpp"

namespace refrain {
namespace {

/// differs from the stream numbers that layers split off
constexpr std::uint64_t slice_stream = 0x534C'4943'45;

}  // namespace

void SliceSum::add_to(std::vector<Gradient>& left, std::vector<Gradient> right) {
  if (left.empty()) {
    left = std::move(right);
    return;
  }
  for (std::size_t i = 0; i < right.size(); ++i) {
    if (!right[i].defined()) continue;
    if (left[i].defined()) {
      left[i].add(right[i].dense());
    } else {
      left[i] = std::move(right[i]);
    }
  }
}

void SliceSum::add(std::vector<Gradient> gradients) {
  if (next() == own_.end) {
    throw OptionError(
        detail::concat("SliceSum: expected ", own_.end - own_.begin, " slices, got more"));
  }
  if (!gradients.empty()) {
    if (rows_.empty()) rows_.resize(gradients.size());
    if (rows_.size() != gradients.size()) {
      throw OptionError(detail::concat("SliceSum: expected ", rows_.size(), " gradients, got ",
                                       gradients.size()));
    }
  }
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    if (!gradients[i].is_sparse()) continue;
    rows_[i].push_back(gradients[i].sparse());
    gradients[i].clear();
  }
  nodes_.push_back({{next(), next() + 1}, std::move(gradients)});
  while (nodes_.size() > 1 && tree_.joins(nodes_.end()[-2].slices, nodes_.back().slices)) {
    Node right = std::move(nodes_.back());
    nodes_.pop_back();
    add_to(nodes_.back().sum, std::move(right.sum));
    nodes_.back().slices.end = right.slices.end;
  }
}

void SliceSum::expect_all_added() const {
  if (next() == own_.end) return;
  throw OptionError(detail::concat("SliceSum: expected ", own_.end - own_.begin, " slices, got ",
                                   next() - own_.begin));
}

std::vector<Gradient> SliceSum::finish() {
  expect_all_added();
  std::vector<Gradient> total = std::move(nodes_.front().sum);
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (!rows_[i].empty()) total[i].add(detail::merge(rows_[i]));
  }
  nodes_.clear();
  rows_.clear();
  return total;
}

namespace {

enum Kind : std::uint8_t { dense = 1, row_sparse = 2 };

/// The rows of all ranks of a table of `shape`, coalesced once.
RowSparse merge_ranks(Communicator& communicator, const std::vector<RowSparse>& own,
                      const Shape& shape, DType dtype, Device device) {
  const std::int64_t width = shape.numel() / std::max<std::int64_t>(shape[0], 1);
  RowSparse rows{.rows = Tensor({0}, DType::i32, device),
                 .values = Tensor(shape.with(0, 0), dtype, device)};
  if (!own.empty()) rows = detail::joined(own);
  const GatheredRows all =
      gather_rows(communicator, rows.rows, rows.values.reshape({rows.rows.numel(), width}));
  return coalesce(all.ids, all.values.reshape(shape.with(0, all.ids.numel())));
}

}  // namespace

std::vector<Gradient> SliceSum::finish(Communicator& communicator, const std::vector<Shape>& shapes,
                                       DType dtype, Device device) {
  expect_all_added();
  std::vector<std::uint8_t> kinds(shapes.size(), 0);
  for (const Node& node : nodes_) {
    for (std::size_t i = 0; i < node.sum.size(); ++i)
      if (node.sum[i].defined()) kinds[i] |= Kind::dense;
  }
  for (std::size_t i = 0; i < rows_.size(); ++i)
    if (!rows_[i].empty()) kinds[i] |= Kind::row_sparse;
  const std::vector<std::uint8_t> all = gather_values<std::uint8_t>(communicator, kinds);
  for (std::size_t i = 0; i < all.size(); ++i) kinds[i % kinds.size()] |= all[i];

  std::vector<std::size_t> summed;
  std::vector<Shape> summed_shapes;
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    if ((kinds[i] & Kind::dense) == 0) continue;
    summed.push_back(i);
    summed_shapes.push_back(shapes[i]);
  }
  std::vector<PartialSum> parts;
  for (const Node& node : nodes_) {
    parts.push_back({.node = node.slices, .gradients = {}});
    if (node.sum.empty()) continue;
    for (const std::size_t i : summed)
      parts.back().gradients.push_back(node.sum[i].defined() ? node.sum[i].dense() : Tensor());
  }
  std::vector<Gradient> total;
  if (std::ranges::any_of(kinds, [](std::uint8_t kind) { return kind != 0; }))
    total.resize(shapes.size());
  if (!summed.empty()) {
    std::vector<Tensor> sums =
        tree_sum(communicator, tree_,
                 TensorChunks(std::move(summed_shapes), dtype, communicator.size(), device), parts);
    for (std::size_t k = 0; k < summed.size(); ++k) total[summed[k]].add(std::move(sums[k]));
  }
  rows_.resize(shapes.size());
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    if ((kinds[i] & Kind::row_sparse) != 0)
      total[i].add(merge_ranks(communicator, rows_[i], shapes[i], dtype, device));
  }
  nodes_.clear();
  rows_.clear();
  return total;
}

SliceStreams::SliceStreams(std::vector<NamedRandom> streams) : streams_(std::move(streams)) {
  for (const NamedRandom& stream : streams_) start_.push_back(stream.random->state());
}

SliceStreams::~SliceStreams() {
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    RandomState state = start_[i];
    state.position += blocks_per_step;
    *streams_[i].random = Random(state);
  }
}

void SliceStreams::begin(std::int64_t slice) {
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    RandomState state = start_[i];
    state.stream =
        Random(state).split(slice_stream + static_cast<std::uint64_t>(slice)).state().stream;
    *streams_[i].random = Random(state);
  }
}

Tensor detail::slice_weights(const std::vector<std::vector<std::int64_t>>& counts, DType dtype) {
  std::size_t terms = 1;
  for (const std::vector<std::int64_t>& slice : counts) terms = std::max(terms, slice.size());
  std::vector<std::int64_t> totals(terms, 0);
  for (const std::vector<std::int64_t>& slice : counts) {
    for (std::size_t term = 0; term < slice.size(); ++term) totals[term] += slice[term];
  }
  Tensor weights = Tensor::zeros({std::ssize(counts), static_cast<std::int64_t>(terms)}, dtype);
  const auto write = [&]<class T>(T* out) {
    for (const std::vector<std::int64_t>& slice : counts) {
      for (std::size_t term = 0; term < slice.size(); ++term) {
        if (totals[term] > 0)
          out[term] =
              static_cast<T>(static_cast<double>(slice[term]) / static_cast<double>(totals[term]));
      }
      out += terms;
    }
  };
  dtype == DType::f32 ? write(weights.data<float>()) : write(weights.data<double>());
  return weights;
}

namespace {

/// The values whose bytes these are.
template <class T>
std::vector<T> values_of(std::span<const std::byte> bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::ranges::copy(bytes, std::as_writable_bytes(std::span(values)).begin());
  return values;
}

}  // namespace

std::vector<std::vector<std::int64_t>> detail::gather_counts(
    Communicator& communicator, const std::vector<std::vector<std::int64_t>>& own) {
  // For each slice the number of its terms, then their counts.
  std::vector<std::int64_t> flat;
  for (const std::vector<std::int64_t>& slice : own) {
    flat.push_back(std::ssize(slice));
    flat.insert(flat.end(), slice.begin(), slice.end());
  }
  std::vector<std::vector<std::int64_t>> all;
  for (const auto& bytes : gather_bytes(communicator, std::as_bytes(std::span(flat)))) {
    const std::vector<std::int64_t> values = values_of<std::int64_t>(bytes);
    for (auto next = values.begin(); next != values.end();) {
      const std::int64_t terms = *next++;
      all.emplace_back(next, next + terms);
      next += terms;
    }
  }
  return all;
}

std::vector<Tensor> detail::gather_losses(Communicator& communicator,
                                          const std::vector<Tensor>& own, DType dtype) {
  std::vector<double> values;
  for (const Tensor& loss : own) values.push_back(loss.item());
  std::vector<Tensor> all;
  for (const auto& bytes : gather_bytes(communicator, std::as_bytes(std::span(values)))) {
    for (const double value : values_of<double>(bytes))
      all.push_back(Tensor::full({}, value, dtype));
  }
  return all;
}

}  // namespace refrain
