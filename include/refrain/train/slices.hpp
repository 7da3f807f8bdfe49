#pragma once
/// Training steps in slices: a batch is cut into slices, whose gradients are added up.

#include <concepts>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "refrain/autograd/tape.hpp"
#include "refrain/core/export.hpp"
#include "refrain/data/batches.hpp"
#include "refrain/distributed/communicator.hpp"
#include "refrain/distributed/slice_tree.hpp"
#include "refrain/nn/module.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/train/optimizer.hpp"

namespace refrain {

/// The sum of the gradients of slices in a fixed order: its bits depend on the slices alone.
///
/// Dense gradients are added in a SliceTree. A node is computed as soon as its slices are known, so
/// at most floor(log2(S)) + 1 sums exist for S slices that start at slice 0 (SliceTree). Row-sparse
/// gradients are joined in the order of the slices and coalesced once.
class REFRAIN_API SliceSum {
 public:
  explicit SliceSum(SliceTree tree) : SliceSum(tree, {0, tree.slices()}) {}
  /// For the slices `own` of the tree; other ranks have the others.
  SliceSum(SliceTree tree, SliceRange own) : tree_(tree), own_(own) {}

  /// Adds the gradients of the next slice, from the first one on: one for each parameter, or none
  /// for an empty slice. Throws OptionError for another number of gradients than before, or when
  /// all slices were added.
  void add(std::vector<Gradient> gradients);

  /// The sum, after which the object is as constructed; empty if all slices were. Throws
  /// OptionError unless all slices were added.
  std::vector<Gradient> finish();

  /// The sum over the slices of all ranks, with the bits of finish() on one rank. Rank r has the
  /// slices tree.slices_of(r, R). `shapes`, `dtype` and `device` are those of all parameters and
  /// gradients. Throws OptionError unless all own slices were added, and CommunicationError.
  std::vector<Gradient> finish(Communicator& communicator, const std::vector<Shape>& shapes,
                               DType dtype, Device device = Device::cpu);

  /// Number of partial sums in memory.
  std::int64_t partial_sums() const noexcept { return std::ssize(nodes_); }

 private:
  struct Node {
    SliceRange slices;
    std::vector<Gradient> sum;  ///< dense gradients; empty without any
  };

  static void add_to(std::vector<Gradient>& left, std::vector<Gradient> right);

  /// The first slice that was not added.
  std::int64_t next() const noexcept {
    return nodes_.empty() ? own_.begin : nodes_.back().slices.end;
  }
  void expect_all_added() const;

  SliceTree tree_;
  SliceRange own_;
  std::vector<Node> nodes_;                   ///< in order
  std::vector<std::vector<RowSparse>> rows_;  ///< row-sparse gradients of each parameter
};

/// The random streams of a training step in slices. Slice s draws from streams that depend on the
/// states of the given streams at the start of the step and on s, and on no draw of another slice.
/// After the step every stream has moved by the same distance, whatever was drawn.
class REFRAIN_API SliceStreams {
 public:
  /// Blocks of random numbers by which a stream moves in a step.
  static constexpr std::uint64_t blocks_per_step = std::uint64_t{1} << 32;

  /// The streams must outlive this object.
  explicit SliceStreams(std::vector<NamedRandom> streams);
  /// Moves the streams to their positions after the step.
  ~SliceStreams();
  SliceStreams(const SliceStreams&) = delete;
  SliceStreams& operator=(const SliceStreams&) = delete;

  /// The next draws are those of slice `slice`.
  void begin(std::int64_t slice);

 private:
  std::vector<NamedRandom> streams_;
  std::vector<RandomState> start_;
};

namespace detail {

/// The terms of a loss.
inline std::vector<Variable> terms_of(Variable loss) {
  std::vector<Variable> terms;
  terms.push_back(std::move(loss));
  return terms;
}
inline std::vector<Variable> terms_of(std::vector<Variable> terms) { return terms; }

/// The sum of the terms of a loss in order. An undefined term has no rows and is skipped.
inline Variable sum_of(const std::vector<Variable>& terms) {
  Variable sum;
  for (const Variable& term : terms) {
    if (term.defined()) sum = sum.defined() ? sum + term : term;
  }
  return sum;
}

/// The counted targets of each term of a batch's loss.
template <class Batch>
std::vector<std::int64_t> counts_of(const Batch& batch) {
  if constexpr (std::convertible_to<decltype(batch.counted()), std::int64_t>) {
    return {batch.counted()};
  } else {
    return batch.counted();
  }
}

/// The share of each slice in the counted targets of each term: counts[slice][term] -> [slices,
/// terms] of `dtype` on the host; 0 for a term without counted targets.
REFRAIN_API Tensor slice_weights(const std::vector<std::vector<std::int64_t>>& counts, DType dtype);

/// The counts of the slices of all ranks, in the order of the slices.
REFRAIN_API std::vector<std::vector<std::int64_t>> gather_counts(
    Communicator& communicator, const std::vector<std::vector<std::int64_t>>& own);

/// The losses of all ranks, scalars, in the order of the ranks and on the CPU.
REFRAIN_API std::vector<Tensor> gather_losses(Communicator& communicator,
                                              const std::vector<Tensor>& own, DType dtype);

/// The slices of a batch, or those of one rank.
template <class Batch>
struct SlicedBatch {
  std::vector<Batch> slices = {};
  std::int64_t first = 0;  ///< number of slices.front()
  Tensor weights = {};     ///< slice_weights() of all slices of the batch

