#pragma once

#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "refrain/nn/causal_conv.hpp"
#include "refrain/nn/chosen_steps.hpp"
#include "refrain/nn/conv_history.hpp"
#include "refrain/nn/dropout.hpp"
#include "refrain/nn/layer_norm.hpp"
#include "refrain/nn/patch.hpp"
#include "refrain/ops/conv_norm.hpp"
#include "refrain/ops/conv_norm_of_streams.hpp"
#include "refrain/ops/pointwise.hpp"

namespace refrain {

/// A patch of a block: that of one task, or those of a bank, one for each sequence of a batch. Does
/// not own it.
class PatchSource {
 public:
  PatchSource() = default;
  PatchSource(const Patch* patch) : patch_(patch) {}  // NOLINT(google-explicit-constructor)
  /// `rows`: [B], the row of each sequence.
  PatchSource(const PatchBank& bank, BankIndices rows) : bank_(&bank), rows_(std::move(rows)) {}

  bool defined() const noexcept { return patch_ != nullptr || bank_ != nullptr; }
  PatchParameters weights() const {
    if (bank_ != nullptr) return bank_->weights(rows_);
    return patch_ != nullptr ? patch_->weights() : PatchParameters();
  }

 private:
  const Patch* patch_ = nullptr;
  const PatchBank* bank_ = nullptr;
  BankIndices rows_;
};

/// Scale and shift of a normalization: of one task, [C], or of a bank, [K,C]. Does not own them.
struct NormSource {
  const Parameter* gamma = nullptr;
  const Parameter* beta = nullptr;

  NormSource() = default;
  NormSource(const LayerNorm* norm)  // NOLINT(google-explicit-constructor)
      : gamma(norm == nullptr ? nullptr : &norm->gamma()),
        beta(norm == nullptr ? nullptr : &norm->beta()) {}
  NormSource(const ParameterBank& gammas, const ParameterBank& betas)
      : gamma(&gammas.table()), beta(&betas.table()) {}
};

/// The patches of one residual block, and a task's own second normalization. The set does not own
/// its members; a default-constructed set leaves the block unpatched. Members that are banks have
/// the same rows.
struct BlockPatches {
  PatchSource first{};   ///< at the first convolution; null: no patch
  PatchSource second{};  ///< at the second convolution; null: no patch
  Insertion insertion = Insertion::none;
  NormSource norm2{};  ///< replaces scale and shift of the block's norm2; null: those of the block

  /// The insertion of one of the patches: none if it is not defined.
  Insertion insertion_at(const PatchSource& patch) const noexcept {
    return patch.defined() ? insertion : Insertion::none;
  }
};

/// NextItNet's residual block, with slots for PeterRec's patches.
///
///   h = half1(x) = relu(norm1(conv1(x))),   y = x + half2(h),   half2(h) = relu(norm2(conv2(h)))
///
/// conv1 has dilation d, conv2 has dilation 2 d. With patches conv(x) becomes patch(conv(x))
/// (serial) or conv(x) + patch(x) (parallel). Patches are arguments of a call, so that one frozen
/// block serves many tasks. Each half is one fused operation.
///
/// x [B,T,C] -> y [B,T,C], f32 or f64, on the CPU and on a GPU; functions that compute only some of
/// the time steps throw Unsupported where has_conv_norm_at_steps() is false, and histories are on
/// the CPU. All functions compute bit-identical values for the same time step. Parameters: conv1.*,
/// norm1.*, conv2.*, norm2.*. Throws ShapeError unless x is [B,T,C] with C = `channels`. Source:
/// PeterRec, figure 3; NextItNet, figure 3.
class ConvBlock final : public Module {
 public:
  struct Options {
    std::int64_t channels = 0;
    std::int64_t width = 3;     ///< K, taps of each convolution
    std::int64_t dilation = 1;  ///< d, in time steps
    Padding padding = Padding::causal;
    double epsilon = 1e-8;    ///< epsilon of both normalizations
    double deviation = 0.02;  ///< standard deviation of the initial convolution weights
  };

