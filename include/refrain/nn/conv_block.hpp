#pragma once

#include <numeric>

#include "refrain/nn/causal_conv.hpp"
#include "refrain/nn/chosen_steps.hpp"
#include "refrain/nn/conv_history.hpp"
#include "refrain/nn/layer_norm.hpp"
#include "refrain/nn/patch.hpp"

namespace refrain {

/// The patches of one residual block.  A default-made set leaves the block as it is.
struct BlockPatches {
  const Patch* first = nullptr;   ///< at the first convolution, or none
  const Patch* second = nullptr;  ///< at the second convolution, or none
  Insertion insertion = Insertion::none;
  const LayerNorm* norm2 =
      nullptr;  ///< used in place of the block's own second normalization, or none
};

/// NextItNet's residual block, with slots for PeterRec's patches.
///
///   h = relu(norm1(conv1(x)));  y = x + relu(norm2(conv2(h))),   conv1 with dilation d, conv2 with dilation 2d
///
/// With patches: conv(x) becomes patch(conv(x)) (serial) or conv(x) + patch(x) (parallel). The
/// patches are handed to the call, not owned, so that one frozen block serves many tasks; so is a
/// task's own second normalization. Each half is one fused operation.
///
/// [B,T,C] -> [B,T,C].  Parameters: conv1.*, norm1.*, conv2.*, norm2.*.
/// Throws ShapeError unless the input is rank 3 with last axis `channels`. Source: PeterRec, figure
/// 3; NextItNet, figure 3.
class ConvBlock final : public Module {
 public:
  struct Options {
    std::int64_t channels = 0;
    std::int64_t width = 3;
    std::int64_t dilation = 1;
    Padding padding = Padding::causal;
    double epsilon = 1e-8;    ///< of both normalizations
    double deviation = 0.02;  ///< of the initial convolution weights
  };

  ConvBlock(Options options, Random& random, Placement placement = {})
      : conv1_(conv_options(options, options.dilation), random, placement),
        norm1_({.channels = options.channels, .epsilon = options.epsilon}, placement),
        conv2_(conv_options(options, twice(options.dilation)), random, placement),
        norm2_({.channels = options.channels, .epsilon = options.epsilon}, placement),
        next_step_(options.width) {}

  Variable operator()(const Variable& x, const BlockPatches& patches = {}) const {
    return second_half(first_half(x, patches), x, patches);
  }

  /// What the block reads for chosen steps of its output.
  struct Steps {
    ConvSteps second;    ///< out: the chosen steps
    ConvSteps first;     ///< out: what the second convolution reads; in: what the block reads
    Tensor residual_at;  ///< place of each chosen step in first.in

    const StepSet& in() const noexcept { return first.in; }
    const StepSet& out() const noexcept { return second.out; }
    bool is_whole() const noexcept { return first.in.is_whole() && second.out.is_whole(); }
  };
  Steps steps_for(const StepSet& chosen) const {
    Steps steps;
    steps.second = ConvSteps(chosen, conv2_.options().width, conv2_.options().dilation,
                             conv2_.options().padding);
    steps.first = ConvSteps(steps.second.in, conv1_.options().width, conv1_.options().dilation,
                            conv1_.options().padding);
    steps.residual_at = steps.first.in.places_of(chosen);
    return steps;
  }

  /// The block at chosen steps: x [B,S',C] holds the steps steps.in() -> [B,S,C] at steps.out(),
  /// the same numbers as operator() gives there. Throws ShapeError when x has another number of
  /// steps.
  Variable at_steps(const Variable& x, const Steps& steps, const BlockPatches& patches = {}) const {
    ops::check_rank("ConvBlock::at_steps", "x", x, 3);
    if (x.size(1) != steps.in().size()) {
      throw ShapeError(concat("ConvBlock::at_steps: expected x of the ", steps.in().size(),
                              " steps read, got ", x.shape()));
    }
    if (steps.is_whole()) return (*this)(x, patches);
    const Variable h = half_at(x, conv1_, norm1_, {}, patches.first, patches.insertion,
                               {steps.first.taps_at, steps.first.own_at, {}});
    const LayerNorm& norm2 = patches.norm2 != nullptr ? *patches.norm2 : norm2_;
    return half_at(h, conv2_, norm2, x, patches.second, patches.insertion,
                   {steps.second.taps_at, steps.second.own_at, steps.residual_at});
  }

  /// What the block remembers of one stream: the latest inputs of its two convolutions. A value:
  /// copies share nothing.
  struct History {
    ConvHistory first;
    ConvHistory second;

    /// Calls function(part) for the parts of both, as ConvHistory::visit.
    template <class Self, class Function>
    static void visit(Self& history, Function&& function) {
      history.first.visit(function);
      history.second.visit(function);
    }
  };

  /// Of a stream that has not begun.  Throws OptionError unless the block is causal.
  History start() const {
    if (conv1_.options().padding != Padding::causal) {
      throw OptionError("ConvBlock: a stream of steps needs a causal block; this one looks ahead");
    }
    return {history_of(conv1_), history_of(conv2_)};
  }

