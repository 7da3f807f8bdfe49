#pragma once
/// Contracts: replaces the rows of one id by a given row. Device: cpu, cuda (f32, f64).

#include <cstdint>

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// y[i,:] = row[:] where ids[i] == id, else x[i,:].
struct ReplaceRows {
  static constexpr const char* name = "replace_rows";
  View x{};         ///< [n,C]
  View ids{};       ///< [n] i32
  View row{};       ///< [C]
  MutableView y{};  ///< [n,C]
  std::int64_t id = 0;

  Device device() const noexcept { return x.device; }
};

/// Gradients of ReplaceRows: drow[:] = sum of dy[i,:] over ids[i] == id; dx[i,:] = 0 there and
/// dy[i,:] elsewhere. An empty output is not computed.
struct ReplaceRowsBackward {
  static constexpr const char* name = "replace_rows_backward";
  View ids{};          ///< [n] i32
  View dy{};           ///< [n,C]
  MutableView dx{};    ///< [n,C]
  MutableView drow{};  ///< [C]
  std::int64_t id = 0;

  Device device() const noexcept { return dy.device; }
};

}  // namespace refrain::kernels
