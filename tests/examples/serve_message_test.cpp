/// Messages of the serve program: lines that are read, and lines of answers.

#include <limits>
#include <string>
#include <vector>

#include "refrain/serve/message.hpp"
#include "support/catch.hpp"

namespace refrain::test::of_messages {
namespace {

using serve::answer_line;
using serve::answer_text;
using serve::DropFilter;
using serve::Event;
using serve::Fallback;
using serve::parse_message;
using serve::Request;
using serve::SetFilter;
using serve::Source;
using serve::TaskAnswer;
using Names = std::vector<std::string>;

std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

Request request_of(std::string_view text) { return std::get<Request>(parse_message(text)); }

}  // namespace

TEST_CASE("serve: a deeply nested value is refused in any field", "[serve]") {
  const std::string deep = nested(100000);
  for (const std::string& line :
       std::vector<std::string>{R"({"user": "u", "task": "next", "k": )" + deep + "}",
                                R"({"user": )" + deep + R"(, "item": "i"})",
                                R"({"history": [)" + deep + R"(], "task": "next"})",
                                R"({"history": ["i"], "task": )" + deep + "}",
                                R"({"load": )" + deep + "}", R"({"unload": )" + deep + "}"}) {
    CHECK_THROWS_WITH(parse_message(line), contains(", got array"));
  }
  CHECK_THROWS_AS(parse_message(deep), OptionError);
  CHECK_THROWS_AS(parse_message(deep.substr(0, 100000)), OptionError);
  CHECK_THROWS_WITH(parse_message(R"({"user": "u", "task": "next", "k": 1.5})"),
                    contains("got 1.5"));
}

TEST_CASE("serve: the message for invalid JSON contains the position", "[serve]") {
  CHECK_THROWS_WITH(parse_message(R"({"user": u})"), contains("expected JSON, got 'u' at byte 10"));
  CHECK_THROWS_WITH(parse_message(R"({"user": "u")"),
                    contains("expected JSON, got an incomplete line"));
  CHECK_THROWS_WITH(parse_message(R"({"user": "u", "task": "next", "k": 1e999})"),
                    contains("expected a number in the range of double"));
  CHECK_THROWS_WITH(parse_message("{\"user\": " + std::string(100, 'u') + "}"),
                    contains("expected JSON, got 'u' at byte 10"));
  CHECK_THROWS_WITH(parse_message("{\"user\": \"" + std::string(100, 'u') + "\x01\"}"),
                    contains(std::string(39, 'u') + "...' at byte 111"));
  for (const char* value : {"1", "true", "null", "\"text\""})
    CHECK_THROWS_WITH(parse_message(value), contains("expected a JSON object, got "));
}

TEST_CASE("serve: a duplicate key is an error for its line only", "[serve]") {
  for (const char* line :
       {R"({"user": "u", "item": "i", "item": "j"})", R"({"user": "u", "item": "i", "user": "u"})",
        R"({"history": ["i"], "k": 1, "task": "next", "k": 2})"}) {
    INFO(line);
    CHECK_THROWS_WITH(parse_message(line), contains("duplicate key \""));
  }
  CHECK_THROWS_WITH(parse_message(R"({"user": {"user": 1, "user": 2}, "item": "i"})"),
                    contains("got object"));
  const auto event = std::get<Event>(parse_message(R"({"item": 7, "user": "\u00e9:\"{"})"));
  CHECK(event.user == "\xC3\xA9:\"{");
  CHECK(event.item == "7");
  const auto asked = std::get<Request>(
      parse_message(R"({"history": ["a", -3, 18446744073709551615], "task": "t", "k": -5})"));
  CHECK(asked.history == std::vector<std::string>{"a", "-3", "18446744073709551615"});
  CHECK(asked.k == -5);
  for (const char* k : {"9223372036854775808", "1000000000000000000", "1.5", "\"1\"", "[]"}) {
    INFO(k);
    CHECK_THROWS_WITH(parse_message(detail::concat(R"({"user": "u", "task": "t", "k": )", k, "}")),
                      contains("expected an integer of at most 18 digits, got "));
  }
}

TEST_CASE("serve: an event may have a time, as \"timestamp\" or \"time\"", "[serve]") {
  for (const char* key : {"timestamp", "time"}) {
    const auto message =
        parse_message(detail::concat(R"({"user": "u", "item": "i", ")", key, R"(": 17})"));
    CHECK(std::get<Event>(message).item == "i");
  }
  CHECK_THROWS_WITH(parse_message(R"({"user": "u", "task": "t", "time": 17})"),
                    contains("unknown key \"time\""));
}

TEST_CASE("serve: a path with a NUL byte is refused", "[serve]") {
  CHECK_THROWS_WITH(parse_message(R"({"load": "a\u0000b"})"),
                    contains("expected a file path, got a text with a NUL byte"));
}

TEST_CASE("serve: a request has its defaults and its keys", "[serve]") {
  const Request plain = request_of(R"({"user": 7, "task": "next"})");
  CHECK(plain.user == "7");
  CHECK(plain.tasks == Names{"next"});
  CHECK_FALSE(plain.has_many);
  CHECK(plain.k == 10);
  CHECK(plain.exclude.empty());
  CHECK_FALSE(plain.allow.has_value());
  CHECK(plain.filters.empty());
  CHECK(plain.seen == SeenItems::by_task);
  CHECK(plain.fallback == Fallback::popular);
  const Request full =
      request_of(R"({"history": [], "tasks": ["a", 2], "k": 3, "exclude": [1, "b"], "allow": [], )"
                 R"("filter": ["f", 4], "seen": "include", "fallback": "none"})");
  CHECK_FALSE(full.user.has_value());
  CHECK(full.tasks == Names{"a", "2"});
  CHECK(full.has_many);
  CHECK(full.k == 3);
  CHECK(full.exclude == Names{"1", "b"});
  CHECK(full.allow == Names{});
  CHECK(full.filters == Names{"f", "4"});
  CHECK(full.seen == SeenItems::include);
  CHECK(full.fallback == Fallback::none);
  const Request one = request_of(
      R"({"user": "u", "tasks": ["a"], "filter": "f", "seen": "exclude", "fallback": "popular"})");
  CHECK(one.has_many);
  CHECK(one.filters == Names{"f"});
  CHECK(one.seen == SeenItems::exclude);
}

TEST_CASE("serve: filters are set and dropped", "[serve]") {
  const auto set = std::get<SetFilter>(parse_message(R"({"filter": "f", "items": [1, "b"]})"));
  CHECK(set.filter == "f");
  CHECK(set.items == Names{"1", "b"});
  CHECK(std::get<SetFilter>(parse_message(R"({"items": [], "filter": 3})")).filter == "3");
  CHECK(std::get<DropFilter>(parse_message(R"({"drop_filter": "f"})")).filter == "f");
  CHECK(serve::filter_line(4, set, 0) == R"({"line":4,"filter":"f","items":2})");
  CHECK(serve::filter_line(4, set, 1) == R"({"line":4,"filter":"f","items":2,"unknown":1})");
  CHECK(serve::done_line(5, "dropped_filter", "f") == R"({"line":5,"dropped_filter":"f"})");
}

TEST_CASE("serve: messages say what is wrong with a request or a filter", "[serve]") {
  const std::vector<std::pair<std::string, std::string>> cases{
      {R"({"user": "u", "task": "t", "tasks": ["t"]})", "expected \"task\" or \"tasks\", got both"},
      {R"({"user": "u", "tasks": []})", "\"tasks\": expected at least one task, got an empty list"},
      {R"({"user": "u", "tasks": ["a", "b", "a"]})",
       "\"tasks\": expected different tasks, got 'a' again"},
      {R"({"user": "u", "tasks": "a"})", "\"tasks\": expected a list of tasks, got string"},
      {R"({"user": "u", "task": ["a"]})", "\"task\": expected a string or an integer, got array"},
      {R"({"user": "u", "task": "t", "exclude": 3})",
       "\"exclude\": expected a list of items, got number"},
      {R"({"user": "u", "task": "t", "allow": null})",
       "\"allow\": expected a list of items, got null"},
      {R"({"user": "u", "task": "t", "allow": [""]})",
       "\"allow\": expected a name, got an empty string"},
      {R"({"user": "u", "task": "t", "filter": {}})",
       "\"filter\": expected a string or an integer, got object"},
      {R"({"user": "u", "task": "t", "filter": [[]]})",
       "\"filter\": expected a string or an integer, got array"},
      {R"({"user": "u", "task": "t", "seen": "drop"})",
       "\"seen\": expected \"exclude\" or \"include\", got 'drop'"},
      {R"({"user": "u", "task": "t", "seen": true})",
       "\"seen\": expected \"exclude\" or \"include\", got boolean"},
      {R"({"user": "u", "task": "t", "fallback": "frequency"})",
       "\"fallback\": expected \"popular\" or \"none\", got 'frequency'"},
      {R"({"user": "u", "task": "t", "items": []})", "unknown key \"items\""},
      {R"({"user": "u", "item": "i", "tasks": ["t"]})",
       "expected \"item\" (an event) or \"task\" (a request), got both"},
      {R"({"history": ["i"], "item": "i", "task": "t"})", "unknown key \"item\""},
      {R"({"history": ["i"]})", "\"task\" is missing"},
      {R"({"filter": "f"})", "\"items\" is missing"},
      {R"({"filter": "f", "items": "i"})", "\"items\": expected a list of items, got string"},
      {R"({"filter": ["f"], "items": []})",
       "\"filter\": expected a string or an integer, got array"},
      {R"({"filter": "f", "items": [], "task": "t"})", "unknown key \"task\""},
      {R"({"drop_filter": "f", "items": []})", "unknown key \"items\""},
      {R"({"task": "t"})",
       "expected \"user\", \"history\", \"load\", \"unload\", \"filter\" or \"drop_filter\", "
       "got none"}};
  for (const auto& [line, reason] : cases) {
    INFO(line);
    CHECK_THROWS_WITH(parse_message(line), reason);
  }
}

TEST_CASE("serve: an answer has a list for each task, titles, and a source", "[serve]") {
  Titles titles;
  titles.items.intern("i4");
  titles.titles.push_back("Tea \xC3\xA9");
  const std::vector<TaskAnswer> answers{
      {.source = Source::state, .best = {{"i4", 0.5F}, {"i5", 0.25F, 0.75F}}},
      {.source = Source::popular, .unknown = 2}};
  const Request one = request_of(R"({"user": "u", "task": "next"})");
  CHECK(answer_text(one, {answers[0]}) ==
        R"({"user":"u","task":"next","source":"state","best":[{"id":"i4","score":0.5},)"
        R"({"id":"i5","score":0.25,"probability":0.75}]})");
  CHECK(answer_line(3, one, {answers[1]}) ==
        R"({"line":3,"user":"u","task":"next","unknown":2,"source":"popular","best":[]})");
  const Request many = request_of(R"({"history": ["i"], "tasks": ["next", "other"]})");
  CHECK(answer_line(3, many, answers, &titles) ==
        "{\"line\":3,\"answers\":[{\"task\":\"next\",\"source\":\"state\",\"best\":[{\"id\":\"i4\","
        "\"title\":\"Tea "
        "\xC3\xA9\",\"score\":0.5},{\"id\":\"i5\",\"score\":0.25,\"probability\":0.75}]},"
        "{\"task\":\"other\",\"unknown\":2,\"source\":\"popular\",\"best\":[]}]}");
  const serve::Message asked = many;
  CHECK(serve::error_line(9, "no", &asked) ==
        R"({"line":9,"tasks":["next","other"],"error":"no"})");
}

TEST_CASE("serve: a message has few keys and filters, and the time of an event", "[serve]") {
  std::string keys = "{\"user\": \"a\", \"item\": \"b\"";
  for (int i = 0; i < 100'000; ++i) keys += ", \"" + std::to_string(i) + "\": 1";
  CHECK_THROWS_WITH(parse_message(keys + "}"), "expected at most 16 keys, got more");
  std::string filters;
  for (int i = 0; i < 17; ++i) filters += (i == 0 ? "\"f" : ",\"f") + std::to_string(i) + "\"";
  CHECK_THROWS_WITH(parse_message(R"({"user": "a", "task": "next", "filter": [)" + filters + "]}"),
                    "\"filter\": expected at most 16 filters, got 17");
  CHECK_THROWS_WITH(parse_message(R"({"user": "a", "task": "next", "filter": ["f", "g", "f"]})"),
                    "\"filter\": expected different filters, got 'f' again");
  const auto time = [](const std::string& value) {
    return std::get<Event>(
               parse_message(R"({"user": "a", "item": "b", "timestamp": )" + value + "}"))
        .time;
  };
  CHECK(time("17") == 17);
  CHECK(time("-9223372036854775808") == std::numeric_limits<std::int64_t>::min());
  CHECK_FALSE(time("18446744073709551615"));
  CHECK_FALSE(time("1.5"));
  CHECK_FALSE(time("\"2026-11-30\""));
  CHECK(serve::parse_name(" 12 ") == "12");
  CHECK(serve::parse_name("\"a b\"") == "a b");
  for (const char* const text : {"", "[1]", "1, \"x\": 2", "1.5", "\"\"", "1}", "{}"}) {
    INFO(text);
    CHECK_THROWS_AS(serve::parse_name(text), OptionError);
  }
  using namespace std::string_literals;
  CHECK_THROWS_WITH(parse_message("{\"user\": \"a\", \"item\": \"b\"}\0x"s),
                    "expected JSON, got a NUL byte at byte 27");
  CHECK(serve::parse_file(R"({"file": "p"})") == "p");
  CHECK_THROWS_WITH(serve::parse_file(R"({"path": "p"})"), "unknown key \"path\"");
}

}  // namespace refrain::test::of_messages
