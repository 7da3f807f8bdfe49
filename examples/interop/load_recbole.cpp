/// Recommends with a GRU4Rec or NextItNet that RecBole trained:
///
///   load_recbole WEIGHTS.safetensors COUNT ITEM...
///
/// from_recbole.py writes the file. ITEM... is the history, oldest item first, in RecBole's
/// internal ids, 1 to items - 1. Prints the COUNT items with the highest scores; the scores are
/// those of RecBole's full_sort_predict.

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <limits>
#include <string>
#include <vector>

#include "interop/weights_file.hpp"
#include "refrain/ops/top_k.hpp"
#include "refrain/train/checkpoint.hpp"
#include "refrain/train/safetensors.hpp"
#include "refrain_models/cmnrec.hpp"
#include "refrain_models/nextitnet.hpp"

namespace {

using namespace refrain;
using examples::number, examples::numbers, examples::tensor_of, examples::text_of;

/// RecBole's id of padding; it has a row in the item table and is never recommended.
constexpr std::int32_t recbole_padding = 0;

std::int64_t recurrent_layers(const SafetensorsFile& file) {
  std::int64_t layers = 0;
  while (file.tensors.contains(fmt::format("controller.layers.{}.weight_x", layers))) ++layers;
  return layers;
}

/// Scores of all items: [1,items].
Tensor gru4rec_scores(const SafetensorsFile& file, const std::string& path, const Tensor& ids) {
  const Shape& table = tensor_of(file, "embedding.weight", 2, path).shape();
  Random random(1);
  models::RecurrentRec<Gru> model({.items = table[0],
                                   .embedding = table[1],
                                   .hidden = tensor_of(file, "head.weight", 2, path).size(1),
                                   .layers = std::max<std::int64_t>(1, recurrent_layers(file))},
                                  random);
  assign_tensors(tensors_of(model), file.tensors, path);
  return model.scores(ids);
}

/// Scores of all items: [1,items]. RecBole has no ReLU between the last block and the scores.
Tensor nextitnet_scores(const SafetensorsFile& file, const std::string& path, const Tensor& ids) {
  const Shape& table = tensor_of(file, "embedding.weight", 2, path).shape();
  Random random(1);
  models::NextItNet model(
      {.items = table[0],
       .channels = table[1],
       .dilations = numbers(text_of(file, "dilations", path), path + ": dilations"),
       .width = tensor_of(file, "blocks.0.conv1.weight", 3, path).size(0),
       .relu = false},
      random);
  assign_tensors(tensors_of(model), file.tensors, path);
  return model.scores(ids);
}

Tensor scores_of(const SafetensorsFile& file, const std::string& path,
                 std::vector<std::int32_t> history) {
  const std::int64_t items = tensor_of(file, "embedding.weight", 2, path).size(0);
  for (const std::int32_t item : history) {
    if (item <= recbole_padding || item >= items)
      throw OptionError(fmt::format("ITEM: expected 1 to {}, got {}", items - 1, item));
  }
  const std::int32_t length = number(text_of(file, "length", path), path + ": length");
  if (length < 1)
    throw DataError(path, 0, fmt::format("expected a length above 0, got {}", length));
  if (std::ssize(history) > length) history.erase(history.begin(), history.end() - length);
  const std::string& model = text_of(file, "model", path);
  // RecBole pads behind the items. Its GRU4Rec reads the time step of the newest item, its
  // NextItNet the last time step.
  if (model == "NextItNet") history.resize(static_cast<std::size_t>(length), recbole_padding);
  const Tensor ids = Tensor::from<std::int32_t>({1, std::ssize(history)}, history);
  if (model == "GRU4Rec") return gru4rec_scores(file, path, ids);
  if (model == "NextItNet") return nextitnet_scores(file, path, ids);
  throw DataError(path, 0,
                  fmt::format("expected the model 'GRU4Rec' or 'NextItNet', got '{}'", model));
}

void recommend(const std::string& path, std::int64_t count,
               const std::vector<std::int32_t>& history) {
  if (count < 1) throw OptionError(fmt::format("COUNT: expected 1 or more, got {}", count));
  Tensor scores = scores_of(read_safetensors(path), path, history);
  scores.data<float>()[recbole_padding] = -std::numeric_limits<float>::infinity();
  const TopKResult best = top_k(scores, std::min(count, scores.size(1) - 1));
  for (std::int64_t i = 0; i < best.indices.numel(); ++i)
    std::printf("%d %.9g\n", static_cast<int>(best.indices.data<std::int32_t>()[i]),
                static_cast<double>(best.values.data<float>()[i]));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fputs("usage: load_recbole WEIGHTS.safetensors COUNT ITEM...\n", stderr);
    return 1;
  }
  try {
    std::vector<std::int32_t> history;
    for (int i = 3; i < argc; ++i) history.push_back(number(argv[i], "ITEM"));
    recommend(argv[1], number(argv[2], "COUNT"), history);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "load_recbole: %s\n", error.what());
    return 1;
  }
}
