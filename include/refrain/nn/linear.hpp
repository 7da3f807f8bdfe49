#pragma once

#include "refrain/nn/initialize.hpp"
#include "refrain/ops/matmul.hpp"

namespace refrain {

/// Affine map of the last axis:  y = x weight^T + bias.
///
/// [...,in] -> [...,out]. Parameters: weight [out,in], bias [out] (absent without `bias`).
/// Initially weights are truncated normal, biases zero. Throws ShapeError unless the last axis is
/// `in`.
///
/// Tied tables: a layer whose weight is the table of an Embedding scores items with the vectors
/// that the embedding gathers. The embedding then names the weight, and the bias is the only
/// parameter of this layer. The weight's gradient is the sum of both uses: dense after a product
/// with all rows, row-sparse after a sampled loss.
class Linear final : public Module {
 public:
  struct Options {
    std::int64_t in = 0;
    std::int64_t out = 0;
    bool bias = true;
    double deviation = 0.02;  ///< standard deviation of the initial weights
  };

  /// Draws the weights from `random`.
  Linear(Options options, Random& random, Placement placement = {})
      : weight_(
            initialize::truncated_normal(shape_of(options), options.deviation, random, placement)),
        bias_(options.bias ? initialize::constant({options.out}, 0, placement) : Parameter()) {}

  /// A layer that shares `weight` [out,in] with the layer that names it.
  Linear(const Parameter& weight, bool bias, Placement placement = {})
      : weight_(weight),
        bias_(bias ? initialize::constant({weight.size(0)}, 0, placement) : Parameter()),
        is_tied_(true) {}

  Variable operator()(const Variable& x) const { return linear(x, weight_, bias_); }

  const Parameter& weight() const noexcept { return weight_; }
  const Parameter& bias() const noexcept { return bias_; }

  void visit_members(Visitor& visitor) override {
    if (!is_tied_) visitor.parameter("weight", weight_);
    visitor.parameter("bias", bias_, WeightDecay::exempt);
  }

 private:
  static Shape shape_of(const Options& options) {
    if (options.in < 1 || options.out < 1) {
      throw OptionError(detail::concat("Linear: expected in and out of at least 1, got ",
                                       options.in, " and ", options.out));
    }
    return {options.out, options.in};
  }

  Parameter weight_;
  Parameter bias_;
  bool is_tied_ = false;
};

}  // namespace refrain
