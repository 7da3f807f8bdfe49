#pragma once
/// cuDNN as a second implementation of the dilated convolution and of an LSTM segment, with which
/// tests and benchmarks compare the library. Device: cuda (f32). This header includes no toolkit
/// header.
///
/// Math modes: exact uses engines without tensor cores, tf32 allows them; bf16 throws Unsupported
/// (cuDNN rounds no f32 tensors to it). Engines that cuDNN reports as nondeterministic are not
/// used.

#include <cstddef>
#include <string>

#include "refrain/kernels/causal_conv.hpp"
#include "refrain/kernels/entry.hpp"
#include "refrain/kernels/recurrent.hpp"

namespace refrain::kernels::cudnn {

/// An LSTM over one segment as cuDNN computes it, including the product of its input.
///
///   a_t = x_t input_weight^T + h_{t-1} weight^T, then as LstmForward
struct LstmLayer {
  static constexpr const char* name = "cudnn lstm_layer";
  View x{};              ///< [L,B,E]
  View input_weight{};   ///< [4H,E]; or empty: the identity, and E = 4H
  View weight{};         ///< [4H,H]
  View h0{};             ///< [B,H]
  View c0{};             ///< [B,H]
  MutableView h{};       ///< [L,B,H]
  MutableView c_last{};  ///< [B,H]
  /// lstm_reserve_bytes(), saved for the backward pass; or empty: no backward pass follows
  MutableView reserve{};

  Device device() const noexcept { return h.device; }
};

/// Gradients of LstmLayer.  An empty output is not computed; an empty dh or dc_last is zero.
struct LstmLayerBackward {
  static constexpr const char* name = "cudnn lstm_layer_backward";
  /// arguments of the forward pass. Its reserve is changed, so each forward pass allows one
  /// backward pass
  LstmLayer forward{};
  View dh{};         ///< [L,B,H]
  View dc_last{};    ///< [B,H]
  MutableView dx{};  ///< [L,B,E]; always given
  MutableView dinput_weight{};
  MutableView dweight{};
  MutableView dh0{};
  MutableView dc0{};
  bool add_dweight = false;  ///< add to dweight

  Device device() const noexcept { return dx.device; }
};

/// LstmBackward from the inputs of LstmForward: the backward pass of cuDNN starts from its reserve
/// and not from `c` and `gates`, so the segment is computed forward again.
struct LstmBackwardFromInputs {
  static constexpr const char* name = "cudnn lstm_backward";
  LstmForward forward{};    ///< inputs, shared, weight, h0, c0
  LstmBackward backward{};  ///< dh, dc_last and the outputs

  Device device() const noexcept { return backward.device(); }
};

/// The functions of cuDNN; all are empty in a build without it.
struct Entries {
  Entry<CausalConvForward> causal_conv_forward{};
  Entry<CausalConvBackward> causal_conv_backward{};
  /// Multiplies the inputs of the contract by an identity matrix, which changes no bit of them
  /// (MathMode::exact) and costs 32 L B H^2 FLOPs: for comparing results, not times. Throws
  /// Unsupported when `c` or `gates` are requested.
  Entry<LstmForward> lstm_forward{};
  Entry<LstmBackwardFromInputs> lstm_backward{};
  Entry<LstmLayer> lstm_layer{};
  Entry<LstmLayerBackward> lstm_layer_backward{};
  std::size_t (*lstm_reserve_bytes)(const LstmLayer& args) = nullptr;
  /// Bytes of workspace of the plans of cuDNN for a convolution on a described GPU; requires no
  /// GPU. `device` is the JSON of CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION. Throws OptionError
  /// when this cuDNN describes devices by other properties, Unsupported when it has no engine.
  std::size_t (*forward_plan_bytes)(const CausalConvForward& args,
                                    const std::string& device) = nullptr;
  std::size_t (*backward_plan_bytes)(const CausalConvBackward& args,
                                     const std::string& device) = nullptr;
};

const Entries& entries();

}  // namespace refrain::kernels::cudnn
