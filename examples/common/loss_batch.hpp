#pragma once
/// The inputs of a training step's loss.

#include "refrain/core/random.hpp"
#include "refrain/core/tensor.hpp"
#include "refrain/data/batches.hpp"
#include "refrain/data/samplers.hpp"
#include "refrain/ops/loss.hpp"

namespace refrain::examples {

struct LossBatch {
  Tensor ids;
  Tensor targets;
  Candidates candidates{};  ///< only for a sampled loss

  /// Number of targets of a batch on the host that count in the loss.
  std::int64_t counted() const { return counted_ids(targets); }

  bool is_sampled() const { return candidates.ids.defined(); }

  /// Calls function(tensor) for each tensor.
  template <class Function>
  void visit(Function&& function) {
    for (Tensor* tensor :
         {&ids, &targets, &candidates.ids, &candidates.log_q_true, &candidates.log_q_negative})
      function(*tensor);
  }
};

/// Samples `count` ids and computes the corrections of sampled softmax for these targets.
inline Candidates draw_candidates(CandidateSampler& sampler, std::int64_t count,
                                  const Tensor& targets, Random& random) {
  const CandidateSample sample = sampler.draw(count, random);
  return {.ids = sample.ids,
          .log_q_true = sampler.log_expected_count(targets.reshape({targets.numel()}), sample),
          .log_q_negative = sampler.log_expected_count(sample.ids, sample)};
}

}  // namespace refrain::examples
