#pragma once
/// The text "config" of a model file: what it states besides parameters and vocabulary.

#include <cstdint>
#include <string>

#include "cmnrec/options.hpp"
#include "refrain/train/checkpoint.hpp"

namespace refrain::cmnrec {

struct ModelConfig {
  ModelOptions model = {};
  DataOptions data = {};
  std::uint64_t fingerprint = 0;  ///< of the sequences (data.hpp)
  std::string note = {};          ///< for people
};

std::string config_text(const ModelConfig& config);

/// `ids`: size of the file's vocabulary. Throws DataError, naming the file, for what config_text()
/// does not write, and for sizes that the file's parameters cannot have.
ModelConfig model_config(const CheckpointInfo& info, const std::string& path, std::int64_t ids);

}  // namespace refrain::cmnrec
