#pragma once
/// NextItNet: the base network that PeterRec shares among tasks.

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "refrain/nn/conv_block.hpp"
#include "refrain/nn/embedding.hpp"
#include "refrain/nn/linear.hpp"
#include "refrain/nn/loss.hpp"

namespace refrain::models {

/// Residual blocks of dilated convolutions over a sequence of items.
///
///   h = blocks(embedding(ids)),   z[b,t,:] = head(relu(h[b,t,:]))
///
/// ids i32 [B,T] in [0,items) -> h [B,T,C] -> z [B,T,items]. With Padding::causal step t sees items
/// up to t and z scores the item after it; with Padding::same every step sees its neighbours on
/// both sides and z scores the (masked) item at it. Parameters: embedding.weight [items,C],
/// blocks.*, head.weight [items,C], head.bias [items]. Throws ShapeError for ids outside the table.
/// Source: Yuan et al. 2019 (NextItNet); 2020 (GRec's two-way encoder).
class NextItNet final : public Module {
 public:
  struct Options {
    std::int64_t items = 0;  ///< ids in all, special ones included
    std::int64_t channels = 64;
    std::vector<std::int64_t> dilations{1, 4, 1, 4,
                                        1, 4, 1, 4};  ///< of each block's first convolution
    std::int64_t width = 3;                           ///< taps of each convolution
    Padding padding = Padding::causal;
    bool relu = true;  ///< before the head, as in the published code; sampled softmax goes without
    double deviation = 0.02;
  };

  NextItNet(const Options& options, Random& random, Placement placement = {})
      : options_(options),
        embedding_(
            {.count = options.items, .width = options.channels, .deviation = options.deviation},
            random, placement),
        head_({.in = options.channels, .out = options.items, .deviation = options.deviation},
              random, placement) {
    if (options.dilations.empty()) throw OptionError("NextItNet: expected at least one dilation");
    blocks_.reserve(options.dilations.size());
    for (const std::int64_t dilation : options.dilations) {
      blocks_.emplace_back(ConvBlock::Options{.channels = options.channels,
                                              .width = options.width,
                                              .dilation = dilation,
                                              .padding = options.padding,
                                              .deviation = options.deviation},
                           random, placement);
    }
  }

  /// Item vectors: i32 [B,T] -> [B,T,C].
  Variable embed(const Tensor& ids) const { return embedding_(ids); }

  /// The blocks over item vectors [B,T,C] -> [B,T,C].  `patches`: none, or one entry per block.
  /// Throws ShapeError for any other number of patches.
  Variable encode(Variable x, std::span<const BlockPatches> patches = {}) const {
    if (!patches.empty() && patches.size() != blocks_.size()) {
      throw ShapeError(concat("NextItNet: expected patches for ", blocks_.size(), " blocks, got ",
                              patches.size()));
    }
    for (std::size_t i = 0; i < blocks_.size(); ++i)
      x = blocks_[i](x, patches.empty() ? BlockPatches() : patches[i]);
    return x;
  }

  /// What each block reads for chosen steps of the last one's output; the first block's first.
  using Cone = std::vector<ConvBlock::Steps>;
  Cone cone_of(StepSet chosen) const {
    Cone cone(blocks_.size());
    for (std::size_t i = blocks_.size(); i-- > 0;) {
      cone[i] = blocks_[i].steps_for(chosen);
      chosen = cone[i].in();
    }
    return cone;
  }

  /// encode() at chosen steps: x [B,S',C] holds the steps cone[0].in() -> [B,S,C].
  Variable encode_at(Variable x, const Cone& cone,
                     std::span<const BlockPatches> patches = {}) const {
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      x = blocks_[i].at_steps(x, cone[i], patches.empty() ? BlockPatches() : patches[i]);
    }
    return x;
  }

  /// What the blocks remember of one stream of items.  A value: copies share nothing.
  using History = std::vector<ConvBlock::History>;
  /// Of a stream that has not begun.  Throws OptionError unless the network is causal.
  History start() const {
    History history;
    history.reserve(blocks_.size());
    for (const ConvBlock& block : blocks_) history.push_back(block.start());
    return history;
  }

