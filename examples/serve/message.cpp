#include "serve/message.hpp"

#include <algorithm>
#include <initializer_list>

namespace refrain::serve {
namespace {

using nlohmann::json;

std::string compact(const nlohmann::ordered_json& line) {
  // Reasons may quote bytes that are no UTF-8.
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

/// A text, or a whole number as one.
std::string name_of(const json& value, const char* key) {
  if (value.is_string() && value.get_ref<const std::string&>().empty()) {
    throw OptionError(concat("\"", key, "\": expected a name, got an empty text"));
  }
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return value.dump();
  throw OptionError(
      concat("\"", key, "\": expected a text or a whole number, got ", value.type_name()));
}

std::string name_at(const json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end()) throw OptionError(concat("\"", key, "\" is missing"));
  return name_of(*found, key);
}

void expect_keys(const json& line, std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : line.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end())
      throw OptionError(concat("unknown key \"", key, "\""));
  }
}

std::int64_t count_of(const json& line) {
  const auto found = line.find("k");
  if (found == line.end()) return UserRequest().k;
  if (!found->is_number_integer() ||
      (found->is_number_unsigned() && found->get<std::uint64_t>() > std::uint64_t{1} << 62)) {
    throw OptionError(concat("\"k\": expected a whole number of sensible size, got ",
                             found->is_number()
                                 ? found->dump()
                                 : found->type_name()));  // writing a value out is recursive
  }
  return found->get<std::int64_t>();
}

}  // namespace

Message parse_message(std::string_view text) {
  json line;
  try {
    line = json::parse(text);
  } catch (const json::parse_error& error) {
    throw OptionError(error.byte > text.size()
                          ? std::string("no JSON: the line ends early")
                          : concat("no JSON: it goes wrong at byte ", error.byte));
  } catch (const json::out_of_range&) {
    throw OptionError("a number is too large");
  }
  if (!line.is_object())
    throw OptionError(concat("expected a JSON object, got ", line.type_name()));
  if (line.contains("load")) {
    expect_keys(line, {"load"});
    return Load{name_at(line, "load")};
  }
  if (line.contains("unload")) {
    expect_keys(line, {"unload"});
    return Unload{name_at(line, "unload")};
  }
  if (line.contains("history")) {
    if (line.contains("user"))
      throw OptionError("a request is of a \"user\" or of a \"history\", got both");
    expect_keys(line, {"history", "task", "k"});
    const json& list = line["history"];
    if (!list.is_array())
      throw OptionError(concat("\"history\": expected a list of items, got ", list.type_name()));
    HistoryRequest request{{}, name_at(line, "task"), count_of(line)};
    for (const json& item : list) request.history.push_back(name_of(item, "history"));
    return request;
  }
  if (line.contains("item")) {
    if (line.contains("task"))
      throw OptionError("a line is an event (\"item\") or a request (\"task\"), got both");
    expect_keys(line, {"user", "item", "timestamp"});
    return Event{name_at(line, "user"), name_at(line, "item")};
  }
  expect_keys(line, {"user", "task", "k"});
  if (!line.contains("user"))
    throw OptionError("expected \"user\", \"history\", \"load\" or \"unload\", got none of them");
  if (!line.contains("task"))
    throw OptionError("expected \"item\" (what the user did) or \"task\" (a request), got neither");
  return UserRequest{name_at(line, "user"), name_at(line, "task"), count_of(line)};
}

std::string answer_line(std::int64_t line, const std::string* user, const std::string& task,
                        const std::vector<Recommendation>& best, std::int64_t unknown) {
  nlohmann::ordered_json answer{{"line", line}};
  if (user != nullptr) answer["user"] = *user;
  answer["task"] = task;
  if (unknown > 0) answer["unknown"] = unknown;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Recommendation& found : best) {
    list.push_back({{"id", found.item}, {"score", found.score}});
    if (found.probability) list.back()["probability"] = *found.probability;
  }
  answer["best"] = std::move(list);
  return compact(answer);
}

std::string done_line(std::int64_t line, const char* what, const std::string& task) {
  return compact({{"line", line}, {what, task}});
}

std::string error_line(std::int64_t line, std::string_view reason, const Message* message) {
  nlohmann::ordered_json answer{{"line", line}};
  if (message != nullptr) {
    if (const auto* event = std::get_if<Event>(message)) answer["user"] = event->user;
    if (const auto* request = std::get_if<UserRequest>(message)) {
      answer["user"] = request->user;
      answer["task"] = request->task;
    }
    if (const auto* request = std::get_if<HistoryRequest>(message)) answer["task"] = request->task;
  }
  answer["error"] = reason;
  return compact(answer);
}

}  // namespace refrain::serve
