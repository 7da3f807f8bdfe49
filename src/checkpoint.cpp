#include "refrain/train/checkpoint.hpp"

#include <bit>
#include <string_view>
#include <utility>

namespace refrain {
namespace {

constexpr std::string_view reserved = "refrain.";
constexpr const char* format_key = "refrain.format";
constexpr const char* kind_key = "refrain.kind";
constexpr const char* task_key = "refrain.task";
constexpr const char* base_key = "refrain.base";
constexpr const char* hash_key = "refrain.hash";
constexpr const char* format = "1";

struct Contents {
  CheckpointInfo info;
  TensorMap tensors;
};

void write(const std::string& path, const CheckpointInfo& info, TensorMap tensors) {
  SafetensorsFile file{.tensors = std::move(tensors), .metadata = info.metadata};
  for (const auto& [name, text] : info.metadata) {
    if (name.starts_with(reserved))
      throw OptionError(concat("checkpoint: the text '", name, "' has a reserved name"));
  }
  file.metadata[format_key] = format;
  file.metadata[kind_key] = info.kind;
  if (!info.task.empty()) file.metadata[task_key] = info.task;
  if (!info.base_hash.empty()) file.metadata[base_key] = info.base_hash;
  const std::string hash = content_hash(file.tensors, file.metadata);
  file.metadata[hash_key] = hash;
  write_safetensors(path, file);
}

/// Moves the text of that name out of the metadata; empty when there is none.
std::string take(Metadata& metadata, const char* name) {
  const auto node = metadata.extract(name);
  return node.empty() ? std::string() : node.mapped();
}

Contents read(const std::string& path) {
  SafetensorsFile file = read_safetensors(path);
  const std::string expected = take(file.metadata, hash_key);
  if (expected.empty())
    throw DataError(path, 0, "is not a Refrain checkpoint: it carries no hash of its contents");
  const std::string hash = content_hash(file.tensors, file.metadata);
  if (hash != expected) {
    throw DataError(
        path, 0,
        concat("is damaged: its contents hash to ", hash, ", it was saved with ", expected));
  }
  const std::string version = take(file.metadata, format_key);
  if (version != format) {
    throw DataError(
        path, 0,
        concat("is a checkpoint of format '", version, "'; this build reads format ", format));
  }
  Contents contents;
  contents.info.kind = take(file.metadata, kind_key);
  contents.info.task = take(file.metadata, task_key);
  contents.info.base_hash = take(file.metadata, base_key);
  contents.info.metadata = std::move(file.metadata);
  contents.tensors = std::move(file.tensors);
  for (const auto& [name, tensor] : contents.tensors) contents.info.elements += tensor.numel();
  return contents;
}

Contents read(const std::string& path, std::string_view kind) {
  Contents contents = read(path);
  if (contents.info.kind != kind) {
    throw DataError(
        path, 0,
        concat("holds a ", contents.info.kind, " checkpoint, expected a ", kind, " checkpoint"));
  }
  return contents;
}

void check_target(const PatchTarget& target) {
  if (target.base_hash.empty() || target.task.empty())
    throw OptionError(concat("patch: expected a base hash and the name of a task, got '",
                             target.base_hash, "' and '", target.task, "'"));
}

/// Collects complaints and keeps a long list readable.
class Complaints {
 public:
  template <class... Parts>
  void add(const Parts&... parts) {
    constexpr int shown = 8;
    if (++count_ <= shown) text_ += concat(count_ == 1 ? "" : "; ", parts...);
    if (count_ == shown + 1) text_ += "; and more";
  }
  const std::string& text() const noexcept { return text_; }

