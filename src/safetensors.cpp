#include "refrain/train/safetensors.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <vector>

#include "refrain/train/replaced_file.hpp"
#include "src/whole_file.hpp"

namespace refrain {
namespace {

using Json = nlohmann::json;

static_assert(std::endian::native == std::endian::little,
              "the format stores little-endian elements");

constexpr const char* metadata_key = "__metadata__";

struct Element {
  const char* name;
  DType dtype;
};
constexpr std::array<Element, 4> element_types{
    {{"F32", DType::f32}, {"F64", DType::f64}, {"I32", DType::i32}, {"I64", DType::i64}}};

/// Offset of a tensor's bytes from the end of the header.
struct Entry {
  std::string name;
  Shape shape;
  DType dtype;
  std::uint64_t begin;
  std::uint64_t end;
};

struct Header {
  std::vector<Entry> entries;
  Metadata metadata;
  std::uint64_t data_begin = 0;
};

/// Parses the header, whose deepest form is { name: { field: [ number ] } }. Throws DataError for
/// deeper nesting and for duplicate names within an object.
Json parse_header(const std::string& path, const std::string& text) {
  std::array<std::set<std::string>, 3> names;  // names in the open objects, by depth
  const Json::parser_callback_t check = [&](int depth, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) {
      if (depth > 1) throw DataError(path, 0, "the header is nested too deeply");
      names[static_cast<std::size_t>(depth) + 1].clear();
    } else if (event == Json::parse_event_t::array_start) {
      if (depth != 2)
        throw DataError(path, 0, "expected arrays in the header only as shape and data_offsets");
    } else if (event == Json::parse_event_t::key) {
      const std::string& name = value.get_ref<const std::string&>();
      if (!names[static_cast<std::size_t>(depth)].insert(name).second) {
        throw DataError(path, 0, detail::concat("the header names '", name, "' twice"));
      }
    }
    return true;
  };
  try {
    return Json::parse(text, check);
  } catch (const Json::parse_error& error) {
    throw DataError(path, 0,
                    detail::concat("the header is not valid JSON from byte ", error.byte, " on"));
  } catch (const Json::exception& error) {
    throw DataError(path, 0, detail::concat("the header is not valid JSON: ", error.what()));
  }
}

class EntryReader {
 public:
  EntryReader(const std::string& path, const std::string& name, const Json& fields)
      : path_(path), name_(name), fields_(fields) {}

  Entry read() const {
    if (!fields_.is_object()) fail(detail::concat("expected an object, got ", fields_.type_name()));
    if (fields_.size() != 3)
      fail(detail::concat("expected exactly dtype, shape and data_offsets, got ", fields_.size(),
                          " fields"));
    const std::vector<std::int64_t> offsets = numbers("data_offsets");
    if (offsets.size() != 2 || offsets[0] > offsets[1])
      fail(detail::concat("expected two data_offsets, the smaller first, got ",
                          field("data_offsets").dump()));
    Entry entry{.name = name_,
                .shape = shape(),
                .dtype = dtype(),
                .begin = static_cast<std::uint64_t>(offsets[0]),
                .end = static_cast<std::uint64_t>(offsets[1])};
    const std::uint64_t bytes = entry.end - entry.begin;
    const std::uint64_t element = size_bytes(entry.dtype);
    if (bytes % element != 0 ||
        bytes / element != static_cast<std::uint64_t>(entry.shape.numel())) {
      fail(detail::concat("has the shape ", entry.shape, " of ", entry.dtype, " but ", bytes,
                          " bytes"));
    }
    return entry;
  }

 private:
  [[noreturn]] void fail(const std::string& reason) const {
    throw DataError(path_, 0, detail::concat("tensor '", name_, "' ", reason));
  }

  const Json& field(const char* key) const {
    const auto found = fields_.find(key);
    if (found == fields_.end()) fail(detail::concat("has no ", key));
    return *found;
  }

  std::vector<std::int64_t> numbers(const char* key) const {
    const Json& list = field(key);
    if (!list.is_array())
      fail(detail::concat("expected an array as ", key, ", got ", list.type_name()));
    std::vector<std::int64_t> out;
    for (const Json& number : list) {
      if (!number.is_number_unsigned() ||
          number.get<std::uint64_t>() >
              static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        fail(detail::concat("expected whole numbers in ", key, ", got ",
                            number.dump(-1, ' ', true)));
      }
      out.push_back(number.get<std::int64_t>());
    }
    return out;
  }

  Shape shape() const {
    try {
      return Shape(numbers("shape"));
    } catch (const ShapeError& error) {
      fail(detail::concat("has an invalid shape: ", error.what()));
    }
  }

  DType dtype() const {
    const Json& text = field("dtype");
    if (!text.is_string()) fail(detail::concat("expected a text as dtype, got ", text.type_name()));
    for (const Element& element : element_types) {
      if (text.get_ref<const std::string&>() == element.name) return element.dtype;
    }
    fail(detail::concat("expected the dtype F32, F64, I32 or I64, got '",
                        text.get_ref<const std::string&>(), "'"));
  }

