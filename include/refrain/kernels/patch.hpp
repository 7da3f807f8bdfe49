#pragma once
/// Contracts: the patch (the "model patch" of PeterRec). Device: cpu, cuda (f32, f64).

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// Weights of one patch: patch(x) = x + gelu(x down + down_bias) up + up_bias.
struct PatchViews {
  View down{};       ///< [C,D]
  View down_bias{};  ///< [D]
  View up{};         ///< [D,C]
  View up_bias{};    ///< [C]
};

struct PatchGradients {
  MutableView down{};
  MutableView down_bias{};
  MutableView up{};
  MutableView up_bias{};
};

/// y = x + gelu(x down + down_bias) up + up_bias;  x, y [rows,C].  GELU in the tanh form.
struct PatchForward {
  static constexpr const char* name = "patch_forward";
  View x{};
  PatchViews patch{};
  MutableView y{};
  MutableView bottleneck{};  ///< [rows,D] saved before the GELU, or empty

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