  /// operator() over the first steps of a stream, x [1,T,C] -> [1,T,C]; `history` becomes what
  /// advance() would leave after them, in a fraction of the time. Not recorded: throws
  /// AutogradError unless within NoGrad; ShapeError for more than one sequence.
  Variable start(const Variable& x, History& history, const BlockPatches& patches = {}) const {
    expect_not_recorded();
    ops::check_rank("ConvBlock::start", "x", x, 3);
    if (x.size(0) != 1)
      throw ShapeError(concat("ConvBlock::start: expected x of one sequence, got ", x.shape()));
    History begun = start();
    const Variable h = first_half(x, patches);
    Variable y = second_half(h, x, patches);
    begun.first.push(x.value());
    begun.second.push(h.value());
    history = std::move(begun);
    return y;
  }

  /// The block at the step after those of `history`, which stays as it is: x [1,1,C] -> [1,1,C],
  /// the numbers that operator() gives at the last of all these steps. The work of one step,
  /// however many have gone by.
  /// Not recorded: throws AutogradError unless within NoGrad; Unsupported where the device has no
  /// kernel for chosen steps.
  Variable at_next(const Variable& x, const History& history,
                   const BlockPatches& patches = {}) const {
    const Variable h =
        half_at_next(x, history.first, conv1_, norm1_, {}, patches.first, patches.insertion);
    return second_at_next(h, x, history, patches);
  }

  /// The same, and the step joins the history.
  Variable advance(const Variable& x, History& history, const BlockPatches& patches = {}) const {
    const Variable h =
        half_at_next(x, history.first, conv1_, norm1_, {}, patches.first, patches.insertion);
    Variable y = second_at_next(h, x, history, patches);
    history.first.push(x.value());
    history.second.push(h.value());
    return y;
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
  static std::int64_t twice(std::int64_t dilation) {
    ops::check_dilation("ConvBlock", dilation);
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

  static ConvNormOptions half_options(const CausalConv& conv, const LayerNorm& norm,
                                      const Patch* patch, Insertion insertion) {
    return {.dilation = conv.options().dilation,
            .padding = conv.options().padding,
            .insertion = patch != nullptr ? insertion : Insertion::none,
            .epsilon = norm.epsilon()};
  }

  static Variable half(const Variable& x, const CausalConv& conv, const LayerNorm& norm,
                       const Variable& residual, const Patch* patch, Insertion insertion) {
    return conv_norm(x, conv.weight(), conv.bias(), norm.gamma(), norm.beta(), residual,
                     patch != nullptr ? patch->weights() : PatchParameters(),
                     half_options(conv, norm, patch, insertion));
  }

  static Variable half_at(const Variable& x, const CausalConv& conv, const LayerNorm& norm,
                          const Variable& residual, const Patch* patch, Insertion insertion,
                          const ConvTaps& taps) {
    return conv_norm_at_steps(x, conv.weight(), conv.bias(), norm.gamma(), norm.beta(), residual,
                              patch != nullptr ? patch->weights() : PatchParameters(), taps,
                              half_options(conv, norm, patch, insertion));
  }

  /// Where at_next finds its rows: tap k is row k of what ConvHistory::taps gathers, the step
  /// itself row 0.
  struct NextStep : ConvTaps {
    explicit NextStep(std::int64_t width) {
      taps_at = Tensor({1, width}, DType::i32);
      std::iota(taps_at.data<std::int32_t>(), taps_at.data<std::int32_t>() + width, 0);
      own_at = residual_at = Tensor::zeros({1}, DType::i32);
    }
  };

  ConvHistory history_of(const CausalConv& conv) const {
    return ConvHistory({.channels = conv.options().in,
                        .width = conv.options().width,
                        .dilation = conv.options().dilation,
                        .dtype = conv.weight().dtype()});
  }

  Variable first_half(const Variable& x, const BlockPatches& patches) const {
    return half(x, conv1_, norm1_, {}, patches.first, patches.insertion);
  }

  Variable second_half(const Variable& h, const Variable& x, const BlockPatches& patches) const {
    const LayerNorm& norm2 = patches.norm2 != nullptr ? *patches.norm2 : norm2_;
    return half(h, conv2_, norm2, x, patches.second, patches.insertion);
  }

  static void expect_not_recorded() {
    if (NoGrad::is_recording())
      throw AutogradError("ConvBlock: a history carries no gradients; go on within NoGrad");
  }

  Variable half_at_next(const Variable& x, const ConvHistory& history, const CausalConv& conv,
                        const LayerNorm& norm, const Variable& residual, const Patch* patch,
                        Insertion insertion) const {
    expect_not_recorded();
    return half_at(Variable(history.taps(x.value())), conv, norm, residual, patch, insertion,
                   next_step_);
  }

  Variable second_at_next(const Variable& h, const Variable& x, const History& history,
                          const BlockPatches& patches) const {
    const LayerNorm& norm2 = patches.norm2 != nullptr ? *patches.norm2 : norm2_;
    return half_at_next(h, history.second, conv2_, norm2, x, patches.second, patches.insertion);
  }

  CausalConv conv1_;
  LayerNorm norm1_;
  CausalConv conv2_;
  LayerNorm norm2_;
  NextStep next_step_;
};

}  // namespace refrain
