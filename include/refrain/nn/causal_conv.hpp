#pragma once

#include "refrain/nn/initialize.hpp"
#include "refrain/ops/causal_conv.hpp"

namespace refrain {

/// Dilated convolution over time.
///
///   y[b,t,o] = bias[o] + sum_{k,c} weight[k,c,o] x[b, t + shift - k dilation, c]
///
/// shift = 0 with Padding::causal, so that time step t depends only on time steps <= t; with
/// Padding::same shift is half of (width - 1) dilation, rounded up. Reads outside [0,T) are zero. x
/// [B,T,in] -> y [B,T,out], f32 or f64, on the CPU and on a GPU. Parameters: weight [width,in,out]
/// (tap 0 reads the newest time step), bias [out]. Initially weights are truncated normal, biases
/// zero. Throws ShapeError unless x is [B,T,in], OptionError unless dilation >= 1. Source:
/// NextItNet, section 3.2.
class CausalConv final : public Module {
 public:
  struct Options {
    std::int64_t in = 0;
    std::int64_t out = 0;
    std::int64_t width = 3;     ///< K, taps
    std::int64_t dilation = 1;  ///< in time steps
    Padding padding = Padding::causal;
    double deviation = 0.02;  ///< standard deviation of the initial weights
  };

  /// Draws the weights from `random`.
  CausalConv(Options options, Random& random, Placement placement = {})
      : weight_(initialize::truncated_normal({options.width, options.in, options.out},
                                             options.deviation, random, placement)),
        bias_(initialize::constant({options.out}, 0, placement)),
        options_(options) {
    detail::check_dilation("CausalConv", options.dilation);
  }

  Variable operator()(const Variable& x) const {
    return causal_conv(x, weight_, bias_,
                       {.dilation = options_.dilation, .padding = options_.padding});
  }

  const Parameter& weight() const noexcept { return weight_; }
  const Parameter& bias() const noexcept { return bias_; }
  const Options& options() const noexcept { return options_; }

  void visit_members(Visitor& visitor) override {
    visitor.parameter("weight", weight_);
    visitor.parameter("bias", bias_, WeightDecay::exempt);
  }

 private:
  Parameter weight_;
  Parameter bias_;
  Options options_;
};

}  // namespace refrain
