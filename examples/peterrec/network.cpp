#include "peterrec/network.hpp"

#include <algorithm>

#include "common/concat.hpp"
#include "common/saved_config.hpp"

namespace refrain::peterrec {

const std::vector<Method>& methods() {
  static const std::vector<Method> all{
      {.name = "peterrec-serial", .title = "PeterRec serial", .insertion = Insertion::serial},
      {.name = "peterrec-parallel", .title = "PeterRec parallel", .insertion = Insertion::parallel},
      {.name = "peterrec-one",
       .title = "PeterRec one per block",
       .insertion = Insertion::serial,
       .two_per_block = false},
      {.name = "fine-all", .title = "FineAll", .base = BaseTraining::all},
      {.name = "fine-cls", .title = "FineCLS"},
      {.name = "fine-last1", .title = "FineLast1", .base = BaseTraining::last_block},
      {.name = "fine-last2", .title = "FineLast2", .base = BaseTraining::last_two_blocks},
      {.name = "fine-zero", .title = "FineZero", .base = BaseTraining::all, .pretrained = false},
      {.name = "mtl",
       .title = "MTL",
       .base = BaseTraining::all,
       .pretrained = false,
       .joint = true},
  };
  return all;
}

const Method& method(const std::string& name) {
  std::string known;
  for (const Method& candidate : methods()) {
    if (candidate.name == name) return candidate;
    known += (known.empty() ? "" : ", ") + candidate.name;
  }
  throw OptionError("--methods: there is no '" + name + "'; known are " + known);
}

TaskNetwork::TaskNetwork(std::shared_ptr<NextItNet> base, const Method& method,
                         const TaskOptions& options, models::HeadOptions head, Random& random)
    : owns_base_(method.base != BaseTraining::frozen),
      base_(base_for(std::move(base), method, random)),
      task_(*base_, patch_set_options(method, options, head), random) {
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
      own->unfreeze(examples::concat("blocks.", block, ".*"));
    }
  } else if (!method.joint) {
    own->freeze("head.*");  // the source head has no part in the task
  }
  return own;
}

NextItNet::Options base_network_options(const BaseOptions& options, const Vocabulary& vocabulary) {
  return {.items = vocabulary.size(),
          .channels = options.channels,
          .dilations = options.dilations,
          .padding = options.causal ? Padding::causal : Padding::same,
          .relu = options.loss != "sampled"};
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

models::HeadLoss head_loss(bool is_profile, const TaskOptions& options) {
  if (is_profile || options.item_loss == "softmax") return models::HeadLoss::softmax;
  return options.item_loss == "bpr" ? models::HeadLoss::bpr : models::HeadLoss::logistic;
}

void save_base(const std::string& path, const NextItNet& base, const Vocabulary& vocabulary,
               const BaseNote& note) {
  save_model(
      path, base,
      {{"config", config_text(base.options(), note)}, {"vocabulary", vocabulary.serialize()}});
}

LoadedBase load_base(Checkpoint file, Device device) {
  const std::string& path = file.path;
  const CheckpointInfo& info = file.info;
  if (info.kind != "model")
    throw DataError(path, 0, "expected a base model, this is a " + info.kind);
  LoadedBase base{
      .path = path,
      .network = nullptr,
      .vocabulary = Vocabulary::deserialize(examples::stored_text(info, path, "vocabulary"), path),
      .note = {},
      .hash = info.tensors_hash};
  const examples::StoredConfig stored(info, path);
  if (stored.has("program") && stored.text("program") != "peterrec") {
    throw DataError(path, 0,
                    examples::concat("expected a base of peterrec pretrain, this is a model of ",
                                     stored.text("program")));
  }
  BaseConfig config = base_config(info, path);
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
  throw OptionError(examples::concat(
      what,
      ": it is tested on each user's last items, so the base must not have learned them; "
      "expected a "
      "base of 'pretrain --hold-out-last', got ",
      base.path,
      ", which was pre-trained on all items; pre-train another one with --hold-out-last"));
}

void save_patch_set(const std::string& path, const PatchSet& set, const std::string& base_hash,
                    const PatchNote& note) {
  save_patch(path, set, {.base_hash = base_hash, .task = note.task},
             {{"config", config_text(set.options(), note)}, {"targets", note.targets.serialize()}});
}

LoadedPatch load_patch_set(const std::string& path, const LoadedBase& base) {
  Checkpoint file = read_checkpoint(path);
  const CheckpointInfo& info = file.info;
  if (info.kind != "patch")
    throw DataError(path, 0, "expected a patch file, this is a " + info.kind);
  LoadedPatch patch;
  PatchConfig config = patch_config(info, path, base.network->options());
  patch.note = std::move(config.note);
  patch.note.task = info.task;
  if (patch.note.task == "base")
    throw DataError(path, 0,
                    "is of a task named base, which is the name of the base's own head; fine-tune "
                    "it under another one");
  patch.note.targets = Vocabulary::deserialize(examples::stored_text(info, path, "targets"), path);
  const TaskOptions& options = patch.note.options;
  const Method shape{.name = {},
                     .title = {},
                     .insertion = options.insertion == "serial"     ? Insertion::serial
                                  : options.insertion == "parallel" ? Insertion::parallel
                                                                    : Insertion::none,
                     .two_per_block = !options.one_per_block};
  const PatchSet::Options parts = patch_set_options(
      shape, options, {.targets = config.targets, .loss = head_loss(false, options)});
  Random random(0);
  patch.set = examples::build_stored(path, [&] {
    return std::make_unique<PatchSet>(*base.network, parts, random,
                                      Placement{.fill = Fill::deferred});
  });
  load_patch(std::move(file), *patch.set, {.base_hash = base.hash, .task = patch.note.task});
  patch.set->to(base.network->device());
  return patch;
}

}  // namespace refrain::peterrec
