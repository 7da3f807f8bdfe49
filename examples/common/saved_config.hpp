#pragma once
/// The configuration that a program stores in its checkpoints: JSON, as one of the file's texts.

#include <string>
#include <utility>

#include "common/concat.hpp"
#include "common/json_fields.hpp"
#include "refrain/data/vocabulary.hpp"
#include "refrain/train/checkpoint.hpp"

namespace refrain::examples {

/// A text of a checkpoint.  Throws DataError when it has none of this name.
inline const std::string& stored_text(const CheckpointInfo& info, const std::string& path,
                                      const std::string& name) {
  const auto found = info.metadata.find(name);
  if (found == info.metadata.end())
    throw DataError(path, 0, "was not written by this program: it has no text '" + name + "'");
  return found->second;
}

/// The most steps of a sequence that a stored network may ask for: a schedule lists them.
constexpr std::int64_t longest_sequence = 1 << 20;

/// The text "config" of a checkpoint.
class StoredConfig : public JsonFields {
 public:
  StoredConfig(const CheckpointInfo& info, const std::string& path)
      : JsonFields(stored_text(info, path, "config"), path, 0, "its configuration cannot be used"),
        elements_(info.elements) {}

  /// Throws DataError unless the file's tensors have room for parameters of that shape. So a
  /// configuration that lies makes nothing be allocated that is much larger than the file.
  void expect_room(std::initializer_list<std::int64_t> extents) const {
    try {
      const Shape shape(extents);
      if (shape.numel() > elements_)
        fail(concat("it asks for parameters of ", shape.str(), ", the file holds ", elements_,
                    " numbers in all"));
    } catch (const ShapeError& error) {
      fail(error.what());
    }
  }

 private:
  std::int64_t elements_;
};

/// A checkpoint's vocabulary is one of its texts, whose room is limited. Throws OptionError, naming
/// `option`, for one that would not fit: before training, not behind it.
inline void expect_storable(const Vocabulary& vocabulary, const std::string& option,
                            std::uint64_t header_bytes = max_safetensors_header_bytes) {
  constexpr std::uint64_t for_the_rest = 1 << 20;  // configuration, names and shapes of the tensors
  const std::uint64_t bytes = nlohmann::json(vocabulary.serialize()).dump().size();
  if (bytes + for_the_rest <= header_bytes) return;
  throw OptionError(concat(option, ": the ids of ", vocabulary.items(), " items would take ", bytes,
                           " bytes of a file, which has room for ", header_bytes - for_the_rest,
                           "; leave rarer items out, or give shorter ids"));
}

/// Calls build(), which makes a network of a stored configuration: one that the network refuses is
/// a fault of the file.
template <class Build>
auto build_stored(const std::string& path, Build&& build) {
  try {
    return build();
  } catch (const OptionError& error) {
    throw DataError(path, 0, concat("its configuration makes no network: ", error.what()));
  } catch (const ShapeError& error) {
    throw DataError(path, 0, concat("its configuration makes no network: ", error.what()));
  }
}

}  // namespace refrain::examples