  /// encode() over the first steps of a stream, x [1,T,C] -> [1,T,C]; `history` becomes what
  /// advance() would leave after them. Within NoGrad alone.
  Variable start(Variable x, History& history, std::span<const BlockPatches> patches = {}) const {
    History begun = start();
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      x = blocks_[i].start(x, begun[i], patches.empty() ? BlockPatches() : patches[i]);
    }
    history = std::move(begun);
    return x;
  }

  /// encode() at the step after those of `history`, which stays as it is: x [1,1,C] -> [1,1,C].
  /// Within NoGrad alone.
  Variable encode_next(Variable x, const History& history,
                       std::span<const BlockPatches> patches = {}) const {
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      x = blocks_[i].at_next(x, history.at(i), patches.empty() ? BlockPatches() : patches[i]);
    }
    return x;
  }

  /// The same, and the step joins the history.
  Variable advance(Variable x, History& history, std::span<const BlockPatches> patches = {}) const {
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      x = blocks_[i].advance(x, history.at(i), patches.empty() ? BlockPatches() : patches[i]);
    }
    return x;
  }

  /// Steps that one step of a causal network's output depends on, itself included: 1 + (width - 1)
  /// * sum of all dilations.
  std::int64_t reach() const {
    std::int64_t steps = 1;
    for (const std::int64_t dilation : options_.dilations)
      steps += (options_.width - 1) * 3 * dilation;
    return steps;
  }

  /// Hidden vectors: i32 [B,T] -> [B,T,C].
  Variable hidden(const Tensor& ids) const { return encode(embed(ids)); }

  /// Softmax cross-entropy over all items; targets i32 [B,T], of which `ignored` do not count.
  Variable loss(const Tensor& ids, const Tensor& targets, std::int64_t ignored = -1) const {
    return softmax_loss(hidden(ids), head_, targets, {.ignored = ignored, .relu = options_.relu});
  }

  /// Softmax cross-entropy against sampled items. The head sees the hidden vectors as they are, so
  /// the network is to be made with relu = false; throws OptionError otherwise.
  Variable sampled_loss(const Tensor& ids, const Tensor& targets, const Candidates& candidates,
                        std::int64_t ignored = -1) const {
    if (options_.relu)
      throw OptionError("NextItNet: sampled softmax needs a network made with relu = false");
    return sampled_softmax_loss(hidden(ids), head_, targets, candidates, {.ignored = ignored});
  }

  /// Scores of all items at one step (negative: from the end): i32 [B,T] -> [B,items]. Where the
  /// device has the kernel for it, the blocks compute only the steps that this one depends on.
  Tensor scores(const Tensor& ids, std::int64_t step = -1) const {
    const NoGrad off;
    Variable h;
    if (has_conv_norm_at_steps(ids.device())) {
      const Cone cone = cone_of(StepSet({step}, ids.size(1)));
      h = reshape(encode_at(embed(cone[0].in().columns(ids)), cone),
                  {ids.size(0), options_.channels});
    } else {
      h = select_step(hidden(ids), step);
    }
    return scores_of(h);
  }

  /// Scores of all items from hidden vectors: [B,C] -> [B,items].
  Tensor scores_of(const Variable& hidden) const {
    const NoGrad off;
    return head_(options_.relu ? relu(hidden) : hidden).value();
  }

  const Options& options() const noexcept { return options_; }
  std::int64_t channels() const noexcept { return options_.channels; }
  std::int64_t blocks() const noexcept { return static_cast<std::int64_t>(blocks_.size()); }
  bool is_causal() const noexcept { return options_.padding == Padding::causal; }
  const ConvBlock& block(std::int64_t index) const {
    return blocks_.at(static_cast<std::size_t>(index));
  }
  const Embedding& embedding() const noexcept { return embedding_; }

  void visit_members(Visitor& visitor) override {
    visitor.module("embedding", embedding_);
    visitor.modules("blocks", blocks_);
    visitor.module("head", head_);
  }

 private:
  Options options_;
  Embedding embedding_;
  std::vector<ConvBlock> blocks_;
  Linear head_;
};

}  // namespace refrain::models
