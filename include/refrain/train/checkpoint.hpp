#pragma once
/// Files of models, patches and training states. safetensors.hpp describes the format; files are
/// replaced atomically.
///
/// Every checkpoint contains the hash of its contents, which is verified when it is read: damage
/// anywhere in the file is refused. All functions throw DataError with the file when it cannot be
/// read or written, is damaged, is of another kind, or does not fit. A load that throws changes
/// nothing.

#include <cstdint>
#include <map>
#include <string>

#include "refrain/core/export.hpp"
#include "refrain/core/random.hpp"
#include "refrain/nn/module.hpp"
#include "refrain/train/content_hash.hpp"
#include "refrain/train/safetensors.hpp"

namespace refrain {

/// Description of a checkpoint.
struct CheckpointInfo {
  std::string kind;            ///< "model", "patch" or "training"
  std::string task;            ///< name of a patch's task
  std::string base_hash;       ///< for a patch: content_hash() of its base
  Metadata metadata;           ///< the saved texts: vocabulary, configuration
  std::int64_t elements = 0;   ///< number of elements in all tensors
  std::string tensors_hash{};  ///< content_hash() of the tensors without the texts
};

/// A checkpoint in memory. Its description is sufficient to construct the module that load_model()
/// or load_patch() then fills, so a file is read and hashed once.
///
///   Checkpoint file = read_checkpoint(path);
///   Net net(options_of(file.info), random, {.fill = Fill::deferred});
///   load_model(std::move(file), net);
struct Checkpoint {
  std::string path;  ///< for error messages
  CheckpointInfo info;
  TensorMap tensors;
};

/// Reads and verifies a checkpoint.
REFRAIN_API Checkpoint read_checkpoint(const std::string& path);

/// The description of a checkpoint. Reads and verifies the whole file.
REFRAIN_API CheckpointInfo checkpoint_info(const std::string& path);

/// The parameters of a module by name. The tensors share the storage of the parameters, so writing
/// to them changes the module. Throws OptionError when a parameter is unfilled.
REFRAIN_API TensorMap tensors_of(const Module& module);

/// Overwrites the elements of `into` with those of `from`. Throws DataError, with `origin` and a
/// list of missing, unexpected and mismatched tensors, unless both have the same names, shapes and
/// dtypes.
REFRAIN_API void assign_tensors(const TensorMap& into, const TensorMap& from,
                                const std::string& origin);

/// Saves a model with texts. Throws OptionError when a parameter is unfilled and for texts named
/// "refrain.*", which are reserved.
REFRAIN_API void save_model(const std::string& path, const Module& module,
                            const Metadata& metadata = {});

/// Fills all parameters of a module from a saved model with the same names, shapes and dtypes, and
/// returns its texts. Throws DataError also when a weight is not finite.
REFRAIN_API Metadata load_model(Checkpoint file, Module& module);
/// load_model() from a file.
REFRAIN_API Metadata load_model(const std::string& path, Module& module);

/// The base and the task that a patch belongs to.
struct PatchTarget {
  std::string base_hash;  ///< content_hash() of the base
  std::string task;
};

/// Saves a patch: the tensors that a task adds to a base or changes in it. A part of a tensor is
/// saved as a slice under its own name.
REFRAIN_API void save_patch(const std::string& path, const TensorMap& patch,
                            const PatchTarget& target, const Metadata& metadata = {});
REFRAIN_API void save_patch(const std::string& path, const Module& patch, const PatchTarget& target,
                            const Metadata& metadata = {});

/// Fills `patch` from a file saved for the same base and task, and returns its texts. Throws
/// DataError also when a weight is not finite.
REFRAIN_API Metadata load_patch(Checkpoint file, Module& patch, const PatchTarget& target);
/// Fills the tensors of `patch` from a file.
REFRAIN_API Metadata load_patch(const std::string& path, const TensorMap& patch,
                                const PatchTarget& target);
/// load_patch() from a file.
REFRAIN_API Metadata load_patch(const std::string& path, Module& patch, const PatchTarget& target);

/// State of an interrupted training run. Training that resumes from it is bit-identical to training
/// without the interruption.
struct TrainingState {
  TensorMap model;
  TensorMap optimizer;
  TensorMap best;  ///< parameters at the best evaluation
  std::map<std::string, RandomState, std::less<>> randoms;
  std::map<std::string, std::int64_t, std::less<>> counters;
  std::map<std::string, double, std::less<>> figures;
  Metadata metadata;
};

/// Saves a training state.
REFRAIN_API void save_training(const std::string& path, const TrainingState& state);
/// Loads a training state.
REFRAIN_API TrainingState load_training(const std::string& path);

}  // namespace refrain
