#pragma once
/// Contract: the largest elements of each row.  Device: cpu, cuda (f32, f64).

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// The k largest of each row, falling; equal scores: lower index first. NaN ranks last. scores
/// [rows,V].
struct TopK {
  static constexpr const char* name = "top_k";
  View scores{};
  MutableView values{};   ///< [rows,k]
  MutableView indices{};  ///< [rows,k] i32
  MutableView workspace{};
};

}  // namespace refrain::kernels
