#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <utility>

#include "refrain/nn/initialize.hpp"
#include "refrain/nn/parameter_bank.hpp"
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
  friend class PatchBank;

  Parameter down_;
  Parameter down_bias_;
  Parameter up_;
  Parameter up_bias_;
};

/// The patches of many tasks at one place of a network, for batches whose sequences belong to
/// different tasks.
///
///   y[b] = patch_k(x[b]),  k = rows[b];   y[b] = x[b] for k = 0
///
/// x [B,...,C] -> [B,...,C], f32 or f64; rows [B], ascending. The sequences of a patch have the
/// bits that they have alone. The patches may have different bottlenecks. They are bound to rows
/// (ParameterBank): their optimizers train them, and pass_gradients() hands them the gradients of a
/// batch. Throws the errors of apply_patch() and of ParameterBank.
class PatchBank {
 public:
  struct Options {
    std::int64_t count = 0;       ///< K, rows; row 0 is no patch
    std::int64_t channels = 0;    ///< C
    std::int64_t bottleneck = 0;  ///< D of the widest patch
  };

  explicit PatchBank(Options options, Placement placement = {})
      : down_(options.count, {options.channels, options.bottleneck}, placement),
        down_bias_(options.count, {options.bottleneck}, placement),
        up_(options.count, {options.bottleneck, options.channels}, placement),
        up_bias_(options.count, {options.channels}, placement) {}

  /// Throws ShapeError for a patch of other channels or with a wider bottleneck.
  void expect_fits(const Patch& patch) const {
    const Shape& widest = down_.table().shape();
    const Shape& own = patch.down_.shape();
    if (own[0] != widest[1] || own[1] > widest[2]) {
      throw ShapeError(detail::concat("PatchBank: expected a patch of ", widest[1],
                                      " channels and a bottleneck of at most ", widest[2], ", got ",
                                      own[0], " and ", own[1]));
    }
  }

  /// Binds a patch to a row from 1 on. Throws OptionError for row 0, and the errors of
  /// expect_fits().
  void bind(std::int64_t row, Patch& patch) {
    expect_fits(patch);
    if (row < 1) throw OptionError(detail::concat("PatchBank: expected a row >= 1, got ", row));
    down_.bind(row, patch.down_);
    down_bias_.bind(row, patch.down_bias_);
    up_.bind(row, patch.up_);
    up_bias_.bind(row, patch.up_bias_);
    set_width(row, patch.down_.size(1));
  }

  void release(std::int64_t row) {
    for (ParameterBank* bank : banks()) bank->release(row);
    set_width(row, down_.table().size(2));
  }

  void pass_gradients() {
    for (ParameterBank* bank : banks()) bank->pass_gradients();
  }

  Variable operator()(const Variable& x, const BankIndices& rows) const {
    return apply_patch(x, weights(rows));
  }

  /// The parameters as arguments of a fused operation.
  PatchParameters weights(const BankIndices& rows) const {
    return {.down = down_.table(),
            .down_bias = down_bias_.table(),
            .up = up_.table(),
            .up_bias = up_bias_.table(),
            .bank_rows = rows,
            .widths = widths_};
  }

 private:
  std::array<ParameterBank*, 4> banks() { return {&down_, &down_bias_, &up_, &up_bias_}; }

  /// Replaces widths_, which parameters of earlier batches share.
  void set_width(std::int64_t row, std::int64_t width) {
    const std::int64_t widest = down_.table().size(2);
    if (!widths_.defined() && width == widest) return;
    Tensor widths = widths_.defined()
                        ? widths_.host().clone()
                        : Tensor::full({down_.count()}, static_cast<double>(widest), DType::i32);
    const std::span<std::int32_t> all = widths.span<std::int32_t>();
    all[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(width);
    const bool is_equal =
        std::all_of(all.begin(), all.end(), [widest](std::int32_t each) { return each == widest; });
    widths_ = is_equal ? BankIndices() : BankIndices(std::move(widths), down_.table().device());
  }

  ParameterBank down_, down_bias_, up_, up_bias_;
  BankIndices widths_;  ///< undefined while all patches have the widest bottleneck
};

}  // namespace refrain
