/// Network configurations in the example programs' files: preserved in both directions, and refused
/// when inconsistent.

#include <nlohmann/json.hpp>

#include "cmnrec/config.hpp"
#include "peterrec/config.hpp"
#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

using Json = nlohmann::json;

CheckpointInfo info_with(const Json& config, std::int64_t elements = 1'000'000) {
  CheckpointInfo info;
  info.metadata = {{"config", config.dump()}};
  info.elements = elements;
  return info;
}

template <class Parse>
std::string refusal(const Json& config, Parse parse) {
  try {
    parse(info_with(config));
  } catch (const DataError& error) {
    CHECK(error.file() == "file");
    return error.what();
  }
  return "accepted";
}

const Json base = Json::parse(peterrec::config_text(
    peterrec::NextItNet::Options{.items = 500, .channels = 32, .dilations = {1, 4}},
    {.hold_out_last = true, .length = 7, .text = "note"}));
const Json model = Json::parse(cmnrec::config_text(
    {.model = {.slots = 4, .length = 20, .words = 4, .word_size = 8, .hidden = 32, .embedding = 16},
     .fingerprint = 7,
     .note = "note"}));

std::string base_refusal(const Json& config) {
  return refusal(config, [](const CheckpointInfo& info) { peterrec::base_config(info, "file"); });
}
std::string model_refusal(const Json& config) {
  return refusal(config,
                 [](const CheckpointInfo& info) { cmnrec::model_config(info, "file", 500); });
}
std::string patch_refusal(const Json& config) {
  return refusal(config, [](const CheckpointInfo& info) {
    peterrec::patch_config(info, "file", {.items = 500, .channels = 32, .dilations = {1, 4}});
  });
}

Json with(Json config, const char* name, const Json& value) {
  config[name] = value;
  return config;
}

}  // namespace

TEST_CASE("example configurations: a written configuration is read back",
          "[example][reliability]") {
  const peterrec::BaseConfig stored = peterrec::base_config(info_with(base), "file");
  CHECK(stored.network.items == 500);
  CHECK(stored.network.dilations == std::vector<std::int64_t>{1, 4});
  CHECK(stored.note.hold_out_last);
  CHECK(stored.note.length == 7);
  CHECK(stored.note.text == "note");
  const cmnrec::ModelConfig other = cmnrec::model_config(info_with(model), "file", 500);
  CHECK(other.model.schedule.text() == "tsc");
  CHECK(other.model.schedule.kind == cmnrec::Schedule::Kind::tsc);
  CHECK(other.model.word_size == 8);
  CHECK(other.fingerprint == 7);
  Json old = base;
  old.erase("hold_out_last");
  old.erase("length");
  old.erase("note");
  CHECK_FALSE(peterrec::base_config(info_with(old), "file").note.hold_out_last);
  CHECK(peterrec::base_config(info_with(old), "file").note.length == 50);
  CHECK_THAT(base_refusal(with(base, "length", 0)), contains("length"));
}

