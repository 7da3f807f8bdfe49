/// Checkpoints of several ranks: resuming, killed and failed saves, damage.

#include "refrain/train/sharded_checkpoint.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "distributed/sharded.hpp"
#include "support/scratch.hpp"

using namespace refrain;
using namespace refrain::test;
using namespace refrain::test::sharded;

namespace sharded_checkpoint_test {

namespace fs = std::filesystem;

constexpr std::int64_t item_count = 9000, width = 4, slices = 8;

ShardedItems made(Communicator& communicator, std::int64_t items = item_count) {
  Random random(5);
  return ShardedItems(communicator,
                      {.count = items, .width = width, .adam = {.learning_rate = 0.01}}, random);
}

/// One training step on slices of a batch: every third one with the exact softmax, which changes
/// all rows, the others with the sampled one.
void train_step(ShardedItems& items, std::int64_t step) {
  const Tensor ids = random_ids(slices * 2, item_count, static_cast<std::uint64_t>(step));
  const Tensor targets = random_ids(slices * 2, item_count, static_cast<std::uint64_t>(100 + step));
  const auto own_targets = own_slices(targets, slices, items.communicator());
  const std::vector<Variable> x = items.look_up(own_slices(ids, slices, items.communicator()));
  if (step % 3 == 0) {
    backward(softmax_loss(x, items, own_targets));
  } else {
    const std::vector<Candidates> candidates(
        x.size(), {.ids = random_ids(9, item_count, static_cast<std::uint64_t>(200 + step)),
                   .log_q_true = {},
                   .log_q_negative = {}});
    backward(sampled_softmax_loss(x, items, own_targets, candidates));
  }
  items.step();
}

TrainingState state_at(std::int64_t step) {
  TrainingState state;
  state.model["step"] = Tensor::full({3}, static_cast<double>(step), DType::f32);
  state.counters["step"] = step;
  return state;
}

/// Trains the steps [begin, end) on some ranks, from the checkpoint unless begin is 0, and saves.
/// Returns the whole table.
Tensor train(const std::string& folder, int ranks, std::int64_t begin, std::int64_t end) {
  Tensor table;
  on_ranks(ranks, [&](Communicator& communicator) {
    ShardedItems items = made(communicator);
    if (begin > 0)
      expect(load_sharded(folder, items).counters.at("step") == begin, "the state of this step");
    for (std::int64_t step = begin; step < end; ++step) train_step(items, step);
    save_sharded(folder, items, state_at(end));
    const Tensor whole = items.gather_weight();
    if (communicator.rank() == 0) table = whole;
  });
  return table;
}

std::set<std::string> files_in(const std::string& folder) {
  std::set<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder))
    files.insert(entry.path().filename().string());
  return files;
}

