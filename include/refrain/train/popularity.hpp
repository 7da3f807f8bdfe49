#pragma once
/// The baseline of the most popular items.

#include <cstdint>
#include <span>

#include "refrain/core/export.hpp"
#include "refrain/core/tensor.hpp"
#include "refrain/data/ragged_ids.hpp"
#include "refrain/nn/module.hpp"

namespace refrain {

/// log(c + 1/2) for the number of occurrences c of each id in [0, size) -> f32 [size]. As logits
/// they are the label frequencies, so that their cross-entropy is meaningful. Throws OptionError
/// unless size >= 1 and every id is in [0, size).
REFRAIN_API Tensor log_frequencies(std::span<const std::int32_t> ids, std::int64_t size);

/// log_frequencies() of the ids of all rows.
REFRAIN_API Tensor log_frequencies(const RaggedIds& rows, std::int64_t size);

/// One row of scores f32 [V] for each of `count` histories -> f32 [count,V]. Throws ShapeError and
/// DTypeError for other tensors.
REFRAIN_API Tensor repeat_row(const Tensor& row, std::int64_t count);

/// Scores every item by its frequency, whatever the history: a ScoringModel.
///
///   MostPopular model(log_frequencies(data.training, data.vocabulary.size()), 50);
///   const RankingMetrics metrics = evaluate(model, data.test);
class REFRAIN_API MostPopular final : public Module {
 public:
  /// log_frequency: f32 [V], a score of every id. `length` is what length() returns. Throws
  /// ShapeError, DTypeError, and OptionError unless length >= 1.
  MostPopular(const Tensor& log_frequency, std::int64_t length);

  std::int64_t length() const noexcept { return length_; }
  /// i32 [B,T] -> f32 [B,V] on the CPU: the same scores for each history.
  Tensor scores(const Tensor& ids) const;

  void visit_members(Visitor& visitor) override {
    visitor.parameter("log_frequency", log_frequency_);
  }

 private:
  std::int64_t length_;
  Parameter log_frequency_;
};

}  // namespace refrain
