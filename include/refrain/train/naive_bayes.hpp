#pragma once
/// The baseline of naive Bayes for tasks with one label a user.

#include <cstdint>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/core/tensor.hpp"
#include "refrain/data/batches.hpp"
#include "refrain/data/ragged_ids.hpp"
#include "refrain/data/vocabulary.hpp"
#include "refrain/nn/module.hpp"

namespace refrain {

/// Options of NaiveBayes.
struct NaiveBayesOptions {
  std::int64_t ids = 0;                   ///< size of the vocabulary of the histories, required
  std::int64_t classes = 0;               ///< K, required
  std::int32_t first_item = special_ids;  ///< smaller ids are special: no items
  std::int64_t length = 50;               ///< newest items of a history that count
  double smoothing = 1;                   ///< a of Laplace's smoothing
};

/// Predicts a label from the multiset of the items of a history: multinomial naive Bayes, which
/// counts and does not train.
///
///   score(y) = log P(y) + sum over the items i of the history of log P(i | y)
///   P(y) = (n_y + a) / (n + a K),  P(i | y) = (c_iy + a) / (c_y + a V)
///
/// n_y of n training examples have the label y, c_iy is the number of occurrences of i in their
/// histories, c_y its sum over i, and V the number of items. An item that occurs twice counts
/// twice. Memory: 12 bytes for each pair of an item and a label, 8 for each item, 16 for each
/// class, and while counting 8 for each event of the training histories.
class REFRAIN_API NaiveBayes final : public Module {
 public:
  /// Row training.source[e] of `histories` has the label training.target[e]. Throws OptionError
  /// unless 0 <= first_item < ids, classes >= 1, length >= 1, smoothing > 0, there are as many
  /// sources as targets and at least one, and all ids, rows and labels exist.
  NaiveBayes(const RaggedIds& histories, const TransferExamples& training,
             const NaiveBayesOptions& options);

  std::int64_t length() const noexcept { return options_.length; }
  /// i32 [B,T] on the CPU -> f32 [B,K], logarithms of the joint probabilities; their softmax is the
  /// posterior. Throws ShapeError, DTypeError, and OptionError for an id outside [0, ids).
  Tensor scores(const Tensor& ids) const;

  void visit_members(Visitor&) override {}

 private:
  NaiveBayesOptions options_;
  std::vector<double> prior_;        ///< log P(y)
  std::vector<double> unseen_;       ///< log P(i | y) of an item that does not occur with y
  std::vector<std::int64_t> begin_;  ///< of each item in label_ and gain_
  std::vector<std::int32_t> label_;  ///< the labels that the item occurs with
  std::vector<double> gain_;         ///< log P(i | y) minus unseen_
};

}  // namespace refrain