  /// Draws the weights of the convolutions from `random`.
  ConvBlock(Options options, Random& random, Placement placement = {})
      : conv1_(conv_options(options, options.dilation), random, placement),
        norm1_({.channels = options.channels, .epsilon = options.epsilon}, placement),
        conv2_(conv_options(options, twice(options.dilation)), random, placement),
        norm2_({.channels = options.channels, .epsilon = options.epsilon}, placement),
        next_step_taps_(next_step_taps(options.width)) {}

  /// The block at all time steps: x [B,T,C] -> [B,T,C].
  Variable operator()(const Variable& x, const BlockPatches& patches = {}) const {
    return walk(AllSteps{}, x, patches).y;
  }

  /// The block with dropout on its residual branch: y = x + dropout(half2(h)). The skip connection
  /// passes x on without dropout.
  Variable with_dropout(const Variable& x, Dropout& dropout) const {
    const BlockPatches none;
    const Half half1{conv1_, norm1_, none.norm2, none.first, Insertion::none};
    const Half half2{conv2_, norm2_, none.norm2, none.second, Insertion::none};
    return x + dropout(half2(half1(x, {}), {}));
  }

  /// The time steps that the block reads for chosen time steps of its output.
  struct Steps {
    ConvSteps first;     ///< conv1 reads in()
    ConvSteps second;    ///< conv2 reads first.out, computes out()
    Tensor residual_at;  ///< i32 [S]: index in in() of each time step of out()

    /// The time steps of the block's input.
    const StepSet& in() const noexcept { return first.in; }
    /// The chosen time steps of the block's output.
    const StepSet& out() const noexcept { return second.out; }
    /// True when both are all time steps of the sequence.
    bool is_whole() const noexcept { return in().is_whole() && out().is_whole(); }
  };
  /// The time steps to read for the chosen time steps of the output.
  Steps steps_for(const StepSet& chosen) const {
    Steps steps;
    steps.second = conv_steps(conv2_, chosen);
    steps.first = conv_steps(conv1_, steps.second.in);
    steps.residual_at = steps.first.in.places_of(chosen);
    return steps;
  }

  /// The block at chosen time steps: x [B,S',C] holds the time steps of steps.in() -> [B,S,C] at
  /// those of steps.out(). Throws ShapeError for another number of time steps.
  Variable at_steps(const Variable& x, const Steps& steps, const BlockPatches& patches = {}) const {
    detail::check_rank("ConvBlock::at_steps", "x", x, 3);
    if (x.size(1) != steps.in().size()) {
      throw ShapeError(detail::concat("ConvBlock::at_steps: expected x [B,", steps.in().size(),
                                      ",C] of the time steps that are read, got ", x.shape()));
    }
    if (steps.is_whole()) return (*this)(x, patches);
    return walk(ChosenSteps{steps}, x, patches).y;
  }

  /// The state of a block for one stream: the latest inputs of its two convolutions. A value:
  /// copies are independent.
  struct History {
    ConvHistory first;
    ConvHistory second;

    /// Appends time steps with inputs x [1,T,C] and h = half1(x) [1,T,C] to the history.
    void push(const Tensor& x, const Tensor& h) {
      first.push(x);
      second.push(h);
    }

    /// Appends the time step with the inputs in row `row` of x and h = half1(x), [B,C].
    void push(const Tensor& x, const Tensor& h, std::int64_t row) {
      first.push(x, row);
      second.push(h, row);
    }

    /// Calls function(part) for the parts of both histories, as ConvHistory::visit does.
    template <class Self, class Function>
    static void visit(Self& history, Function&& function) {
      history.first.visit(function);
      history.second.visit(function);
    }
  };

  /// The history of an empty stream. Throws OptionError unless the block is causal.
  History start() const {
    if (conv1_.options().padding != Padding::causal) {
      throw OptionError(
          "ConvBlock: expected a causal block for a stream, got one that looks ahead");
    }
    return {ConvHistory(history_options(conv1_)), ConvHistory(history_options(conv2_))};
  }

  /// The block at the first time steps of a stream, x [1,T,C] -> [1,T,C]; `history` becomes the
  /// history after them. A history carries no gradients: throws AutogradError unless within NoGrad,
  /// and ShapeError for more than one sequence.
  Variable at_first(const Variable& x, History& history, const BlockPatches& patches = {}) const {
    expect_not_recorded();
    detail::check_rank("ConvBlock::at_first", "x", x, 3);
    if (x.size(0) != 1)
      throw ShapeError(detail::concat("ConvBlock::at_first: expected x [1,T,C], got ", x.shape()));
    History first = start();
    Values values = walk(AllSteps{}, x, patches);
    first.push(x.value(), values.h.value());
    history = std::move(first);
    return std::move(values.y);
  }

