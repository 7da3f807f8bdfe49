#pragma once
/// Contracts: one segment of a recurrent layer, L time steps in one call.  Device: cpu, cuda (f32,
/// f64).
///
/// Sequences are time-major, [L,B,C]: the rows of a time step are contiguous. One product computes
/// the input's part of the gates for all time steps beforehand. A part that is constant over the
/// segment, such as that of a read vector, is passed once, as `shared`.

#include <cstdint>

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// Gates i, f, g, o side by side:
///
///   a_t = inputs_t + shared + h_{t-1} weight^T
///   c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g),   h_t = sigmoid(o) tanh(c_t)
struct LstmForward {
  static constexpr const char* name = "lstm_forward";
  View inputs{};         ///< [L,B,4H]; bias included
  View shared{};         ///< [B,4H], or empty
  View weight{};         ///< [4H,H]
  View packed{};         ///< packed by PackWeights for x weight^T; or empty
  View h0{};             ///< [B,H]
  View c0{};             ///< [B,H]
  MutableView h{};       ///< [L,B,H]
  MutableView c{};       ///< [L,B,H] saved; or empty
  MutableView gates{};   ///< [L,B,4H] saved: sigmoid(i), sigmoid(f), tanh(g), sigmoid(o); or empty
  MutableView c_last{};  ///< [B,H]

  Device device() const noexcept { return inputs.device; }
};

/// Gradients of LstmForward.  An empty output is not computed; an empty dh or dc_last is zero.
struct LstmBackward {
  static constexpr const char* name = "lstm_backward";
  View weight{};
  View packed{};  ///< packed by PackWeights for x weight; or empty
  View h0{};
  View c0{};
  View h{};  ///< needed for dweight
  View c{};
  View gates{};
  View dh{};                 ///< [L,B,H]
  View dc_last{};            ///< [B,H]
  MutableView dinputs{};     ///< [L,B,4H]; always given
  MutableView dshared{};     ///< [B,4H] = sum over steps of dinputs
  MutableView dweight{};     ///< [4H,H]
  MutableView dh0{};         ///< [B,H]
  MutableView dc0{};         ///< [B,H]
  bool add_dweight = false;  ///< add to dweight, which holds the sum over other segments

  Device device() const noexcept { return weight.device; }
};

/// Position of a GRU's reset gate: after the recurrent product (cuDNN) or before it (Cho et al.
/// 2014).
enum class GruReset : std::uint8_t { after, before };

/// Gates r, z, n side by side; u = h_{t-1} weight^T + bias, by thirds:
///
///   r = sigmoid(inputs_r + u_r),  z = sigmoid(inputs_z + u_z),   shared is added to inputs
///   n = tanh(inputs_n + r * u_n)                        (GruReset::after)
///   n = tanh(inputs_n + (r * h_{t-1}) weight_n^T + bias_n)   (GruReset::before)
///   h_t = (1 - z) n + z h_{t-1}
struct GruForward {
  static constexpr const char* name = "gru_forward";
  View inputs{};        ///< [L,B,3H]; input bias included
  View shared{};        ///< [B,3H], or empty
  View weight{};        ///< [3H,H]
  View bias{};          ///< [3H] of the recurrent product
  View packed{};        ///< as for LstmForward (only GruReset::after); or empty
  View h0{};            ///< [B,H]
  MutableView h{};      ///< [L,B,H]
  MutableView gates{};  ///< [L,B,3H] saved: r, z, n; or empty
  MutableView u_n{};    ///< [L,B,H] saved: u_n (only GruReset::after); or empty
  GruReset reset = GruReset::after;

  Device device() const noexcept { return inputs.device; }
};

/// Gradients of GruForward.  An empty output is not computed.
struct GruBackward {
  static constexpr const char* name = "gru_backward";
  View weight{};
  View packed{};  ///< as for LstmBackward (only GruReset::after); or empty
  View h0{};
  View h{};
  View gates{};
  View u_n{};                ///< only GruReset::after
  View dh{};                 ///< [L,B,H]
  MutableView dinputs{};     ///< [L,B,3H]; always given
  MutableView dshared{};     ///< [B,3H] = sum over steps of dinputs
  MutableView dweight{};     ///< [3H,H]
  MutableView dbias{};       ///< [3H]
  MutableView dh0{};         ///< [B,H]
  bool add_dweight = false;  ///< add to dweight and dbias, which hold the sums over other segments
  GruReset reset = GruReset::after;

  Device device() const noexcept { return weight.device; }
};

}  // namespace refrain::kernels
