#include "refrain/train/checkpoint.hpp"

#include <bit>
#include <cstring>
#include <string_view>
#include <utility>

#include "src/content_hash.hpp"

namespace refrain {
namespace {

constexpr std::string_view reserved = "refrain.";
constexpr const char* format_key = "refrain.format";
constexpr const char* kind_key = "refrain.kind";
constexpr const char* task_key = "refrain.task";
constexpr const char* base_key = "refrain.base";
constexpr const char* hash_key = "refrain.hash";
constexpr const char* format_version = "1";

void write(const std::string& path, const CheckpointInfo& info, TensorMap tensors) {
  SafetensorsFile file{.tensors = std::move(tensors), .metadata = info.metadata};
  for (const auto& [name, text] : info.metadata) {
    if (name.starts_with(reserved))
      throw OptionError(detail::concat("checkpoint: the text '", name, "' has a reserved name"));
  }
  file.metadata[format_key] = format_version;
  file.metadata[kind_key] = info.kind;
  if (!info.task.empty()) file.metadata[task_key] = info.task;
  if (!info.base_hash.empty()) file.metadata[base_key] = info.base_hash;
  const std::string hash = content_hash(file.tensors, file.metadata);
  file.metadata[hash_key] = hash;
  write_safetensors(path, file);
}

void expect_kind(const Checkpoint& file, std::string_view kind) {
  if (file.info.kind == kind) return;
  throw DataError(
      file.path, 0,
      detail::concat("holds a ", file.info.kind, " checkpoint, expected a ", kind, " checkpoint"));
}

/// Removes the text `name` from the metadata and returns it; empty when it is absent.
std::string take(Metadata& metadata, const char* name) {
  const auto node = metadata.extract(name);
  return node.empty() ? std::string() : node.mapped();
}

Checkpoint read(const std::string& path, std::string_view kind) {
  Checkpoint file = read_checkpoint(path);
  expect_kind(file, kind);
  return file;
}

/// True when all elements are finite. An IEEE 754 infinity or NaN has all exponent bits set.
template <class Bits>
bool has_only_finite(const Tensor& tensor, Bits exponent) {
  const char* const bytes = static_cast<const char*>(tensor.raw());
  Bits found = 0;
  for (std::size_t at = 0; at < tensor.bytes(); at += sizeof(Bits)) {
    Bits element = 0;
    std::memcpy(&element, bytes + at, sizeof element);
    found |= static_cast<Bits>((element & exponent) == exponent);
  }
  return found == 0;
}

/// Throws DataError for infinities and NaN, the result of diverged training: a model with such a
/// weight ranks no item.
void expect_finite(const Checkpoint& file) {
  for (const auto& [name, tensor] : file.tensors) {
    const bool is_finite =
        tensor.dtype() == DType::f32   ? has_only_finite<std::uint32_t>(tensor, 0x7F800000u)
        : tensor.dtype() == DType::f64 ? has_only_finite<std::uint64_t>(tensor, 0x7FF0000000000000u)
                                       : true;
    if (!is_finite)
      throw DataError(
          file.path, 0,
          detail::concat("tensor '", name,
                         "': expected finite numbers, got infinity or NaN; the training that "
                         "wrote this file diverged"));
  }
}

void check_target(const PatchTarget& target) {
  if (target.base_hash.empty() || target.task.empty())
    throw OptionError(detail::concat("patch: expected a base hash and the name of a task, got '",
                                     target.base_hash, "' and '", target.task, "'"));
}

/// Collects messages and shortens a long list.
class Mismatches {
 public:
  template <class... Parts>
  void add(const Parts&... parts) {
    constexpr int shown = 8;
    if (++count_ <= shown) text_ += detail::concat(count_ == 1 ? "" : "; ", parts...);
    if (count_ == shown + 1) text_ += "; and more";
  }
  const std::string& text() const noexcept { return text_; }

