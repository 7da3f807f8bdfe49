#pragma once
/// Contracts: one step of an external memory.  Device: cpu, cuda (f32, f64).

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// The state of a memory for a batch of B sequences: N words of W elements and R read heads.
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
/// over the memory of each sequence.
///
/// The interface vector holds, in this order: read keys [R,W], read strengths [R], write key [W],
/// write strength, erase [W], write vector [W], free gates [R], allocation gate, write gate, read
/// modes [R,3] (backward, content, forward); all raw. The kernel applies 1 + softplus to strengths,
/// sigmoid to erase and gates, softmax over the three to modes.
///
///   usage:      u' = (u + w - u w) prod_r (1 - free_r read_r)       (w, read_r: old weightings)
///   allocation: a[phi_j] = (1 - u'[phi_j]) prod_{i<j} u'[phi_i]
///               (phi: ascending order of u', ties by index)
///   content(M, k, s) = softmax_n(s cos(M_n, k))
///               (vectors normalized as x / sqrt(max(sum x^2, 1e-12)))
///   write:      w' = write_gate (alloc_gate a
///                                + (1 - alloc_gate) content(M, write_key, write_strength))
///               M' = M (1 - w' erase^T) + w' vector^T
///   link:       L'_ij = (1 - w'_i - w'_j) L_ij + w'_i p_j,   L'_ii = 0
///               p' = (1 - sum w') p + w'                            (p: old precedence)
///   read:       read'_r = backward_r L'^T read_r + content_r content(M', key_r, strength_r)
///                         + forward_r L' read_r
///               vector_r = M'^T read'_r
struct MemoryStepForward {
  static constexpr const char* name = "memory_step_forward";
  View interface {};  ///< [B, R W + 3 W + 5 R + 3]
  MemoryViews<View> before{};
  MemoryViews<MutableView> after{};
  MutableView read_vectors{};  ///< [B,R,W]

  Device device() const noexcept { return interface.device; }
};

/// Gradients of MemoryStepForward through all values; the order of the usages is treated as
/// constant. An empty gradient of `after` or of the read vectors means zero; an empty output is not
/// computed.
struct MemoryStepBackward {
  static constexpr const char* name = "memory_step_backward";
  View interface {};
  MemoryViews<View> before{};
  MemoryViews<View> after{};
  MemoryViews<View> dafter{};
  View dread_vectors{};
  MutableView dinterface{};
  MemoryViews<MutableView> dbefore{};

  Device device() const noexcept { return interface.device; }
};

}  // namespace refrain::kernels
