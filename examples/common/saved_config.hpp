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

  bool is_of_program(const char* name) const { return has("program") && text("program") == name; }

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

/// Writes fields into a JSON object: field(name, value) for each, with more arguments where the
/// same function also reads them (FieldReader) or offers them as options (FieldOptions).
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

/// Reads the same fields back, each checked by its type and range.
class FieldReader {
 public:
  explicit FieldReader(const JsonFields& fields) : fields_(fields) {}

  template <class Value>
  void operator()(const char* name, Value& value, Between range = {}) const {
    if constexpr (NamedSetting<Value>) {
      value = fields_.choice<Value>(name);
    } else {
      read(name, value, range);
    }
  }
  /// A field that is an option, too: the file's own size bounds a single number from above.
  template <class Value>
  void operator()(const char* name, Value& value, const char*, Between range = {}) const {
    if constexpr (std::is_same_v<Value, std::int64_t>) range.most = Between().most;
    (*this)(name, value, range);
  }

 private:
  void read(const char* name, std::int64_t& value, Between range) const {
    value = fields_.integer(name, range);
  }
  void read(const char* name, std::vector<std::int64_t>& value, Between range) const {
    value = fields_.integers(name, range);
  }
  void read(const char* name, std::uint64_t& value, Between) const { value = fields_.word(name); }
  void read(const char* name, double& value, Between) const { value = fields_.share(name); }
  void read(const char* name, std::vector<double>& value, Between) const {
    value = fields_.shares(name);
  }
  void read(const char* name, bool& value, Between) const { value = fields_.flag(name); }
  void read(const char* name, std::string& value, Between) const { value = fields_.text(name); }

  const JsonFields& fields_;
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
