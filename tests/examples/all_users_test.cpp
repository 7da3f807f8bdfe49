/// recommend --all: parts, their folder, and the text of answers.

#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/all_users.hpp"
#include "common/parts.hpp"
#include "refrain/core/random.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"

namespace refrain::test::of_all_users {
namespace {

using namespace refrain::examples;
using Json = nlohmann::ordered_json;

std::string message_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

Json settings(int count) { return {{"model", "0a"}, {"users", 7}, {"count", count}}; }

}  // namespace

TEST_CASE("all users: parts hold every user once, and the last one may be smaller", "[example]") {
  const std::vector<std::int64_t> sizes{1, 2, 3, 7, 65536};
  for (const std::int64_t users : {0, 1, 2, 6, 7, 8, 65535, 65536, 65537}) {
    for (const std::int64_t size : sizes) {
      const Parts parts{.users = users, .part_users = size};
      std::int64_t next = 0;
      for (std::int64_t part = 0; part < parts.count(); ++part) {
        CHECK(parts.begin(part) == next);
        next = parts.end(part);
        CHECK(next - parts.begin(part) <= size);
        CHECK(next > parts.begin(part));
        if (part + 1 < parts.count()) CHECK(next - parts.begin(part) == size);
      }
      CHECK(next == users);
      if (size == 7 && users == 65537) CHECK(parts.end(parts.count() - 1) - parts.begin(9362) == 3);
    }
  }
}

TEST_CASE("all users: the order of the files' names is that of the parts", "[example]") {
  const Parts few{.users = 300, .part_users = 100};
  CHECK(few.name(0, "jsonl") == "part-00000.jsonl");
  CHECK(few.name(2, "csv") == "part-00002.csv");
  const Parts many{.users = 1'000'001, .part_users = 1};
  std::string before;
  for (const std::int64_t part : {0, 9, 10, 99'999, 100'000, 999'999, 1'000'000}) {
    const std::string name = many.name(part, "csv");
    CHECK(before < name);
    before = name;
  }
  CHECK(before == "part-1000000.csv");
}

TEST_CASE("all users: each part belongs to one of the processes", "[example]") {
  for (std::int64_t processes = 1; processes <= 9; ++processes) {
    std::vector<std::int64_t> parts_of(static_cast<std::size_t>(processes));
    for (std::int64_t part = 0; part < 20; ++part) {
      int owners = 0;
      for (std::int64_t process = 1; process <= processes; ++process) {
        const PartShare share{.process = process, .processes = processes};
        if (!share.has(part)) continue;
        ++owners;
        ++parts_of[static_cast<std::size_t>(process - 1)];
      }
      CHECK(owners == 1);
    }
    const auto [least, most] = std::minmax_element(parts_of.begin(), parts_of.end());
    CHECK(*most - *least <= 1);
  }
  const auto share = PartShare::parse("3/16");
  REQUIRE(share);
  CHECK(share->process == 3);
  CHECK(share->processes == 16);
  CHECK(share->text() == "3/16");
  for (const char* text : {"", "3", "/", "0/4", "5/4", "-1/4", "1/0", "1/4/2", " 1/4", "1/4 ",
                           "a/b", "1.0/4", "99999999999999999999/4"}) {
    INFO(text);
    CHECK(!PartShare::parse(text));
  }
}

TEST_CASE("all users: a folder has the parts of one run", "[example][reliability]") {
  const ScratchFolder scratch;
  const std::string path = scratch.path("made/here");
  const auto open = [&](const Json& of_run, bool force = false) {
    return message_of([&] { (void)PartFolder(path, of_run, force); });
  };
  CHECK(open(settings(10)) == "accepted");
  CHECK(Json::parse(read_file(path + "/manifest.json")) == settings(10));
  const auto add = [&](const std::string& name) { scratch.write("made/here/" + name, "text"); };
  for (const char* name : {"part-00000.jsonl", "part-00001.jsonl.17.0.tmp", "other.jsonl",
                           "part-x.jsonl", "part-00000.txt"})
    add(name);
  CHECK(open(settings(10)) == "accepted");
  CHECK(open(settings(10), true) == "accepted");
  const PartFolder first(path, settings(10), false);
  CHECK(first.has("part-00000.jsonl"));
  CHECK(!first.has("part-00001.jsonl"));

  const std::string refusal = open(settings(50));
  CHECK_THAT(refusal, contains("--out " + path + ": expected a folder of the same run"));
  CHECK_THAT(refusal, contains("its parts have \"count\": 10, got 50; choose another folder, or "
                               "start anew with --force"));
  Json more = settings(10);
  more["titles"] = "0b";
  CHECK_THAT(open(more), contains("its parts have \"titles\": null, got \"0b\""));
  Json fewer = settings(10);
  fewer.erase("users");
  CHECK_THAT(open(fewer), contains("its parts have \"users\": 7, got none"));
  CHECK(first.has("part-00000.jsonl"));

  // Another run starts anew: only the parts go, and the process of the first run stops.
  CHECK(message_of([&] { first.expect_own(); }) == "accepted");
  CHECK(open(settings(50), true) == "accepted");
  CHECK(!first.has("part-00000.jsonl"));
  CHECK(!first.has("part-00001.jsonl.17.0.tmp"));
  for (const char* name : {"other.jsonl", "part-x.jsonl", "part-00000.txt"}) CHECK(first.has(name));
  CHECK_THAT(message_of([&] { first.expect_own(); }),
             contains("another process has started anew with other settings: its parts have "
                      "\"count\": 50, got 10"));
}

TEST_CASE("all users: parts without their settings are refused", "[example][reliability]") {
  const ScratchFolder scratch;
  const auto open = [&](bool force) {
    return message_of([&] { (void)PartFolder(scratch.path(""), settings(10), force); });
  };
  for (const char* damaged : {"", "{\"count\": 1", "[]", "17"}) {
    scratch.write("manifest.json", damaged);
    CHECK_THAT(open(false), contains("manifest.json is missing or damaged"));
  }
  std::filesystem::remove(scratch.path("manifest.json"));
  scratch.write("part-00003.csv", "text");
  CHECK_THAT(open(false), contains("it has parts, and no manifest.json with their settings"));
  CHECK(open(true) == "accepted");
  CHECK(!std::filesystem::exists(scratch.path("part-00003.csv")));
  const std::string file = scratch.write("file", "text");
  CHECK_THAT(message_of([&] { (void)PartFolder(file, settings(10), true); }),
             contains("is not a folder"));
}

TEST_CASE("all users: numbers and strings of an answer are those of the JSON library",
          "[example]") {
  Random random(3);
  std::vector<double> numbers{0.0,   -0.0,    1.0,     -3.0,  1e-5,  0.0001,  123456.0,
                              1e15,  1e16,    1e17,    1e-7f, 0.1f,  3.4e38f, 1e-45f,
                              2.5e9, 1.0 / 3, -1e-300, 1e300, 100.0, 7e22};
  for (int i = 0; i < 20'000; ++i)
    numbers.push_back(static_cast<float>(std::ldexp(random.uniform() - 0.5, i % 80 - 40)));
  for (const float special : {INFINITY, -INFINITY, NAN}) numbers.push_back(special);
  int different = 0;
  for (const double number : numbers) {
    std::string text;
    append_json_number(text, number);
    different += text != Json(number).dump();
  }
  CHECK(different == 0);
  const std::vector<std::string> texts{
      "",       "plain",       "a \"quoted\" one", "back\\slash", "tab\t",
      "line\n", "caf\xC3\xA9", "bad \xFF byte",    "\x7F",        std::string("nul\0", 4),
      "~ !#[]"};
  for (const std::string& value : texts) {
    std::string text;
    append_json_string(text, value);
    CHECK(text == Json(value).dump(-1, ' ', false, Json::error_handler_t::replace));
  }
}

TEST_CASE("all users: the lines of an answer", "[example]") {
  const std::optional<Titles> none;
  std::optional<Titles> titles = Titles();
  titles->items.intern("a,b");
  titles->titles.push_back("The \"First\"");
  const Request request{.user = "u 1"};
  const Answer answer{.task = "next",
                      .unknown = {"x", "\""},
                      .is_by_frequency = true,
                      .best = {{"a,b", 1.5f}, {"c", -0.1f, 0.25f}}};
  std::string json;
  AnswerFormat(Output::json_lines, titles).append(json, 4, request, answer);
  CHECK(json ==
        "{\"user\":\"u 1\",\"task\":\"next\",\"unknown\":[\"x\",\"\\\"\"],\"source\":"
        "\"popular\",\"best\":[{\"id\":\"a,b\",\"title\":\"The \\\"First\\\"\",\"score\":1.5},"
        "{\"id\":\"c\",\"score\":-0.10000000149011612,\"probability\":0.25}]}\n");
  std::string csv;
  AnswerFormat(Output::csv, titles).append(csv, 4, request, answer);
  CHECK(csv ==
        "4,u 1,next,1,\"a,b\",\"The \"\"First\"\"\",1.5,\n"
        "4,u 1,next,2,c,,-0.1,0.25\n");
  std::string empty;
  AnswerFormat(Output::json_lines, none).append(empty, 1, {}, {.task = "next"});
  CHECK(empty == "{\"task\":\"next\",\"best\":[]}\n");
}

TEST_CASE("all users: the hash of a log depends on its rows, items and users", "[example]") {
  const auto log = [](const char* item, const char* user, std::int32_t second) {
    Sequences made;
    made.items.intern("tea");
    made.items.intern(item);
    made.users.intern(user);
    made.user = {0};
    made.rows.add(0);
    made.rows.add(second);
    made.rows.end_row();
    return made;
  };
  const std::string hash = hash_of(log("milk", "ann", 1));
  CHECK(hash.size() == 16);
  CHECK(hash == hash_of(log("milk", "ann", 1)));
  CHECK(hash != hash_of(log("bread", "ann", 1)));
  CHECK(hash != hash_of(log("milk", "bob", 1)));
  CHECK(hash != hash_of(log("milk", "ann", 0)));
  const ScratchFolder scratch;
  CHECK(hash_of_file(scratch.write("a", "text")) == hash_of_file(scratch.write("b", "text")));
  CHECK(hash_of_file(scratch.path("a")) != hash_of_file(scratch.write("c", "texts")));
  CHECK_THROWS_MATCHES(hash_of_file(scratch.path("missing")), DataError,
                       message_contains("cannot be read"));
}

TEST_CASE("all users: a batch is smaller where scores are long", "[example]") {
  CHECK(users_at_once(10) == 128);
  CHECK(users_at_once(131'072) == 128);
  CHECK(users_at_once(1'000'000) == 16);
  CHECK(users_at_once(100'000'000) == 8);
}

}  // namespace refrain::test::of_all_users