TEST_CASE("example configurations: tied tables and dropout are stored where they are set",
          "[example]") {
  for (const char* name : {"tied", "dropout"}) {
    CHECK_FALSE(base.contains(name));
    CHECK_FALSE(model.contains(name));
  }
  CHECK_FALSE(peterrec::base_config(info_with(base), "file").network.tied);
  CHECK(peterrec::base_config(info_with(base), "file").network.dropout == 0);
  CHECK_FALSE(cmnrec::model_config(info_with(model), "file", 500).model.tied);
  const Json set_base = Json::parse(peterrec::config_text(
      peterrec::NextItNet::Options{
          .items = 500, .channels = 32, .dilations = {1, 4}, .tied = true, .dropout = 0.25},
      {}));
  const peterrec::NextItNet::Options network =
      peterrec::base_config(info_with(set_base), "file").network;
  CHECK(network.tied);
  CHECK(network.dropout == 0.25);
  const Json set_model = Json::parse(cmnrec::config_text({.model = {.length = 20,
                                                                    .word_size = 8,
                                                                    .hidden = 32,
                                                                    .embedding = 16,
                                                                    .tied = true,
                                                                    .dropout = 0.25}}));
  const cmnrec::ModelOptions options =
      cmnrec::model_config(info_with(set_model), "file", 500).model;
  CHECK(options.tied);
  CHECK(options.dropout == 0.25);
  for (const Json& value : {Json(-0.5), Json(1.5), Json("0.5"), Json(true)}) {
    CHECK_THAT(base_refusal(with(base, "dropout", value)), contains("dropout"));
    CHECK_THAT(model_refusal(with(model, "dropout", value)), contains("dropout"));
  }
  CHECK_THAT(base_refusal(with(base, "tied", 1)), contains("tied"));
  CHECK_THAT(model_refusal(with(model, "tied", 1)), contains("tied"));
  // One table of 500 rows of width 16 needs no room for 500 rows of width 32.
  const Json gru = with(model, "model", "gru4rec");
  CHECK_THROWS_AS(cmnrec::model_config(info_with(gru, 8'000), "file", 500), DataError);
  CHECK_NOTHROW(cmnrec::model_config(info_with(with(gru, "tied", true), 8'000), "file", 500));
}

TEST_CASE("example configurations: a patch file stores its test users, which older files lack",
          "[example]") {
  peterrec::PatchNote note;
  note.split = {0.7, 0.1, 0.2};
  note.users = 61;
  note.test_users = "0123456789abcdef";
  Json patch =
      Json::parse(peterrec::config_text(peterrec::PatchSet::Options{.head = {.targets = 7}}, note));
  const auto read = [&] {
    return peterrec::patch_config(info_with(patch), "file",
                                  {.items = 500, .channels = 32, .dilations = {1, 4}})
        .note;
  };
  CHECK(read().users == 61);
  CHECK(read().test_users == "0123456789abcdef");
  patch.erase("test_users");
  CHECK(read().users == 61);
  CHECK(read().test_users.empty());
}

TEST_CASE("example configurations: absurd sizes are refused before a network is created",
          "[example][reliability]") {
  const std::vector<Json> absurd{Json(std::int64_t{1} << 40),
                                 Json(0),
                                 Json(-1),
                                 Json(1e300),
                                 Json(2.5),
                                 Json(true),
                                 Json("9"),
                                 Json(),
                                 Json(std::numeric_limits<std::uint64_t>::max()),
                                 Json::array()};
  for (const Json& value : absurd) {
    INFO(value);
    for (const char* name : {"items", "channels", "width"})
      CHECK(base_refusal(with(base, name, value)) != "accepted");
    for (const char* name :
         {"length", "embedding", "hidden", "layers", "word_size", "heads", "channels"}) {
      CHECK(model_refusal(with(model, name, value)) != "accepted");
    }
  }
  // Each number is plausible, but not in a file with a million elements.
  for (const char* name : {"items", "channels", "width"})
    CHECK_THAT(base_refusal(with(base, name, 1'000'000)), contains("the file holds 1000000"));
  for (const char* name : {"embedding", "hidden", "layers", "word_size", "heads", "attention"}) {
    CHECK_THAT(model_refusal(with(model, name, 1'000'000)), contains("the file holds 1000000"));
  }
  CHECK_THAT(base_refusal(with(base, "items", -1)),
             contains("expected \"items\" to be a whole number from 1 to 2147483647, got -1"));
  CHECK_THAT(model_refusal(with(model, "length", 1 << 21)),
             contains("expected \"length\" to be a whole number from 1 to 1048576"));
  CHECK_THAT(model_refusal(with(model, "model", "other")), contains("one of cmnrec, srmn"));
  CHECK_THAT(base_refusal(with(base, "dilations", Json::array())),
             contains("expected at least one dilation"));
  CHECK_THAT(base_refusal(with(base, "dilations", {1, std::int64_t{1} << 62})),
             contains("\"dilations\""));
  CHECK_THAT(base_refusal(Json::array()), contains("expected an object"));
  peterrec::PatchNote note;
  note.split = {0.7, 0.1, 0.2};
  const Json patch =
      Json::parse(peterrec::config_text(peterrec::PatchSet::Options{.head = {.targets = 7}}, note));
  CHECK(patch_refusal(patch) == "accepted");
  for (const char* name : {"targets", "bottleneck", "cardinality"}) {
    CHECK_THAT(patch_refusal(with(patch, name, 1'000'000)), contains("the file holds 1000000"));
  }
  CHECK_THAT(patch_refusal(with(patch, "test_users", 7)), contains("\"test_users\""));
  CHECK_THAT(patch_refusal(with(patch, "split", {0.5, 7})),
             contains("a number from 0 to 1, got 7"));
}
