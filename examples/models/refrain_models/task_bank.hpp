#pragma once
/// Many tasks of one frozen base in one pass.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "refrain/nn/head_bank.hpp"
#include "refrain/nn/parameter_bank.hpp"
#include "refrain/ops/replace_rows.hpp"
#include "refrain/ops/steps.hpp"
#include "refrain_models/peterrec.hpp"

namespace refrain::models {

/// The patch sets of many tasks on one base, as rows of banks, so that one batch can hold sequences
/// of all of them.
///
/// A patch set is bound to a row: its patches, second normalizations, [TCL] and head have their
/// elements in the banks from then on, and everything else (its optimizer, its file) works on it as
/// before. Row 0 is the base without patches. The sets have the same insertion, places and [TCL]
/// id; bottlenecks and heads may differ. The losses of heads for classes are computed as one
/// (HeadBank), those of the other heads one after the other. The base must be frozen, and a patch
/// set released before it is destroyed. On the device of the base, f32 or f64; on a GPU up to 256
/// channels (f64: 64).
class TaskBank {
 public:
  struct Options {
    std::int64_t tasks = 0;       ///< the most that are bound at a time
    PatchOptions patches{};       ///< insertion, places and normalizations of all tasks
    std::int64_t bottleneck = 0;  ///< D of the widest patch; 0: channels / 4
    std::int64_t tcl_id = -1;     ///< the id whose vector each task learns; -1: none
    /// The most classes of a head (HeadLoss::softmax) that is computed with the others; 0: none is.
    std::int64_t classes = 0;
    double smoothing = 0;  ///< label smoothing of these heads; a head with another one is apart
  };

  /// Throws OptionError unless tasks >= 1, and for patches without insertion.
  TaskBank(const NextItNet& base, const Options& options)
      : options_(options),
        rows_(static_cast<std::size_t>(std::max<std::int64_t>(0, options.tasks) + 1)) {
    if (options.tasks < 1)
      throw OptionError(detail::concat("TaskBank: expected tasks >= 1, got ", options.tasks));
    if (options.patches.insertion == Insertion::none)
      throw OptionError("TaskBank: expected serial or parallel patches, got none");
    const Parameter& of_base = base.block(0).norm1().gamma();
    const Placement placement{.dtype = of_base.dtype(), .device = of_base.device()};
    const std::int64_t channels = base.channels(), count = options.tasks + 1;
    const std::int64_t bottleneck =
        options.bottleneck > 0 ? options.bottleneck : std::max<std::int64_t>(1, channels / 4);
    const std::int64_t patches = base.blocks() * (options.patches.two_per_block ? 2 : 1);
    for (std::int64_t i = 0; i < patches; ++i) {
      patches_.emplace_back(PatchBank::Options{count, channels, bottleneck}, placement);
    }
    for (std::int64_t i = 0; options.patches.norm2 && i < base.blocks(); ++i) {
      const LayerNorm& norm = base.block(i).norm2();
      for (const Parameter* parameter : {&norm.gamma(), &norm.beta()}) {
        norms_.emplace_back(count, parameter->shape(), placement);
        norms_.back().row(0, parameter->shape()).copy_from(parameter->value());
      }
    }
    if (options.classes > 0) {
      heads_.emplace(HeadBank::Options{count, channels, options.classes, options.smoothing},
                     placement);
    }
    if (options.tcl_id < 0) return;
    tcl_ = ParameterBank(count, {channels}, placement);
    tcl_.row(0, {1, channels})
        .copy_from(base.embedding().weight().value().slice(options.tcl_id, options.tcl_id + 1));
  }

  /// Binds a patch set to a free row and returns the row. Throws OptionError when there is none,
  /// and for a set of another kind or with a wider patch; nothing changes then.
  std::int64_t bind(PatchSet& set) {
    expect_fits(set);
    const auto free = std::find(rows_.begin() + 1, rows_.end(), nullptr);
    if (free == rows_.end())
      throw OptionError(
          detail::concat("TaskBank: expected at most ", options_.tasks, " tasks, got one more"));
    const std::int64_t row = free - rows_.begin();
    for (std::size_t i = 0; i < patches_.size(); ++i) patches_[i].bind(row, set.patches_[i]);
    for (std::size_t i = 0; i < set.norm2_.size() && !norms_.empty(); ++i) {
      norms_[2 * i].bind(row, set.norm2_[i].parameter("gamma"));
      norms_[2 * i + 1].bind(row, set.norm2_[i].parameter("beta"));
    }
    if (tcl_.defined()) tcl_.bind(row, set.tcl_);
    if (has_head_in_bank(set)) heads_->bind(row, set.head_);
    *free = &set;
    return row;
  }

