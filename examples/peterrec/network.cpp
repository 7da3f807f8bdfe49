#include "peterrec/network.hpp"

#include <algorithm>

#include "common/concat.hpp"
#include "common/device.hpp"
#include "common/saved_config.hpp"
#include "common/warm_start.hpp"

namespace refrain::peterrec {
namespace {

using examples::concat;

models::HeadOptions head_of(const TaskData& task, const TaskOptions& options) {
  return {.targets = task.targets.size(),
          .loss = task.is_profile() ? HeadLoss::softmax : options.item_loss,
          .smoothing = task.is_profile() ? options.smoothing : 0};
}

void expect_kind(const Checkpoint& file, const char* kind, const char* expected) {
  if (file.info.kind != kind)
    throw DataError(file.path, 0, concat("expected a ", expected, ", got a ", file.info.kind));
}

}  // namespace

const Method& method(MethodName name) {
  // In the order of MethodName.
  static const Method all[] = {
      {.title = "PeterRec serial", .insertion = Insertion::serial},
      {.title = "PeterRec parallel", .insertion = Insertion::parallel},
      {.title = "PeterRec one per block", .insertion = Insertion::serial, .two_per_block = false},
      {.title = "FineAll", .base = BaseTraining::all},
      {.title = "FineCLS"},
      {.title = "FineLast1", .base = BaseTraining::last_block},
      {.title = "FineLast2", .base = BaseTraining::last_two_blocks},
      {.title = "FineZero", .base = BaseTraining::all, .pretrained = false},
      {.title = "MTL", .base = BaseTraining::all, .pretrained = false, .joint = true},
  };
  return all[static_cast<std::size_t>(name)];
}

TaskNetwork::TaskNetwork(std::shared_ptr<NextItNet> base, const Method& method,
                         const TaskOptions& options, const TaskData& task, Random& random)
    : owns_base_(method.base != BaseTraining::frozen),
      base_(base_for(std::move(base), method, random)),
      task_(*base_, patch_set_options(method, options, head_of(task, options)), random) {
  to(base_->device());
}

std::shared_ptr<NextItNet> TaskNetwork::base_for(std::shared_ptr<NextItNet> base,
                                                 const Method& method, Random& random) {
  if (method.base == BaseTraining::frozen) {
    base->freeze();
    return base;
  }
  auto own = std::make_shared<NextItNet>(base->options(), random);
  own->to(base->device());
  if (method.pretrained) assign_tensors(tensors_of(*own), tensors_of(*base), "the base");
  if (method.base != BaseTraining::all) {
    own->freeze();
    const std::int64_t trained = method.base == BaseTraining::last_block ? 1 : 2;
    for (std::int64_t block = std::max<std::int64_t>(0, own->blocks() - trained);
         block < own->blocks(); ++block) {
      own->unfreeze(concat("blocks.", block, ".*"));
    }
  } else if (!method.joint) {
    own->freeze("head.*");  // the task does not use the source head
  }
  return own;
}

NewBase new_base(const Options& options, const RawData& raw) {
  NewBase made{nullptr, source_vocabulary(raw, options.data)};
  if (!options.base_file.empty())
    examples::expect_storable(made.vocabulary, concat("--min-count ", options.data.min_count));
  made.network = base_network(options, made.vocabulary);
  return made;
}

std::shared_ptr<NextItNet> base_network(const Options& options, const Vocabulary& vocabulary,
                                        const LoadedBase* from) {
  const BaseOptions& base = options.base;
  NextItNet::Options sizes{.channels = base.channels,
                           .dilations = base.dilations,
                           .padding = base.causal ? Padding::causal : Padding::same,
                           .relu = base.loss == PretrainLoss::softmax,
                           .tied = base.tied};
  if (from != nullptr) sizes = from->network->options();
  sizes.items = vocabulary.size();
  sizes.dropout = base.dropout;
  Random random(options.run.seed);
  const auto network = std::make_shared<NextItNet>(sizes, random);
  if (from != nullptr) examples::keep_known(*from->network, from->vocabulary, *network, vocabulary);
  network->to(examples::device_of(options.run));
  return network;
}

void take_architecture(const LoadedBase& from, Options& options) {
  BaseOptions stored = options.base;
  const NextItNet::Options& network = from.network->options();
  stored.channels = network.channels;
  stored.dilations = network.dilations;
  stored.causal = network.padding == Padding::causal;
  stored.loss = network.relu ? PretrainLoss::softmax : PretrainLoss::sampled;
  stored.tied = network.tied;
  if (!options.from.given.contains("--dropout")) stored.dropout = network.dropout;
  const auto values = [](const BaseOptions& base) {
    return nlohmann::json{{"channels", base.channels},
                          {"dilations", base.dilations},
                          {"causal", base.causal},
                          {"pretrain-loss", examples::name_of(base.loss)},
                          {"tied", base.tied}};
  };
  examples::expect_architecture(options.from, values(options.base), values(stored));
  options.base = stored;
}

PatchSet::Options patch_set_options(const Method& method, const TaskOptions& options,
                                    models::HeadOptions head) {
  return {.patches = {.insertion = method.insertion,
                      .two_per_block = method.two_per_block,
                      .bottleneck = options.bottleneck,
                      .cardinality = options.cardinality,
                      .start = options.random_start ? PatchStart::random : PatchStart::identity,
                      .norm2 = options.norm2},
          .head = head,
          .tcl_id = method.insertion != Insertion::none && options.own_tcl ? std::int64_t{tcl_id}
                                                                           : std::int64_t{-1}};
}

void save_base(const std::string& path, const NextItNet& base, const Vocabulary& vocabulary,
               const BaseNote& note) {
  save_model(
      path, base,
      {{"config", config_text(base.options(), note)}, {"vocabulary", vocabulary.serialize()}});
}

LoadedBase load_base(Checkpoint file, Device device) {
  expect_kind(file, "model", "base model");
  const std::string path = file.path;
  LoadedBase base{.path = path,
                  .network = nullptr,
                  .vocabulary = Vocabulary::deserialize(
                      examples::stored_text(file.info, path, "vocabulary"), path),
                  .note = {},
                  .hash = file.info.tensors_hash};
  const examples::StoredConfig stored(file.info, path);
  if (stored.has("program") && stored.text("program") != "peterrec") {
    throw DataError(
        path, 0,
        concat("expected a base of peterrec pretrain, got a model of ", stored.text("program")));
  }
  BaseConfig config = base_config(file.info, path);
  base.note = std::move(config.note);
  Random random(0);
  base.network = examples::build_stored(path, [&] {
    return std::make_shared<NextItNet>(config.network, random, Placement{.fill = Fill::deferred});
  });
  load_model(std::move(file), *base.network);
  base.network->freeze();
  base.network->to(device);
  return base;
}

LoadedBase load_base(const std::string& path, Device device) {
  return load_base(read_checkpoint(path), device);
}

void expect_held_out(const LoadedBase& base, const std::string& what) {
  if (base.note.hold_out_last) return;
  throw OptionError(concat(what, ": expected a base of 'pretrain --hold-out-last', got ", base.path,
                           ", which was pre-trained on all items, including those of the test; "
                           "pre-train a base with --hold-out-last"));
}

void save_patch_set(const std::string& path, const PatchSet& set, const std::string& base_hash,
                    const PatchNote& note) {
  save_patch(path, set, {.base_hash = base_hash, .task = note.task},
             {{"config", config_text(set.options(), note)}, {"targets", note.targets.serialize()}});
}

LoadedPatch load_patch_set(const std::string& path, const LoadedBase& base) {
  Checkpoint file = read_checkpoint(path);
  expect_kind(file, "patch", "patch file");
  PatchConfig config = patch_config(file.info, path, base.network->options());
  LoadedPatch patch{.note = std::move(config.note), .set = nullptr};
  patch.note.task = file.info.task;
  if (patch.note.task == base_task)
    throw DataError(path, 0,
                    "expected a task with another name than base, which is reserved for the base's "
                    "own head; fine-tune the task under another name");
  patch.note.targets =
      Vocabulary::deserialize(examples::stored_text(file.info, path, "targets"), path);
  Random random(0);
  patch.set = examples::build_stored(path, [&] {
    return std::make_unique<PatchSet>(*base.network, config.set, random,
                                      Placement{.fill = Fill::deferred});
  });
  load_patch(std::move(file), *patch.set, {.base_hash = base.hash, .task = patch.note.task});
  patch.set->to(base.network->device());
  return patch;
}

}  // namespace refrain::peterrec
