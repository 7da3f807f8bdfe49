#include "peterrec/config.hpp"

#include <algorithm>

#include "common/saved_config.hpp"

namespace refrain::peterrec {
namespace {

using examples::FieldWriter;
using examples::StoredConfig;

constexpr examples::Between positive{.least = 1};
constexpr examples::Between steps{.least = 1, .most = examples::longest_sequence};

/// Visits the fields that every base file stores.
template <class Visit>
void visit_fields(NextItNet::Options& network, const Visit& visit) {
  bool is_causal = network.padding == Padding::causal;
  visit("items", network.items, positive);
  visit("channels", network.channels, positive);
  visit("dilations", network.dilations, steps);
  visit("width", network.width, positive);
  visit("causal", is_causal);
  visit("relu", network.relu);
  network.padding = is_causal ? Padding::causal : Padding::same;
}

/// Visits the fields that every patch file stores.
template <class Visit>
void visit_fields(PatchSet::Options& set, PatchNote& note, const Visit& visit) {
  models::PatchOptions& patches = set.patches;
  bool one_per_block = !patches.two_per_block, own_tcl = set.tcl_id >= 0;
  visit("insertion", patches.insertion);
  visit("one_per_block", one_per_block);
  visit("bottleneck", patches.bottleneck);
  visit("cardinality", patches.cardinality, positive);
  visit("norm2", patches.norm2);
  visit("own_tcl", own_tcl);
  visit("loss", set.head.loss);
  visit("targets", set.head.targets, positive);
  visit("split", note.split);
  visit("split_seed", note.split_seed);
  visit("users", note.users, examples::any_count);
  visit("length", note.length, steps);
  patches.two_per_block = !one_per_block;
  set.tcl_id = own_tcl && patches.insertion != Insertion::none ? tcl_id : -1;
}

}  // namespace

std::string config_text(NextItNet::Options network, const BaseNote& note) {
  nlohmann::json object{{"model", "nextitnet"},
                        {"hold_out_last", note.hold_out_last},
                        {"length", note.length},
                        {"note", note.text}};
  visit_fields(network, FieldWriter(object));
  // Files without these options have the fields of older files.
  if (network.tied) object["tied"] = true;
  if (network.dropout > 0) object["dropout"] = network.dropout;
  if (note.search) object["search"] = examples::json_of(*note.search);
  return object.dump();
}

std::string config_text(PatchSet::Options set, PatchNote note) {
  nlohmann::json object{{"model", "peterrec"}, {"test_users", note.test_users}};
  visit_fields(set, note, FieldWriter(object));
  if (note.search) object["search"] = examples::json_of(*note.search);
  return object.dump();
}

BaseConfig base_config(const CheckpointInfo& info, const std::string& path) {
  const StoredConfig config(info, path);
  BaseConfig stored;
  NextItNet::Options& network = stored.network;
  visit_fields(network, config);
  if (config.has("tied")) network.tied = config.flag("tied");
  if (config.has("dropout")) network.dropout = config.share("dropout");
  BaseNote& note = stored.note;
  if (config.has("hold_out_last")) note.hold_out_last = config.flag("hold_out_last");
  if (config.has("length")) note.length = config.integer("length", steps);
  if (config.has("search")) note.search = examples::search_record(config.object("search"));
  if (config.has("note")) note.text = config.text("note");
  if (network.dilations.empty()) config.fail("expected at least one dilation, got an empty list");
  const std::int64_t blocks = static_cast<std::int64_t>(network.dilations.size());
  config.expect_room({network.items, network.channels});
  config.expect_room({2 * blocks, network.width, network.channels, network.channels});
  return stored;
}

PatchConfig patch_config(const CheckpointInfo& info, const std::string& path,
                         const NextItNet::Options& base) {
  const StoredConfig config(info, path);
  PatchConfig stored;
  visit_fields(stored.set, stored.note, config);
  if (config.has("test_users")) stored.note.test_users = config.text("test_users");
  if (config.has("search")) stored.note.search = examples::search_record(config.object("search"));
  config.expect_room({stored.set.head.targets, base.channels});
  const models::PatchOptions& patches = stored.set.patches;
  if (patches.insertion != Insertion::none) {
    const std::int64_t count =
        static_cast<std::int64_t>(base.dilations.size()) * (patches.two_per_block ? 2 : 1);
    config.expect_room(
        {count, base.channels, std::max<std::int64_t>(1, patches.bottleneck), patches.cardinality});
  }
  return stored;
}

}  // namespace refrain::peterrec
