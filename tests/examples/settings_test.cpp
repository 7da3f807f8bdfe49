/// Settings of the example programs: the names and notations that command lines, configuration
/// files and model files share.

#include <nlohmann/json.hpp>

#include "cmnrec/config.hpp"
#include "common/answers.hpp"
#include "common/choice.hpp"
#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;
using examples::choice_of;
using examples::name_of;

namespace {

enum class Colour { red, blue };

/// A model file of cmnrec stores this text.
constexpr const char* stored_config =
    R"({"attention":4,"channels":8,"controller":"gru","dilations":[1,4,1,4],"embedding":8,)"
    R"("fingerprint":2154905056291716490,"heads":1,"hidden":16,"keep":0.8,"layers":1,)"
    R"("leave_last_out":false,"length":20,"min_item_count":20,"min_length":5,"model":"cmnrec",)"
    R"("note":"trained for 1 epochs","order":"reference","program":"cmnrec","sampled_loss":true,)"
    R"("schedule":"4,9,20","slots":4,"split":[0.8,0.02,0.18],"split_seed":1,"word_size":8,)"
    R"("words":4})";

cmnrec::ModelConfig config_of(const std::string& config) {
  CheckpointInfo info;
  info.metadata = {{"config", config}};
  info.elements = 1'000'000;
  return cmnrec::model_config(info, "file", 500);
}

}  // namespace

template <>
inline constexpr examples::Choice<Colour> examples::choices<Colour>[] = {
    {"red", Colour::red}, {"blue", Colour::blue}, {"azure", Colour::blue}};

TEST_CASE("example settings: a value may have further names, of which the first is written",
          "[example]") {
  CHECK(choice_of<Colour>("azure") == Colour::blue);
  CHECK(choice_of<Colour>("red") == Colour::red);
  CHECK_FALSE(choice_of<Colour>("Red"));
  CHECK_FALSE(choice_of<Colour>(""));
  CHECK(name_of(Colour::blue) == std::string("blue"));
  CHECK(examples::choice_names<Colour>() == "red, blue, azure");
}

TEST_CASE("example settings: every format has its name", "[example]") {
  for (const auto& [name, format] : examples::choices<Format>) {
    CHECK(refrain::name(format) == std::string(name));
    CHECK(parse_format(name) == format);
  }
}

TEST_CASE("example settings: schedules by name, gap and list", "[example]") {
  using Kind = cmnrec::Schedule::Kind;
  const auto steps_of = [](const char* text, std::int64_t slots, std::int64_t length) {
    return cmnrec::Schedule::parse(text).value().of(slots, length).text();
  };
  CHECK(cmnrec::Schedule::parse("exc").value().kind == Kind::exc);
  CHECK(cmnrec::Schedule::parse("every:12").value().gap == 12);
  CHECK(cmnrec::Schedule::parse("every").value().is_every_step());
  CHECK(cmnrec::Schedule::parse("every:1").value().is_every_step());
  CHECK_FALSE(cmnrec::Schedule::parse("every:2").value().is_every_step());
  CHECK(cmnrec::Schedule::parse("5, 10 20").value().steps == std::vector<std::int64_t>{5, 10, 20});
  CHECK(cmnrec::Schedule::parse("5, 10 20").value().text() == "5, 10 20");
  for (const char* text :
       {"PEC", "every:", "every:0", "every:-1", "every:2x", "5,x", "5,-1", "1234567890"})
    CHECK_FALSE(cmnrec::Schedule::parse(text));
  CHECK(steps_of("pec", 4, 20) == ChunkSchedule::pec(20, 4).text());
  CHECK(steps_of("tsc", 4, 20) == ChunkSchedule::tsc(20, 4).text());
  CHECK(steps_of("exc", 4, 20) == ChunkSchedule::exc(20, 4).text());
  CHECK(steps_of("every:6", 4, 20) == ChunkSchedule::every(6, 20).closed().text());
  CHECK(steps_of("4,9,20", 1, 20) == ChunkSchedule::of({4, 9, 20}, 20).text());
  CHECK_THROWS_WITH(steps_of("pec", 21, 20), "--slots: expected 1 to 20 with --length 20, got 21");
  CHECK_THROWS_WITH(steps_of("4,9", 1, 20), contains("--schedule 4,9: "));
}

TEST_CASE("example settings: a model file keeps the names of its settings", "[example]") {
  const cmnrec::ModelConfig config = config_of(stored_config);
  CHECK(config.model.kind == cmnrec::ModelKind::cmnrec);
  CHECK(config.model.controller == cmnrec::ControllerKind::gru);
  CHECK(config.model.order == ChunkOrder::reference_code);
  CHECK(config.model.schedule.steps == std::vector<std::int64_t>{4, 9, 20});
  CHECK(config.model.is_sampled);
  CHECK(config.model.keep == 0.8);
  CHECK(config.data.split == std::vector<double>{0.8, 0.02, 0.18});
  CHECK(config.fingerprint == 2154905056291716490u);
  CHECK(nlohmann::json::parse(cmnrec::config_text(config)) == nlohmann::json::parse(stored_config));
  for (const char* name : {"controller", "order", "schedule", "model"}) {
    nlohmann::json other = nlohmann::json::parse(stored_config);
    other[name] = "none";
    CHECK_THROWS_WITH(config_of(other.dump()),
                      contains(std::string("expected \"") + name + "\" to be one of "));
  }
}

TEST_CASE("example settings: a history is separated by commas, or by blanks without them",
          "[example]") {
  using List = std::vector<std::string>;
  CHECK(examples::split_list("a, b,c") == List{"a", "b", "c"});
  CHECK(examples::split_list(" a\tb  c\r") == List{"a", "b", "c"});
  CHECK(examples::split_list("the first,the second") == List{"the first", "the second"});
  CHECK(examples::split_list(" , ,").empty());
  Sequences log;
  for (const char* item : {"a", "b", "a"}) log.rows.add(log.items.intern(item));
  log.rows.end_row();
  List history{"a", "x", "b", "y"};
  CHECK(examples::remove_unknown(history, Vocabulary::build(log)) == List{"x", "y"});
  CHECK(history == List{"a", "b"});
}
