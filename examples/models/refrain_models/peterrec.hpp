#pragma once
/// PeterRec: one frozen base network, and for each task a small set of patches with a head.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "refrain/data/vocabulary.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/replace_rows.hpp"
#include "refrain/ops/steps.hpp"
#include "refrain_models/nextitnet.hpp"

namespace refrain::models {

/// Position and size of a task's patches.
struct PatchOptions {
  /// Insertion::none: the task has no patches, only a head.
  Insertion insertion = Insertion::serial;
  bool two_per_block = true;     ///< false: only at the second convolution
  std::int64_t bottleneck = 0;   ///< D / cardinality; 0: channels / (4 cardinality)
  std::int64_t cardinality = 1;  ///< parallel paths of a patch
  PatchStart start = PatchStart::identity;
  bool norm2 = true;  ///< the task has its own second normalization in each block
};

/// The head's function of user vectors, and the loss that trains it.
enum class HeadLoss : std::uint8_t {
  softmax,   ///< linear layer with bias, cross-entropy over all targets
  bpr,       ///< table of target vectors: -log sigmoid(positive - negative)
  logistic,  ///< table of target vectors: -log sigmoid(positive) - log(1 - sigmoid(negative))
};

struct HeadOptions {
  std::int64_t targets = 0;  ///< classes, or items of the target domain
  HeadLoss loss = HeadLoss::softmax;
  double deviation = 0.02;  ///< standard deviation of the initial weights
  double smoothing = 0;     ///< SoftmaxLossOptions::smoothing of the loss softmax
};

/// The parameters of one task: patches, second normalizations, the vector of [TCL], and a head.
///
/// Parameters: patches.<2 block + half>.* (one patch per block: patches.<block>.*),
/// norm2.<block>.*, tcl [1,C], head.weight [targets,C], head.bias [targets] (softmax). The base is
/// not part of a task: NextItNet::with() combines the two, and any number of tasks may share one
/// base. Source: PeterRec, sections 3.3 and 3.4.
class PatchSet final : public Module {
 public:
  struct Options {
    PatchOptions patches{};
    HeadOptions head{};
    /// The id whose vector the task learns in place of the base's; -1: no id.
    std::int64_t tcl_id = -1;
  };

  /// Second normalizations and [TCL] are initially copies of the base's. Throws OptionError for
  /// options that do not fit the base.
  PatchSet(const NextItNet& base, const Options& options, Random& random, Placement placement = {})
      : options_(options),
        head_({.in = base.channels(),
               .out = options.head.targets,
               .bias = options.head.loss == HeadLoss::softmax,
               .deviation = options.head.deviation},
              random, placement) {
    if (options.head.targets < 1)
      throw OptionError(
          detail::concat("PatchSet: expected targets >= 1, got ", options.head.targets));
    if (options.tcl_id >= base.options().items) {
      throw OptionError(detail::concat("PatchSet: expected a [TCL] id below the base's ",
                                       base.options().items, " ids, got ", options.tcl_id));
    }
    const PatchOptions& patch = options.patches;
    const std::int64_t patches =
        patch.insertion == Insertion::none ? 0 : base.blocks() * patches_per_block();
    for (std::int64_t i = 0; i < patches; ++i) {
      patches_.emplace_back(Patch::Options{.channels = base.channels(),
                                           .bottleneck = patch.bottleneck,
                                           .cardinality = patch.cardinality,
                                           .start = patch.start},
                            random, placement);
    }
    if (patch.insertion != Insertion::none && patch.norm2) {
      for (std::int64_t i = 0; i < base.blocks(); ++i) {
        const LayerNorm& from = base.block(i).norm2();
        norm2_.emplace_back(
            LayerNorm::Options{.channels = base.channels(), .epsilon = from.epsilon()}, placement);
        norm2_.back().parameter("gamma").value().copy_from(from.gamma().value());
        norm2_.back().parameter("beta").value().copy_from(from.beta().value());
      }
    }
    if (options.tcl_id >= 0) {
      tcl_ = Parameter(
          base.embedding().weight().value().slice(options.tcl_id, options.tcl_id + 1).clone());
    }
  }

  /// Mean loss of user vectors [B,C]: i32 targets [B], for the pair losses i32 `negatives` [B] ->
  /// scalar.
  Variable loss(const Variable& user, const Tensor& targets, const Tensor& negatives = {}) const {
    switch (options_.head.loss) {
      case HeadLoss::bpr:
        return bpr_loss(user, head_.weight(), targets, negatives);
      case HeadLoss::logistic:
        return logistic_loss(user, head_.weight(), targets, negatives);
      case HeadLoss::softmax:
        break;
    }
    return softmax_loss(user, head_, targets, {.smoothing = options_.head.smoothing});
  }

