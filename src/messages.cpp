#include "refrain/serve/message.hpp"

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace refrain::serve {
namespace {

/// A value in a line.
struct Value {
  enum class Kind : std::uint8_t { null, boolean, whole, fraction, text, array, object };
  Kind kind = Kind::null;
  std::string text{};             ///< text of a string or a number
  std::vector<Value> elements{};  ///< elements of an array, without their own elements

  const char* type_name() const {
    switch (kind) {
      case Kind::null:
        return "null";
      case Kind::boolean:
        return "boolean";
      case Kind::whole:
      case Kind::fraction:
        return "number";
      case Kind::text:
        return "string";
      case Kind::array:
        return "array";
      case Kind::object:
        break;
    }
    return "object";
  }
};

/// The object of a line. It is parsed without recursion, so deep nesting cannot overflow the stack.
class Line {
 public:
  /// Throws OptionError for a text that is not a JSON object and for a duplicate key.
  explicit Line(std::string_view text);

  const Value* find(std::string_view key) const {
    const auto found = std::find_if(fields_.begin(), fields_.end(),
                                    [&](const Field& field) { return field.key == key; });
    return found == fields_.end() ? nullptr : &found->value;
  }
  void expect_keys(std::initializer_list<std::string_view> known) const {
    for (const Field& field : fields_) {
      if (std::find(known.begin(), known.end(), field.key) == known.end())
        throw OptionError(refrain::detail::concat("unknown key \"", field.key, "\""));
    }
  }

 private:
  struct Field {
    std::string key;
    Value value;
  };
  friend class LineReader;

  std::vector<Field> fields_;
};

std::string shortened(const std::string& text) {
  constexpr std::size_t shown = 40;
  return text.size() <= shown ? text : text.substr(0, shown) + "...";
}

/// The token at which the parser stopped: the end of the text that it read after its last value.
std::string last_token(const std::string& read) {
  bool in_string = false;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < read.size(); ++i) {
    if (in_string && read[i] == '\\') {
      ++i;
    } else if (read[i] == '"') {
      in_string = !in_string;
      if (in_string) begin = i;
    } else if (!in_string &&
               std::string_view(" \t\r\n:,[]{}").find(read[i]) != std::string_view::npos) {
      begin = i + 1;
    }
  }
  return begin < read.size() ? read.substr(begin) : read.substr(read.empty() ? 0 : read.size() - 1);
}

/// Receives the events of the JSON parser, under the names that the parser requires.
class LineReader {
 public:
  LineReader(Line& line, std::size_t bytes) : line_(line), bytes_(bytes) {}

  bool null() { return add({Value::Kind::null}); }
  bool boolean(bool) { return add({Value::Kind::boolean}); }
  bool number_integer(std::int64_t number) {
    return add({Value::Kind::whole, std::to_string(number)});
  }
  bool number_unsigned(std::uint64_t number) {
    return add({Value::Kind::whole, std::to_string(number)});
  }
  bool number_float(double, const std::string& text) { return add({Value::Kind::fraction, text}); }
  bool string(std::string& text) { return add({Value::Kind::text, std::move(text)}); }
  bool binary(nlohmann::json::binary_t&) { return false; }  // only in other formats than JSON
  bool start_object(std::size_t) { return start(Value::Kind::object); }
  bool start_array(std::size_t) { return start(Value::Kind::array); }
  bool end_object() { return end(); }
  bool end_array() { return end(); }
  bool key(std::string& key) {
    if (depth_ > 1) return true;
    // More keys than any message has; each key is compared with those before.
    constexpr std::size_t most_keys = 16;
    if (line_.fields_.size() == most_keys)
      throw OptionError(detail::concat("expected at most ", most_keys, " keys, got more"));
    if (line_.find(key) != nullptr)
      throw OptionError(refrain::detail::concat("duplicate key \"", key, "\""));
    line_.fields_.push_back({std::move(key), {}});
    return true;
  }
  bool parse_error(std::size_t at, const std::string& token,
                   const nlohmann::json::exception& error) {
    if (dynamic_cast<const nlohmann::json::out_of_range*>(&error) != nullptr)
      throw OptionError("expected a number in the range of double, got a larger one");
    if (at > bytes_) throw OptionError("expected JSON, got an incomplete line");
    throw OptionError(refrain::detail::concat("expected JSON, got '", shortened(last_token(token)),
                                              "' at byte ", at));
  }

 private:
  bool start(Value::Kind kind) {
    if (depth_ == 0 && kind != Value::Kind::object)
      throw OptionError("expected a JSON object, got array");
    if (depth_++ > 0) add_at(depth_ - 1, {kind});
    return true;
  }
  bool end() {
    --depth_;
    return true;
  }
  bool add(Value value) {
    if (depth_ == 0)
      throw OptionError(refrain::detail::concat("expected a JSON object, got ", value.type_name()));
    add_at(depth_, std::move(value));
    return true;
  }
  /// Depth 1: value of a field. Depth 2: element of a field that is an array.
  void add_at(std::size_t depth, Value value) {
    if (depth > 2) return;
    Value& field = line_.fields_.back().value;
    if (depth == 1) {
      field = std::move(value);
    } else if (field.kind == Value::Kind::array) {
      field.elements.push_back(std::move(value));
    }
  }

  Line& line_;
  std::size_t bytes_;
  std::size_t depth_ = 0;
};

Line::Line(std::string_view text) {
  // The parser takes a NUL byte as the end of the text.
  const std::size_t zero = text.find('\0');
  if (zero != std::string_view::npos)
    throw OptionError(detail::concat("expected JSON, got a NUL byte at byte ", zero + 1));
  LineReader reader(*this, text.size());
  nlohmann::json::sax_parse(text, &reader);
}

std::string compact(const nlohmann::ordered_json& line) {
  // Reasons may quote bytes that are not UTF-8.
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

/// A string, or an integer as a string.
std::string name_of(const Value& value, const char* key) {
  if (value.kind == Value::Kind::text && value.text.empty())
    throw OptionError(
        refrain::detail::concat("\"", key, "\": expected a name, got an empty string"));
  if (value.kind == Value::Kind::text || value.kind == Value::Kind::whole) return value.text;
  throw OptionError(refrain::detail::concat("\"", key, "\": expected a string or an integer, got ",
                                            value.type_name()));
}

std::string name_at(const Line& line, const char* key) {
  const Value* const value = line.find(key);
  if (value == nullptr) throw OptionError(refrain::detail::concat("\"", key, "\" is missing"));
  return name_of(*value, key);
}

/// The time of an event, if it is a whole number.
std::optional<std::int64_t> time_of(const Line& line) {
  for (const char* const key : {"timestamp", "time"}) {
    const Value* const value = line.find(key);
    if (value == nullptr || value->kind != Value::Kind::whole) continue;
    std::int64_t time = 0;
    const char* const end = value->text.data() + value->text.size();
    if (std::from_chars(value->text.data(), end, time).ec == std::errc()) return time;
  }
  return std::nullopt;
}

std::string path_at(const Line& line, const char* key) {
  std::string path = name_at(line, key);
  const std::size_t zero = path.find('\0');
  if (zero != std::string::npos) {
    throw OptionError(refrain::detail::concat(
        "\"", key, "\": expected a file path, got a text with a NUL byte after '",
        path.substr(0, zero), "'"));
  }
  return path;
}

/// The names in a list.
std::vector<std::string> names_of(const Value& list, const char* key, const char* what) {
  if (list.kind != Value::Kind::array) {
    throw OptionError(refrain::detail::concat("\"", key, "\": expected a list of ", what, ", got ",
                                              list.type_name()));
  }
  std::vector<std::string> names;
  names.reserve(list.elements.size());
  for (const Value& name : list.elements) names.push_back(name_of(name, key));
  return names;
}

std::int64_t count_of(const Line& line) {
  const Value* const value = line.find("k");
  if (value == nullptr) return Request().k;
  constexpr std::size_t max_characters = 18;  // always fits 64 bits
  if (value->kind == Value::Kind::whole && value->text.size() <= max_characters)
    return std::stoll(value->text);
  const bool is_number = value->kind == Value::Kind::whole || value->kind == Value::Kind::fraction;
  throw OptionError(
      refrain::detail::concat("\"k\": expected an integer of at most 18 digits, got ",
                              is_number ? shortened(value->text) : value->type_name()));
}

/// A word and its meaning.
template <class Meaning>
struct Choice {
  const char* word;
  Meaning meaning;
};

/// The meaning of one of two words, if the line has the key.
template <class Meaning>
Meaning choice_of(const Line& line, const char* key, Meaning otherwise,
                  const Choice<Meaning>& first, const Choice<Meaning>& second) {
  const Value* const value = line.find(key);
  if (value == nullptr) return otherwise;
  if (value->kind == Value::Kind::text) {
    for (const Choice<Meaning>& choice : {first, second})
      if (value->text == choice.word) return choice.meaning;
  }
  throw OptionError(refrain::detail::concat(
      "\"", key, "\": expected \"", first.word, "\" or \"", second.word, "\", got ",
      value->kind == Value::Kind::text ? "'" + shortened(value->text) + "'" : value->type_name()));
}

/// names_of(), each name once.
std::vector<std::string> different_names_of(const Value& list, const char* key, const char* what) {
  std::vector<std::string> names = names_of(list, key, what);
  std::vector<std::string_view> sorted(names.begin(), names.end());
  std::sort(sorted.begin(), sorted.end());
  const auto again = std::adjacent_find(sorted.begin(), sorted.end());
  if (again != sorted.end()) {
    throw OptionError(
        detail::concat("\"", key, "\": expected different ", what, ", got '", *again, "' again"));
  }
  return names;
}

std::vector<std::string> tasks_of(const Value& list) {
  std::vector<std::string> tasks = different_names_of(list, "tasks", "tasks");
  if (tasks.empty()) throw OptionError("\"tasks\": expected at least one task, got an empty list");
  return tasks;
}

Request request_of(const Line& line) {
  line.expect_keys(
      {"user", "history", "task", "k", "exclude", "allow", "filter", "seen", "tasks", "fallback"});
  Request request;
  const Value* const task = line.find("task");
  const Value* const tasks = line.find("tasks");
  if (const Value* const history = line.find("history")) {
    if (line.find("user") != nullptr)
      throw OptionError("expected \"user\" or \"history\", got both");
    request.history = names_of(*history, "history", "items");
    if (task == nullptr && tasks == nullptr) throw OptionError("\"task\" is missing");
  } else {
    if (task == nullptr && tasks == nullptr)
      throw OptionError("expected \"item\" (an event) or \"task\" (a request), got neither");
    request.user = name_at(line, "user");
  }
  if (task != nullptr && tasks != nullptr)
    throw OptionError("expected \"task\" or \"tasks\", got both");
  request.has_many = tasks != nullptr;
  request.tasks =
      tasks != nullptr ? tasks_of(*tasks) : std::vector<std::string>{name_of(*task, "task")};
  request.k = count_of(line);
  if (const Value* const list = line.find("exclude"))
    request.exclude = names_of(*list, "exclude", "items");
  if (const Value* const list = line.find("allow"))
    request.allow = names_of(*list, "allow", "items");
  if (const Value* const filter = line.find("filter")) {
    request.filters = filter->kind == Value::Kind::array
                          ? different_names_of(*filter, "filter", "filters")
                          : std::vector<std::string>{name_of(*filter, "filter")};
    constexpr std::size_t most_filters = 16;
    if (request.filters.size() > most_filters) {
      throw OptionError(detail::concat("\"filter\": expected at most ", most_filters,
                                       " filters, got ", request.filters.size()));
    }
  }
  request.seen = choice_of<SeenItems>(line, "seen", request.seen, {"exclude", SeenItems::exclude},
                                      {"include", SeenItems::include});
  request.fallback = choice_of<Fallback>(line, "fallback", request.fallback,
                                         {"popular", Fallback::popular}, {"none", Fallback::none});
  return request;
}

const char* name_of(Source source) {
  switch (source) {
    case Source::state:
      return "state";
    case Source::pass:
      return "pass";
    case Source::popular:
      break;
  }
  return "popular";
}

void add_answer(nlohmann::ordered_json& object, const std::string& task, const TaskAnswer& answer,
                const Titles* titles) {
  object["task"] = task;
  if (answer.unknown > 0) object["unknown"] = answer.unknown;
  object["source"] = name_of(answer.source);
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Recommendation& found : answer.best) {
    nlohmann::ordered_json item{{"id", found.item}};
    if (titles != nullptr) {
      if (const auto title = titles->find(found.item)) item["title"] = *title;
    }
    item["score"] = found.score;
    if (found.probability) item["probability"] = *found.probability;
    list.push_back(std::move(item));
  }
  object["best"] = std::move(list);
}

/// Adds the answer to an object that has its first keys.
std::string completed(nlohmann::ordered_json object, const Request& request,
                      const std::vector<TaskAnswer>& answers, const Titles* titles) {
  if (request.user) object["user"] = *request.user;
  if (!request.has_many) {
    add_answer(object, request.tasks.front(), answers.front(), titles);
    return compact(object);
  }
  nlohmann::ordered_json& list = object["answers"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < answers.size(); ++i) {
    list.push_back(nlohmann::ordered_json::object());
    add_answer(list.back(), request.tasks[i], answers[i], titles);
  }
  return compact(object);
}

}  // namespace

