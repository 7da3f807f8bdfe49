#pragma once
/// Contracts: replaces the rows of one id by a given row. Device: cpu, cuda (f32, f64).

#include <cstdint>

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// y[i,:] = row[:] where ids[i] == id, else x[i,:]. With `bank_rows` of B sequences, n / B rows
/// each, the rows of sequence b are replaced by row[bank_rows[b],:].
struct ReplaceRows {
  static constexpr const char* name = "replace_rows";
  View x{};          ///< [n,C]
  View ids{};        ///< [n] i32
  View row{};        ///< [C]; of a bank [K,C]
  View bank_rows{};  ///< [B] i32, ascending, in [0,K); empty: no bank
  MutableView y{};   ///< [n,C]
  std::int64_t id = 0;

  Device device() const noexcept { return x.device; }
};

/// Gradients of ReplaceRows: drow[:] = sum of dy[i,:] over ids[i] == id; dx[i,:] = 0 there and
/// dy[i,:] elsewhere. Of a bank, drow [G,C] has the sums of the G rows in `bank_rows` that are not
/// 0, ascending. An empty output is not computed.
struct ReplaceRowsBackward {
  static constexpr const char* name = "replace_rows_backward";
  View ids{};          ///< [n] i32
  View bank_rows{};    ///< as for ReplaceRows
  View dy{};           ///< [n,C]
  MutableView dx{};    ///< [n,C]
  MutableView drow{};  ///< [C]; of a bank [G,C]
  std::int64_t id = 0;

  Device device() const noexcept { return dy.device; }
};

}  // namespace refrain::kernels
