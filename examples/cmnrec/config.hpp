#pragma once
/// What a model file of cmnrec says besides parameters and vocabulary: the text "config" of a
/// checkpoint, and back.

#include <cstdint>
#include <string>

#include "cmnrec/options.hpp"
#include "refrain/train/checkpoint.hpp"

namespace refrain::cmnrec {

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

struct ModelConfig {
  ModelSetting setting;
  DataOptions data;  ///< how sequences were made: lengths, counts, split
  std::uint64_t fingerprint = 0;
  std::string note;  ///< for people
};

std::string config_text(const ModelSetting& setting, const DataOptions& data,
                        std::uint64_t fingerprint, const std::string& note);

/// `ids`: size of the file's vocabulary.  Throws DataError, naming the file, for what config_text()
/// does not write, and for sizes that the file's parameters cannot have.
ModelConfig model_config(const CheckpointInfo& info, const std::string& path, std::int64_t ids);

}  // namespace refrain::cmnrec
