#pragma once
/// Contracts: parameter updates.  Device: cpu (f32, f64).
///
/// What changes from step to step is given by value, or as `rates` in the device's memory, read
/// when the kernel runs and then used in place of learning_rate and step: so the same recorded call
/// serves every step.

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
  /// or empty; [3] f64: learning_rate, 1 / correction_1, 1 / correction_2, see below
  View rates{};
  MutableView workspace{};
};

/// Adam on the named rows alone: other rows, and their moments, keep their bytes. rows are
/// distinct; -1 entries are skipped.
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
  View rates{};  ///< or empty; as for Adam
  MutableView workspace{};
};

/// Adam on many parameters, each changed as Adam or AdamRows would change it alone. No two may
/// overlap.
struct AdamMany {
  static constexpr const char* name = "adam_many";
  std::span<const Adam> dense{};
  std::span<const AdamRows> sparse{};
  MutableView workspace{};
};

/// g = gradient + l2 * parameter; velocity = momentum * velocity + g; parameter -= learning_rate *
/// velocity. Without velocity: parameter -= learning_rate * g.
struct Sgd {
  static constexpr const char* name = "sgd";
  MutableView parameter{};
  View gradient{};
  MutableView velocity{};  ///< or empty
  double learning_rate = 0.1;
  double momentum = 0;
  double l2 = 0;
  View rates{};  ///< or empty; [1] f64: learning_rate
  MutableView workspace{};
};

/// Sgd without momentum on the named rows; -1 entries are skipped.
struct SgdRows {
  static constexpr const char* name = "sgd_rows";
  MutableView parameter{};  ///< [V,...]
  View rows{};              ///< [n] i32
  View values{};            ///< [n,...]
  double learning_rate = 0.1;
  double l2 = 0;
  View rates{};  ///< or empty; as for Sgd
  MutableView workspace{};
};

/// What scales gradients so that their norm is at most max_norm:
///   norm = sqrt(sum_i squares[i]), added in double;  factor = max_norm / norm when norm is finite and above max_norm, else 1.
struct ClipFactor {
  static constexpr const char* name = "clip_factor";
  View squares{};        ///< [n] sum of squares of each gradient
  MutableView norm{};    ///< one element
  MutableView factor{};  ///< one element
  double max_norm = 1;
  MutableView workspace{};
};

}  // namespace refrain::kernels
