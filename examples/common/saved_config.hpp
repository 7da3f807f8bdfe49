#pragma once
/// The configuration that a program stores as JSON in the metadata of its checkpoints.

#include <string>
#include <utility>

#include "common/concat.hpp"
#include "common/json_fields.hpp"
#include "refrain/data/vocabulary.hpp"
#include "refrain/train/checkpoint.hpp"

namespace refrain::examples {

/// A metadata entry of a checkpoint. Throws DataError when it is missing.
inline const std::string& stored_text(const CheckpointInfo& info, const std::string& path,
                                      const std::string& name) {
  const auto found = info.metadata.find(name);
  if (found == info.metadata.end())
    throw DataError(
        path, 0, "was not written by this program: the metadata entry '" + name + "' is missing");
  return found->second;
}

/// Maximum number of time steps in a stored configuration, which bounds the size of a schedule.
constexpr std::int64_t longest_sequence = 1 << 20;

/// The metadata entry "config" of a checkpoint. Calling it reads a field, as the visit functions of
/// configurations do.
class StoredConfig : public JsonFields {
 public:
  StoredConfig(const CheckpointInfo& info, const std::string& path)
      : JsonFields(stored_text(info, path, "config"), path, 0, "invalid configuration"),
        elements_(info.elements) {}

  bool is_of_program(const char* name) const { return has("program") && text("program") == name; }

  /// Throws DataError if the file's tensors have fewer elements than parameters of this shape. A
  /// corrupt configuration therefore cannot cause an allocation much larger than the file.
  void expect_room(std::initializer_list<std::int64_t> extents) const {
    try {
      const Shape shape(extents);
      if (shape.numel() > elements_)
        fail(concat("it requires parameters of shape ", shape.str(), ", but the file holds ",
                    elements_, " elements in total"));
    } catch (const ShapeError& error) {
      fail(error.what());
    }
  }

  /// Reads a field that FieldWriter wrote, and checks its type and range.
  template <class Value>
  void operator()(const char* name, Value& value, Between range = {}) const {
    if constexpr (NamedSetting<Value>) {
      value = choice<Value>(name);
    } else {
      read(name, value, range);
    }
  }
  /// Reads a field that is also an option. The upper limit of a single number is not checked,
  /// because the size of the file limits it.
  template <class Value>
  void operator()(const char* name, Value& value, const char*, Between range = {}) const {
    if constexpr (std::is_same_v<Value, std::int64_t>) range.most = Between().most;
    (*this)(name, value, range);
  }

 private:
  void read(const char* name, std::int64_t& value, Between range) const {
    value = integer(name, range);
  }
  void read(const char* name, std::vector<std::int64_t>& value, Between range) const {
    value = integers(name, range);
  }
  void read(const char* name, std::uint64_t& value, Between) const { value = word(name); }
  void read(const char* name, double& value, Between) const { value = share(name); }
  void read(const char* name, std::vector<double>& value, Between) const { value = shares(name); }
  void read(const char* name, bool& value, Between) const { value = flag(name); }
  void read(const char* name, std::string& value, Between) const { value = text(name); }

  std::int64_t elements_;
};

/// Writes fields into a JSON object. It ignores the further arguments that the same visit function
/// passes to StoredConfig or FieldOptions.
class FieldWriter {
 public:
  explicit FieldWriter(nlohmann::json& object) : object_(object) {}

  template <class Value, class... More>
  void operator()(const char* name, const Value& value, const More&...) const {
    if constexpr (NamedSetting<Value>) {
      object_[name] = name_of(value);
    } else {
      object_[name] = value;
    }
  }

 private:
  nlohmann::json& object_;
};

/// Throws OptionError about `option` if the vocabulary exceeds the limit of a checkpoint's
/// metadata. Commands call it before training, so that no trained model is lost.
inline void expect_storable(const Vocabulary& vocabulary, const std::string& option,
                            std::uint64_t header_bytes = max_safetensors_header_bytes) {
  constexpr std::uint64_t for_the_rest = 1 << 20;  // configuration, names and shapes of the tensors
  const std::uint64_t bytes = nlohmann::json(vocabulary.serialize()).dump().size();
  if (bytes + for_the_rest <= header_bytes) return;
  throw OptionError(concat(option, ": expected item ids of at most ", header_bytes - for_the_rest,
                           " bytes in total, got ", bytes, " bytes for ", vocabulary.items(),
                           " items; exclude rare items or use shorter ids"));
}

/// Calls build(), which creates a network from a stored configuration. An error of the network
/// becomes a DataError of the file.
template <class Build>
auto build_stored(const std::string& path, Build&& build) {
  try {
    return build();
  } catch (const OptionError& error) {
    throw DataError(path, 0, concat("invalid network configuration: ", error.what()));
  } catch (const ShapeError& error) {
    throw DataError(path, 0, concat("invalid network configuration: ", error.what()));
  }
}

}  // namespace refrain::examples