  const std::string& path_;
  const std::string& name_;
  const Json& fields_;
};

Metadata read_texts(const std::string& path, const Json& fields) {
  if (!fields.is_object())
    throw DataError(
        path, 0, detail::concat("expected __metadata__ to be an object, got ", fields.type_name()));
  Metadata metadata;
  for (const auto& item : fields.items()) {
    if (!item.value().is_string())
      throw DataError(path, 0,
                      detail::concat("expected a text as __metadata__ '", item.key(), "', got ",
                                     item.value().type_name()));
    metadata[item.key()] = item.value().get_ref<const std::string&>();
  }
  return metadata;
}

Header read_header(const std::string& path, const InputFile& file) {
  if (file.size() < 8)
    throw DataError(path, 0,
                    detail::concat("is not a safetensors file: expected at least 8 bytes, got ",
                                   file.size(), " bytes"));
  std::uint64_t length = 0;
  file.read_at(0, &length, sizeof length);
  const auto* const bytes = reinterpret_cast<const unsigned char*>(&length);
  if (length > file.size() - 8 && std::all_of(bytes, bytes + sizeof length, [](unsigned char byte) {
        return byte >= 9 && byte < 127;
      })) {
    throw DataError(path, 0, "is not a safetensors file: it begins with text");
  }
  if (length > file.size() - 8) {
    throw DataError(path, 0,
                    detail::concat("is truncated, or not a safetensors file: expected a header of ",
                                   length, " bytes, got ", file.size() - 8));
  }
  if (length > max_safetensors_header_bytes) {
    throw DataError(path, 0,
                    detail::concat("expected a header of at most ", max_safetensors_header_bytes,
                                   " bytes, got ", length));
  }
  std::string text(static_cast<std::size_t>(length), '\0');
  file.read_at(8, text.data(), text.size());
  if (text.empty() || text.front() != '{')
    throw DataError(path, 0, "is not a safetensors file: its header is not a JSON object");

  Header header;
  header.data_begin = 8 + length;
  const Json fields = parse_header(path, text);
  for (const auto& item : fields.items()) {
    if (item.key() == metadata_key) {
      header.metadata = read_texts(path, item.value());
    } else {
      header.entries.push_back(EntryReader(path, item.key(), item.value()).read());
    }
  }
  std::sort(header.entries.begin(), header.entries.end(), [](const Entry& a, const Entry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  std::uint64_t end = 0;
  for (const Entry& entry : header.entries) {
    if (entry.begin != end) {
      throw DataError(
          path, 0,
          detail::concat("tensor '", entry.name, "': expected its data to begin at byte ", end,
                         ", got byte ", entry.begin));
    }
    end = entry.end;
  }
  if (end != file.size() - header.data_begin) {
    throw DataError(
        path, 0,
        detail::concat("expected ", end, " bytes of tensors, got ", file.size() - header.data_begin,
                       end > file.size() - header.data_begin ? ": it is truncated"
                                                             : ": something follows them"));
  }
  return header;
}

const char* element_name(DType dtype) {
  return std::find_if(element_types.begin(), element_types.end(),
                      [&](const Element& e) { return e.dtype == dtype; })
      ->name;
}

}  // namespace

SafetensorsFile read_safetensors(const std::string& path) {
  const InputFile file(path);
  Header header = read_header(path, file);
  SafetensorsFile out{.tensors = {}, .metadata = std::move(header.metadata)};
  for (const Entry& entry : header.entries) {
    Tensor tensor(entry.shape, entry.dtype);
    file.read_at(header.data_begin + entry.begin, tensor.raw(), tensor.bytes());
    out.tensors.emplace(entry.name, std::move(tensor));
  }
  return out;
}

Metadata read_safetensors_metadata(const std::string& path) {
  return read_header(path, InputFile(path)).metadata;
}

void write_safetensors(const std::string& path, const SafetensorsFile& file) {
  // Eight-byte elements come first, so that the data of every tensor are aligned.
  std::vector<const TensorMap::value_type*> order;
  for (const auto& item : file.tensors) {
    if (!item.second.defined())
      throw DataError(
          path, 0, detail::concat("tensor '", item.first, "' is undefined and cannot be written"));
    if (item.first == metadata_key)
      throw DataError(path, 0, "a tensor cannot be named __metadata__");
    order.push_back(&item);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return size_bytes(a->second.dtype()) > size_bytes(b->second.dtype());
  });

  Json header = Json::object();
  if (!file.metadata.empty()) {
    Json& texts = header[metadata_key] = Json::object();
    for (const auto& [name, text] : file.metadata) texts[name] = text;
  }
  std::uint64_t end = 0;
  for (const auto* item : order) {
    const auto& [name, tensor] = *item;
    Json& fields = header[name];
    fields["dtype"] = element_name(tensor.dtype());
    Json& extents = fields["shape"] = Json::array();
    for (const std::int64_t extent : tensor.shape().extents()) extents.push_back(extent);
    fields["data_offsets"] = {end, end + tensor.bytes()};
    end += tensor.bytes();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::type_error&) {
    throw DataError(path, 0,
                    "a name or a text of the metadata is not valid UTF-8 and cannot be written");
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t length = text.size();
  if (length > max_safetensors_header_bytes) {
    throw DataError(path, 0,
                    detail::concat("expected a header of at most ", max_safetensors_header_bytes,
                                   " bytes, got one of ", length));
  }

  ReplacedFile out(path);
  out.write(&length, sizeof length);
  out.write(text.data(), text.size());
  for (const auto* item : order) {
    const Tensor host = item->second.to(Device::cpu);
    out.write(host.raw(), host.bytes());
  }
  out.commit();
}

void expect_replaceable(const std::string& path) { const ReplacedFile tried(path); }

}  // namespace refrain