/// The error that all ranks get alike.
template <class Function>
std::string error_on_ranks(int ranks, const Function& function) {
  std::vector<std::string> errors(static_cast<std::size_t>(ranks));
  on_ranks(ranks, [&](Communicator& communicator) {
    ShardedItems items = made(communicator);
    const Tensor before = items.gather_weight();
    try {
      function(items);
    } catch (const DataError& error) {
      errors[static_cast<std::size_t>(communicator.rank())] = error.what();
    }
    expect(same_bytes(before, items.gather_weight()), "an unchanged table");
    expect(items.optimizer().state().empty(), "no state of the optimizer");
  });
  for (const std::string& error : errors) CHECK(error == errors.front());
  return errors.front();
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace sharded_checkpoint_test

using namespace sharded_checkpoint_test;

TEST_CASE("sharded checkpoint: training resumes on another number of ranks with the same bits",
          "[distributed]") {
  const ScratchFolder folder;
  const Tensor unbroken = train(folder.path("unbroken"), 1, 0, 12);
  const std::string path = folder.path("resumed");
  CHECK_FALSE(has_sharded_checkpoint(path));
  train(path, 3, 0, 2);
  CHECK(has_sharded_checkpoint(path));
  train(path, 1, 2, 5);
  train(path, 4, 5, 8);
  CHECK(same_bytes(train(path, 2, 8, 12), unbroken));
  // The parts have the same bytes whoever wrote them.
  const auto of_last = [](const std::string& at, int number) {
    std::vector<std::string> texts;
    for (std::int64_t shard = 0; shard < RowShards::count; ++shard) {
      std::ifstream file(
          detail::concat(at, "/items-", number, "-", shard < 10 ? "0" : "", shard, ".safetensors"),
          std::ios::binary);
      texts.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
      CHECK_FALSE(texts.back().empty());
    }
    return texts;
  };
  CHECK((of_last(path, 4) == of_last(folder.path("unbroken"), 1)));
  CHECK(files_in(path).size() == 64 + 2);
}

TEST_CASE("sharded checkpoint: a save that was killed leaves the checkpoint before",
          "[distributed]") {
  const ScratchFolder folder;
  const std::string path = folder.path("saved");
  train(path, 2, 0, 2);
  const auto files = files_in(path);
  // What a killed save leaves: parts of the next checkpoint, whole and temporary, no manifest.
  fs::copy_file(path + "/items-1-05.safetensors", path + "/items-2-05.safetensors");
  fs::copy_file(path + "/state-1.safetensors", path + "/state-2.safetensors");
  std::ofstream(path + "/items-2-06.safetensors.77.1.tmp") << "half";
  std::ofstream(path + "/manifest.json.77.1.tmp") << "{";
  train(path, 3, 2, 4);
  const auto after = files_in(path);
  CHECK(after.size() == files.size());
  CHECK(after.contains("items-2-05.safetensors"));
  CHECK_FALSE(after.contains("items-2-06.safetensors.77.1.tmp"));
  CHECK_FALSE(after.contains("items-1-05.safetensors"));
}

TEST_CASE("sharded checkpoint: a rank that cannot write stops all and keeps the checkpoint before",
          "[distributed][errors]") {
  const ScratchFolder folder;
  const std::string path = folder.path("saved");
  train(path, 3, 0, 2);
  fs::create_directories(path + "/items-2-30.safetensors/in the way");
  on_ranks(3, [&](Communicator& communicator) {
    ShardedItems items = made(communicator);
    load_sharded(path, items);
    train_step(items, 2);
    const auto error = [&]() -> std::string {
      try {
        save_sharded(path, items, state_at(3));
      } catch (const DataError& caught) {
        return caught.what();
      }
      return {};
    }();
    expect(contains(error, communicator.text(1) + ": "), "the rank that failed: " + error);
    expect(contains(error, "items-2-30.safetensors"), "the file: " + error);
    expect(!contains(error, communicator.text(2) + ": "), "no other rank: " + error);
  });
  fs::remove_all(path + "/items-2-30.safetensors");
  const Tensor unbroken = train(folder.path("unbroken"), 1, 0, 4);
  CHECK(same_bytes(train(path, 2, 2, 4), unbroken));
}

TEST_CASE("sharded checkpoint: other models on the ranks are refused", "[distributed][errors]") {
  const ScratchFolder folder;
  on_ranks(2, [&](Communicator& communicator) {
    ShardedItems items = made(communicator);
    bool is_refused = false;
    try {
      save_sharded(folder.path("saved"), items, state_at(communicator.rank()));
    } catch (const CommunicationError&) {
      is_refused = true;
    }
    expect(is_refused, "a refusal");
  });
}

TEST_CASE("sharded checkpoint: damage is refused by all ranks and changes nothing",
          "[distributed][errors]") {
  const ScratchFolder folder;
  const std::string path = folder.path("saved");
  const auto load_error = [&] {
    return error_on_ranks(3, [&](ShardedItems& items) { load_sharded(path, items); });
  };
  CHECK(contains(load_error(), "manifest.json"));
  train(path, 2, 0, 3);
  const std::string part = path + "/items-1-40.safetensors", kept = folder.path("kept");
  fs::copy_file(part, kept);

  fs::resize_file(part, fs::file_size(part) - 1);
  CHECK(contains(load_error(), "items-1-40.safetensors"));
  fs::remove(part);
  CHECK(contains(load_error(), "items-1-40.safetensors"));
  // A part of another shard.
  fs::copy_file(path + "/items-1-41.safetensors", part);
  CHECK(contains(load_error(), "does not fit the table"));
  fs::remove(part);
  fs::copy_file(kept, part);

  fs::rename(path + "/state-1.safetensors", kept + ".state");
  CHECK(contains(load_error(), "state-1.safetensors"));
  fs::rename(kept + ".state", path + "/state-1.safetensors");

  const auto manifest = [&](const std::string& text) {
    std::ofstream(path + "/manifest.json", std::ios::trunc) << text;
    return load_error();
  };
  CHECK(contains(manifest("{"), "no valid manifest"));
  CHECK(contains(manifest("[]"), "no valid manifest"));
  CHECK(contains(manifest(R"({"format":"refrain sharded checkpoint","version":7})"), "version 1"));
  CHECK(contains(manifest(std::string(100'000, ' ')), "at most"));
  CHECK(contains(manifest(R"({"format":"refrain sharded checkpoint","version":1,"number":1,)"
                          R"("items":9001,"width":4,"dtype":"f32"})"),
                 "expected a table of 9000 items of width 4, f32, got 9001"));
}