  /// The block at the time step after those of `history`, which is not changed: x [1,1,C] ->
  /// [1,1,C]. The work is that of one time step, independent of the length of the stream. Throws
  /// AutogradError unless within NoGrad.
  Variable at_next(const Variable& x, const History& history,
                   const BlockPatches& patches = {}) const {
    expect_not_recorded();
    return walk(NextStep{history, next_step_taps_}, x, patches).y;
  }

  /// at_next(), then appends the time step to the history.
  Variable advance(const Variable& x, History& history, const BlockPatches& patches = {}) const {
    expect_not_recorded();
    Values values = walk(NextStep{history, next_step_taps_}, x, patches);
    history.push(x.value(), values.h.value());
    return std::move(values.y);
  }

  /// A task's part of a block in a pass over many streams. Refers to the parameters of the patches
  /// without owning them (half_of_task).
  struct OfTask {
    HalfOfTask first{};
    HalfOfTask second{};

    OfTask() = default;
    /// Throws the errors of half_of_task(), which accepts no banks.
    explicit OfTask(const BlockPatches& patches)
        : first(half_of_task(patches.first.weights(), patches.insertion_at(patches.first), nullptr,
                             nullptr)),
          second(half_of_task(patches.second.weights(), patches.insertion_at(patches.second),
                              patches.norm2.gamma, patches.norm2.beta)) {}
  };

  /// The values of one time step of many streams: h = half1(x) and y, [B,C].
  struct StepOfStreams {
    Tensor h;
    Tensor y;
  };

  /// at_next() of B streams in one pass: row b of x [B,C] is the time step after those of
  /// *histories[b], under the task *tasks[b]. No history changes; history.push(x, h, b) appends the
  /// time step. A stream has the bits that at_next() gives it. Streams of a task should lie side by
  /// side, with the same pointer. Throws AutogradError unless within NoGrad, ShapeError for a
  /// history of another block, and the errors of conv_norm_of_streams().
  StepOfStreams at_next_of_streams(const Variable& x, std::span<const History* const> histories,
                                   std::span<const OfTask* const> tasks) const {
    expect_not_recorded();
    std::vector<const HalfOfTask*> halves(tasks.size());
    std::vector<const void*> before;
    const auto half = [&](const CausalConv& conv, const LayerNorm& norm, const Variable& input,
                          const Variable& residual, HalfOfTask OfTask::*of_task,
                          ConvHistory History::*of_history) {
      const ConvHistory::Options expected = history_options(conv);
      before.clear();
      for (const History* const history : histories) {
        const ConvHistory& rows = history->*of_history;
        if (rows.options() != expected)
          throw ShapeError(
              "ConvBlock::at_next_of_streams: expected histories of this block, got another one");
        for (std::int64_t k = 1; k < expected.width; ++k) before.push_back(rows.tap(k));
      }
      for (std::size_t b = 0; b < tasks.size(); ++b) halves[b] = &(tasks[b]->*of_task);
      return conv_norm_of_streams(input, before, conv.weight(), conv.bias(), norm.gamma(),
                                  norm.beta(), residual, halves, norm.epsilon());
    };
    StepOfStreams step;
    step.h = half(conv1_, norm1_, x, {}, &OfTask::first, &History::first);
    step.y = half(conv2_, norm2_, Variable(step.h), x, &OfTask::second, &History::second);
    return step;
  }

  const LayerNorm& norm1() const noexcept { return norm1_; }
  const LayerNorm& norm2() const noexcept { return norm2_; }

  void visit_members(Visitor& visitor) override {
    visitor.module("conv1", conv1_);
    visitor.module("norm1", norm1_);
    visitor.module("conv2", conv2_);
    visitor.module("norm2", norm2_);
  }

 private:
  /// relu(norm(conv(x))) (+ residual), with a serial or parallel patch.
  struct Half {
    const CausalConv& conv;
    const LayerNorm& norm;
    const NormSource& replaced;  ///< scale and shift in place of the norm's
    const PatchSource& patch;
    Insertion insertion;

