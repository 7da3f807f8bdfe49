#pragma once
/// Contracts of parameter updates.  Device: cpu, cuda (f32, f64).
///
/// Values that change with the training step are passed by value, or as `rates` in device memory.
/// The kernel reads `rates` when it runs and uses them in place of learning_rate and step, so that
/// one captured call serves every training step.

#include <cstdint>
#include <span>

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// g = gradient + l2 * parameter; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
/// parameter -= learning_rate * ( (m / correction1) / (sqrt(v / correction2) + epsilon) + decay *
/// parameter ) with correction_i = 1 - beta_i^step. `decay` is AdamW's decoupled weight decay.
struct Adam {
  static constexpr const char* name = "adam";
  MutableView parameter{};
  View gradient{};
  MutableView m{};
  MutableView v{};
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double l2 = 0;
  double decay = 0;
  std::int64_t step = 1;  ///< counts from 1
  /// or empty; [3] f64: learning_rate, 1 / correction_1, 1 / correction_2
  View rates{};

  Device device() const noexcept { return parameter.device; }
};

/// Adam on the rows parameter[rows[j]] only: other rows and their moments are unchanged. rows are
/// distinct; entries of -1 are skipped.
struct AdamRows {
  static constexpr const char* name = "adam_rows";
  MutableView parameter{};  ///< [V,...]
  View rows{};              ///< [n] i32
  View values{};            ///< [n,...]
  MutableView m{};
  MutableView v{};
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double l2 = 0;
  double decay = 0;
  std::int64_t step = 1;
  View rates{};  ///< as for Adam; or empty

  Device device() const noexcept { return parameter.device; }
};

/// Adam on many parameters in one call, with the results of Adam or AdamRows for each. Parameters
/// must not overlap.
struct AdamMany {
  static constexpr const char* name = "adam_many";
  std::span<const Adam> dense{};
  std::span<const AdamRows> sparse{};

  /// Device::cpu when there are no parameters.
  Device device() const noexcept {
    if (!dense.empty()) return dense.front().device();
    return sparse.empty() ? Device::cpu : sparse.front().device();
  }
};

/// g = gradient + l2 * parameter; velocity = momentum * velocity + g; parameter -= learning_rate *
/// velocity. Without velocity: parameter -= learning_rate * g.
struct Sgd {
  static constexpr const char* name = "sgd";
  MutableView parameter{};
  View gradient{};
  MutableView velocity{};  ///< of the shape of parameter; or empty
  double learning_rate = 0.1;
  double momentum = 0;
  double l2 = 0;
  View rates{};  ///< [1] f64: learning_rate; or empty

  Device device() const noexcept { return parameter.device; }
};

/// Sgd without momentum on the rows parameter[rows[j]] only; -1 entries are skipped.
struct SgdRows {
  static constexpr const char* name = "sgd_rows";
  MutableView parameter{};  ///< [V,...]
  View rows{};              ///< [n] i32
  View values{};            ///< [n,...]
  double learning_rate = 0.1;
  double l2 = 0;
  View rates{};  ///< as for Sgd; or empty

  Device device() const noexcept { return parameter.device; }
};

/// The factor that scales the norm of the gradients down to max_norm:
///   norm = sqrt(sum_i squares[i]), added in double
///   factor = max_norm / norm when norm is finite and above max_norm, else 1
struct ClipFactor {
  static constexpr const char* name = "clip_factor";
  View squares{};        ///< [n] sum of squares of each gradient
  MutableView norm{};    ///< one element
  MutableView factor{};  ///< one element
  double max_norm = 1;

  Device device() const noexcept { return squares.device; }
};

}  // namespace refrain::kernels
