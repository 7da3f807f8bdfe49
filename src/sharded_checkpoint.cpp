#include "refrain/train/sharded_checkpoint.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>
#include <vector>

#include "refrain/distributed/agreement.hpp"
#include "refrain/train/replaced_file.hpp"
#include "src/ranks.hpp"
#include "src/whole_file.hpp"

namespace refrain {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* checkpoint_format = "refrain sharded checkpoint";
constexpr std::int64_t checkpoint_version = 1;

/// What the manifest of a folder says.
struct Manifest {
  std::int64_t number = 0;  ///< of the checkpoint in its folder, from 1; in the names of its parts
  std::int64_t count = 0;
  std::int64_t width = 0;
  std::string dtype;
};

std::string manifest_path(const std::string& folder) { return folder + "/manifest.json"; }
std::string state_name(std::int64_t number) { return detail::concat("state-", number); }
std::string shard_name(std::int64_t number, std::int64_t shard) {
  return detail::concat("items-", number, "-", shard < 10 ? "0" : "", shard);
}
std::string file_of(const std::string& folder, const std::string& part) {
  return detail::concat(folder, "/", part, ".safetensors");
}
std::string prefix_of(std::int64_t shard) {
  return detail::concat("shard.", shard < 10 ? "0" : "", shard, ".");
}

Manifest manifest_of(const ShardedItems& items, std::int64_t number) {
  return {.number = number,
          .count = items.count(),
          .width = items.width(),
          .dtype = name(items.dtype())};
}

std::string text_of(const Manifest& manifest) {
  return Json{{"format", checkpoint_format}, {"version", checkpoint_version},
              {"number", manifest.number},   {"items", manifest.count},
              {"width", manifest.width},     {"dtype", manifest.dtype}}
      .dump(1);
}

std::string read_text(const std::string& path) {
  constexpr std::uint64_t max_bytes = 1 << 16;
  const InputFile file(path);
  if (file.size() > max_bytes) {
    throw DataError(path, 0,
                    detail::concat("expected at most ", max_bytes, " bytes, got ", file.size()));
  }
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.read_at(0, text.data(), text.size());
  return text;
}

Manifest parsed(const std::string& path, const std::string& text) {
  try {
    const Json json = Json::parse(text);
    if (json.at("format").get<std::string>() != checkpoint_format)
      throw Error(detail::concat("expected the format \"", checkpoint_format, "\", got another"));
    if (const auto got = json.at("version").get<std::int64_t>(); got != checkpoint_version)
      throw Error(
          detail::concat("expected version ", checkpoint_version, " of the format, got ", got));
    return {.number = json.at("number").get<std::int64_t>(),
            .count = json.at("items").get<std::int64_t>(),
            .width = json.at("width").get<std::int64_t>(),
            .dtype = json.at("dtype").get<std::string>()};
  } catch (const std::exception& error) {
    throw DataError(path, 0,
                    detail::concat("no valid manifest of a sharded checkpoint: ", error.what()));
  }
}

/// The number of the checkpoint in the folder; 0 without one.
std::int64_t saved_number(const std::string& folder) {
  const std::string path = manifest_path(folder);
  return fs::exists(path) ? parsed(path, read_text(path)).number : 0;
}

/// Runs work() on every rank, which does not communicate. When it throws on any of them, every rank
/// throws a DataError with all ranks and reasons.
template <class Work>
void on_all_ranks(Communicator& communicator, const std::string& folder, const Work& work) {
  const std::string text = failures_of(communicator, work);
  if (!text.empty()) throw DataError(folder, 0, text);
}

/// The part of a shard: rows, biases and their entries of the optimizer's state.
TrainingState part_of(const ShardedItems::Shard& shard, const TensorMap& optimizer) {
  const std::string start = prefix_of(shard.number);
  TrainingState part;
  part.model = {{start + "weight", shard.weight.value()}, {start + "bias", shard.bias.value()}};
  for (const auto& [name, tensor] : optimizer) {
    if (name.find("." + start) != std::string::npos) part.optimizer.emplace(name, tensor);
  }
  return part;
}

/// Throws DataError unless the part of a file has the tensors of the shard.
void expect_part(const std::string& file, const TrainingState& part,
                 const ShardedItems::Shard& shard) {
  const std::string start = prefix_of(shard.number);
  const auto expect = [&](bool fits, const std::string& name) {
    if (!fits) throw DataError(file, 0, detail::concat("does not fit the table: ", name));
  };
  const TensorMap own = part_of(shard, {}).model;
  expect(part.model.size() == own.size(), "rows");
  for (const auto& [name, tensor] : own) {
    const auto found = part.model.find(name);
    expect(found != part.model.end() && found->second.shape() == tensor.shape() &&
               found->second.dtype() == tensor.dtype(),
           name);
  }
  for (const auto& [name, tensor] : part.optimizer) {
    const std::size_t at = name.find("." + start);
    const auto of = at == std::string::npos ? own.end() : own.find(name.substr(at + 1));
    const std::string kind = name.substr(0, at);
    const bool is_moment = kind == "adam.m" || kind == "adam.v";
    expect(of != own.end() &&
               (is_moment
                    ? tensor.shape() == of->second.shape() && tensor.dtype() == of->second.dtype()
                    : kind == "adam.updates" && tensor.rank() == 0 && tensor.dtype() == DType::i64),
           name);
  }
}

/// Removes the parts that the manifest does not name. Failures are left to the next save.
void remove_other_parts(const std::string& folder) try {
  const std::int64_t kept = saved_number(folder);
  const std::string state = state_name(kept) + ".", items = detail::concat("items-", kept, "-");
  std::vector<fs::path> others;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string file = entry.path().filename().string();
    const bool is_part = file.starts_with("state-") || file.starts_with("items-");
    if (is_part && !file.starts_with(state) && !file.starts_with(items))
      others.push_back(entry.path());
  }
  for (const fs::path& path : others) fs::remove(path);
} catch (const std::exception&) {
}

}  // namespace

