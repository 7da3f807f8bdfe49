#pragma once
/// The models that can be trained, behind one interface.

#include <cstdint>
#include <memory>
#include <string>

#include "cmnrec/config.hpp"
#include "cmnrec/data.hpp"
#include "common/training.hpp"
#include "refrain/data/samplers.hpp"
#include "refrain/nn/chunk_schedule.hpp"
#include "refrain/nn/initialize.hpp"
#include "refrain/nn/module.hpp"
#include "refrain/ops/loss.hpp"

namespace refrain::cmnrec {

/// Steps whose prediction counts.
enum class LossAt { all, last };

/// What a loss is computed from.
struct LossBatch {
  Tensor ids;               ///< [B,T] i32
  Tensor targets;           ///< as targets_for() makes them
  Candidates candidates{};  ///< of a sampled loss

  /// Calls function(tensor) for each tensor.
  template <class Function>
  void visit(Function&& function) {
    for (Tensor* tensor :
         {&ids, &targets, &candidates.ids, &candidates.log_q_true, &candidates.log_q_negative})
      function(*tensor);
  }

  LossBatch to(Device device) const {
    LossBatch there = *this;
    there.visit([&](Tensor& tensor) { tensor = tensor.to(device); });
    return there;
  }
};

/// What predicts the next item. Targets that are padding_id do not count. Batches and ids are given
/// on the model's device.
class Recommender : public Module {
 public:
  /// Targets i32 [B,T] as the loss wants them; made on the host.
  virtual Tensor targets_for(const Tensor& targets, LossAt at, bool is_sampled) const = 0;
  /// Softmax cross-entropy over all items.
  virtual Variable loss(const LossBatch& batch, LossAt at) = 0;
  /// Softmax cross-entropy against sampled items.
  virtual Variable sampled_loss(const LossBatch& batch, LossAt at) = 0;
  /// Scores of all ids after the last step: i32 [B,T] -> [B,V].
  virtual Tensor scores(const Tensor& ids) = 0;
};

ModelSetting setting_of(const Options& options);

/// pec, tsc, exc: m chunks; every: each step; every:G: each G-th step and the last; 5,10,20: these
/// steps. Throws OptionError for anything else, naming --schedule.
ChunkSchedule schedule_of(const std::string& name, std::int64_t slots, std::int64_t steps);

/// Makes the model; `data` gives the frequencies of mostpop (null: they will be loaded). Throws
/// OptionError.
std::unique_ptr<Recommender> make_recommender(const ModelSetting& setting,
                                              const Vocabulary& vocabulary,
                                              const PreparedData* data, Random& random,
                                              Placement placement = {});

/// A trained model and what it was trained on.
struct SavedModel {
  ModelSetting setting;
  DataOptions data;  ///< how sequences were made: lengths, counts, split
  std::uint64_t fingerprint = 0;
  Vocabulary vocabulary;
  std::unique_ptr<Recommender> recommender;
};

void save(const std::string& path, const SavedModel& saved, const std::string& note);
/// Throws DataError when the file is damaged or was not written by save().
SavedModel load(const std::string& path);

}  // namespace refrain::cmnrec
