#pragma once
/// The baseline of n-grams over items.

#include <cstdint>
#include <span>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/core/tensor.hpp"
#include "refrain/data/ragged_ids.hpp"
#include "refrain/data/vocabulary.hpp"
#include "refrain/nn/module.hpp"

namespace refrain {

/// Options of NGram.
struct NGramOptions {
  std::int64_t ids = 0;                   ///< size of the vocabulary, required
  std::int64_t order = 3;                 ///< n: the next item depends on the n - 1 items before it
  std::int32_t first_item = special_ids;  ///< smaller ids are special: they end a context
};

/// Probability of the next item after the last n - 1 items of a history, with Witten-Bell
/// smoothing: a ScoringModel that counts and does not train.
///
///   P_0(w) = 1 / V
///   P_k(w | h) = (c(h w) + t(h) P_{k-1}(w | h')) / (c(h) + t(h))
///
/// h are the last k - 1 items, h' is h without its oldest item, c(h w) is the number of times that
/// w follows h in the training sequences, c(h) its sum over w, t(h) the number of distinct items
/// that follow h, and V the number of items. A context that nothing follows has the probabilities
/// of the shorter one. Scores are P_n. Memory: at most 20 bytes for each event and order; time: one
/// sort of the events for each order.
///
///   NGram model(data.training, {.ids = data.vocabulary.size(), .order = 3});
///   const RankingMetrics metrics = evaluate(model, data.test);
///
/// (I. Witten and T. Bell, The zero-frequency problem, 1991, method C.)
class REFRAIN_API NGram final : public Module {
 public:
  static constexpr std::int64_t max_order = 8;

  /// Throws OptionError unless 1 <= order <= max_order, 0 <= first_item < ids, all ids of the
  /// sequences are in [0, ids), and there are at least one item and fewer than 2^32 - 1 events.
  NGram(const RaggedIds& sequences, const NGramOptions& options);

  /// The number of items that the probabilities depend on, at least 1.
  std::int64_t length() const noexcept { return options_.order > 1 ? options_.order - 1 : 1; }
  /// i32 [B,T] on the CPU -> f32 [B,ids]: probabilities of the items, 0 for special ids. Any T is
  /// accepted. Throws ShapeError, DTypeError, and OptionError for an id outside [0, ids).
  Tensor scores(const Tensor& ids) const;

  void visit_members(Visitor&) override {}

 private:
  /// The followers of each context: those of context i are in [begin[i], begin[i + 1]), in
  /// ascending order. A context of k items is the index of its last item among the followers of
  /// the context before it, and a context of one item is its id.
  struct Level {
    std::vector<std::int64_t> begin;
    std::vector<std::int32_t> item;
    std::vector<std::uint32_t> count;
  };

  void add_level(const RaggedIds& sequences, std::vector<std::uint32_t>& context);
  std::int64_t find_context(std::span<const std::int32_t> history, std::int64_t items) const;
  void add_probabilities(std::span<const std::int32_t> history, std::span<double> sums) const;

  NGramOptions options_;
  std::vector<double> unigram_;  ///< P_1 of every id
  std::vector<Level> levels_;    ///< followers of contexts of 1, 2, ... items
};

}  // namespace refrain