 private:
  int count_ = 0;
  std::string text_;
};

/// Adds tensors to one map under "<group>.<name>"; for_group() finds them.
void put_group(TensorMap& all, std::string_view group, const TensorMap& tensors) {
  for (const auto& [name, tensor] : tensors) all[detail::concat(group, ".", name)] = tensor;
}

template <class Take>
void for_group(const TensorMap& all, std::string_view group, Take take_one) {
  const std::string prefix = detail::concat(group, ".");
  for (auto at = all.lower_bound(prefix); at != all.end() && at->first.starts_with(prefix); ++at) {
    take_one(at->first.substr(prefix.size()), at->first, at->second);
  }
}

}  // namespace

Checkpoint read_checkpoint(const std::string& path) {
  SafetensorsFile file = read_safetensors(path);
  const std::string expected = take(file.metadata, hash_key);
  if (expected.empty())
    throw DataError(path, 0, "is not a Refrain checkpoint: it has no hash of its contents");
  detail::ContentHash hash;
  for (const auto& [name, tensor] : file.tensors) hash.add(name, tensor);
  const std::string tensors_hash = hash.digest();
  for (const auto& [name, text] : file.metadata) hash.add(name, text);
  if (hash.digest() != expected) {
    throw DataError(path, 0,
                    detail::concat("is damaged: its contents hash to ", hash.digest(),
                                   ", it was saved with ", expected));
  }
  const std::string version = take(file.metadata, format_key);
  if (version != format_version) {
    throw DataError(path, 0,
                    detail::concat("is a checkpoint of format '", version,
                                   "'; this build reads format ", format_version));
  }
  Checkpoint checkpoint{.path = path,
                        .info = {.kind = take(file.metadata, kind_key),
                                 .task = take(file.metadata, task_key),
                                 .base_hash = take(file.metadata, base_key),
                                 .metadata = std::move(file.metadata),
                                 .tensors_hash = tensors_hash},
                        .tensors = std::move(file.tensors)};
  for (const auto& [name, tensor] : checkpoint.tensors) checkpoint.info.elements += tensor.numel();
  return checkpoint;
}

CheckpointInfo checkpoint_info(const std::string& path) { return read_checkpoint(path).info; }

TensorMap tensors_of(const Module& module) {
  TensorMap tensors;
  for (const ConstNamedParameter& named : module.parameters()) {
    if (!named.parameter->is_filled()) {
      throw OptionError(
          detail::concat("tensors_of: expected parameters with elements, got '", named.name,
                         "' of a module constructed with Fill::deferred; load it first"));
    }
    tensors[named.name] = named.parameter->value();
  }
  return tensors;
}

namespace {

/// Throws DataError unless `from` has the names, shapes and types of `into`.
void expect_fit(const TensorMap& into, const TensorMap& from, const std::string& origin) {
  Mismatches mismatches;
  for (const auto& [name, to] : into) {
    const auto found = from.find(name);
    if (found == from.end()) {
      mismatches.add("'", name, "' ", to.shape(), " is missing");
    } else if (found->second.shape() != to.shape() || found->second.dtype() != to.dtype()) {
      mismatches.add("'", name, "' is ", found->second.dtype(), " ", found->second.shape(),
                     ", expected ", to.dtype(), " ", to.shape());
    }
  }
  for (const auto& [name, tensor] : from) {
    if (into.find(name) == into.end())
      mismatches.add("'", name, "' ", tensor.shape(), " is not expected");
  }
  if (!mismatches.text().empty())
    throw DataError(origin, 0, detail::concat("does not fit: ", mismatches.text()));
}

/// Moves a checkpoint's tensors into a module's parameters.
void fill(Module& module, Checkpoint& file) {
  TensorMap into;
  for (const NamedParameter& named : module.parameters())
    into[named.name] = named.parameter->value();
  expect_fit(into, file.tensors, file.path);
  into.clear();
  expect_finite(file);
  for (const NamedParameter& named : module.parameters())
    named.parameter->fill(std::move(file.tensors.extract(named.name).mapped()));
}

/// Throws DataError unless the file was saved for this base and this task.
void expect_target(const Checkpoint& file, const PatchTarget& target) {
  if (file.info.base_hash != target.base_hash) {
    throw DataError(file.path, 0,
                    detail::concat("is a patch for another base: it was trained on ",
                                   file.info.base_hash, ", the base here is ", target.base_hash,
                                   "; load its base, or fine-tune the patch on this base"));
  }
  if (file.info.task != target.task) {
    throw DataError(file.path, 0,
                    detail::concat("is a patch for the task '", file.info.task, "', expected '",
                                   target.task, "'"));
  }
}

}  // namespace

void assign_tensors(const TensorMap& into, const TensorMap& from, const std::string& origin) {
  expect_fit(into, from, origin);
  for (const auto& [name, tensor] : into) {
    Tensor to = tensor;
    to.copy_from(from.find(name)->second);
  }
}

void save_model(const std::string& path, const Module& module, const Metadata& metadata) {
  write(path, {.kind = "model", .task = {}, .base_hash = {}, .metadata = metadata},
        tensors_of(module));
}

Metadata load_model(Checkpoint file, Module& module) {
  expect_kind(file, "model");
  fill(module, file);
  return std::move(file.info.metadata);
}

Metadata load_model(const std::string& path, Module& module) {
  return load_model(read_checkpoint(path), module);
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

Metadata load_patch(Checkpoint file, Module& patch, const PatchTarget& target) {
  check_target(target);
  expect_kind(file, "patch");
  expect_target(file, target);
  fill(patch, file);
  return std::move(file.info.metadata);
}

Metadata load_patch(const std::string& path, const TensorMap& patch, const PatchTarget& target) {
  check_target(target);
  Checkpoint file = read(path, "patch");
  expect_target(file, target);
  expect_fit(patch, file.tensors, path);
  expect_finite(file);
  assign_tensors(patch, file.tensors, path);
  return std::move(file.info.metadata);
}

Metadata load_patch(const std::string& path, Module& patch, const PatchTarget& target) {
  check_target(target);
  return load_patch(read_checkpoint(path), patch, target);
}

void save_training(const std::string& path, const TrainingState& state) {
  TensorMap tensors;
  put_group(tensors, "model", state.model);
  put_group(tensors, "optimizer", state.optimizer);
  put_group(tensors, "best", state.best);
  for (const auto& [name, random] : state.randoms) {
    tensors[detail::concat("random.", name)] = Tensor::from<std::int64_t>(
        {3}, {std::bit_cast<std::int64_t>(random.seed), std::bit_cast<std::int64_t>(random.stream),
              std::bit_cast<std::int64_t>(random.position)});
  }
  for (const auto& [name, value] : state.counters)
    tensors[detail::concat("counter.", name)] = Tensor::from<std::int64_t>({}, {value});
  for (const auto& [name, value] : state.figures)
    tensors[detail::concat("figure.", name)] = Tensor::from<double>({}, {value});
  write(path, {.kind = "training", .task = {}, .base_hash = {}, .metadata = state.metadata},
        std::move(tensors));
}

TrainingState load_training(const std::string& path) {
  Checkpoint contents = read(path, "training");
  TrainingState state;
  std::size_t used = 0;
  const auto check = [&](const std::string& name, const Tensor& tensor, const Shape& shape,
                         DType dtype) {
    if (tensor.shape() == shape && tensor.dtype() == dtype) return;
    throw DataError(path, 0,
                    detail::concat("'", name, "' is ", tensor.dtype(), " ", tensor.shape(),
                                   ", expected ", dtype, " ", shape));
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
    throw DataError(path, 0, "holds a tensor that is not part of a training state");
  state.metadata = std::move(contents.info.metadata);
  return state;
}

}  // namespace refrain
