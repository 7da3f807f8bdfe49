#pragma once
/// PeterRec: one frozen base network, and per task a small set of patches with a head.

#include <cstdint>
#include <utility>
#include <vector>

#include "refrain/ops/rows.hpp"
#include "refrain_models/nextitnet.hpp"

namespace refrain::models {

/// What a task learns on top of the base.
struct PatchOptions {
  Insertion insertion = Insertion::
      serial;  ///< Insertion::none: no patches (only the head, and what the base itself learns)
  bool two_per_block = true;    ///< false: at the second convolution alone
  std::int64_t bottleneck = 0;  ///< D; 0: channels / 4
  std::int64_t cardinality = 1;
  PatchStart start = PatchStart::identity;
  bool norm2 = true;  ///< the task's own copies of the second normalization of each block
};

/// How user vectors meet targets.
enum class HeadLoss : std::uint8_t {
  softmax,   ///< linear layer with bias, cross-entropy over all targets
  bpr,       ///< table of target vectors, one negative per positive
  logistic,  ///< the same table, each pair judged by itself
};

struct HeadOptions {
  std::int64_t targets = 0;  ///< classes, or items of the target domain
  HeadLoss loss = HeadLoss::softmax;
  double deviation = 0.02;
};

/// Everything that one task owns: patches, head, and if wanted its own [TCL] vector and second
/// normalizations.
///
/// Parameters: patches.<2 block + half>.* (or patches.<block>.*), norm2.<block>.*, tcl [1,C],
/// head.weight [targets,C], head.bias [targets] (softmax). The base is not among them: it is handed
/// to each call, and any number of sets may share it. Source: PeterRec, sections 3.3 and 3.4.
class PatchSet final : public Module {
 public:
  struct Options {
    PatchOptions patches{};
    HeadOptions head{};
    std::int64_t tcl_id =
        -1;  ///< id whose vector the task learns for itself; -1: every id has the base's vector
  };

  /// Throws OptionError when the options do not fit the base.
  PatchSet(const NextItNet& base, const Options& options, Random& random, Placement placement = {})
      : options_(options),
        head_({.in = base.channels(),
               .out = options.head.targets,
               .bias = options.head.loss == HeadLoss::softmax,
               .deviation = options.head.deviation},
              random, placement) {
    if (options.head.targets < 1)
      throw OptionError(concat("PatchSet: expected targets, got ", options.head.targets));
    if (options.tcl_id >= base.options().items) {
      throw OptionError(concat("PatchSet: [TCL] is id ", options.tcl_id, ", the base has ",
                               base.options().items, " ids"));
    }
    const PatchOptions& patch = options.patches;
    const std::int64_t patches =
        patch.insertion == Insertion::none ? 0 : base.blocks() * (patch.two_per_block ? 2 : 1);
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

  /// User vectors: i32 ids [B,T] with [TCL] last (two-way base: first and last) -> [B,C].
  ///   u = h[:,T-1,:]  (causal),   u = h[:,0,:] + h[:,T-1,:]  (two-way)
  /// The blocks compute only the steps that these depend on, forwards and backwards, where the
  /// device has the kernels for it.
  Variable user(const NextItNet& base, const Tensor& ids) const {
    const std::vector<BlockPatches> patches = block_patches(base.blocks());
    Variable h;
    if (has_conv_norm_at_steps(ids.device())) {
      std::vector<std::int64_t> wanted{-1};
      if (!base.is_causal()) wanted.push_back(0);
      const NextItNet::Cone cone = base.cone_of(StepSet(wanted, ids.size(1)));
      h = base.encode_at(embed(base, cone[0].in().columns(ids)), cone, patches);
    } else {
      h = base.encode(embed(base, ids), patches);
    }
    const Variable last = select_step(h, -1);
    return base.is_causal() ? last : select_step(h, 0) + last;
  }

  /// The first items of a stream: i32 ids [1,T] -> hidden vectors [1,T,C]; `history` becomes that
  /// after them. Within NoGrad alone.
  Variable start(const NextItNet& base, const Tensor& ids, NextItNet::History& history) const {
    return base.start(embed(base, ids), history, block_patches(base.blocks()));
  }

  /// One more item of a stream: i32 id [1,1] -> hidden vector [1,1,C]; the history moves on. Within
  /// NoGrad alone.
  Variable advance(const NextItNet& base, const Tensor& id, NextItNet::History& history) const {
    return base.advance(embed(base, id), history, block_patches(base.blocks()));
  }

  /// user() of a stream: the vector at [TCL], i32 id [1,1], after the items of the history, which
  /// stays as it is. Within NoGrad alone.
  Variable user_after(const NextItNet& base, const Tensor& tcl,
                      const NextItNet::History& history) const {
    const Variable h = base.encode_next(embed(base, tcl), history, block_patches(base.blocks()));
    return reshape(h, {1, base.channels()});
  }

  /// Mean loss of user vectors [B,C] with targets i32 [B]; `negatives` i32 [B] for the pair losses.
  Variable loss(const Variable& user, const Tensor& targets, const Tensor& negatives = {}) const {
    switch (options_.head.loss) {
      case HeadLoss::bpr:
        return bpr_loss(user, head_.weight(), targets, negatives);
      case HeadLoss::logistic:
        return logistic_loss(user, head_.weight(), targets, negatives);
      case HeadLoss::softmax:
        break;
    }
    return softmax_loss(user, head_, targets);
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
    visitor.parameter("tcl", tcl_);
    visitor.module("head", head_);
  }

 private:
  Variable embed(const NextItNet& base, const Tensor& ids) const {
    const Variable x = base.embed(ids);
    return tcl_.defined() ? replace_rows(x, ids, options_.tcl_id, tcl_) : x;
  }

  std::vector<BlockPatches> block_patches(std::int64_t blocks) const {
    std::vector<BlockPatches> slots;
    if (patches_.empty()) return slots;
    const bool two = options_.patches.two_per_block;
    for (std::size_t i = 0; i < static_cast<std::size_t>(blocks); ++i) {
      slots.push_back({.first = two ? &patches_.at(2 * i) : nullptr,
                       .second = two ? &patches_.at(2 * i + 1) : &patches_.at(i),
                       .insertion = options_.patches.insertion,
                       .norm2 = norm2_.empty() ? nullptr : &norm2_.at(i)});
    }
    return slots;
  }

  Options options_;
  std::vector<Patch> patches_;
  std::vector<LayerNorm> norm2_;
  Parameter tcl_;
  Linear head_;
};

}  // namespace refrain::models
