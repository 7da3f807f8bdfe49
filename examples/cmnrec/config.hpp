#pragma once
/// The metadata entry "config" of a model file: its information besides parameters and vocabulary.

#include <cstdint>
#include <optional>
#include <string>

#include "cmnrec/options.hpp"
#include "common/search_record.hpp"
#include "refrain/train/checkpoint.hpp"

namespace refrain::cmnrec {

struct ModelConfig {
  ModelOptions model = {};
  DataOptions data = {};
  std::uint64_t fingerprint = 0;                      ///< fingerprint() of the data (data.hpp)
  std::string note = {};                              ///< a note for the reader, not parsed
  std::optional<examples::SearchRecord> search = {};  ///< of --search
};

std::string config_text(const ModelConfig& config);

/// `ids`: size of the file's vocabulary. Throws DataError with the file's name for a configuration
/// that config_text() cannot have written, and for sizes that the file's parameters cannot have.
ModelConfig model_config(const CheckpointInfo& info, const std::string& path, std::int64_t ids);

}  // namespace refrain::cmnrec
