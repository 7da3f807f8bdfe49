#pragma once

#include "refrain/nn/initialize.hpp"
#include "refrain/ops/patch.hpp"

namespace refrain {

/// How a new patch starts.
enum class PatchStart : std::uint8_t {
  identity,  ///< `up` is zero: patch(x) = x, so that fine-tuning starts from exactly the
             ///< pre-trained network (default)
  random     ///< all weights truncated normal, as in the published code
};

/// The model patch: a bottleneck with a skip.
///
///   patch(x) = x + gelu(x down + down_bias) up + up_bias
///
/// [...,C] -> [...,C].  Parameters: down [C,D], down_bias [D], up [D,C], up_bias [C].
///
/// D = cardinality * bottleneck. The published code sums `cardinality` parallel bottlenecks; that
/// sum is the same function as one bottleneck whose paths stand side by side, and is computed so
/// (the paths' output biases, which only ever act as their sum, are one vector here).
/// Throws ShapeError unless the last axis is `channels`, OptionError for sizes below one,
/// ShapeError for those whose product does not fit 64 bits.  Source: PeterRec, section 3.3.
class Patch final : public Module {
 public:
  struct Options {
    std::int64_t channels = 0;
    std::int64_t bottleneck =
        0;  ///< width of one path; 0: channels / (4 * cardinality), at least 1
    std::int64_t cardinality = 1;  ///< number of parallel paths
    PatchStart start = PatchStart::identity;
    double deviation = 0.02;  ///< of the initial weights
  };

  Patch(Options options, Random& random, Placement placement = {}) {
    if (options.channels < 1 || options.bottleneck < 0 || options.cardinality < 1) {
      throw OptionError(
          concat("Patch: expected channels >= 1, bottleneck >= 0 and cardinality >= 1, got ",
                 options.channels, ", ", options.bottleneck, ", ", options.cardinality));
    }
    const std::int64_t path =
        options.bottleneck > 0
            ? options.bottleneck
            : std::max<std::int64_t>(1, options.channels / 4 / options.cardinality);
    const std::int64_t width = Shape({path, options.cardinality}).numel();
    down_ = initialize::truncated_normal({options.channels, width}, options.deviation, random,
                                         placement);
    down_bias_ = initialize::constant({width}, 0, placement);
    up_ = options.start == PatchStart::random
              ? initialize::truncated_normal({width, options.channels}, options.deviation, random,
                                             placement)
              : initialize::constant({width, options.channels}, 0, placement);
    up_bias_ = initialize::constant({options.channels}, 0, placement);
  }

  Variable operator()(const Variable& x) const { return apply_patch(x, weights()); }

  /// Handles on the parameters, for the fused operations.
  PatchParameters weights() const { return {down_, down_bias_, up_, up_bias_}; }

  void visit_members(Visitor& visitor) override {
    visitor.parameter("down", down_);
    visitor.parameter("down_bias", down_bias_);
    visitor.parameter("up", up_);
    visitor.parameter("up_bias", up_bias_);
  }

 private:
  Parameter down_;
  Parameter down_bias_;
  Parameter up_;
  Parameter up_bias_;
};

}  // namespace refrain
