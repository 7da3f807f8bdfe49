#pragma once
/// Stacks of residual blocks, with and without patches.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "refrain/nn/conv_block.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/steps.hpp"

namespace refrain::models {

/// The time steps that each block of a stack reads for chosen time steps of the last block's
/// output, from the first block to the last.
using Cone = std::vector<ConvBlock::Steps>;

/// The state of the blocks for one stream of items. A value: copies may share tensors, which are
/// never written to.
struct ItemStream {
  std::vector<ConvBlock::History> history;
  Tensor last;  ///< h of the latest item, [1,1,C]; zeros before the first item
};

/// The functions shared by NextItNet and PatchedNextItNet: item vectors through all blocks, at all
/// time steps, at chosen ones, and along a stream of items.
///
///   x_0 = embed(ids),   x_{i+1} = block_i(x_i) with patches_of(i),   h = x_L of the last block
///
/// A Network derives from BlockStack<Network> and has
///
///   Variable embed(const Tensor& ids)            item vectors: i32 [B,T] -> [B,T,C]
///   std::int64_t blocks()                        L
///   const ConvBlock& block(std::int64_t i)
///   BlockPatches patches_of(std::int64_t i)
///   options()                                    of the base network: NextItNet::Options
///
/// All functions compute bit-identical values for the same time step.
template <class Network>
class BlockStack {
 public:
  /// The blocks at all time steps: item vectors [B,T,C] -> h [B,T,C].
  Variable encode(Variable x) const { return through_blocks(&ConvBlock::operator(), std::move(x)); }

  /// Hidden vectors: i32 ids [B,T] -> h [B,T,C].
  Variable hidden(const Tensor& ids) const { return encode(network().embed(ids)); }

  /// The time steps that the blocks read for chosen time steps of h.
  Cone cone_of(StepSet chosen) const {
    Cone cone(static_cast<std::size_t>(network().blocks()));
    for (std::size_t i = cone.size(); i-- > 0;) {
      cone[i] = network().block(static_cast<std::int64_t>(i)).steps_for(chosen);
      chosen = cone[i].in();
    }
    return cone;
  }

  /// The blocks at chosen time steps: item vectors [B,S',C] of the time steps cone.front().in() ->
  /// h [B,S,C] at those of cone.back().out(). Throws Unsupported if has_conv_norm_at_steps() is
  /// false.
  Variable encode_at(Variable x, const Cone& cone) const {
    return through_blocks(&ConvBlock::at_steps, std::move(x), cone);
  }

  /// Hidden vectors at single time steps (negative ones count from the end): i32 ids [B,T] -> h
  /// [B,C] for each. Where the device has the kernels, the blocks compute only the required time
  /// steps, in the forward and in the backward pass.
  std::vector<Variable> hidden_at(const Tensor& ids, const std::vector<std::int64_t>& steps) const {
    const StepSet chosen(steps, ids.size(1));
    const bool only_chosen = has_conv_norm_at_steps(ids.device());
    Variable h;
    if (only_chosen) {
      const Cone cone = cone_of(chosen);
      h = encode_at(network().embed(cone.front().in().columns(ids)), cone);
    } else {
      h = hidden(ids);
    }
    std::vector<Variable> at;
    for (const std::int64_t given : steps) {
      const std::int64_t step = given < 0 ? given + chosen.length() : given;
      at.push_back(select_step(h, only_chosen ? chosen.find(step) : step));
    }
    return at;
  }

  using Stream = ItemStream;

  /// An empty stream. Throws OptionError unless the network is causal.
  Stream start() const {
    Stream stream;
    stream.history.reserve(static_cast<std::size_t>(network().blocks()));
    for (std::int64_t i = 0; i < network().blocks(); ++i)
      stream.history.push_back(network().block(i).start());
    stream.last = Tensor::zeros({1, 1, channels()}, network().block(0).norm1().gamma().dtype());
    return stream;
  }

  /// The stream after its first items, computed in one pass: i32 ids [1,T], T >= 1. Throws
  /// ShapeError for ids of another shape, OptionError unless the network is causal.
  Stream start(const Tensor& ids) const {
    const NoGrad off;
    if (ids.rank() != 2 || ids.size(0) != 1 || ids.size(1) < 1)
      throw ShapeError(detail::concat("BlockStack::start: expected ids [1,T], got ", ids.shape()));
    Stream stream = start();
    const Tensor h =
        through_blocks(&ConvBlock::at_first, network().embed(ids), stream.history).value();
    const std::int64_t steps = h.size(1);
    stream.last = h.reshape({steps, 1, channels()}).slice(steps - 1, steps).clone();
    return stream;
  }

  /// Appends one item, i32 id [1,1], to a stream: the work of one time step.
  void advance(Stream& stream, const Tensor& id) const {
    const NoGrad off;
    stream.last = through_blocks(&ConvBlock::advance, network().embed(id), stream.history).value();
  }

  /// h [1,1,C] after one more item, i32 id [1,1], without changing the stream.
  Variable hidden_next(const Stream& stream, const Tensor& id) const {
    const NoGrad off;
    return through_blocks(&ConvBlock::at_next, network().embed(id), stream.history);
  }

  std::int64_t channels() const noexcept { return network().options().channels; }
  bool is_causal() const noexcept { return network().options().padding == Padding::causal; }

  /// Number of time steps that one time step of a causal network depends on, including itself: 1 +
  /// 3 (K - 1) * sum of the blocks' dilations.
  std::int64_t reach() const {
    std::int64_t steps = 1;
    for (const std::int64_t dilation : network().options().dilations)
      steps += (network().options().width - 1) * 3 * dilation;
    return steps;
  }

 protected:
  BlockStack() = default;

 private:
  const Network& network() const noexcept { return static_cast<const Network&>(*this); }

  /// Passes x through all blocks: calls `function` of each block with the block's element of
  /// `of_blocks`, if given, and its patches.
  template <class Function, class... OfBlocks>
  Variable through_blocks(Function function, Variable x, OfBlocks&... of_blocks) const {
    for (std::int64_t i = 0; i < network().blocks(); ++i) {
      x = std::invoke(function, network().block(i), x, of_blocks.at(static_cast<std::size_t>(i))...,
                      network().patches_of(i));
    }
    return x;
  }
};

}  // namespace refrain::models
