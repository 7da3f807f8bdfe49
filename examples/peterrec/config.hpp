#pragma once
/// The configuration of base and patch files: the metadata entry "config" of a checkpoint.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/search_record.hpp"
#include "peterrec/options.hpp"
#include "refrain/data/vocabulary.hpp"
#include "refrain/train/checkpoint.hpp"
#include "refrain_models/nextitnet.hpp"

namespace refrain::peterrec {

using models::NextItNet;
using models::PatchSet;

/// Information in a base file besides its network and vocabulary.
struct BaseNote {
  bool hold_out_last = false;  ///< pre-training left out the last two items of every sequence
  std::int64_t length = 50;    ///< DataOptions::length of pre-training; older files lack it
  std::string text;            ///< a note for the reader, not parsed
  std::optional<examples::SearchRecord> search = {};  ///< of --search
};

/// Information in a patch file besides its patches.
struct PatchNote {
  std::string task;  ///< stored outside the configuration, as are the targets
  Vocabulary targets;
  std::vector<double> split;  ///< shares of users (DataOptions::split)
  std::uint64_t split_seed = 1;
  std::int64_t users = 0;  ///< number of users that were split
  std::string test_users;  ///< TransferDataset::test_hash; older files lack it
  std::int64_t length = 50;
  std::optional<examples::SearchRecord> search = {};  ///< of --search
};

struct BaseConfig {
  NextItNet::Options network;
  BaseNote note;
};

struct PatchConfig {
  PatchSet::Options set;
  PatchNote note;
};

std::string config_text(NextItNet::Options network, const BaseNote& note);
std::string config_text(PatchSet::Options set, PatchNote note);

/// Throw DataError with the file's name for a configuration that config_text() cannot have written,
/// and for sizes that the file's parameters cannot have.
BaseConfig base_config(const CheckpointInfo& info, const std::string& path);
PatchConfig patch_config(const CheckpointInfo& info, const std::string& path,
                         const NextItNet::Options& base);

}  // namespace refrain::peterrec
