/// Recommends with a NextItNet whose weights another program trained:
///
///   load_nextitnet WEIGHTS.safetensors ITEM...
///
/// The file contains the tensors that docs/interop.md names and the texts "dilations" ("1,4,1,4")
/// and "padding" ("causal" or "same"); nextitnet_from_pytorch.py writes such files. ITEM... is the
/// history, oldest item first. Prints the five items with the highest scores.

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "interop/weights_file.hpp"
#include "refrain/ops/top_k.hpp"
#include "refrain/train/checkpoint.hpp"
#include "refrain/train/safetensors.hpp"
#include "refrain_models/nextitnet.hpp"

namespace {

using namespace refrain;
using examples::number, examples::numbers, examples::tensor_of, examples::text_of;

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