    Variable operator()(const Variable& x, const Variable& residual) const {
      return conv_norm(x, conv.weight(), conv.bias(), gamma(), beta(), residual, patch.weights(),
                       options());
    }
    /// At the time steps whose rows `taps` lists.
    Variable operator()(const Variable& x, const Variable& residual, const ConvTaps& taps) const {
      return conv_norm_at_steps(x, conv.weight(), conv.bias(), gamma(), beta(), residual,
                                patch.weights(), taps, options());
    }

    const Parameter& gamma() const {
      return replaced.gamma != nullptr ? *replaced.gamma : norm.gamma();
    }
    const Parameter& beta() const {
      return replaced.beta != nullptr ? *replaced.beta : norm.beta();
    }
    ConvNormOptions options() const {
      return {.dilation = conv.options().dilation,
              .padding = conv.options().padding,
              .insertion = patch.defined() ? insertion : Insertion::none,
              .epsilon = norm.epsilon()};
    }
  };

  // A walk is a choice of time steps: it determines the rows that each half reads.
  struct AllSteps {
    Variable first(const Half& half1, const Variable& x) const { return half1(x, {}); }
    Variable second(const Half& half2, const Variable& h, const Variable& x) const {
      return half2(h, x);
    }
  };
  struct ChosenSteps {
    const Steps& steps;

    Variable first(const Half& half1, const Variable& x) const {
      return half1(x, {}, {steps.first.taps_at, steps.first.own_at, {}});
    }
    Variable second(const Half& half2, const Variable& h, const Variable& x) const {
      return half2(h, x, {steps.second.taps_at, steps.second.own_at, steps.residual_at});
    }
  };
  struct NextStep {
    const History& history;
    const ConvTaps& taps;

    Variable first(const Half& half1, const Variable& x) const {
      return half1(Variable(history.first.taps(x.value())), {}, taps);
    }
    Variable second(const Half& half2, const Variable& h, const Variable& x) const {
      return half2(Variable(history.second.taps(h.value())), x, taps);
    }
  };

  /// h = half1(x), y = x + half2(h) at the time steps of a walk.
  struct Values {
    Variable h;
    Variable y;
  };
  template <class Walk>
  Values walk(const Walk& walk, const Variable& x, const BlockPatches& patches) const {
    const NormSource own;
    const Half half1{conv1_, norm1_, own, patches.first, patches.insertion};
    const Half half2{conv2_, norm2_, patches.norm2, patches.second, patches.insertion};
    Values values;
    values.h = walk.first(half1, x);
    values.y = walk.second(half2, values.h, x);
    return values;
  }

  static std::int64_t twice(std::int64_t dilation) {
    detail::check_dilation("ConvBlock", dilation);
    return 2 * dilation;
  }

  static CausalConv::Options conv_options(const Options& options, std::int64_t dilation) {
    return {.in = options.channels,
            .out = options.channels,
            .width = options.width,
            .dilation = dilation,
            .padding = options.padding,
            .deviation = options.deviation};
  }

  static ConvSteps conv_steps(const CausalConv& conv, const StepSet& chosen) {
    return {chosen, conv.options().width, conv.options().dilation, conv.options().padding};
  }

  static ConvHistory::Options history_options(const CausalConv& conv) {
    return {.channels = conv.options().in,
            .width = conv.options().width,
            .dilation = conv.options().dilation,
            .dtype = conv.weight().dtype()};
  }

  /// The rows of ConvHistory::taps(): tap k reads row k, and row 0 is the time step itself.
  static ConvTaps next_step_taps(std::int64_t width) {
    ConvTaps taps;
    taps.taps_at = Tensor({1, width}, DType::i32);
    std::iota(taps.taps_at.data<std::int32_t>(), taps.taps_at.data<std::int32_t>() + width, 0);
    taps.own_at = taps.residual_at = Tensor::zeros({1}, DType::i32);
    return taps;
  }

  static void expect_not_recorded() {
    if (NoGrad::is_recording())
      throw AutogradError("ConvBlock: expected NoGrad, since a history carries no gradients");
  }

  CausalConv conv1_;
  LayerNorm norm1_;
  CausalConv conv2_;
  LayerNorm norm2_;
  ConvTaps next_step_taps_;
};

}  // namespace refrain