 private:
  int count_ = 0;
  std::string text_;
};

/// Tensors under "<group>.<name>" in one map, and out of it again.
void put_group(TensorMap& all, std::string_view group, const TensorMap& tensors) {
  for (const auto& [name, tensor] : tensors) all[concat(group, ".", name)] = tensor;
}

template <class Take>
void for_group(const TensorMap& all, std::string_view group, Take take_one) {
  const std::string prefix = concat(group, ".");
  for (auto at = all.lower_bound(prefix); at != all.end() && at->first.starts_with(prefix); ++at) {
    take_one(at->first.substr(prefix.size()), at->first, at->second);
  }
}

}  // namespace

CheckpointInfo checkpoint_info(const std::string& path) { return read(path).info; }

TensorMap tensors_of(const Module& module) {
  TensorMap tensors;
  for (const ConstNamedParameter& named : module.parameters())
    tensors[named.name] = named.parameter->value();
  return tensors;
}

void assign_tensors(const TensorMap& into, const TensorMap& from, const std::string& origin) {
  Complaints complaints;
  for (const auto& [name, to] : into) {
    const auto found = from.find(name);
    if (found == from.end()) {
      complaints.add("'", name, "' ", to.shape(), " is missing");
    } else if (found->second.shape() != to.shape() || found->second.dtype() != to.dtype()) {
      complaints.add("'", name, "' is ", found->second.dtype(), " ", found->second.shape(),
                     ", expected ", to.dtype(), " ", to.shape());
    }
  }
  for (const auto& [name, tensor] : from) {
    if (into.find(name) == into.end())
      complaints.add("'", name, "' ", tensor.shape(), " is not expected");
  }
  if (!complaints.text().empty())
    throw DataError(origin, 0, concat("does not fit: ", complaints.text()));
  for (const auto& [name, tensor] : into) {
    Tensor to = tensor;
    to.copy_from(from.find(name)->second);
  }
}

void save_model(const std::string& path, const Module& module, const Metadata& metadata) {
  write(path, {.kind = "model", .task = {}, .base_hash = {}, .metadata = metadata},
        tensors_of(module));
}

Metadata load_model(const std::string& path, Module& module) {
  Contents contents = read(path, "model");
  assign_tensors(tensors_of(module), contents.tensors, path);
  return std::move(contents.info.metadata);
}

void save_patch(const std::string& path, const TensorMap& patch, const PatchTarget& target,
                const Metadata& metadata) {
  check_target(target);
  write(path,
        {.kind = "patch", .task = target.task, .base_hash = target.base_hash, .metadata = metadata},
        patch);
}

void save_patch(const std::string& path, const Module& patch, const PatchTarget& target,
                const Metadata& metadata) {
  save_patch(path, tensors_of(patch), target, metadata);
}

Metadata load_patch(const std::string& path, const TensorMap& patch, const PatchTarget& target) {
  check_target(target);
  Contents contents = read(path, "patch");
  if (contents.info.base_hash != target.base_hash) {
    throw DataError(path, 0,
                    concat("is a patch for another base: it was trained on ",
                           contents.info.base_hash, ", the base here is ", target.base_hash,
                           "; give its base, or fine-tune it anew on this one"));
  }
  if (contents.info.task != target.task) {
    throw DataError(
        path, 0,
        concat("is a patch for the task '", contents.info.task, "', expected '", target.task, "'"));
  }
  assign_tensors(patch, contents.tensors, path);
  return std::move(contents.info.metadata);
}

Metadata load_patch(const std::string& path, Module& patch, const PatchTarget& target) {
  return load_patch(path, tensors_of(patch), target);
}

void save_training(const std::string& path, const TrainingState& state) {
  TensorMap tensors;
  put_group(tensors, "model", state.model);
  put_group(tensors, "optimizer", state.optimizer);
  put_group(tensors, "best", state.best);
  for (const auto& [name, random] : state.randoms) {
    tensors[concat("random.", name)] = Tensor::from<std::int64_t>(
        {3}, {std::bit_cast<std::int64_t>(random.seed), std::bit_cast<std::int64_t>(random.stream),
              std::bit_cast<std::int64_t>(random.position)});
  }
  for (const auto& [name, value] : state.counters)
    tensors[concat("counter.", name)] = Tensor::from<std::int64_t>({}, {value});
  for (const auto& [name, value] : state.figures)
    tensors[concat("figure.", name)] = Tensor::from<double>({}, {value});
  write(path, {.kind = "training", .task = {}, .base_hash = {}, .metadata = state.metadata},
        std::move(tensors));
}

TrainingState load_training(const std::string& path) {
  Contents contents = read(path, "training");
  TrainingState state;
  std::size_t used = 0;
  const auto check = [&](const std::string& name, const Tensor& tensor, const Shape& shape,
                         DType dtype) {
    if (tensor.shape() == shape && tensor.dtype() == dtype) return;
    throw DataError(path, 0,
                    concat("'", name, "' is ", tensor.dtype(), " ", tensor.shape(), ", expected ",
                           dtype, " ", shape));
  };
  const auto take_tensors = [&](std::string_view group, TensorMap& to) {
    for_group(contents.tensors, group,
              [&](std::string name, const std::string&, const Tensor& tensor) {
                to.emplace(std::move(name), tensor);
                ++used;
              });
  };
  take_tensors("model", state.model);
  take_tensors("optimizer", state.optimizer);
  take_tensors("best", state.best);
  for_group(contents.tensors, "random",
            [&](std::string name, const std::string& full, const Tensor& tensor) {
              check(full, tensor, {3}, DType::i64);
              const std::int64_t* words = tensor.data<std::int64_t>();
              state.randoms[std::move(name)] = {.seed = std::bit_cast<std::uint64_t>(words[0]),
                                                .stream = std::bit_cast<std::uint64_t>(words[1]),
                                                .position = std::bit_cast<std::uint64_t>(words[2])};
              ++used;
            });
  for_group(contents.tensors, "counter",
            [&](std::string name, const std::string& full, const Tensor& tensor) {
              check(full, tensor, {}, DType::i64);
              state.counters[std::move(name)] = *tensor.data<std::int64_t>();
              ++used;
            });
  for_group(contents.tensors, "figure",
            [&](std::string name, const std::string& full, const Tensor& tensor) {
              check(full, tensor, {}, DType::f64);
              state.figures[std::move(name)] = *tensor.data<double>();
              ++used;
            });
  if (used != contents.tensors.size())
    throw DataError(path, 0, "holds something that is no part of a training state");
  state.metadata = std::move(contents.info.metadata);
  return state;
}

}  // namespace refrain
