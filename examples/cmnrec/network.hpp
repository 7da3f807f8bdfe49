#pragma once
/// The models that can be trained, behind one interface, and their files.

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

/// What predicts the next item: a ScoringModel. Targets that are padding_id do not count. Batches
/// and ids are on the model's device.
class NextItemModel : public Module {
 public:
  explicit NextItemModel(std::int64_t length) : length_(length) {}
  std::int64_t length() const { return length_; }

  /// Targets i32 [B,T] in the shape that the loss takes; made on the host.
  virtual Tensor targets_for(const Tensor& targets, LossPositions at, bool is_sampled) const = 0;
  /// Softmax cross-entropy over all items, or against the batch's candidates where it has some.
  virtual Variable loss(const LossBatch& batch, LossPositions at) = 0;
  /// Scores of all ids after the last time step: i32 [B,T] -> [B,V].
  virtual Tensor scores(const Tensor& ids) = 0;

 private:
  std::int64_t length_;
};

/// `ids`: size of the vocabulary. Throws OptionError.
std::unique_ptr<NextItemModel> make_model(const ModelOptions& options, std::int64_t ids,
                                          Random& random, const Placement& placement = {});

/// Always the same list: what is frequent in the training part.
std::unique_ptr<NextItemModel> make_popularity(const Dataset& data, std::int64_t length);

/// A trained model and what it was trained on.
struct SavedModel {
  ModelConfig config = {};
  Vocabulary vocabulary = {};
  std::unique_ptr<NextItemModel> model = {};
};

/// `note`: for people.
void save(const std::string& path, SavedModel& saved, const std::string& note);
/// Throws DataError when the file is damaged or was not written by save().
SavedModel load(const std::string& path);

}  // namespace refrain::cmnrec
