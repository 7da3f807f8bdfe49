#pragma once

#include "refrain/nn/initialize.hpp"
#include "refrain/ops/patch.hpp"

namespace refrain {

/// The initial weights of a patch.
enum class PatchStart : std::uint8_t {
  /// `up` is zero, so that patch(x) = x and fine-tuning starts from the pre-trained network.
  identity,
  /// All weights are truncated normal, as in the published code.
  random
};

/// The paper's model patch: a bottleneck with a skip connection.
///
///   patch(x) = x + gelu(x down + down_bias) up + up_bias,   gelu in the tanh form
///
/// x [...,C] -> [...,C], f32 or f64, on the CPU and on a GPU. Parameters: down [C,D], down_bias
/// [D], up [D,C], up_bias [C], with D = cardinality * bottleneck. The published code sums
/// `cardinality` parallel bottlenecks. This layer computes the same function as one bottleneck that
/// concatenates their paths; the output biases of the paths enter only as their sum and are one
/// vector. Throws ShapeError unless the last axis is C = `channels`, OptionError for sizes below 1,
/// ShapeError when D does not fit 64 bits. Source: PeterRec, section 3.3.
class Patch final : public Module {
 public:
  struct Options {
    std::int64_t channels = 0;
    std::int64_t bottleneck = 0;   ///< width of a path; 0: channels / (4 cardinality), at least 1
    std::int64_t cardinality = 1;  ///< number of parallel paths
    PatchStart start = PatchStart::identity;
    double deviation = 0.02;  ///< standard deviation of the initial weights
  };

  /// Draws the weights from `random`.
  Patch(Options options, Random& random, Placement placement = {}) {
    if (options.channels < 1 || options.bottleneck < 0 || options.cardinality < 1) {
      throw OptionError(detail::concat(
          "Patch: expected channels >= 1, bottleneck >= 0 and cardinality >= 1, got ",
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

  /// The parameters as arguments of a fused operation.
  PatchParameters weights() const { return {down_, down_bias_, up_, up_bias_}; }

  void visit_members(Visitor& visitor) override {
    visitor.parameter("down", down_);
    visitor.parameter("down_bias", down_bias_, WeightDecay::exempt);
    visitor.parameter("up", up_);
    visitor.parameter("up_bias", up_bias_, WeightDecay::exempt);
  }

 private:
  Parameter down_;
  Parameter down_bias_;
  Parameter up_;
  Parameter up_bias_;
};

}  // namespace refrain
