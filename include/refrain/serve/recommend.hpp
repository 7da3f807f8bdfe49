#pragma once
/// Recommendations of a model, without a server.

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "refrain/data/batches.hpp"
#include "refrain/data/vocabulary.hpp"
#include "refrain/nn/scores.hpp"
#include "refrain/serve/recommendation.hpp"

namespace refrain {

/// Options of recommend().
struct RecommendOptions {
  bool leave_out_seen = true;  ///< items of the history are not recommended
};

/// The ids of items, in their order. Throws OptionError with the items outside the vocabulary.
inline std::vector<std::int32_t> ids_of(const Vocabulary& vocabulary,
                                        std::span<const std::string> items) {
  std::vector<std::int32_t> ids;
  std::string unknown;
  for (const std::string& item : items) {
    ids.push_back(vocabulary.find(item));
    if (ids.back() < vocabulary.first_item())
      unknown += detail::concat(unknown.empty() ? "'" : ", '", item, "'");
  }
  if (!unknown.empty())
    throw OptionError(detail::concat("history: expected items of the vocabulary, got ", unknown));
  return ids;
}

/// The k items with the best scores after each of many histories, best first; fewer when fewer
/// remain: the lists of recommend() for each of them, up to rounding. On the CPU a row's scores
/// have the same bits in every batch of 8 rows or more.
///
/// `histories`: ids of the vocabulary, oldest first; each row has at least one. Memory holds the
/// scores of all rows, [rows,ids]. Throws OptionError for an empty row, for an id that is no item
/// and for k below 1; ShapeError when the scores do not have one element for each id of the
/// vocabulary.
template <class Model>
std::vector<std::vector<Recommendation>> recommend_batch(Model& model, const Vocabulary& vocabulary,
                                                         const RaggedIds& histories, std::int64_t k,
                                                         const RecommendOptions& options = {}) {
  detail::expect_scoring_model<Model>();
  std::vector<std::vector<Recommendation>> found;
  if constexpr (ScoringModel<Model>) {
    if (k < 1) throw OptionError(detail::concat("recommend: expected k of at least 1, got ", k));
    std::vector<std::int64_t> rows;
    for (std::int64_t row = 0; row < histories.rows(); ++row) {
      if (histories[row].empty())
        throw OptionError("recommend: expected a history of at least one item, got none");
      for (const std::int32_t id : histories[row]) {
        if (id < vocabulary.first_item() || id >= vocabulary.size())
          throw OptionError(detail::concat("history: expected ids of items, got ", id));
      }
      rows.push_back(row);
    }
    if (rows.empty()) return found;
    const detail::EvaluationScope scope(model);
    const Tensor ids = padded_batch(histories, rows, model.length());
    const Tensor scores = Tensor(model.scores(ids.to(model.device()))).to(Device::cpu);
    if (scores.shape() != Shape{histories.rows(), vocabulary.size()}) {
      throw ShapeError(
          detail::concat("recommend: expected scores [", histories.rows(), ",", vocabulary.size(),
                         "], one for each id of the vocabulary, got ", scores.shape()));
    }
    found = best_items_of_rows(scores.clone(), vocabulary, k,
                               options.leave_out_seen ? histories : RaggedIds());
  }
  return found;
}

/// The k items with the best scores after a history, best first; fewer when fewer remain.
///
///   for (const Recommendation& r : recommend(model, data.vocabulary, {"12", "7"}, 10)) ...
///
/// `history`: original ids, oldest first. The model, a ScoringModel, reads the newest
/// model.length() of them with padding on the left, as in training. Not thread-safe; a Recommender
/// serves many threads and users. Throws OptionError for an empty history, for unknown items and
/// for k below 1; ShapeError when the scores do not have one element for each id of the vocabulary.
template <class Model>
std::vector<Recommendation> recommend(Model& model, const Vocabulary& vocabulary,
                                      const std::vector<std::string>& history, std::int64_t k,
                                      const RecommendOptions& options = {}) {
  RaggedIds rows;
  rows.push_back(ids_of(vocabulary, history));
  std::vector<std::vector<Recommendation>> found =
      recommend_batch(model, vocabulary, rows, k, options);
  return found.empty() ? std::vector<Recommendation>() : std::move(found.front());
}

}  // namespace refrain
