/// Stored configurations of the example programs: an accepted one requests no more than the file
/// holds, and is unchanged after it is written again.

#include "cmnrec/config.hpp"
#include "fuzz/program.hpp"
#include "peterrec/config.hpp"

namespace refrain::fuzz {
namespace {

constexpr std::int64_t elements = 100'000;
constexpr std::int64_t ids = 50;

CheckpointInfo info_with(std::string text) {
  CheckpointInfo info;
  info.metadata = {{"config", std::move(text)}};
  info.elements = elements;
  return info;
}

peterrec::NextItNet::Options small_base() {
  return {.items = ids, .channels = 16, .dilations = {1, 2}};
}

void try_base(const CheckpointInfo& info) {
  peterrec::BaseConfig config;
  if (!accepted("file", [&] { config = peterrec::base_config(info, "file"); })) return;
  require(config.network.items * config.network.channels <= elements, "the table fits the file");
  const std::string text = config_text(config.network, config.note);
  const peterrec::BaseConfig back = peterrec::base_config(info_with(text), "file");
  require(config_text(back.network, back.note) == text, "a base's configuration comes back");
}

void try_patch(const CheckpointInfo& info) {
  peterrec::PatchConfig config;
  if (!accepted("file", [&] { config = peterrec::patch_config(info, "file", small_base()); }))
    return;
  require(config.set.head.targets <= elements, "the head fits the file");
  const std::string text = config_text(config.set, config.note);
  const peterrec::PatchConfig back = peterrec::patch_config(info_with(text), "file", small_base());
  require(config_text(back.set, back.note) == text, "a patch's configuration comes back");
}

void try_model(const CheckpointInfo& info) {
  cmnrec::ModelConfig config;
  if (!accepted("file", [&] { config = cmnrec::model_config(info, "file", ids); })) return;
  require(config.model.length >= 1, "a sequence has a length");
  const std::string text = cmnrec::config_text(config);
  require(cmnrec::config_text(cmnrec::model_config(info_with(text), "file", ids)) == text,
          "a model's configuration comes back");
}

}  // namespace

void try_input(std::string_view input) {
  Choices choices(input);
  const unsigned kind = choices.next() % 3;
  const CheckpointInfo info = info_with(std::string(choices.rest()));
  if (kind == 0) try_base(info);
  if (kind == 1) try_patch(info);
  if (kind == 2) try_model(info);
}

std::vector<std::string> seeds() {
  peterrec::PatchNote note;
  note.split = {0.7, 0.1, 0.2};
  return {
      std::string("\0", 1) +
          peterrec::config_text(small_base(), {.hold_out_last = true, .text = "caf\xC3\xA9"}),
      "\1" + peterrec::config_text(peterrec::PatchSet::Options{.head = {.targets = 7}, .tcl_id = 1},
                                   note),
      "\2" + cmnrec::config_text(
                 {.model = {.slots = 4, .length = 20, .word_size = 8, .hidden = 8, .embedding = 8},
                  .fingerprint = 12345678901234567890u,
                  .note = "note"}),
      "\2" + cmnrec::config_text(
                 {.model = {.kind = cmnrec::ModelKind::nextitnet, .length = 20, .channels = 8},
                  .fingerprint = 1}),
      std::string("\0", 1) +
          R"({"items":1e300,"channels":-1,"dilations":[9223372036854775807],"width":3,"causal":1,"relu":null})",
  };
}

}  // namespace refrain::fuzz
