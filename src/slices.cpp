#include "refrain/train/slices.hpp"

#include <algorithm>

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
  if (added() == tree_.slices())
    throw OptionError(detail::concat("SliceSum: expected ", tree_.slices(), " slices, got more"));
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
  nodes_.push_back({{added(), added() + 1}, std::move(gradients)});
  while (nodes_.size() > 1 && tree_.joins(nodes_.end()[-2].slices, nodes_.back().slices)) {
    Node right = std::move(nodes_.back());
    nodes_.pop_back();
    add_to(nodes_.back().sum, std::move(right.sum));
    nodes_.back().slices.end = right.slices.end;
  }
}

std::vector<Gradient> SliceSum::finish() {
  if (added() != tree_.slices()) {
    throw OptionError(
        detail::concat("SliceSum: expected ", tree_.slices(), " slices, got ", added()));
  }
  std::vector<Gradient> total = std::move(nodes_.front().sum);
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (!rows_[i].empty())
      total[i].add(rows_[i].size() == 1 ? rows_[i].front() : detail::merge(rows_[i]));
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

}  // namespace refrain
