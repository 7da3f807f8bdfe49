#pragma once
/// Losses with a Linear layer as item table: the operations of ops/loss.hpp.

#include "refrain/nn/initialize.hpp"
#include "refrain/nn/linear.hpp"
#include "refrain/ops/loss.hpp"

namespace refrain {

/// Softmax over all items, fused with its linear layer.
inline Variable softmax_loss(const Variable& hidden, const Linear& items, const Tensor& targets,
                             SoftmaxLossOptions options = {}) {
  return softmax_loss(hidden, items.weight(), items.bias(), targets, options);
}

/// Softmax over sampled items, fused with its linear layer.
inline Variable sampled_softmax_loss(const Variable& hidden, const Linear& items,
                                     const Tensor& targets, const Candidates& candidates,
                                     SampledSoftmaxLossOptions options = {}) {
  return sampled_softmax_loss(hidden, items.weight(), items.bias(), targets, candidates, options);
}

}  // namespace refrain
