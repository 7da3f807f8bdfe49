#pragma once
/// Contracts that work on rows of the last axis: normalization, gathering, sums. Device: cpu (f32,
/// f64).

#include <cstdint>

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// y = gamma * normalized + beta, normalized = (x - mean) * inv_std, inv_std = 1 / sqrt(var +
/// epsilon), variance biased; x [rows,C].
struct LayerNormForward {
  static constexpr const char* name = "layer_norm_forward";
  View x{};
  View gamma{};
  View beta{};
  MutableView y{};
  MutableView normalized{};  ///< [rows,C] saved, or empty
  MutableView inv_std{};     ///< [rows] saved, or empty
  double epsilon = 1e-8;
  MutableView workspace{};
};

/// Gradients of LayerNormForward.  An empty output is not computed.
struct LayerNormBackward {
  static constexpr const char* name = "layer_norm_backward";
  View gamma{};
  View normalized{};
  View inv_std{};
  View dy{};
  MutableView dx{};
  MutableView dgamma{};
  MutableView dbeta{};
  MutableView workspace{};
};

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

/// y[b,:] = x[b,step,:];  x [B,T,C].
struct SelectStep {
  static constexpr const char* name = "select_step";
  View x{};
  MutableView y{};  ///< [B,C]
  std::int64_t step = 0;
  MutableView workspace{};
};

/// dx[b,step,:] = dy[b,:], all else zero.
struct SelectStepBackward {
  static constexpr const char* name = "select_step_backward";
  View dy{};
  MutableView dx{};  ///< [B,T,C]
  std::int64_t step = 0;
  MutableView workspace{};
};

/// y[i,:] = row[:] where ids[i] == id, else x[i,:].
struct ReplaceRows {
  static constexpr const char* name = "replace_rows";
  View x{};         ///< [n,C]
  View ids{};       ///< [n] i32
  View row{};       ///< [C]
  MutableView y{};  ///< [n,C]
  std::int64_t id = 0;
  MutableView workspace{};
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
  MutableView workspace{};
};

/// out[c] = sum over rows of x[row,c]; x [rows,C].
struct SumRows {
  static constexpr const char* name = "sum_rows";
  View x{};
  MutableView out{};
  MutableView workspace{};
};

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
