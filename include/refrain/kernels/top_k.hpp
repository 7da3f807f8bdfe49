#pragma once
/// Contract: the largest elements of each row.  Device: cpu, cuda (f32, f64).

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// The k largest elements of each row in descending order, ties by ascending index, NaN last.
/// scores [rows,V].
struct TopK {
  static constexpr const char* name = "top_k";
  View scores{};
  MutableView values{};   ///< [rows,k]
  MutableView indices{};  ///< [rows,k] i32

  Device device() const noexcept { return scores.device; }
};

}  // namespace refrain::kernels
