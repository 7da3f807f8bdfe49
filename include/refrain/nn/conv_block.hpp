#pragma once

#include "refrain/nn/adapter.hpp"
#include "refrain/nn/causal_conv.hpp"
#include "refrain/nn/chosen_steps.hpp"
#include "refrain/nn/layer_norm.hpp"

namespace refrain {

/// The patches of one residual block.  A default-made set leaves the block as it is.
struct BlockPatches {
  const Adapter* first = nullptr;   ///< at the first convolution, or none
  const Adapter* second = nullptr;  ///< at the second convolution, or none
  Insertion insertion = Insertion::none;
  const LayerNorm* norm2 = nullptr;  ///< used in place of the block's own second normalisation, or none
};

/// NextItNet's residual block, with slots for PeterRec's patches.
///
///   h = relu(norm1(conv1(x)));  y = x + relu(norm2(conv2(h))),   conv1 with dilation d, conv2 with dilation 2d
///
/// With patches: conv(x) becomes patch(conv(x)) (serial) or conv(x) + patch(x) (parallel).  The patches are handed to the call, not
/// owned, so that one frozen block serves many tasks; so is a task's own second normalisation.  Each half is one fused operation.
///
/// [B,T,C] -> [B,T,C].  Parameters: conv1.*, norm1.*, conv2.*, norm2.*.
/// Throws ShapeError unless the input is rank 3 with last axis `channels`.  Source: PeterRec, figure 3; NextItNet, figure 3.
class ConvBlock final : public Module {
 public:
  struct Options {
    std::int64_t channels = 0;
    std::int64_t width = 3;
    std::int64_t dilation = 1;
    Padding padding = Padding::causal;
    double epsilon = 1e-8;    ///< of both normalisations
    double deviation = 0.02;  ///< of the initial convolution weights
  };

  ConvBlock(Options options, Random& random, Placement placement = {})
      : conv1_(conv_options(options, options.dilation), random, placement),
        norm1_({.channels = options.channels, .epsilon = options.epsilon}, placement),
        conv2_(conv_options(options, twice(options.dilation)), random, placement),
        norm2_({.channels = options.channels, .epsilon = options.epsilon}, placement) {}

  Variable operator()(const Variable& x, const BlockPatches& patches = {}) const {
    const Variable h = half(x, conv1_, norm1_, {}, patches.first, patches.insertion);
    const LayerNorm& norm2 = patches.norm2 != nullptr ? *patches.norm2 : norm2_;
    return half(h, conv2_, norm2, x, patches.second, patches.insertion);
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
    steps.second = ConvSteps(chosen, conv2_.options().width, conv2_.options().dilation, conv2_.options().padding);
    steps.first = ConvSteps(steps.second.in, conv1_.options().width, conv1_.options().dilation, conv1_.options().padding);
    steps.residual_at = steps.first.in.places_of(chosen);
    return steps;
  }

  /// The block at chosen steps: x [B,S',C] holds the steps steps.in() -> [B,S,C] at steps.out(), the same numbers as operator() gives
  /// there.  Not recorded: throws AutogradError unless within NoGrad.
  Variable at_steps(const Variable& x, const Steps& steps, const BlockPatches& patches = {}) const {
    if (steps.is_whole()) return (*this)(x, patches);
    const Variable h =
        half_at(x, conv1_, norm1_, {}, patches.first, patches.insertion, {steps.first.taps_at, steps.first.own_at, {}});
    const LayerNorm& norm2 = patches.norm2 != nullptr ? *patches.norm2 : norm2_;
    return half_at(h, conv2_, norm2, x, patches.second, patches.insertion,
                   {steps.second.taps_at, steps.second.own_at, steps.residual_at});
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

  static ConvNormOptions half_options(const CausalConv& conv, const LayerNorm& norm, const Adapter* patch,
                                      Insertion insertion) {
    return {.dilation = conv.options().dilation,
            .padding = conv.options().padding,
            .insertion = patch != nullptr ? insertion : Insertion::none,
            .epsilon = norm.epsilon()};
  }

  static Variable half(const Variable& x, const CausalConv& conv, const LayerNorm& norm, const Variable& residual,
                       const Adapter* patch, Insertion insertion) {
    return conv_norm(x, conv.weight(), conv.bias(), norm.gamma(), norm.beta(), residual,
                     patch != nullptr ? patch->weights() : Patch(), half_options(conv, norm, patch, insertion));
  }

  static Variable half_at(const Variable& x, const CausalConv& conv, const LayerNorm& norm, const Variable& residual,
                          const Adapter* patch, Insertion insertion, const ConvTaps& taps) {
    return Variable(conv_norm_at_steps(x, conv.weight(), conv.bias(), norm.gamma(), norm.beta(), residual,
                                       patch != nullptr ? patch->weights() : Patch(), taps,
                                       half_options(conv, norm, patch, insertion)));
  }

  CausalConv conv1_;
  LayerNorm norm1_;
  CausalConv conv2_;
  LayerNorm norm2_;
};

}  // namespace refrain
