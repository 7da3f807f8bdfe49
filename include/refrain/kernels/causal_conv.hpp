#pragma once
/// Contracts: dilated convolution over time.
///
/// Shapes: x [B,T,Cin], w [K,Cin,Cout], y [B,T,Cout]. Tap k reads k * dilation steps into the past
/// (causal), or the same taps shifted by `right` = total - floor(total / 2) steps into the future
/// with total = (K - 1) * dilation (same):
///
///   y[b,t,o] = bias[o] + sum_{k,c} w[k,c,o] * x[b, t + shift - k * dilation, c]
///   shift = 0 (causal) or right (same)
///
/// Reads outside [0,T) are zero.  Device: cpu, cuda (f32, f64).

#include <cstdint>

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// Which time steps a convolution reads: only past ones, or both sides.
enum class Padding : std::uint8_t { causal, same };

/// Number of time steps that tap 0 reads ahead of the current one.
constexpr std::int64_t look_ahead(Padding padding, std::int64_t width,
                                  std::int64_t dilation) noexcept {
  const std::int64_t total = (width - 1) * dilation;
  return padding == Padding::causal ? 0 : total - total / 2;
}

struct CausalConvForward {
  static constexpr const char* name = "causal_conv_forward";
  View x{};         ///< [B,T,Cin]
  View w{};         ///< [K,Cin,Cout]; k = 0 is the newest step
  View bias{};      ///< [Cout], or empty
  MutableView y{};  ///< [B,T,Cout]
  std::int64_t dilation = 1;
  Padding padding = Padding::causal;
  /// CUDA, f32, more than 64 channels: limit in bytes of the gathered rows that exist at a time; a
  /// sequence is always gathered as a whole
  std::int64_t max_gathered_bytes = 64 << 20;

  Device device() const noexcept { return x.device; }
};

/// Gradients of CausalConvForward.  An empty output is not computed.
struct CausalConvBackward {
  static constexpr const char* name = "causal_conv_backward";
  View x{};             ///< [B,T,Cin]; needed for dw
  View w{};             ///< [K,Cin,Cout]; needed for dx
  View dy{};            ///< [B,T,Cout]
  MutableView dx{};     ///< [B,T,Cin], or empty
  MutableView dw{};     ///< [K,Cin,Cout], or empty
  MutableView dbias{};  ///< [Cout], or empty
  std::int64_t dilation = 1;
  Padding padding = Padding::causal;
  std::int64_t max_gathered_bytes = 64 << 20;  ///< as for CausalConvForward

  Device device() const noexcept { return dy.device; }
};

}  // namespace refrain::kernels
