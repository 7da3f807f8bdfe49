#pragma once
/// Contracts: the adapter (model patch) on its own.  Device: cpu (f32, f64).

#include "refrain/kernels/causal_conv.hpp"

namespace refrain::kernels {

/// y = x + gelu(x down + down_bias) up + up_bias;  x, y [rows,C].  GELU in the tanh form.
struct AdapterForward {
  static constexpr const char* name = "adapter_forward";
  View x{};
  PatchWeights patch{};
  MutableView y{};
  MutableView bottleneck{};  ///< [rows,D] saved before the GELU, or empty
  MutableView workspace{};
};

/// Gradients of AdapterForward.  An empty output is not computed.
struct AdapterBackward {
  static constexpr const char* name = "adapter_backward";
  View x{};  ///< needed for dpatch.down
  PatchWeights patch{};
  View bottleneck{};
  View dy{};
  MutableView dx{};
  PatchGradients dpatch{};
  MutableView workspace{};
};

}  // namespace refrain::kernels
