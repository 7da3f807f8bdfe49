#pragma once
/// Checkpoints of several ranks: a folder with parts and a manifest.

#include <string>

#include "refrain/core/export.hpp"
#include "refrain/train/checkpoint.hpp"
#include "refrain/train/sharded_items.hpp"

namespace refrain {

/// Collective. Saves a table that is sharded over ranks, and the state that all ranks have alike,
/// in a folder that all ranks share.
///
/// Each rank writes one part for each of its shards: rows, biases and their Adam state. Rank 0
/// writes `state` and then the manifest, which names the parts and is renamed into place last.
/// Whatever kills the ranks, the folder has the checkpoint before or the new one; the next save
/// removes files of other checkpoints. The folder is created when it is missing.
///
/// A rank that cannot write its part makes all ranks throw a DataError that names it; the
/// checkpoint before stays. Throws CommunicationError when `state.model` differs between ranks.
REFRAIN_API void save_sharded(const std::string& folder, ShardedItems& items,
                              const TrainingState& state);

/// Collective. Loads the checkpoint of a folder into a table on any number of ranks, and returns
/// its state. Training that resumes from it has the bits of training without the interruption.
/// Throws DataError on all ranks, and changes nothing, when a file is missing, damaged or of
/// another version, and for a table of another count, width or dtype.
REFRAIN_API TrainingState load_sharded(const std::string& folder, ShardedItems& items);

/// True when the folder has a checkpoint of save_sharded(). Not collective.
REFRAIN_API bool has_sharded_checkpoint(const std::string& folder);

}  // namespace refrain
