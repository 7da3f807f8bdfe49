#pragma once
/// The models that can be trained.

#include <concepts>

#include "refrain/data/batches.hpp"
#include "refrain/nn/scores.hpp"

namespace refrain {

/// A model that learns to predict the next item.
///
///   std::int64_t length() const
///       T, the number of newest items of a history that the model reads
///   Variable loss(const SequenceBatch& batch)
///       scalar: the mean loss over the targets [B,T] that are not padding_id, 0 without any
///
/// loss() may be const or not; the batch is on the model's device.
template <class M>
concept TrainableModel = std::derived_from<M, Module> &&
    requires(M& model, const SequenceBatch& batch) {
  { std::as_const(model).length() } -> std::convertible_to<std::int64_t>;
  { model.loss(batch) } -> std::convertible_to<Variable>;
};

namespace detail {

/// Fails the compilation with a message for each function that a model lacks.
template <class M>
void expect_trainable_model() {
  expect_length<M>();
  static_assert(
      requires(M & model, const SequenceBatch& batch) {
        { model.loss(batch) } -> std::convertible_to<Variable>;
      },
      "the model needs a function `Variable loss(const SequenceBatch& batch)`: the mean loss of "
      "predicting batch.targets from batch.ids");
}

}  // namespace detail
}  // namespace refrain
