#pragma once
/// Contracts: the patch (the "model patch" of PeterRec). Device: cpu, cuda (f32, f64); banks of
/// patches on cuda: up to 256 channels (f64: 64).

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// Weights of one patch, or of a bank of K patches, one for each sequence of a batch:
///
///   patch(x) = x + gelu(x down + down_bias) up + up_bias
///
/// Rows of a batch with the same row of the bank lie side by side. A row of `bank_rows` that is 0
/// stands for no patch: the row 0 of the bank is not read.
struct PatchViews {
  View down{};       ///< [C,D]; in a bank [K,C,D]
  View down_bias{};  ///< [D]; [K,D]
  View up{};         ///< [D,C]; [K,D,C]
  View up_bias{};    ///< [C]; [K,C]
  /// [B] i32 in [0,K), ascending: the patch of each sequence; empty: one patch
  View bank_rows{};
  /// [K] i32 in [1,D]: the bottleneck D_k of each patch; empty: D. A row of the bank begins with
  /// the elements of its patch, a matrix [C,D_k] or [D_k,C] or a vector; the others are not read,
  /// and their gradients are zero.
  View widths{};
};

/// Of a bank, the gradients [G,...] of the G rows in `bank_rows` that are not 0, ascending.
struct PatchGradients {
  MutableView down{};
  MutableView down_bias{};
  MutableView up{};
  MutableView up_bias{};
};

/// y = patch(x), with GELU in the tanh form; x, y [rows,C]. With a bank, a sequence has rows / B
/// rows.
struct PatchForward {
  static constexpr const char* name = "patch_forward";
  View x{};
  PatchViews patch{};
  MutableView y{};
  /// [rows,D] saved before the GELU, or empty. On the CPU the rows of a patch of a bank follow each
  /// other without gaps: with fewer than D columns they fill the first part of their memory. On a
  /// GPU each row has D columns, zeros past those of its patch.
  MutableView bottleneck{};

  Device device() const noexcept { return x.device; }
};

/// Gradients of PatchForward.  An empty output is not computed.
struct PatchBackward {
  static constexpr const char* name = "patch_backward";
  View x{};  ///< needed for dpatch.down
  PatchViews patch{};
  View bottleneck{};
  View dy{};
  MutableView dx{};
  PatchGradients dpatch{};

  Device device() const noexcept { return dy.device; }
};

}  // namespace refrain::kernels