Message parse_message(std::string_view text) {
  const Line line(text);
  const bool is_request = line.find("history") != nullptr;
  if (!is_request && line.find("item") != nullptr) {
    if (line.find("task") != nullptr || line.find("tasks") != nullptr)
      throw OptionError("expected \"item\" (an event) or \"task\" (a request), got both");
    line.expect_keys({"user", "item", "timestamp", "time"});
    return Event{name_at(line, "user"), name_at(line, "item"), time_of(line)};
  }
  if (is_request || line.find("user") != nullptr) return request_of(line);
  if (line.find("load") != nullptr) {
    line.expect_keys({"load"});
    return Load{path_at(line, "load")};
  }
  if (line.find("unload") != nullptr) {
    line.expect_keys({"unload"});
    return Unload{name_at(line, "unload")};
  }
  if (line.find("filter") != nullptr) {
    line.expect_keys({"filter", "items"});
    const Value* const items = line.find("items");
    if (items == nullptr) throw OptionError("\"items\" is missing");
    return SetFilter{name_at(line, "filter"), names_of(*items, "items", "items")};
  }
  if (line.find("drop_filter") != nullptr) {
    line.expect_keys({"drop_filter"});
    return DropFilter{name_at(line, "drop_filter")};
  }
  throw OptionError(
      "expected \"user\", \"history\", \"load\", \"unload\", \"filter\" or \"drop_filter\", got "
      "none");
}

