/// Recommends with a NextItNet whose weights another program trained:
///
///   load_nextitnet WEIGHTS.safetensors ITEM...
///
/// The file contains the tensors that docs/interop.md names and the texts "dilations" ("1,4,1,4")
/// and "padding" ("causal" or "same"); nextitnet_from_pytorch.py writes such files. ITEM... is the
/// history, oldest item first. Prints the five items with the highest scores.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "refrain/ops/top_k.hpp"
#include "refrain/train/checkpoint.hpp"
#include "refrain/train/safetensors.hpp"
#include "refrain_models/nextitnet.hpp"

namespace {

using namespace refrain;

std::int32_t number(std::string_view text, const std::string& what) {
  std::int32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw OptionError(fmt::format("{}: expected an integer of 32 bits, got '{}'", what, text));
  }
  return value;
}

std::vector<std::int64_t> numbers(std::string_view list, const std::string& what) {
  std::vector<std::int64_t> out;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    out.push_back(number(list.substr(begin, end - begin), what));
    begin = end + 1;
  }
  return out;
}

const std::string& text_of(const SafetensorsFile& file, std::string_view name,
                           const std::string& path) {
  const auto found = file.metadata.find(name);
  if (found == file.metadata.end())
    throw DataError(path, 0, fmt::format("expected a text '{}' in the metadata, got none", name));
  return found->second;
}

const Tensor& tensor_of(const SafetensorsFile& file, std::string_view name, int rank,
                        const std::string& path) {
  const auto found = file.tensors.find(name);
  if (found == file.tensors.end() || found->second.rank() != rank) {
    throw DataError(path, 0,
                    fmt::format("expected a tensor '{}' of rank {}, got none", name, rank));
  }
  return found->second;
}

/// A network of the file's sizes with the file's weights.
models::NextItNet load(const std::string& path) {
  const SafetensorsFile file = read_safetensors(path);
  const std::string& padding = text_of(file, "padding", path);
  if (padding != "causal" && padding != "same") {
    throw DataError(path, 0,
                    fmt::format("expected the padding 'causal' or 'same', got '{}'", padding));
  }
  const Tensor& table = tensor_of(file, "embedding.weight", 2, path);
  Random random(1);
  models::NextItNet model(
      {.items = table.size(0),
       .channels = table.size(1),
       .dilations = numbers(text_of(file, "dilations", path), path + ": dilations"),
       .width = tensor_of(file, "blocks.0.conv1.weight", 3, path).size(0),
       .padding = padding == "causal" ? Padding::causal : Padding::same},
      random);
  assign_tensors(tensors_of(model), file.tensors, path);
  return model;
}

void recommend(const std::string& path, const std::vector<std::int32_t>& history) {
  const models::NextItNet model = load(path);
  const Tensor ids =
      Tensor::from<std::int32_t>({1, static_cast<std::int64_t>(history.size())}, history);
  const TopKResult best =
      top_k(model.scores(ids), std::min<std::int64_t>(5, model.options().items));
  for (std::int64_t i = 0; i < best.indices.numel(); ++i)
    std::printf("%d %.6f\n", static_cast<int>(best.indices.data<std::int32_t>()[i]),
                best.values.data<float>()[i]);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("usage: load_nextitnet WEIGHTS.safetensors ITEM...\n", stderr);
    return 1;
  }
  try {
    std::vector<std::int32_t> history;
    for (int i = 2; i < argc; ++i) history.push_back(number(argv[i], "ITEM"));
    recommend(argv[1], history);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "load_nextitnet: %s\n", error.what());
    return 1;
  }
}