void save_sharded(const std::string& folder, ShardedItems& items, const TrainingState& state) {
  Communicator& communicator = items.communicator();
  handshake(communicator, {{"model to save", content_hash(state.model)}});
  std::int64_t before = 0;
  on_all_ranks(communicator, folder, [&] {
    if (communicator.rank() != 0) return;
    fs::create_directories(folder);
    before = saved_number(folder);
  });
  const std::int64_t number =
      1 + gather_values(communicator, std::span<const std::int64_t>(&before, 1)).front();
  try {
    on_all_ranks(communicator, folder, [&] {
      const TensorMap optimizer = items.optimizer().state();
      for (const ShardedItems::Shard& shard : items.own())
        save_training(file_of(folder, shard_name(number, shard.number)), part_of(shard, optimizer));
      if (communicator.rank() == 0) save_training(file_of(folder, state_name(number)), state);
    });
    on_all_ranks(communicator, folder, [&] {
      if (communicator.rank() != 0) return;
      const std::string text = text_of(manifest_of(items, number));
      ReplacedFile file(manifest_path(folder));
      file.write(text.data(), text.size());
      file.commit();
    });
  } catch (const DataError&) {
    if (communicator.rank() == 0) remove_other_parts(folder);
    throw;
  }
  if (communicator.rank() == 0) remove_other_parts(folder);
}

TrainingState load_sharded(const std::string& folder, ShardedItems& items) {
  Communicator& communicator = items.communicator();
  const std::string path = manifest_path(folder);
  std::string text;
  on_all_ranks(communicator, folder, [&] {
    if (communicator.rank() == 0) text = read_text(path);
  });
  // Every rank loads what rank 0 has read.
  const std::vector<std::byte> bytes =
      gather_bytes(communicator, std::as_bytes(std::span(text))).front();
  text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  TrainingState state;
  TensorMap rows, own, optimizer;
  on_all_ranks(communicator, folder, [&] {
    const Manifest manifest = parsed(path, text);
    const Manifest expected = manifest_of(items, manifest.number);
    if (text_of(manifest) != text_of(expected)) {
      throw DataError(path, 0,
                      detail::concat("expected a table of ", expected.count, " items of width ",
                                     expected.width, ", ", expected.dtype, ", got ", manifest.count,
                                     " of width ", manifest.width, ", ", manifest.dtype));
    }
    for (const ShardedItems::Shard& shard : items.own()) {
      const std::string file = file_of(folder, shard_name(manifest.number, shard.number));
      TrainingState part = load_training(file);
      expect_part(file, part, shard);
      rows.merge(part.model);
      own.merge(part_of(shard, {}).model);
      optimizer.merge(part.optimizer);
    }
    state = load_training(file_of(folder, state_name(manifest.number)));
  });
  assign_tensors(own, rows, folder);
  items.optimizer().load_state(optimizer);
  return state;
}

bool has_sharded_checkpoint(const std::string& folder) {
  std::error_code ignored;
  return fs::exists(manifest_path(folder), ignored);
}

}  // namespace refrain
