#pragma once
/// The models that can be trained, behind one interface.

#include <cstdint>
#include <memory>
#include <string>

#include "cmnrec/data.hpp"
#include "cmnrec/options.hpp"
#include "common/training.hpp"
#include "refrain/data/samplers.hpp"
#include "refrain/nn/chunk_schedule.hpp"
#include "refrain/nn/module.hpp"

namespace refrain::cmnrec {

/// Steps whose prediction counts.
enum class LossAt { all, last };

/// What predicts the next item.  Targets are i32 [B,T]; those that are padding_id do not count.
class Recommender : public Module {
 public:
  /// Softmax cross-entropy over all items.
  virtual Variable loss(const SequenceBatch& batch, LossAt at) = 0;
  /// Softmax cross-entropy against sampled items.
  virtual Variable sampled_loss(const SequenceBatch& batch, LossAt at, const CandidateSampler& sampler,
                                const CandidateSample& sample) = 0;
  /// Scores of all ids after the last step: i32 [B,T] -> [B,V].
  virtual Tensor scores(const Tensor& ids) = 0;
};

/// Which model, and how large: what a checkpoint must say to build it again.
struct ModelSetting {
  std::string model;     ///< as --model
  std::string schedule;  ///< of cmnrec, as --schedule
  std::int64_t slots = 0;
  std::int64_t length = 0;    ///< T
  bool sampled_loss = false;  ///< NextItNet then goes without relu before its head
  NetworkOptions network;

  bool has_memory() const { return model == "cmnrec" || model == "srmn"; }
  bool learns() const { return model != "mostpop"; }

  /// "CmnRec TSC", "SRMN", "LSTM4Rec", ...
  std::string title() const;
};

ModelSetting setting_of(const Options& options);

/// pec, tsc, exc: m chunks; every: each step; every:G: each G-th step and the last; 5,10,20: these steps.
/// Throws OptionError for anything else, naming --schedule.
ChunkSchedule schedule_of(const std::string& name, std::int64_t slots, std::int64_t steps);

/// Makes the model; `data` gives the frequencies of mostpop (null: they will be loaded).  Throws OptionError.
std::unique_ptr<Recommender> make_recommender(const ModelSetting& setting, const Vocabulary& vocabulary,
                                              const PreparedData* data, Random& random);

/// The random streams of a module's dropout layers.
examples::Streams dropout_streams(Module& module);

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
