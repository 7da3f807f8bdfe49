#pragma once
/// Recommendations from scores.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "refrain/data/vocabulary.hpp"
#include "refrain/ops/top_k.hpp"

namespace refrain {

/// One recommended item.
struct Recommendation {
  std::string item;  ///< original id
  float score = 0;
  std::optional<float> probability = {};  ///< only on request
};

/// An id and its score.
struct ScoredId {
  std::int32_t id = 0;
  float score = 0;
};

/// The k largest scores with their ids, best first, without ids below `first` and without
/// `excluded`; fewer when fewer remain. scores f32 [V] or [1,V] on the CPU, which are overwritten;
/// ids of `excluded` outside [0,V) are ignored. Throws OptionError unless k >= 1.
inline std::vector<ScoredId> best_ids(Tensor scores, std::int64_t k, std::int32_t first,
                                      std::span<const std::int32_t> excluded) {
  if (k < 1) throw OptionError(detail::concat("best_ids: expected k of at least 1, got ", k));
  constexpr float out = -std::numeric_limits<float>::infinity();
  const std::span<float> values = scores.span<float>();
  const auto leave_out = [&](std::int32_t id) {
    if (id >= 0 && static_cast<std::size_t>(id) < values.size())
      values[static_cast<std::size_t>(id)] = out;
  };
  for (std::int32_t id = 0; id < first; ++id) leave_out(id);
  for (const std::int32_t id : excluded) leave_out(id);
  const TopKResult top = top_k(scores.reshape({1, scores.numel()}), std::min(k, scores.numel()));
  std::vector<ScoredId> found;
  for (std::int64_t i = 0; i < top.values.numel() && top.values.data<float>()[i] != out; ++i)
    found.push_back({top.indices.data<std::int32_t>()[i], top.values.data<float>()[i]});
  return found;
}

/// best_ids() as original ids. The scores, which are overwritten, are of all ids of the vocabulary;
/// special ids are never returned. With `probabilities` the scores are logits, and each
/// recommendation has its softmax over all ids that are not excluded.
inline std::vector<Recommendation> best_items(Tensor scores, const Vocabulary& vocabulary,
                                              std::int64_t k,
                                              std::span<const std::int32_t> excluded,
                                              bool probabilities = false) {
  const std::vector<ScoredId> best = best_ids(scores, k, vocabulary.first_item(), excluded);
  double total = 0;
  if (probabilities && !best.empty()) {
    // Excluded ids have the score minus infinity.
    for (const float score : std::as_const(scores).span<float>())
      total += std::exp(static_cast<double>(score) - best.front().score);
  }
  std::vector<Recommendation> found;
  for (const ScoredId& each : best) {
    found.push_back({std::string(vocabulary.name(each.id)), each.score});
    if (!probabilities) continue;
    const double share = std::exp(static_cast<double>(each.score) - best.front().score) / total;
    found.back().probability = static_cast<float>(share);
  }
  return found;
}

}  // namespace refrain
