#pragma once
/// The baseline of items that occur together.

#include <cstdint>
#include <span>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/core/tensor.hpp"
#include "refrain/data/ragged_ids.hpp"
#include "refrain/data/vocabulary.hpp"
#include "refrain/nn/module.hpp"

namespace refrain {

/// The weight of a pair: item i of the history and item j occur together in c_ij rows, and in c_i
/// and c_j rows each.
enum class CooccurrenceWeight : std::uint8_t {
  count,        ///< c_ij
  conditional,  ///< c_ij / c_i: the share of the rows with i that contain j
  cosine        ///< c_ij / sqrt(c_i c_j)
};

/// Options of Cooccurrence.
struct CooccurrenceOptions {
  std::int64_t ids = 0;                   ///< size of the vocabulary of the histories, required
  std::int32_t first_item = special_ids;  ///< smaller ids of the histories are special: no items
  std::int64_t length = 50;               ///< newest items of a history that count
  CooccurrenceWeight weight = CooccurrenceWeight::conditional;
};

/// Scores items by how often they occur in one training sequence with items of the history: a
/// ScoringModel that counts and does not train.
///
///   score(j) = sum over the distinct items i != j of the history of w_ij,
///       w_ij = c_ij, c_ij / c_i  or  c_ij / sqrt(c_i c_j)
///
/// c_ij is the number of training sequences that contain i and j. Items without any common sequence
/// have the score -1 / (1 + c_j): they come last, the frequent ones first. Memory: 8 bytes for each
/// event; the pairs are not stored: a history visits the sequences that contain one of its items.
///
///   Cooccurrence model(data.training, {.ids = data.vocabulary.size(), .length = 50});
///   const RankingMetrics metrics = evaluate(model, data.test);
class REFRAIN_API Cooccurrence final : public Module {
 public:
  /// Throws OptionError unless 0 <= first_item < ids, length >= 1, and all ids are in [0, ids).
  Cooccurrence(const RaggedIds& sequences, const CooccurrenceOptions& options);

  /// Scores the items of another domain: row i of `sources` and row i of `targets` are one training
  /// sequence, c_ij counts the rows with i in the source and j in the target, and no pair is left
  /// out. Target ids are in [0, target_ids), without special ids. Throws also when the numbers of
  /// rows differ.
  Cooccurrence(const RaggedIds& sources, const RaggedIds& targets, std::int64_t target_ids,
               const CooccurrenceOptions& options);

  std::int64_t length() const noexcept { return options_.length; }
  /// i32 [B,T] on the CPU -> f32 [B,V], V = ids or target_ids; of more than length() items the
  /// newest count. Throws ShapeError, DTypeError, and OptionError for an id outside [0, ids).
  Tensor scores(const Tensor& ids) const;

  void visit_members(Visitor&) override {}

 private:
  struct Scratch;

  void count(const RaggedIds& sources, const RaggedIds& targets, std::int64_t target_ids);
  void score(std::span<const std::int32_t> history, Scratch& scratch, float* out) const;

  CooccurrenceOptions options_;
  bool is_one_domain_;
  std::vector<std::int64_t> rows_begin_;  ///< of each source item in rows_
  std::vector<std::int32_t> rows_;        ///< the rows that contain the item
  RaggedIds targets_;                     ///< the distinct targets of each row
  std::vector<double> source_weight_;
  std::vector<double> target_weight_;
  std::vector<float> fallback_;  ///< the score of a target without a common row
};

}  // namespace refrain
