#pragma once
/// Contracts: gather of table rows by id, and its gradients. Device: cpu, cuda (f32, f64).

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// out[i,:] = table[ids[i],:].  The caller has checked the ids.
struct GatherRows {
  static constexpr const char* name = "gather_rows";
  View table{};       ///< [V,C]
  View ids{};         ///< [n] i32
  MutableView out{};  ///< [n,C]

  Device device() const noexcept { return table.device; }
};

/// Sums rows with equal ids, in the order of their positions: rows = the distinct ids in ascending
/// order, then -1; values[j,:] = sum of dy[i,:] over ids[i] == rows[j]; values past the last
/// distinct id are zero. Rows of negative ids are skipped. On CUDA the sorted ids are divided into
/// pieces of 32, and a sum over several pieces adds their sums in order.
struct CoalesceRows {
  static constexpr const char* name = "coalesce_rows";
  View ids{};            ///< [n] i32
  View dy{};             ///< [n,C]
  MutableView rows{};    ///< [n] i32
  MutableView values{};  ///< [n,C]

  Device device() const noexcept { return dy.device; }
};

/// to[rows[j],:] += values[j,:] for rows[j] >= 0; rows are distinct.
struct AddRows {
  static constexpr const char* name = "add_rows";
  View rows{};       ///< [n] i32
  View values{};     ///< [n,C]
  MutableView to{};  ///< [V,C]

  Device device() const noexcept { return to.device; }
};

}  // namespace refrain::kernels