  template <class Function>
  void visit(Function&& function) {
    for (Batch& slice : slices) slice.visit(function);
    function(weights);
  }
};

/// Makes the slices of a training step with make(epoch, step, slice): all slices of the tree or,
/// with a communicator, those of its rank.
template <class Make>
auto make_slices(Make& make, std::int64_t epoch, std::int64_t step, const SliceTree& tree,
                 DType dtype, Communicator* communicator = nullptr) {
  const SliceRange own = communicator == nullptr
                             ? SliceRange{0, tree.slices()}
                             : tree.slices_of(communicator->rank(), communicator->size());
  SlicedBatch<std::decay_t<decltype(make(epoch, step, BatchSlice{}))>> batch{.first = own.begin};
  std::vector<std::vector<std::int64_t>> counts;
  for (std::int64_t index = own.begin; index < own.end; ++index) {
    batch.slices.push_back(make(epoch, step, BatchSlice{index, tree.slices()}));
    counts.push_back(counts_of(std::as_const(batch.slices.back())));
  }
  if (communicator != nullptr) counts = gather_counts(*communicator, counts);
  batch.weights = slice_weights(counts, dtype);
  return batch;
}

/// True when no tensor of the batch has elements.
template <class Batch>
bool is_empty(Batch batch) {
  bool is_empty = true;
  batch.visit([&](const Tensor& tensor) { is_empty = is_empty && tensor.numel() == 0; });
  return is_empty;
}

/// Sets the optimizer's gradients to those of the loss of the whole batch, the sum over slices and
/// terms of weight times mean loss, and returns that loss. The activations of one slice exist at a
/// time. `streams`: all streams that the loss draws from; `communicator`: the ranks that have the
/// slices together, or null.
template <class Batch, class Loss>
Tensor differentiate_slices(const SlicedBatch<Batch>& batch, Loss& loss, Optimizer& optimizer,
                            std::vector<NamedRandom> streams,
                            Communicator* communicator = nullptr) {
  const std::int64_t terms = batch.weights.size(1);
  const Tensor weights = batch.weights.reshape({batch.weights.numel()});
  const SliceRange own{batch.first, batch.first + std::ssize(batch.slices)};
  SliceStreams draws(std::move(streams));
  SliceSum gradients(SliceTree(batch.weights.size(0)), own);
  std::vector<Tensor> losses;
  for (std::int64_t slice = own.begin; slice < own.end; ++slice) {
    const Batch& part = batch.slices[static_cast<std::size_t>(slice - own.begin)];
    if (is_empty(part)) {
      gradients.add({});
      continue;
    }
    draws.begin(slice);
    std::vector<Variable> parts = terms_of(loss(part));
    for (std::int64_t term = 0; term < std::ssize(parts); ++term) {
      Variable& value = parts[static_cast<std::size_t>(term)];
      if (!value.defined()) continue;
      const std::int64_t at = slice * terms + term;
      value = multiply(value, Variable(weights.slice(at, at + 1).reshape(value.shape())));
    }
    const Variable value = sum_of(parts);
    backward(value);
    gradients.add(optimizer.take_gradients());
    losses.push_back(value.value());
  }
  if (communicator == nullptr) {
    optimizer.put_gradients(gradients.finish());
  } else {
    optimizer.put_gradients(gradients.finish(*communicator, optimizer.shapes(),
                                             batch.weights.dtype(), batch.weights.device()));
    losses = gather_losses(*communicator, losses, batch.weights.dtype());
  }
  Gradient total;
  for (Tensor& each : losses) total.add(std::move(each));
  return total.dense();
}

}  // namespace detail
}  // namespace refrain
