#pragma once
/// Scores of items after a history, and the models that provide them.

#include <concepts>
#include <cstdint>
#include <utility>

#include "refrain/nn/linear.hpp"
#include "refrain/ops/steps.hpp"

namespace refrain {

/// Scores of all items after the last time step, with recording off: hidden vectors [B,T,C] ->
/// [B,items].
inline Tensor last_scores(const Variable& hidden, const Linear& items) {
  const NoGrad off;
  return items(select_step(hidden, -1)).value();
}

/// A model that scores items after a history.
///
///   std::int64_t length() const
///       T, the number of newest items of a history that the model reads, in training,
///       evaluation, recommendation and its file
///   Tensor scores(const Tensor& ids)
///       i32 [B,T], padding on the left -> f32 [B,ids], a score of every id
///
/// scores() may be const or not; it is called in evaluation mode with recording off, with ids on
/// the model's device.
template <class M>
concept ScoringModel = std::derived_from<M, Module> && requires(M& model, const Tensor& ids) {
  { std::as_const(model).length() } -> std::convertible_to<std::int64_t>;
  { model.scores(ids) } -> std::convertible_to<Tensor>;
};

namespace detail {

/// The length() of a model; 0 when it has none.
template <class M>
std::int64_t length_of(const M& model) {
  if constexpr (requires {
                  { model.length() } -> std::convertible_to<std::int64_t>;
                }) {
    return model.length();
  } else {
    return 0;
  }
}

template <class M>
void expect_length() {
  static_assert(std::derived_from<M, Module>,
                "the model must derive from refrain::Module, which names its parameters");
  static_assert(
      requires(const M& model) {
        { model.length() } -> std::convertible_to<std::int64_t>;
      },
      "the model needs a function `std::int64_t length() const`: how many of a history's newest "
      "items it reads");
}

/// Fails the compilation with a message for each function that a model lacks.
template <class M>
void expect_scoring_model() {
  expect_length<M>();
  static_assert(
      requires(M & model, const Tensor& ids) {
        { model.scores(ids) } -> std::convertible_to<Tensor>;
      },
      "the model needs a function `Tensor scores(const Tensor& ids)`: i32 [B,T] -> [B,ids], the "
      "scores of all ids after the last item");
}

/// Sets evaluation mode and turns recording off during its lifetime.
class EvaluationScope {
 public:
  explicit EvaluationScope(Module& model) : model_(model), was_training_(model.is_training()) {
    model_.eval();
  }
  EvaluationScope(const EvaluationScope&) = delete;
  EvaluationScope& operator=(const EvaluationScope&) = delete;
  ~EvaluationScope() {
    if (was_training_) model_.train();
  }

 private:
  Module& model_;
  bool was_training_;
  NoGrad off_;
};

}  // namespace detail
}  // namespace refrain
