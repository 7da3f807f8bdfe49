#pragma once
/// Contracts: half of a NextItNet residual block: a dilated convolution (causal_conv.hpp) with
/// patch, layer normalization, ReLU and residual. Device: cpu, cuda (f32, f64; banks of patches as
/// in patch.hpp); ...AtSteps and ...OfStreams: cpu.

#include <cstdint>
#include <span>

#include "refrain/kernels/causal_conv.hpp"
#include "refrain/kernels/patch.hpp"

namespace refrain::kernels {

/// Position of a patch: on the convolution's output, or in parallel with the convolution.
enum class Insertion : std::uint8_t { none, serial, parallel };

/// Half of a residual block in one pass over the rows, C channels in and out:
///
///   h = conv(x)                    (Insertion::none)
///   h = patch(conv(x))             (Insertion::serial)
///   h = conv(x) + patch(x)         (Insertion::parallel; the patch keeps its own skip)
///   y = relu(gamma * normalized + beta) (+ residual)
///   normalized = (h - mean(h)) * inv_std,   inv_std = 1 / sqrt(var(h) + epsilon)
///
/// Mean and (biased) variance are over the channels of one row. ConvNormBackward reads the saved
/// tensors; an output that no backward pass reads may be empty. With a bank of patches
/// (PatchViews::bank_rows) each sequence has its own patch, or none, and gamma and beta may be
/// banks [K,C], of which row 0 is read like the others.
struct ConvNormForward {
  static constexpr const char* name = "conv_norm_forward";
  View x{};         ///< [B,T,C]
  View w{};         ///< [K,C,C]
  View bias{};      ///< [C]
  View gamma{};     ///< [C]; or [K,C] with a bank of patches
  View beta{};      ///< like gamma
  View residual{};  ///< [B,T,C], or empty
  PatchViews patch{};
  MutableView y{};           ///< [B,T,C]
  MutableView normalized{};  ///< [B,T,C] saved
  MutableView inv_std{};     ///< [B,T] saved
  /// [B,T,C] saved: the convolution's output (serial patch with trainable weights)
  MutableView conv{};
  /// [B,T,D] saved: x down + down_bias before the GELU, as by PatchForward
  MutableView bottleneck{};
  double epsilon = 1e-8;
  std::int64_t dilation = 1;
  Padding padding = Padding::causal;
  Insertion insertion = Insertion::none;
  std::int64_t max_gathered_bytes = 64 << 20;  ///< as for CausalConvForward

  Device device() const noexcept { return x.device; }
};

/// ConvNormForward at S chosen time steps. A table gives the row that each tap reads:
///
///   h[b,s] = bias + sum_k w[k] x[b, taps_at[s,k]]     (-1: zeros)
///
/// Patch and normalization are those of ConvNormForward; the residual is residual[b,
/// residual_at[s]]. A time step of x occurs at most once in each column of the tables. Device: cpu
/// (f32, f64).
struct ConvNormAtSteps {
  static constexpr const char* name = "conv_norm_at_steps";
  View x{};         ///< [B,T,C]
  View w{};         ///< [K,C,C]
  View bias{};      ///< [C]
  View gamma{};     ///< [C]; or [K,C] with a bank of patches
  View beta{};      ///< like gamma
  View residual{};  ///< [B,R,C], or empty
  View taps_at{};   ///< [S,K] i32, in [-1,T)
  /// [S] i32, in [0,T): the row of the selected time step in x, for a parallel patch; or empty
  View own_at{};
  View residual_at{};  ///< [S] i32, in [0,R); or empty
  PatchViews patch{};
  MutableView y{};           ///< [B,S,C]
  MutableView normalized{};  ///< saved as by ConvNormForward, for S steps
  MutableView inv_std{};
  MutableView conv{};
  MutableView bottleneck{};
  double epsilon = 1e-8;
  Insertion insertion = Insertion::none;

