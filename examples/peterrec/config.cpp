#include "peterrec/config.hpp"

#include <algorithm>

#include "common/saved_config.hpp"

namespace refrain::peterrec {

using examples::StoredConfig;

std::string config_text(const NextItNet::Options& network, const BaseNote& note) {
  return nlohmann::json{
      {"model", "nextitnet"},         {"items", network.items},
      {"channels", network.channels}, {"dilations", network.dilations},
      {"width", network.width},       {"causal", network.padding == Padding::causal},
      {"relu", network.relu},         {"hold_out_last", note.hold_out_last},
      {"length", note.length},        {"note", note.text}}
      .dump();
}

BaseConfig base_config(const CheckpointInfo& info, const std::string& path) {
  const StoredConfig config(info, path);
  BaseConfig stored;
  NextItNet::Options& network = stored.network;
  network.items = config.integer("items", {.least = 1});
  network.channels = config.integer("channels", {.least = 1});
  network.dilations =
      config.integers("dilations", {.least = 1, .most = examples::longest_sequence});
  network.width = config.integer("width", {.least = 1});
  network.padding = config.flag("causal") ? Padding::causal : Padding::same;
  network.relu = config.flag("relu");
  if (network.dilations.empty()) config.fail("it has no dilations");
  const std::int64_t blocks = static_cast<std::int64_t>(network.dilations.size());
  config.expect_room({network.items, network.channels});
  config.expect_room({2 * blocks, network.width, network.channels, network.channels});
  // A file that does not say so was pre-trained on everything.
  stored.note.hold_out_last = config.has("hold_out_last") && config.flag("hold_out_last");
  if (config.has("length"))
    stored.note.length = config.integer("length", {.least = 1, .most = examples::longest_sequence});
  if (config.has("note")) stored.note.text = config.text("note");
  return stored;
}

std::string config_text(const PatchSet::Options& set, const PatchNote& note) {
  return nlohmann::json{{"model", "peterrec"},
                        {"insertion", set.patches.insertion == Insertion::serial     ? "serial"
                                      : set.patches.insertion == Insertion::parallel ? "parallel"
                                                                                     : "none"},
                        {"one_per_block", !set.patches.two_per_block},
                        {"bottleneck", set.patches.bottleneck},
                        {"cardinality", set.patches.cardinality},
                        {"norm2", set.patches.norm2},
                        {"own_tcl", set.tcl_id >= 0},
                        {"loss", set.head.loss == models::HeadLoss::softmax ? "softmax"
                                 : set.head.loss == models::HeadLoss::bpr   ? "bpr"
                                                                            : "logistic"},
                        {"targets", set.head.targets},
                        {"split", note.split},
                        {"split_seed", note.split_seed},
                        {"users", note.users},
                        {"test_users", note.test_users},
                        {"length", note.length}}
      .dump();
}

PatchConfig patch_config(const CheckpointInfo& info, const std::string& path,
                         const NextItNet::Options& base) {
  const StoredConfig config(info, path);
  PatchConfig stored;
  TaskOptions& options = stored.note.options;
  options.insertion = config.choice("insertion", {"serial", "parallel", "none"});
  options.one_per_block = config.flag("one_per_block");
  options.bottleneck = config.integer("bottleneck", {});
  options.cardinality = config.integer("cardinality", {.least = 1});
  options.norm2 = config.flag("norm2");
  options.own_tcl = config.flag("own_tcl");
  options.item_loss = config.choice("loss", {"softmax", "bpr", "logistic"});
  stored.targets = config.integer("targets", {.least = 1});
  config.expect_room({stored.targets, base.channels});
  if (options.insertion != "none") {
    const std::int64_t patches =
        static_cast<std::int64_t>(base.dilations.size()) * (options.one_per_block ? 1 : 2);
    config.expect_room({patches, base.channels, std::max<std::int64_t>(1, options.bottleneck),
                        options.cardinality});
  }
  stored.note.split = config.shares("split");
  stored.note.split_seed = config.word("split_seed");
  stored.note.users = config.integer("users", examples::any_count);
  if (config.has("test_users")) stored.note.test_users = config.text("test_users");
  stored.note.length = config.integer("length", {.least = 1, .most = examples::longest_sequence});
  return stored;
}

}  // namespace refrain::peterrec
