#pragma once
/// The patch (the "model patch" of PeterRec), and banks of patches. Dtypes f32, f64.

#include "refrain/kernels/patch.hpp"
#include "refrain/ops/bank_rows.hpp"
#include "refrain/ops/check.hpp"

namespace refrain {

/// The weights of a patch; or of a bank of K patches, of which each sequence of a batch uses one.
struct PatchParameters {
  Variable down;       ///< [C,D]; in a bank [K,C,D]
  Variable down_bias;  ///< [D]; [K,D]
  Variable up;         ///< [D,C]; [K,D,C]
  Variable up_bias;    ///< [C]; [K,C]
  /// [B], ascending, in [0,K): the patch of each sequence; 0: no patch. Undefined: one patch.
  BankIndices bank_rows{};
  /// [K], in [1,D]: the bottleneck D_k of each patch of a bank; undefined: D. A row of a bank
  /// begins with the elements of its patch, such as down [C,D_k].
  BankIndices widths{};

  bool is_bank() const noexcept { return bank_rows.defined(); }

  operator kernels::PatchViews() const {  // NOLINT(google-explicit-constructor): as a Variable
    return {.down = down,
            .down_bias = down_bias,
            .up = up,
            .up_bias = up_bias,
            .bank_rows = indices(bank_rows),
            .widths = indices(widths)};
  }

 private:
  View indices(const BankIndices& of) const {
    return of.defined() ? View(of.on(down.device())) : View();
  }
};

namespace detail {

/// Checks the widths of a bank of patches.
inline void check_widths(const char* op, const PatchParameters& patch) {
  check_bank_indices(op, "patch.widths", patch.widths, patch.down.size(0), patch.down.device());
  const Tensor widths = patch.widths.host();
  for (const std::int32_t width : widths.span<std::int32_t>()) {
    if (width < 1 || width > patch.down.size(2)) {
      throw ShapeError(detail::concat(op, ": expected patch.widths from 1 to ", patch.down.size(2),
                                      ", got ", width));
    }
  }
}

inline void check_patch(const char* op, const PatchParameters& patch, const Variable& x) {
  const std::int64_t channels = x.size(-1);
  check_rank(op, "patch.down", patch.down, patch.is_bank() ? 3 : 2);
  const std::int64_t bottleneck = patch.down.size(-1);
  const auto check = [&](const char* name, const Variable& parameter, Shape shape) {
    const std::int64_t count = patch.down.size(0);
    if (patch.is_bank())
      shape = shape.rank() == 1 ? Shape({count, shape[0]}) : Shape({count, shape[0], shape[1]});
    check_shape(op, name, parameter, shape);
  };
  check("patch.down", patch.down, {channels, bottleneck});
  check("patch.down_bias", patch.down_bias, {bottleneck});
  check("patch.up", patch.up, {bottleneck, channels});
  check("patch.up_bias", patch.up_bias, {channels});
  check_like(op, x, patch.down, patch.down_bias, patch.up, patch.up_bias);
  if (!patch.is_bank()) return;
  check_bank_rows(op, "patch.bank_rows", patch.bank_rows, patch.down.size(0), x);
  if (patch.widths.defined()) check_widths(op, patch);
}

/// The gradients of a patch or of a bank.
struct PatchGradientOutputs {
  BankGradient down, down_bias, up, up_bias;

  PatchGradientOutputs(const Tensor& rows, DType dtype, InputGradient& ddown,
                       InputGradient& ddown_bias, InputGradient& dup, InputGradient& dup_bias)
      : down(ddown, rows, dtype),
        down_bias(ddown_bias, rows, dtype),
        up(dup, rows, dtype),
        up_bias(dup_bias, rows, dtype) {}

  kernels::PatchGradients views() { return {down, down_bias, up, up_bias}; }
  void finish() {
    for (BankGradient* gradient : {&down, &down_bias, &up, &up_bias}) gradient->finish();
  }
};

}  // namespace detail

/// The patch of each row: x + gelu(x down + down_bias) up + up_bias.
///
/// x [...,C] -> [...,C], f32 or f64; with a bank x [B,...,C], and the gradients of the bank are
/// row-sparse, without row 0. Sequences of row 0 keep their values. The sequences of a patch have
/// the bits that they have alone. Throws ShapeError, DTypeError, DeviceError, and Unsupported for a
/// bank that is too wide for a GPU (docs/kernels.md). Source: PeterRec, section 3.3.
inline Variable apply_patch(const Variable& x, const PatchParameters& patch) {
  constexpr const char* op = "apply_patch";
  detail::check_has_rows(op, "x", x);
  detail::check_patch(op, patch, x);
  const bool recorded = is_recorded(x, patch.down, patch.down_bias, patch.up, patch.up_bias);
  Tensor y = empty_like(x.value());
  Tensor bottleneck = recorded ? empty_like(y, {y.shape().rows(), patch.down.size(-1)}) : Tensor();
  kernels::run(kernels::PatchForward{.x = x, .patch = patch, .y = y, .bottleneck = bottleneck});
  return record(op, std::move(y), {x, patch.down, patch.down_bias, patch.up, patch.up_bias},
                [x = x.value(), patch, bottleneck](const Tensor& dy, auto& dx, auto& ddown,
                                                   auto& ddown_bias, auto& dup, auto& dup_bias) {
                  const Tensor rows = patch.is_bank() ? patch.bank_rows.used() : Tensor();
                  detail::PatchGradientOutputs dpatch(rows, dy.dtype(), ddown, ddown_bias, dup,
                                                      dup_bias);
                  kernels::run(kernels::PatchBackward{.x = x,
                                                      .patch = patch,
                                                      .bottleneck = bottleneck,
                                                      .dy = dy,
                                                      .dx = dx,
                                                      .dpatch = dpatch.views()});
                  dpatch.finish();
                });
}

}  // namespace refrain