std::string parse_name(std::string_view text) {
  // The parser takes objects.
  const Line line(detail::concat("{\"name\":", text, "}"));
  line.expect_keys({"name"});
  return name_at(line, "name");
}

std::string parse_file(std::string_view text) {
  const Line line(text);
  line.expect_keys({"file"});
  return name_at(line, "file");
}

std::string answer_text(const Request& request, const std::vector<TaskAnswer>& answers,
                        const Titles* titles) {
  return completed(nlohmann::ordered_json::object(), request, answers, titles);
}

std::string answer_line(std::int64_t line, const Request& request,
                        const std::vector<TaskAnswer>& answers, const Titles* titles) {
  return completed({{"line", line}}, request, answers, titles);
}

std::string done_line(std::int64_t line, const char* what, const std::string& name) {
  return compact({{"line", line}, {what, name}});
}

std::string filter_line(std::int64_t line, const SetFilter& message, std::int64_t unknown) {
  nlohmann::ordered_json answer{
      {"line", line}, {"filter", message.filter}, {"items", message.items.size()}};
  if (unknown > 0) answer["unknown"] = unknown;
  return compact(answer);
}

std::string error_line(std::int64_t line, std::string_view reason, const Message* message) {
  nlohmann::ordered_json answer{{"line", line}};
  if (message != nullptr) {
    if (const auto* event = std::get_if<Event>(message)) answer["user"] = event->user;
    if (const auto* request = std::get_if<Request>(message)) {
      if (request->user) answer["user"] = *request->user;
      if (request->has_many) {
        answer["tasks"] = request->tasks;
      } else {
        answer["task"] = request->tasks.front();
      }
    }
  }
  answer["error"] = reason;
  return compact(answer);
}

}  // namespace refrain::serve
