#pragma once
/// Contracts: attention that reduces a chunk of hidden vectors to one. Device: cpu, cuda (f32,
/// f64).

#include "refrain/core/view.hpp"

namespace refrain::kernels {

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

  Device device() const noexcept { return first.device; }
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

  Device device() const noexcept { return first.device; }
};

}  // namespace refrain::kernels
