/// Lines for the serve program: each is a message or is refused with a reason, and each answer is
/// one line of JSON.

#include <nlohmann/json.hpp>

#include "fuzz/program.hpp"
#include "refrain/serve/message.hpp"

namespace refrain::fuzz {
namespace {

/// Checks that an answer is one line of UTF-8 JSON with `key`, for any bytes in the quoted text.
void check_line(const std::string& line, const char* key) {
  require(line.find('\n') == std::string::npos, "an answer is one line");
  const nlohmann::json read = nlohmann::json::parse(line, nullptr, false);
  require(read.is_object() && read.at("line") == 7 && read.contains(key),
          "an answer is JSON with its line's number");
}

struct Check {
  void operator()(const serve::Event& event) const {
    require_same({{"user", event.user}, {"item", event.item}}, event);
  }
  void operator()(const serve::Request& request) const {
    const auto* const back = std::get_if<serve::Request>(&read_again(line_of(request)));
    require(back != nullptr && line_of(*back) == line_of(request), "a request comes back");
    std::vector<serve::TaskAnswer> answers(request.tasks.size());
    answers.front().best.push_back({request.tasks.front(), 0.5F});
    Titles titles;
    titles.items.intern(request.tasks.front());
    titles.titles.push_back(request.tasks.back());
    check_line(serve::answer_line(7, request, answers, &titles),
               request.has_many ? "answers" : "best");
    const serve::Message message = request;
    check_line(serve::error_line(7, request.tasks.front(), &message), "error");
  }
  void operator()(const serve::Load& load) const {
    const auto* const back = std::get_if<serve::Load>(&read_again({{"load", load.file}}));
    require(back != nullptr && back->file == load.file, "a file's name comes back");
  }
  void operator()(const serve::Unload& unload) const {
    const auto* const back = std::get_if<serve::Unload>(&read_again({{"unload", unload.task}}));
    require(back != nullptr && back->task == unload.task, "a task comes back");
    check_line(serve::done_line(7, "unloaded", unload.task), "unloaded");
  }
  void operator()(const serve::SetFilter& set) const {
    const auto* const back =
        std::get_if<serve::SetFilter>(&read_again({{"filter", set.filter}, {"items", set.items}}));
    require(back != nullptr && back->filter == set.filter && back->items == set.items,
            "a filter comes back");
    check_line(serve::filter_line(7, set, 1), "filter");
  }
  void operator()(const serve::DropFilter& drop) const {
    const auto* const back =
        std::get_if<serve::DropFilter>(&read_again({{"drop_filter", drop.filter}}));
    require(back != nullptr && back->filter == drop.filter, "a filter's name comes back");
  }

 private:
  /// A line with all keys of a request.
  static nlohmann::json line_of(const serve::Request& request) {
    nlohmann::json line{
        {"k", request.k},
        {"exclude", request.exclude},
        {"filter", request.filters},
        {"fallback", request.fallback == serve::Fallback::none ? "none" : "popular"}};
    if (request.user) {
      line["user"] = *request.user;
    } else {
      line["history"] = request.history;
    }
    if (request.has_many) {
      line["tasks"] = request.tasks;
    } else {
      line["task"] = request.tasks.front();
    }
    if (request.allow) line["allow"] = *request.allow;
    if (request.seen != SeenItems::by_task)
      line["seen"] = request.seen == SeenItems::exclude ? "exclude" : "include";
    return line;
  }
  static const serve::Message& read_again(const nlohmann::json& line) {
    static serve::Message message;
    return message = serve::parse_message(line.dump());
  }
  static void require_same(const nlohmann::json& line, const serve::Event& event) {
    const auto* const back = std::get_if<serve::Event>(&read_again(line));
    require(back != nullptr && back->user == event.user && back->item == event.item,
            "an event comes back");
  }
};

}  // namespace

void try_input(std::string_view input) {
  serve::Message message;
  try {
    message = serve::parse_message(input);
  } catch (const OptionError& error) {
    check_line(serve::error_line(7, error.what()), "error");
    return;
  }
  std::visit(Check(), message);
}

std::vector<std::string> seeds() {
  return {
      R"({"user": "u1", "item": "i9"})",
      R"({"user": 12, "item": -3})",
      R"({"user": "u1", "task": "next", "k": 10})",
      R"({"user": "caf\u00e9", "task": "next"})",
      R"({"history": ["i3", 9, "i9"], "task": "next", "k": 18446744073709551615})",
      R"({"load": "next.patch.safetensors"})",
      R"({"unload": "next"})",
      R"({"user": "u1", "tasks": ["next", 3], "exclude": ["i1"], "allow": [4], "seen": "include"})",
      R"({"history": [1], "task": "t", "filter": ["a"], "fallback": "none", "seen": "exclude"})",
      R"({"filter": "in_stock", "items": ["i3", 9]})",
      R"({"drop_filter": "in_stock"})",
      R"({"user": "u1", "item": null, "more": [[[{}]]]})",
      "{\"user\": \"\xC3\x28\", \"item\": 1e300}",
      "[1, 2"};
}

}  // namespace refrain::fuzz
