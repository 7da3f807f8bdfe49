#pragma once

#include "refrain/nn/initialize.hpp"
#include "refrain/ops/layer_norm.hpp"

namespace refrain {

/// Normalization of each row to mean zero and variance one, then an affine map per channel.
///
///   y = gamma * (x - mean) / sqrt(var + epsilon) + beta     (biased variance over the last axis)
///
/// [...,C] -> [...,C]. Parameters: gamma [C], initially ones, beta [C], initially zeros. Throws
/// ShapeError unless the last axis is `channels`.
class LayerNorm final : public Module {
 public:
  struct Options {
    std::int64_t channels = 0;
    double epsilon = 1e-8;
  };

  explicit LayerNorm(Options options, Placement placement = {})
      : gamma_(initialize::constant({options.channels}, 1, placement)),
        beta_(initialize::constant({options.channels}, 0, placement)),
        epsilon_(options.epsilon) {}

  Variable operator()(const Variable& x) const { return layer_norm(x, gamma_, beta_, epsilon_); }

  const Parameter& gamma() const noexcept { return gamma_; }
  const Parameter& beta() const noexcept { return beta_; }
  double epsilon() const noexcept { return epsilon_; }

  void visit_members(Visitor& visitor) override {
    visitor.parameter("gamma", gamma_, WeightDecay::exempt);
    visitor.parameter("beta", beta_, WeightDecay::exempt);
  }

 private:
  Parameter gamma_;
  Parameter beta_;
  double epsilon_;
};

}  // namespace refrain
