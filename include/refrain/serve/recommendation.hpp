#pragma once
/// Recommendations from scores.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "refrain/data/ragged_ids.hpp"
#include "refrain/data/vocabulary.hpp"
#include "refrain/ops/top_k.hpp"
#include "refrain/serve/target_set.hpp"

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

namespace detail {

inline constexpr float left_out = -std::numeric_limits<float>::infinity();

/// Overwrites the scores of ids below `first` and of `excluded`; other ids are ignored.
inline void leave_out(std::span<float> scores, std::int32_t first,
                      std::span<const std::int32_t> excluded) {
  const auto overwrite = [&](std::int32_t id) {
    if (id >= 0 && static_cast<std::size_t>(id) < scores.size())
      scores[static_cast<std::size_t>(id)] = left_out;
  };
  for (std::int32_t id = 0; id < first; ++id) overwrite(id);
  for (const std::int32_t id : excluded) overwrite(id);
}

/// Overwrites the scores of ids that at least one of the sets lacks.
inline void keep_only(std::span<float> scores, std::span<const TargetSet* const> filters) {
  if (filters.empty()) return;
  for (const TargetSet* const filter : filters) filter->expect_ids(std::ssize(scores));
  constexpr std::size_t word_bits = 64;
  for (std::size_t begin = 0; begin < scores.size(); begin += word_bits) {
    std::uint64_t kept = ~std::uint64_t{0};
    for (const TargetSet* const filter : filters) kept &= filter->words()[begin / word_bits];
    const std::span<float> group =
        scores.subspan(begin, std::min(word_bits, scores.size() - begin));
    if (kept == 0) {
      std::fill(group.begin(), group.end(), left_out);
      continue;
    }
    for (std::uint64_t left = ~kept; left != 0; left &= left - 1) {
      const std::size_t at = static_cast<std::size_t>(std::countr_zero(left));
      if (at >= group.size()) break;
      group[at] = left_out;
    }
  }
}

/// The k largest of each row of scores [B,V] that are not left out.
inline std::vector<std::vector<ScoredId>> largest(const Tensor& scores, std::int64_t k) {
  if (k < 1) throw OptionError(concat("best_ids: expected k of at least 1, got ", k));
  const TopKResult top = top_k(scores, std::min(k, scores.size(-1)));
  std::vector<std::vector<ScoredId>> rows(static_cast<std::size_t>(top.values.size(0)));
  const float* value = top.values.data<float>();
  const std::int32_t* id = top.indices.data<std::int32_t>();
  for (std::vector<ScoredId>& row : rows) {
    const std::int64_t width = top.values.size(1);
    for (std::int64_t i = 0; i < width && value[i] != left_out; ++i)
      row.push_back({id[i], value[i]});
    value += width;
    id += width;
  }
  return rows;
}

/// Scored ids as original ids; `scores` of all ids give the probabilities.
inline std::vector<Recommendation> named(const std::vector<ScoredId>& best,
                                         const Vocabulary& vocabulary, bool probabilities,
                                         std::span<const float> scores) {
  double total = 0;
  if (probabilities && !best.empty()) {
    // Excluded ids have the score minus infinity.
    for (const float score : scores)
      total += std::exp(static_cast<double>(score) - best.front().score);
  }
  std::vector<Recommendation> found;
  found.reserve(best.size());
  for (const ScoredId& each : best) {
    found.push_back({std::string(vocabulary.name(each.id)), each.score});
    if (!probabilities) continue;
    const double share = std::exp(static_cast<double>(each.score) - best.front().score) / total;
    found.back().probability = static_cast<float>(share);
  }
  return found;
}

}  // namespace detail

/// The k largest scores with their ids, best first, ties by id, without ids below `first` and
/// without `excluded`; fewer when fewer remain. With `filters` only ids that are in every one of
/// these sets remain. scores f32 [V] or [1,V] on the CPU, which are overwritten; ids of `excluded`
/// outside [0,V) are ignored. Throws OptionError unless k >= 1 and the filters are sets of V ids.
inline std::vector<ScoredId> best_ids(Tensor scores, std::int64_t k, std::int32_t first,
                                      std::span<const std::int32_t> excluded,
                                      std::span<const TargetSet* const> filters = {}) {
  detail::leave_out(scores.span<float>(), first, excluded);
  detail::keep_only(scores.span<float>(), filters);
  return detail::largest(scores.reshape({1, scores.numel()}), k).front();
}

/// best_ids() as original ids. The scores, which are overwritten, are of all ids of the vocabulary;
/// special ids are never returned. With `probabilities` the scores are logits, and each
/// recommendation has its softmax over all ids that remain: those that are not excluded and are in
/// every filter.
inline std::vector<Recommendation> best_items(Tensor scores, const Vocabulary& vocabulary,
                                              std::int64_t k,
                                              std::span<const std::int32_t> excluded,
                                              bool probabilities = false,
                                              std::span<const TargetSet* const> filters = {}) {
  const std::vector<ScoredId> best =
      best_ids(scores, k, vocabulary.first_item(), excluded, filters);
  return detail::named(best, vocabulary, probabilities, std::as_const(scores).span<float>());
}

/// best_items() of each row of scores [B,V]. `excluded` has one row for each of them, or none at
/// all: then no item is excluded. Throws OptionError for another number of rows and unless k >= 1.
inline std::vector<std::vector<Recommendation>> best_items_of_rows(Tensor scores,
                                                                   const Vocabulary& vocabulary,
                                                                   std::int64_t k,
                                                                   const RaggedIds& excluded,
                                                                   bool probabilities = false) {
  const std::int64_t rows = scores.size(0);
  const std::size_t ids = static_cast<std::size_t>(scores.size(1));
  if (!excluded.empty() && excluded.rows() != rows) {
    throw OptionError(detail::concat("best_items_of_rows: expected ", rows,
                                     " rows of excluded ids, one for each row of scores, got ",
                                     excluded.rows()));
  }
  const auto row_of = [&](std::int64_t row) {
    return scores.span<float>().subspan(static_cast<std::size_t>(row) * ids, ids);
  };
  for (std::int64_t row = 0; row < rows; ++row) {
    detail::leave_out(row_of(row), vocabulary.first_item(),
                      excluded.empty() ? std::span<const std::int32_t>() : excluded[row]);
  }
  std::vector<std::vector<Recommendation>> found;
  for (const std::vector<ScoredId>& best : detail::largest(scores, k)) {
    found.push_back(detail::named(best, vocabulary, probabilities, row_of(std::ssize(found))));
  }
  return found;
}

}  // namespace refrain
