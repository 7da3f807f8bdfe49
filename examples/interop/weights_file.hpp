#pragma once
/// Texts and tensors of files that other programs wrote.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "refrain/train/safetensors.hpp"

namespace refrain::examples {

/// Throws OptionError unless the text is an integer of 32 bits.
inline std::int32_t number(std::string_view text, const std::string& what) {
  std::int32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw OptionError(fmt::format("{}: expected an integer of 32 bits, got '{}'", what, text));
  }
  return value;
}

/// The numbers of a list such as "1,4".
inline std::vector<std::int64_t> numbers(std::string_view list, const std::string& what) {
  std::vector<std::int64_t> out;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    out.push_back(number(list.substr(begin, end - begin), what));
    begin = end + 1;
  }
  return out;
}

/// A text of the file's metadata. Throws DataError if the file has none of this name.
inline const std::string& text_of(const SafetensorsFile& file, std::string_view name,
                                  const std::string& path) {
  const auto found = file.metadata.find(name);
  if (found == file.metadata.end())
    throw DataError(path, 0, fmt::format("expected a text '{}' in the metadata, got none", name));
  return found->second;
}

/// Throws DataError if the file has no tensor of this name and rank.
inline const Tensor& tensor_of(const SafetensorsFile& file, std::string_view name, int rank,
                               const std::string& path) {
  const auto found = file.tensors.find(name);
  const bool is_missing = found == file.tensors.end();
  if (is_missing || found->second.rank() != rank) {
    throw DataError(
        path, 0,
        fmt::format("expected a tensor '{}' of rank {}, got {}", name, rank,
                    is_missing ? "none" : fmt::format("one of rank {}", found->second.rank())));
  }
  return found->second;
}

}  // namespace refrain::examples