  /// Gives the patch set of a row memory of its own; the row is free again. Throws OptionError for
  /// a row without a patch set.
  void release(std::int64_t row) {
    set_of(row);
    for_each_bank([row](auto& bank) { bank.release(row); });
    rows_[static_cast<std::size_t>(row)] = nullptr;
  }

  /// Hands the gradients of a backward pass to the parameters of the tasks (see ParameterBank).
  void pass_gradients() {
    for_each_bank([](auto& bank) { bank.pass_gradients(); });
  }

  /// The patch set of a row. Throws OptionError for row 0 and for a free row.
  const PatchSet& set_of(std::int64_t row) const {
    if (row < 1 || row >= std::ssize(rows_) || rows_[static_cast<std::size_t>(row)] == nullptr)
      throw OptionError(detail::concat("TaskBank: expected the row of a task, got ", row));
    return *rows_[static_cast<std::size_t>(row)];
  }

  const Options& options() const noexcept { return options_; }

 private:
  friend class BankedNextItNet;

  template <class Function>
  void for_each_bank(Function&& function) {
    for (PatchBank& bank : patches_) function(bank);
    for (ParameterBank& bank : norms_) function(bank);
    if (tcl_.defined()) function(tcl_);
    if (heads_) function(*heads_);
  }

  bool has_head_in_bank(const PatchSet& set) const {
    const HeadOptions& head = set.options().head;
    return head.loss == HeadLoss::softmax && head.targets <= options_.classes &&
           head.smoothing == options_.smoothing;
  }

  void expect_fits(PatchSet& set) const {
    const PatchOptions& own = set.options().patches;
    const PatchOptions& expected = options_.patches;
    const bool same_kind = own.insertion == expected.insertion &&
                           own.two_per_block == expected.two_per_block &&
                           own.norm2 == expected.norm2 && set.options().tcl_id == options_.tcl_id &&
                           set.patches_.size() == patches_.size();
    if (!same_kind) {
      throw OptionError(
          "TaskBank: expected patches of the bank's insertion, number of blocks, places, "
          "normalizations and [TCL], got others");
    }
    for (Patch& patch : set.patches_) patches_.front().expect_fits(patch);
  }

  BlockPatches patches_of(std::int64_t block, const BankIndices& rows) const {
    const std::size_t i = static_cast<std::size_t>(block);
    const bool two = options_.patches.two_per_block;
    BlockPatches made{.second = {patches_.at(two ? 2 * i + 1 : i), rows},
                      .insertion = options_.patches.insertion};
    if (two) made.first = {patches_.at(2 * i), rows};
    if (!norms_.empty()) made.norm2 = {norms_.at(2 * i), norms_.at(2 * i + 1)};
    return made;
  }

  Options options_;
  std::vector<PatchSet*> rows_;       ///< null: free
  std::vector<PatchBank> patches_;    ///< as in PatchSet
  std::vector<ParameterBank> norms_;  ///< gamma and beta of each block
  ParameterBank tcl_;
  std::optional<HeadBank> heads_;
};

/// A base network with the patches of many tasks, one for each sequence of a batch. A value that
/// refers to base and bank without owning them.
///
/// ids i32 [B,T], rows i32 [B] of the bank, on the CPU, ascending -> user vectors u [B,C] as by
/// PatchedNextItNet. The sequences of a task have the bits that they have alone, whatever the other
/// tasks of the batch are, and a sequence of row 0 has those of the base. Throws the errors of the
/// base, and ShapeError for rows that are no rows of the bank or not in order.
class BankedNextItNet final : public BlockStack<BankedNextItNet> {
 public:
  BankedNextItNet(const NextItNet& base, const TaskBank& bank, Tensor rows)
      : base_(&base),
        bank_(&bank),
        rows_(std::move(rows), base.block(0).norm1().gamma().device()) {}

  /// Item vectors: i32 [B,T] -> [B,T,C].
  Variable embed(const Tensor& ids) const {
    const Variable x = base_->embed(ids);
    if (!bank_->tcl_.defined()) return x;
    return replace_rows(x, ids, bank_->options().tcl_id, bank_->tcl_.table(), rows_);
  }

  /// User vectors: i32 ids [B,T] -> [B,C].
  Variable user(const Tensor& ids) const {
    if (is_causal()) return hidden_at(ids, {-1}).front();
    const std::vector<Variable> ends = hidden_at(ids, {-1, 0});
    return ends[1] + ends[0];
  }

