#pragma once
/// Models, patches and interrupted training as files (see safetensors.hpp for the format and how
/// files are replaced).
///
/// Every checkpoint carries the hash of all that it holds; reading one verifies it, so damage
/// anywhere is refused with the reason. All functions throw DataError, naming the file, when it
/// cannot be read or written, is damaged, is of another kind, or does not fit; a load that throws
/// has changed nothing.

#include <cstdint>
#include <map>
#include <string>

#include "refrain/core/export.hpp"
#include "refrain/core/random.hpp"
#include "refrain/nn/module.hpp"
#include "refrain/train/content_hash.hpp"
#include "refrain/train/safetensors.hpp"

namespace refrain {

/// What a checkpoint says about itself.
struct CheckpointInfo {
  std::string kind;       ///< "model", "patch" or "training"
  std::string task;       ///< of a patch
  std::string base_hash;  ///< of a patch: content_hash() of the base it was trained on
  Metadata metadata;      ///< the texts that were saved along: vocabulary, configuration
  std::int64_t elements =
      0;  ///< of all tensors together, as read: what a module that the file fills can hold
};

/// Reads and verifies a checkpoint for what it says about itself: enough to build the module that
/// load_model() then fills.
REFRAIN_API CheckpointInfo checkpoint_info(const std::string& path);

/// A module's parameters by name. The tensors are handles on the parameters' own storage, so
/// loading into them changes the module.
REFRAIN_API TensorMap tensors_of(const Module& module);

/// Overwrites the elements of `into` with those of `from`. Throws DataError, naming `origin` and
/// listing what is missing, unexpected, or of another shape or type, unless both hold the same
/// names, shapes and types.
REFRAIN_API void assign_tensors(const TensorMap& into, const TensorMap& from,
                                const std::string& origin);

/// A whole model and texts that go with it. Throws OptionError for texts named "refrain.*", which
/// are the file's own.
REFRAIN_API void save_model(const std::string& path, const Module& module,
                            const Metadata& metadata = {});

/// Fills a module with a saved model: the same names, shapes and types.  Returns the texts.
REFRAIN_API Metadata load_model(const std::string& path, Module& module);

/// Identifies what a patch belongs to.
struct PatchTarget {
  std::string base_hash;  ///< content_hash() of the base
  std::string task;
};

/// A patch: what a task adds to a base, or changes in it. A part of a tensor is stored as a slice
/// of it under a name of its own.
REFRAIN_API void save_patch(const std::string& path, const TensorMap& patch,
                            const PatchTarget& target, const Metadata& metadata = {});
REFRAIN_API void save_patch(const std::string& path, const Module& patch, const PatchTarget& target,
                            const Metadata& metadata = {});

/// Fills `patch` from a file that was saved for the same base and the same task. Returns the texts.
REFRAIN_API Metadata load_patch(const std::string& path, const TensorMap& patch,
                                const PatchTarget& target);
REFRAIN_API Metadata load_patch(const std::string& path, Module& patch, const PatchTarget& target);

/// Everything that an interrupted run needs to go on as if nothing had happened, bit for bit.
struct TrainingState {
  TensorMap model;
  TensorMap optimizer;
  TensorMap best;  ///< parameters at the best evaluation
  std::map<std::string, RandomState, std::less<>> randoms;
  std::map<std::string, std::int64_t, std::less<>> counters;
  std::map<std::string, double, std::less<>> figures;
  Metadata metadata;
};

REFRAIN_API void save_training(const std::string& path, const TrainingState& state);
REFRAIN_API TrainingState load_training(const std::string& path);

}  // namespace refrain
