#pragma once
/// What base and patch files say about themselves besides parameters and vocabularies: the text
/// "config" of a checkpoint, and back.

#include <cstdint>
#include <string>
#include <vector>

#include "peterrec/options.hpp"
#include "refrain/data/vocabulary.hpp"
#include "refrain/train/checkpoint.hpp"
#include "refrain_models/nextitnet.hpp"
#include "refrain_models/peterrec.hpp"

namespace refrain::peterrec {

using models::NextItNet;
using models::PatchSet;

/// What a base file says besides its parameters and vocabulary.
struct BaseNote {
  bool hold_out_last = false;  ///< pre-training did not see the last two items of any sequence
  std::int64_t length =
      50;  ///< DataOptions::length of pre-training; files that do not say were made with this one
  std::string text;  ///< for people
};

/// What a patch file says besides its parameters.
struct PatchNote {
  std::string task;
  TaskOptions options;
  Vocabulary targets;
  std::vector<double> split;  ///< shares of users, as DataOptions::split
  std::uint64_t split_seed = 1;
  std::int64_t users = 0;  ///< that were split
  std::string test_users;  ///< TaskData::test_users; empty when the file does not say
  std::int64_t length = 50;
};

struct BaseConfig {
  NextItNet::Options network;
  BaseNote note;
};

/// A patch file's configuration: of the note, all but task and targets' names.
struct PatchConfig {
  PatchNote note;
  std::int64_t targets = 0;  ///< rows of the head
};

std::string config_text(const NextItNet::Options& network, const BaseNote& note);
std::string config_text(const PatchSet::Options& set, const PatchNote& note);

/// Throw DataError, naming the file, for what config_text() does not write, and for sizes that the
/// file's parameters cannot have.
BaseConfig base_config(const CheckpointInfo& info, const std::string& path);
PatchConfig patch_config(const CheckpointInfo& info, const std::string& path,
                         const NextItNet::Options& base);

}  // namespace refrain::peterrec