  /// A task's part of a batch.
  struct Part {
    std::int64_t row = 0;    ///< of the bank
    std::int64_t begin = 0;  ///< first sequence
    std::int64_t end = 0;    ///< sequence past the last one
  };
  /// The parts of the batch, in order.
  std::vector<Part> parts() const {
    std::vector<Part> parts;
    std::int64_t at = 0;
    const Tensor rows = rows_.host();
    for (const std::int32_t row : rows.span<std::int32_t>()) {
      if (parts.empty() || parts.back().row != row) parts.push_back({row, at, at});
      parts.back().end = ++at;
    }
    return parts;
  }

  /// The losses of the tasks of a batch.
  struct Losses {
    Variable sum;              ///< of all tasks, a scalar
    std::vector<Tensor> each;  ///< of each task, in the order of parts(), scalars
  };

  /// The mean loss of each task of the batch, times its weight: i32 ids [B,T], targets [B] of each
  /// sequence's task, for the pair losses `negatives` [B]; `weights` in the order of parts(),
  /// empty: 1. A backward pass from the sum gives each task the gradient of its own loss. Throws
  /// OptionError for sequences of row 0 and for another number of weights, and the errors of
  /// PatchSet::loss().
  Losses losses(const Tensor& ids, const Tensor& targets, const Tensor& negatives = {},
                std::span<const double> weights = {}) const {
    const Variable users = user(ids);
    const std::vector<Part> all = parts();
    if (!weights.empty() && weights.size() != all.size()) {
      throw OptionError(detail::concat("BankedNextItNet: expected a weight for each of ",
                                       all.size(), " tasks, got ", weights.size()));
    }
    const auto in_bank = [&](const Part& part) {
      return bank_->has_head_in_bank(bank_->set_of(part.row));
    };
    const std::int64_t count = std::count_if(all.begin(), all.end(), in_bank);
    Losses made;
    const auto add = [&](const Variable& loss) {
      made.sum = made.sum.defined() ? made.sum + loss : loss;
    };
    Tensor of_heads;
    if (count > 0) {
      const BankLosses heads =
          bank_->heads_->losses(users, rows_, targets, weights_of_rows(all, weights, users));
      of_heads = heads.losses;
      add(heads.sum);
    }
    for (std::int64_t i = 0; i < std::ssize(all); ++i) {
      const Part& part = all[static_cast<std::size_t>(i)];
      if (in_bank(part)) {
        made.each.push_back(of_heads.slice(i, i + 1).reshape({}));
        continue;
      }
      Variable loss = bank_->set_of(part.row).loss(
          slice_steps(users, part.begin, part.end), targets.slice(part.begin, part.end),
          negatives.defined() ? negatives.slice(part.begin, part.end) : Tensor());
      if (!weights.empty()) {
        const double weight = weights[static_cast<std::size_t>(i)];
        loss = multiply(loss, Variable(Tensor::full({}, weight, loss.dtype(), loss.device())));
      }
      made.each.push_back(loss.value());
      add(loss);
    }
    return made;
  }

  /// Scores of all targets of each task of the batch, in the order of parts(): [b,targets] for its
  /// b sequences; for row 0 the base's scores of all items.
  std::vector<Tensor> scores(const Tensor& ids) const {
    const NoGrad off;
    const Variable users = user(ids);
    std::vector<Tensor> scores;
    for (const Part& part : parts()) {
      const Variable own = slice_steps(users, part.begin, part.end);
      scores.push_back(part.row == 0 ? base_->scores_of(own) : bank_->set_of(part.row).scores(own));
    }
    return scores;
  }

  const NextItNet::Options& options() const noexcept { return base_->options(); }
  std::int64_t blocks() const noexcept { return base_->blocks(); }
  const ConvBlock& block(std::int64_t index) const { return base_->block(index); }
  BlockPatches patches_of(std::int64_t block) const { return bank_->patches_of(block, rows_); }

 private:
  /// The weights of the parts by the rows of the bank, [K]; undefined without weights.
  Tensor weights_of_rows(const std::vector<Part>& parts, std::span<const double> weights,
                         const Variable& like) const {
    if (weights.empty()) return {};
    Tensor of_rows = Tensor::zeros({bank_->options().tasks + 1}, like.dtype());
    for (std::size_t i = 0; i < parts.size(); ++i) {
      of_rows.slice(parts[i].row, parts[i].row + 1)
          .copy_from(Tensor::full({1}, weights[i], like.dtype()));
    }
    return of_rows.to(like.device());
  }

  const NextItNet* base_;
  const TaskBank* bank_;
  BankIndices rows_;
};

}  // namespace refrain::models
