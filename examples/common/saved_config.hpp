#pragma once
/// The configuration that a program stores in its checkpoints: JSON, as one of the file's texts.

#include <nlohmann/json.hpp>
#include <string>

#include "refrain/train/checkpoint.hpp"

namespace refrain::examples {

/// A text of a checkpoint.  Throws DataError when it has none of this name.
inline const std::string& stored_text(const CheckpointInfo& info, const std::string& path, const std::string& name) {
  const auto found = info.metadata.find(name);
  if (found == info.metadata.end()) throw DataError(path, 0, "was not written by this program: it has no text '" + name + "'");
  return found->second;
}

/// Calls function(config) with the parsed text "config".  Throws DataError for what is no JSON or lacks what the function asks for.
template <class Function>
void with_stored_config(const CheckpointInfo& info, const std::string& path, Function&& function) {
  const std::string& text = stored_text(info, path, "config");
  try {
    const nlohmann::json config = nlohmann::json::parse(text);
    function(config);
  } catch (const nlohmann::json::exception& error) {
    throw DataError(path, 0, concat("its configuration cannot be read: ", error.what()));
  }
}

}  // namespace refrain::examples
