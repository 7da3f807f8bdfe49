#pragma once
/// Contracts: external memory, and the attention that turns a chunk of hidden vectors into one.
/// Device: cpu (f32, f64).

#include <cstdint>

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// What a memory holds for a batch of B sequences: N words of W elements and R read heads.
template <class V>
struct MemoryViews {
  V words{};            ///< [B,N,W]
  V usage{};            ///< [B,N]
  V precedence{};       ///< [B,N]
  V link{};             ///< [B,N,N]
  V write_weighting{};  ///< [B,N]
  V read_weightings{};  ///< [B,R,N]
};

/// One write and one read of a DNC memory (Graves et al. 2016) with one write head, in one pass
/// over each sequence's memory.
///
/// The interface vector holds, in this order: read keys [R,W], read strengths [R], write key [W],
/// write strength, erase [W], write vector [W], free gates [R], allocation gate, write gate, read
/// modes [R,3] (backward, content, forward); all raw. Strengths become 1 + softplus, erase and
/// gates sigmoid, modes softmax over the three.
///
///   usage:      u' = (u + w - u w) prod_r (1 - free_r read_r)                            (w, read_r: old weightings)
///   allocation: in rising order phi of u' (ties: lower index first), a[phi_j] = (1 - u'[phi_j]) prod_{i<j} u'[phi_i]
///   content(M, k, s) = softmax_n(s cos(M_n, k)), vectors normalized as x / sqrt(max(sum x^2, 1e-12))
///   write:      w' = write_gate (alloc_gate a + (1 - alloc_gate) content(M, write_key, write_strength))
///               M' = M (1 - w' erase^T) + w' vector^T
///   link:       L'_ij = (1 - w'_i - w'_j) L_ij + w'_i p_j, L'_ii = 0;   p' = (1 - sum w') p + w'             (p: old precedence)
///   read:       read'_r = backward_r L'^T read_r + content_r content(M', key_r, strength_r) + forward_r L' read_r
///               vector_r = M'^T read'_r
struct MemoryStepForward {
  static constexpr const char* name = "memory_step_forward";
  View interface {};  ///< [B, R W + 3 W + 5 R + 3]
  MemoryViews<View> before{};
  MemoryViews<MutableView> after{};
  MutableView read_vectors{};  ///< [B,R,W]
  MutableView workspace{};
};

/// Gradients of MemoryStepForward through every value; the order of the usages counts as constant.
/// An empty gradient of `after` or of the read vectors is zero; an empty output is not computed.
struct MemoryStepBackward {
  static constexpr const char* name = "memory_step_backward";
  View interface {};
  MemoryViews<View> before{};
  MemoryViews<View> after{};
  MemoryViews<View> dafter{};
  View dread_vectors{};
  MutableView dinterface{};
  MemoryViews<MutableView> dbefore{};
  MutableView workspace{};
};

/// Attention over the l hidden vectors of a chunk, c_1 = first, c_2.. = rest:
///
///   z_j = score . tanh(weight c_j + query),   alpha = softmax(z),   out = sum_j alpha_j c_j
///
/// Source: CmnRec, equations 8 to 10; query = U r is computed outside.
struct ChunkAttentionForward {
  static constexpr const char* name = "chunk_attention_forward";
  View first{};         ///< [B,H]
  View rest{};          ///< [l-1,B,H], or empty when l = 1
  View weight{};        ///< [A,H]
  View query{};         ///< [B,A]
  View score{};         ///< [A]
  MutableView out{};    ///< [B,H]
  MutableView alpha{};  ///< [l,B] saved, or empty
  MutableView tanh{};   ///< [l,B,A] saved, or empty
  MutableView workspace{};
};

/// Gradients of ChunkAttentionForward.  An empty output is not computed.
struct ChunkAttentionBackward {
  static constexpr const char* name = "chunk_attention_backward";
  View first{};
  View rest{};
  View weight{};
  View score{};
  View alpha{};
  View tanh{};
  View dout{};  ///< [B,H]
  MutableView dfirst{};
  MutableView drest{};
  MutableView dweight{};
  MutableView dquery{};
  MutableView dscore{};
  MutableView workspace{};
};

}  // namespace refrain::kernels
