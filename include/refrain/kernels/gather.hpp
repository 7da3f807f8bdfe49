#pragma once
/// Contracts: rows picked from a table by id, and gradients brought back to its rows.  Device: cpu,
/// cuda (f32, f64).

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// out[i,:] = table[ids[i],:].  The caller has checked the ids.
struct GatherRows {
  static constexpr const char* name = "gather_rows";
  View table{};       ///< [V,C]
  View ids{};         ///< [n] i32
  MutableView out{};  ///< [n,C]
  MutableView workspace{};
};

/// Sums rows that share an id, in the order of their positions: rows = the distinct ids rising,
/// then -1; values[j,:] = sum of dy[i,:] over ids[i] == rows[j]; values past the last distinct id
/// are zero. Rows of negative ids are left out. (On CUDA the sorted ids are cut every 32; a sum
/// over several stretches adds the sums of the stretches, in order.)
struct CoalesceRows {
  static constexpr const char* name = "coalesce_rows";
  View ids{};            ///< [n] i32
  View dy{};             ///< [n,C]
  MutableView rows{};    ///< [n] i32
  MutableView values{};  ///< [n,C]
  MutableView workspace{};
};

/// to[rows[j],:] += values[j,:] for rows[j] >= 0; rows are distinct.
struct AddRows {
  static constexpr const char* name = "add_rows";
  View rows{};       ///< [n] i32
  View values{};     ///< [n,C]
  MutableView to{};  ///< [V,C]
  MutableView workspace{};
};

}  // namespace refrain::kernels
