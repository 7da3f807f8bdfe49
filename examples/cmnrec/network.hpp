#pragma once
/// One interface for all models, and their files.

#include <cstdint>
#include <memory>
#include <string>

#include "cmnrec/config.hpp"
#include "common/loss_batch.hpp"
#include "refrain/data/dataset.hpp"
#include "refrain/nn/initialize.hpp"
#include "refrain/nn/module.hpp"

namespace refrain::cmnrec {

using examples::LossBatch;

/// A model that predicts the next item (a ScoringModel). Targets equal to padding_id are ignored.
/// Batches and ids are on the model's device.
class NextItemModel : public Module {
 public:
  explicit NextItemModel(std::int64_t length) : length_(length) {}
  std::int64_t length() const { return length_; }

  /// Converts targets i32 [B,T] to the shape that the loss requires, on the host.
  virtual Tensor targets_for(const Tensor& targets, LossPositions at, bool is_sampled) const = 0;
  /// Softmax cross-entropy over all items, or against the batch's candidates if there are any.
  virtual Variable loss(const LossBatch& batch, LossPositions at) = 0;
  /// Scores of all ids after the last time step: i32 [B,T] -> [B,V].
  virtual Tensor scores(const Tensor& ids) = 0;

 private:
  std::int64_t length_;
};

/// `ids`: size of the vocabulary. Throws OptionError.
std::unique_ptr<NextItemModel> make_model(const ModelOptions& options, std::int64_t ids,
                                          Random& random, const Placement& placement = {});

/// A model that scores items by their frequency in the training part.
std::unique_ptr<NextItemModel> make_popularity(const Dataset& data, std::int64_t length);

/// The entries of compare that count items of the training part and train nothing.
inline constexpr Contender baselines[] = {Contender::mostpop, Contender::ngram,
                                          Contender::cooccurrence};
bool is_baseline(Contender contender);
/// "most popular", "n-gram", "co-occurrence".
std::string baseline_title(Contender contender);
/// The baseline with the counts of the training part. Throws OptionError unless
/// is_baseline(contender).
std::unique_ptr<NextItemModel> make_baseline(Contender contender, const Dataset& data,
                                             std::int64_t length);

/// A trained model with its configuration and vocabulary.
struct SavedModel {
  ModelConfig config = {};
  Vocabulary vocabulary = {};
  std::unique_ptr<NextItemModel> model = {};
  std::string hash = {};  ///< CheckpointInfo::tensors_hash of the file that load() read
};

/// `note` is for the reader of the file and is not parsed.
void save(const std::string& path, SavedModel& saved, const std::string& note);
/// Throws DataError when the file is damaged or was not written by save().
SavedModel load(const std::string& path);

}  // namespace refrain::cmnrec