  Device device() const noexcept { return x.device; }
};

/// Gradients of ConvNormForward; the residual's gradient is dy itself. An empty output is not
/// computed, and inputs needed only for empty outputs are not read. The gradients of a bank are
/// those of PatchGradients, dgamma and dbeta of banks too.
struct ConvNormBackward {
  static constexpr const char* name = "conv_norm_backward";
  View x{};  ///< needed for dw, and for a parallel patch's dpatch.down
  View w{};
  View gamma{};
  View beta{};
  PatchViews patch{};
  View normalized{};
  View inv_std{};
  View conv{};        ///< needed for a serial patch's dpatch.down
  View bottleneck{};  ///< needed with a patch
  View dy{};
  MutableView dx{};
  MutableView dw{};
  MutableView dbias{};
  MutableView dgamma{};
  MutableView dbeta{};
  PatchGradients dpatch{};
  std::int64_t dilation = 1;
  Padding padding = Padding::causal;
  Insertion insertion = Insertion::none;
  std::int64_t max_gathered_bytes = 64 << 20;  ///< as for CausalConvForward

  Device device() const noexcept { return dy.device; }
};

/// Gradients of ConvNormAtSteps. An empty output is not computed, and inputs needed only for empty
/// outputs are not read.
struct ConvNormAtStepsBackward {
  static constexpr const char* name = "conv_norm_at_steps_backward";
  View x{};  ///< [B,T,C] needed for dw, and for a parallel patch's dpatch.down
  View w{};
  View gamma{};
  View beta{};
  View taps_at{};
  View own_at{};
  View residual_at{};
  PatchViews patch{};
  View normalized{};
  View inv_std{};
  View conv{};        ///< needed for a serial patch's dpatch.down
  View bottleneck{};  ///< needed with a patch
  View dy{};          ///< [B,S,C]
  MutableView dx{};   ///< [B,T,C]
  MutableView dw{};
  MutableView dbias{};
  MutableView dgamma{};
  MutableView dbeta{};
  MutableView dresidual{};  ///< [B,R,C]
  PatchGradients dpatch{};
  Insertion insertion = Insertion::none;

  Device device() const noexcept { return dy.device; }
};

/// The part of one task in ConvNormOfStreams: its patch, and its own scale and shift.
struct HalfOfTask {
  Insertion insertion = Insertion::none;
  DType dtype = DType::f32;
  std::int64_t channels = 0;    ///< C; 0: neither patch nor normalization, fits every block
  std::int64_t bottleneck = 0;  ///< D; 0: no patch
  const void* down = nullptr;   ///< [C,D]
  const void* down_bias = nullptr;
  const void* up = nullptr;  ///< [D,C]
  const void* up_bias = nullptr;
  const void* gamma = nullptr;  ///< [C]; null: that of the block
  const void* beta = nullptr;
};

/// ConvNormForward at the next time step of B streams of a causal network, each under its task. The
/// rows of earlier time steps may be anywhere:
///
///   h[b] = bias + w[0] x[b] + sum_{k>0} w[k] before[b,k-1]
///
/// Patch and normalization are those of tasks[b]; streams of a task that lie side by side are
/// computed together. A stream has the bits that it has alone. Device: cpu (f32, f64).
struct ConvNormOfStreams {
  static constexpr const char* name = "conv_norm_of_streams";
  View x{};                                    ///< [B,C]
  std::span<const void* const> before{};       ///< [B,K-1]: rows [C] of the dtype of x
  std::span<const HalfOfTask* const> tasks{};  ///< [B]
  View w{};                                    ///< [K,C,C]
  View bias{};                                 ///< [C]
  View gamma{};                                ///< [C]
  View beta{};                                 ///< [C]
  View residual{};                             ///< [B,C], or empty
  MutableView y{};                             ///< [B,C]
  double epsilon = 1e-8;

  Device device() const noexcept { return x.device; }
};

}  // namespace refrain::kernels
