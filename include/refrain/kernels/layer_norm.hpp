#pragma once
/// Contracts: layer normalization over the last axis.  Device: cpu, cuda (f32, f64).

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// y = gamma * normalized + beta, normalized = (x - mean) * inv_std, inv_std = 1 / sqrt(var +
/// epsilon), biased variance; x [rows,C].
struct LayerNormForward {
  static constexpr const char* name = "layer_norm_forward";
  View x{};
  View gamma{};
  View beta{};
  MutableView y{};
  MutableView normalized{};  ///< [rows,C] saved, or empty
  MutableView inv_std{};     ///< [rows] saved, or empty
  double epsilon = 1e-8;

  Device device() const noexcept { return x.device; }
};

/// Gradients of LayerNormForward.  An empty output is not computed.
struct LayerNormBackward {
  static constexpr const char* name = "layer_norm_backward";
  View gamma{};
  View normalized{};
  View inv_std{};
  View dy{};
  MutableView dx{};
  MutableView dgamma{};
  MutableView dbeta{};

  Device device() const noexcept { return dy.device; }
};

}  // namespace refrain::kernels