  /// Scores of all targets: user vectors [B,C] -> [B,targets].
  Tensor scores(const Variable& user) const {
    const NoGrad off;
    return head_(user).value();
  }

  const Options& options() const noexcept { return options_; }

  void visit_members(Visitor& visitor) override {
    visitor.modules("patches", patches_);
    visitor.modules("norm2", norm2_);
    visitor.parameter("tcl", tcl_, WeightDecay::exempt);
    visitor.module("head", head_);
  }

 private:
  friend class PatchedNextItNet;
  friend class TaskBank;
  friend class TaskOfStreams;

  std::int64_t patches_per_block() const noexcept { return options_.patches.two_per_block ? 2 : 1; }

  void expect_blocks(std::int64_t blocks) const {
    const std::int64_t patched = static_cast<std::int64_t>(patches_.size()) / patches_per_block();
    if (!patches_.empty() && patched != blocks) {
      throw ShapeError(detail::concat("PatchSet: expected a network of ", patched,
                                      " blocks, got one of ", blocks));
    }
  }

  BlockPatches patches_of(std::int64_t block) const {
    if (patches_.empty()) return {};
    const std::size_t i = static_cast<std::size_t>(block);
    const bool two = options_.patches.two_per_block;
    return {.first = two ? &patches_.at(2 * i) : nullptr,
            .second = &patches_.at(two ? 2 * i + 1 : i),
            .insertion = options_.patches.insertion,
            .norm2 = norm2_.empty() ? nullptr : &norm2_.at(i)};
  }

  /// Item vectors x [B,T,C] of i32 ids [B,T], with the task's vector at [TCL].
  Variable with_tcl(const Variable& x, const Tensor& ids) const {
    return tcl_.defined() ? replace_rows(x, ids, options_.tcl_id, tcl_) : x;
  }

  Options options_;
  std::vector<Patch> patches_;
  std::vector<LayerNorm> norm2_;
  Parameter tcl_;
  Linear head_;
};

/// A base network with the patches of one task. A value that refers to both without owning them: it
/// is valid during their lifetime.
///
///   u = h[:,T-1,:]  (causal base),   u = h[:,0,:] + h[:,T-1,:]  (non-causal base),   z = head(u)
///
/// ids i32 [B,T] with [TCL] last (non-causal base: first and last) -> user vectors u [B,C] -> z
/// [B,targets]. Throws the errors of the base and of the head. Source: PeterRec, section 3.4.
class PatchedNextItNet final : public BlockStack<PatchedNextItNet> {
 public:
  PatchedNextItNet(const NextItNet& base, const PatchSet& patches)
      : base_(&base), patches_(&patches) {
    patches.expect_blocks(base.blocks());
  }

  /// Item vectors: i32 [B,T] -> [B,T,C].
  Variable embed(const Tensor& ids) const { return patches_->with_tcl(base_->embed(ids), ids); }

  /// User vectors: i32 ids [B,T] -> [B,C].
  Variable user(const Tensor& ids) const {
    if (is_causal()) return hidden_at(ids, {-1}).front();
    const std::vector<Variable> ends = hidden_at(ids, {-1, 0});
    return ends[1] + ends[0];
  }

  /// Mean loss of user vectors; see PatchSet::loss.
  Variable loss(const Tensor& ids, const Tensor& targets, const Tensor& negatives = {}) const {
    return patches_->loss(user(ids), targets, negatives);
  }

  /// Scores of all targets: i32 ids [B,T] -> [B,targets].
  Tensor scores(const Tensor& ids) const {
    const NoGrad off;
    return patches_->scores(user(ids));
  }

  /// Scores of all targets after the items of a stream and [TCL] (id `tcl`), which is not appended
  /// to the stream: [1,targets].
  Tensor scores(const Stream& stream, std::int32_t tcl = tcl_id) const {
    const Variable h = hidden_next(stream, Tensor::from<std::int32_t>({1, 1}, {tcl}));
    return patches_->scores(reshape(h, {1, channels()}));
  }

  const NextItNet::Options& options() const noexcept { return base_->options(); }
  std::int64_t blocks() const noexcept { return base_->blocks(); }
  const ConvBlock& block(std::int64_t index) const { return base_->block(index); }
  BlockPatches patches_of(std::int64_t block) const { return patches_->patches_of(block); }

 private:
  const NextItNet* base_;
  const PatchSet* patches_;
};

inline PatchedNextItNet NextItNet::with(const PatchSet& patches) const { return {*this, patches}; }

}  // namespace refrain::models
