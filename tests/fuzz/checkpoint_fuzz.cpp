/// Checkpoints: files of tensors whose hash is corrected, so that inputs pass its check. A training
/// state that is accepted stays the same when it is saved again.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "fuzz/program.hpp"
#include "refrain/train/checkpoint.hpp"

namespace refrain::fuzz {
namespace {

constexpr const char* hash_key = "refrain.hash";

/// Writes the input as a checkpoint with a correct length and hash. False when it is not a file of
/// tensors.
bool make_checkpoint(std::string_view input, const std::string& path) {
  const std::size_t parting = std::min(input.find('\0'), input.size());
  const std::uint64_t length = parting;
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  bytes.append(input.substr(0, parting)).append(input.substr(std::min(parting + 1, input.size())));
  file_with("checkpoint", bytes);
  SafetensorsFile file;
  if (!accepted(path, [&] { file = read_safetensors(path); })) return false;
  file.metadata.erase(hash_key);
  file.metadata[hash_key] = content_hash(file.tensors, file.metadata);
  write_safetensors(path, file);
  return true;
}

}  // namespace

void try_input(std::string_view input) {
  const std::string& path = file_with("checkpoint", "");
  CheckpointInfo info;
  if (!make_checkpoint(input, path) || !accepted(path, [&] { info = checkpoint_info(path); }))
    return;
  TensorMap none;
  accepted(path, [&] { load_patch(path, none, {.base_hash = "base", .task = "task"}); });
  TrainingState state;
  if (!accepted(path, [&] { state = load_training(path); })) return;
  require(info.kind == "training", "only a training state is one");
  if (std::any_of(state.metadata.begin(), state.metadata.end(),
                  [](const auto& text) { return text.first.starts_with("refrain."); })) {
    return;  // texts with reserved names are read, and not written
  }
  const std::string& again = file_with("again", "");
  save_training(again, state);
  const TrainingState back = load_training(again);
  require(back.metadata == state.metadata && back.counters == state.counters,
          "texts and counters come back");
  require(
      back.randoms.size() == state.randoms.size() && back.figures.size() == state.figures.size(),
      "all random states and figures come back");
  save_training(path, back);
  require(contents_of(path) == contents_of(again), "equal states give equal bytes");
}

std::vector<std::string> seeds() {
  const std::string& path = file_with("seed", "");
  std::vector<std::string> all;
  const auto take = [&] {
    std::string bytes = contents_of(path).substr(8);
    std::uint64_t length = 0;
    std::memcpy(&length, contents_of(path).data(), sizeof length);
    bytes.insert(static_cast<std::size_t>(length), 1, '\0');
    all.push_back(bytes);
  };
  TrainingState state;
  state.model = {{"w", Tensor::from<float>({2}, {1, 2})}};
  state.optimizer = {{"m.w", Tensor::from<float>({2}, {3, 4})}};
  state.best = {{"w", Tensor::from<float>({2}, {5, 6})}};
  state.randoms["batches"] = {.seed = 1, .stream = 2, .position = 3};
  state.counters = {{"epoch", 4}, {"step", 5}};
  state.figures = {{"loss_sum", 6.5}};
  state.metadata = {{"note", "x"}};
  save_training(path, state);
  take();
  save_patch(path, TensorMap{{"p", Tensor::from<float>({1}, {1})}},
             {.base_hash = "base", .task = "task"}, {{"config", "{}"}});
  take();
  save_training(path, {});
  take();
  return all;
}

}  // namespace refrain::fuzz
