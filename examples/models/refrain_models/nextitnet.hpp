#pragma once
/// NextItNet: the base network that PeterRec shares among tasks.

#include <cstdint>
#include <optional>
#include <vector>

#include "refrain/data/batches.hpp"
#include "refrain/nn/conv_block.hpp"
#include "refrain/nn/embedding.hpp"
#include "refrain/nn/linear.hpp"
#include "refrain/nn/loss.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/steps.hpp"
#include "refrain_models/block_stack.hpp"
#include "refrain_models/training_dropout.hpp"

namespace refrain::models {

class PatchSet;
class PatchedNextItNet;

/// Residual blocks of dilated convolutions over a sequence of items.
///
///   h = blocks(embedding(ids)),   z[b,t,:] = head(relu(h[b,t,:]))
///
/// ids i32 [B,T] in [0,items) -> h [B,T,C] -> z [B,T,items], f32 or f64, on the CPU and on a GPU.
/// With Padding::causal, time step t depends on the items up to t, and z scores the item after it.
/// With Padding::same, every time step depends on its neighbours on both sides, and z scores the
/// (masked) item at this time step. Parameters: embedding.weight [items,C], blocks.*, head.weight
/// [items,C], head.bias [items]. Throws ShapeError for ids outside the table.
///
/// With tied tables head.weight is embedding.weight, which is then named once. With dropout p the
/// losses of a network in training use x_0 = dropout(embedding(ids)) and x_{i+1} = x_i +
/// dropout(block_i(x_i) - x_i); scores, hidden vectors and tasks on this network never drop.
/// Source: Yuan et al. 2019 (NextItNet); Yuan et al. 2020 (GRec's non-causal encoder).
class NextItNet final : public Module, public BlockStack<NextItNet> {
 public:
  struct Options {
    std::int64_t items = 0;  ///< number of ids, special ones included
    std::int64_t channels = 64;
    /// dilation of each block's first convolution
    std::vector<std::int64_t> dilations{1, 4, 1, 4, 1, 4, 1, 4};
    std::int64_t width = 3;  ///< K, taps of each convolution
    Padding padding = Padding::causal;
    bool relu = true;  ///< before the head, as in the published code; sampled softmax has no ReLU
    double deviation = 0.02;   ///< standard deviation of the initial weights
    std::int64_t length = 50;  ///< newest items of a history that training and evaluation read
    bool tied = false;         ///< one table for input and output
    double dropout = 0;        ///< probability of dropping an element, in [0,1)
  };

  /// Throws OptionError without dilations and for a dropout outside [0,1).
  NextItNet(const Options& options, Random& random, Placement placement = {})
      : options_(options),
        embedding_(
            {.count = options.items, .width = options.channels, .deviation = options.deviation},
            random, placement),
        head_(options.tied ? Linear(embedding_.weight(), true, placement)
                           : Linear({.in = options.channels,
                                     .out = options.items,
                                     .deviation = options.deviation},
                                    random, placement)) {
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
    dropout_ = training_dropout("NextItNet", options.dropout, random);
  }

  /// This network with the patches of a task: a value that refers to both
  /// (refrain_models/peterrec.hpp). Throws ShapeError for patches of another number of blocks.
  PatchedNextItNet with(const PatchSet& patches) const;

  /// Item vectors: i32 [B,T] -> [B,T,C].
  Variable embed(const Tensor& ids) const { return embedding_(ids); }

  /// Softmax cross-entropy over all items, the mean of the targets that are not `ignored`: i32 ids
  /// [B,T], i32 targets [B,T] -> scalar.
  Variable loss(const Tensor& ids, const Tensor& targets, std::int64_t ignored = -1) {
    return softmax_loss(trained_hidden(ids), head_, targets,
                        {.ignored = ignored, .relu = options_.relu});
  }

  /// loss() of a batch, without its padding targets.
  Variable loss(const SequenceBatch& batch) { return loss(batch.ids, batch.targets, padding_id); }

  /// Softmax cross-entropy against sampled items. The head reads the hidden vectors without a ReLU:
  /// throws OptionError unless the network has the option relu = false.
  Variable sampled_loss(const Tensor& ids, const Tensor& targets, const Candidates& candidates,
                        std::int64_t ignored = -1) {
    if (options_.relu)
      throw OptionError("NextItNet: sampled softmax: expected relu = false, got true");
    return sampled_softmax_loss(trained_hidden(ids), head_, targets, candidates,
                                {.ignored = ignored});
  }

  /// Scores of all items at one time step (negative: from the end): i32 [B,T] -> [B,items].
  Tensor scores(const Tensor& ids, std::int64_t step = -1) const {
    const NoGrad off;
    return scores_of(hidden_at(ids, {step}).front());
  }

  /// Scores of all items after those of a stream: [1,items].
  Tensor scores(const Stream& stream) const {
    return scores_of(Variable(stream.last.reshape({1, channels()})));
  }

  /// Scores of all items from hidden vectors: [B,C] -> [B,items].
  Tensor scores_of(const Variable& hidden) const {
    const NoGrad off;
    return head_(options_.relu ? relu(hidden) : hidden).value();
  }

  const Options& options() const noexcept { return options_; }
  std::int64_t length() const noexcept { return options_.length; }
  std::int64_t blocks() const noexcept { return static_cast<std::int64_t>(blocks_.size()); }
  const ConvBlock& block(std::int64_t index) const {
    return blocks_.at(static_cast<std::size_t>(index));
  }
  BlockPatches patches_of(std::int64_t) const noexcept { return {}; }
  const Embedding& embedding() const noexcept { return embedding_; }

  void visit_members(Visitor& visitor) override {
    visitor.module("embedding", embedding_);
    visitor.modules("blocks", blocks_);
    visitor.module("head", head_);
    if (dropout_) visitor.module("dropout", *dropout_);
  }

 private:
  /// The hidden vectors of a loss: hidden(), in training with dropout.
  Variable trained_hidden(const Tensor& ids) {
    if (!dropout_ || !is_training()) return hidden(ids);
    Variable x = (*dropout_)(embed(ids));
    for (const ConvBlock& block : blocks_) x = block.with_dropout(x, *dropout_);
    return x;
  }

  Options options_;
  Embedding embedding_;
  std::vector<ConvBlock> blocks_;
  Linear head_;
  std::optional<Dropout> dropout_;
};

}  // namespace refrain::models
