#pragma once
/// Contract: the largest elements of each row.  Device: cpu, cuda (f32, f64).

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// The k largest of each row in falling order, equal ones by rising index, NaN last. scores
/// [rows,V].
struct TopK {
  static constexpr const char* name = "top_k";
  View scores{};
  MutableView values{};   ///< [rows,k]
  MutableView indices{};  ///< [rows,k] i32

  Device device() const noexcept { return scores.device; }
};

}  // namespace refrain::kernels
