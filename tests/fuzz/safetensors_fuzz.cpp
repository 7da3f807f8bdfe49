/// Files of tensors: a file that is read, written and read again keeps its bits.

#include <cstring>

#include "fuzz/program.hpp"
#include "refrain/train/safetensors.hpp"

namespace refrain::fuzz {
namespace {

/// A file with a correct length in front, from an input whose first zero byte separates header and
/// data.
std::string with_length(std::string_view input) {
  const std::size_t parting = std::min(input.find('\0'), input.size());
  const std::string_view header = input.substr(0, parting);
  const std::string_view data = input.substr(std::min(parting + 1, input.size()));
  const std::uint64_t length = header.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes.append(header).append(data);
}

void same(const SafetensorsFile& a, const SafetensorsFile& b) {
  require(a.metadata == b.metadata, "texts come back");
  require(a.tensors.size() == b.tensors.size(), "as many tensors come back");
  for (const auto& [name, tensor] : a.tensors) {
    const auto found = b.tensors.find(name);
    require(found != b.tensors.end(), "names come back");
    const Tensor& other = found->second;
    require(other.shape() == tensor.shape() && other.dtype() == tensor.dtype(),
            "shapes and types come back");
    require(tensor.bytes() == 0 || std::memcmp(other.raw(), tensor.raw(), tensor.bytes()) == 0,
            "elements come back");
  }
}

}  // namespace

void try_input(std::string_view input) {
  Choices choices(input);
  const bool mended = choices.next() % 4 != 0;
  const std::string& path =
      file_with("tensors", mended ? with_length(choices.rest()) : std::string(choices.rest()));
  SafetensorsFile file;
  Metadata alone;
  const bool whole = accepted(path, [&] { file = read_safetensors(path); });
  require(accepted(path, [&] { alone = read_safetensors_metadata(path); }) == whole,
          "both readers accept the same files");
  if (!whole) return;
  require(alone == file.metadata, "both readers find the same texts");
  std::size_t bytes = 0;
  for (const auto& [name, tensor] : file.tensors) bytes += tensor.bytes();
  require(bytes <= input.size(), "no tensor is larger than the file");
  const std::string& again = file_with("again", "");
  write_safetensors(again, file);
  const std::string written = contents_of(again);
  same(file, read_safetensors(again));
  write_safetensors(again, read_safetensors(again));
  require(contents_of(again) == written, "equal contents give equal bytes");
}

std::vector<std::string> seeds() {
  const std::string& path = file_with("seed", "");
  write_safetensors(
      path, {.tensors = {{"a", Tensor::from<float>({2, 2}, {1, -2, 0.5f, 3})},
                         {"b", Tensor::from<double>({}, {2.5})},
                         {"empty", Tensor({0, 3}, DType::f32)},
                         {"ids \"x\" \xC3\xA9", Tensor::from<std::int32_t>({3}, {1, -1, 7})}},
             .metadata = {{"note", "two\nlines"}, {"empty", ""}}});
  std::string parted = contents_of(path).substr(8);
  parted.insert(
      parted.find("  ") == std::string::npos ? parted.find("}}") + 2 : parted.find_last_of('}') + 1,
      1, '\0');
  return {
      std::string("\0", 1) + contents_of(path),
      "\1" + parted,
      std::string("\1{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}") +
          std::string("\0abcd", 5),
      std::string("\1{\"__metadata__\":{\"k\":\"v "
                  "\\u00e9\"},\"x\":{\"dtype\":\"I64\",\"shape\":[0,9],\"data_offsets\":[0,0]}}"),
      std::string("\1{\"x\":{\"dtype\":\"F64\",\"shape\":[1152921504606846976],\"data_offsets\":[0,"
                  "9223372036854775800]}}"),
  };
}

}  // namespace refrain::fuzz
