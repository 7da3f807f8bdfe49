#include "common/answer_format.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>

#include "refrain/core/text.hpp"

namespace refrain::examples {
namespace {

template <class... Values>
void print_to(std::string& text, fmt::format_string<Values...> format, Values&&... values) {
  fmt::format_to(std::back_inserter(text), format, std::forward<Values>(values)...);
}

/// Appends a field of a CSV line, quoted if necessary (RFC 4180), and a comma.
void append_field(std::string& text, std::string_view field) {
  if (field.find_first_of(",\"\r\n") == std::string_view::npos) {
    text += field;
  } else {
    text += '"';
    for (const char c : field) text.append(c == '"' ? 2 : 1, c);
    text += '"';
  }
  text += ',';
}

void append_whole(std::string& text, std::int64_t value) {
  const fmt::format_int digits(value);
  text.append(digits.data(), digits.size());
}

/// The shortest text that reads as this number.
void append_shortest(std::string& text, float value) { print_to(text, "{}", value); }

}  // namespace

std::string unknown_note(const Answer& answer) {
  return fmt::format("skipped, unknown to the model: {}", fmt::join(answer.unknown, ", "));
}

void append_json_string(std::string& text, std::string_view value) {
  const bool is_plain = std::all_of(value.begin(), value.end(), [](char c) {
    return c >= ' ' && c <= '~' && c != '"' && c != '\\';
  });
  if (is_plain) {
    text += '"';
    text += value;
    text += '"';
  } else {
    text += nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
}

void append_json_number(std::string& text, double value) {
  if (!std::isfinite(value)) {
    text += "null";
    return;
  }
  // The conversion of dump(), without an object and a string for each number.
  char digits[64];
  text.append(digits, nlohmann::detail::to_chars(digits, std::end(digits), value));
}

std::string_view AnswerFormat::heading() const noexcept {
  return output_ == Output::csv ? "answer,user,task,place,id,title,score,probability\n" : "";
}

void AnswerFormat::append(std::string& text, std::int64_t number, const Request& request,
                          const Answer& answer) const {
  switch (output_) {
    case Output::text:
      return append_text(text, request, answer);
    case Output::json_lines:
      return append_json(text, request, answer);
    case Output::csv:
      return append_csv(text, number, request, answer);
  }
}

void AnswerFormat::append_text(std::string& text, const Request& request,
                               const Answer& answer) const {
  print_to(text, "\n{} ({}), task {}\n", request.user.empty() ? "History" : "User " + request.user,
           counted(static_cast<std::int64_t>(request.history.size()), "item"), answer.task);
  if (!answer.unknown.empty()) print_to(text, "  {}\n", unknown_note(answer));
  if (answer.is_by_frequency) print_to(text, "  {}\n", frequency_note);
  int place = 0;
  for (const Recommendation& each : answer.best) {
    if (each.probability) {
      print_to(text, "  {:<20} {:6.1f} %\n", each.item, 100 * *each.probability);
    } else {
      print_to(text, "  {:>3}. {:<60} {:9.4f}\n", ++place, described(each.item, titles_),
               each.score);
    }
  }
}

void AnswerFormat::append_json(std::string& text, const Request& request,
                               const Answer& answer) const {
  text += '{';
  if (!request.user.empty()) {
    text += "\"user\":";
    append_json_string(text, request.user);
    text += ',';
  }
  text += "\"task\":";
  append_json_string(text, answer.task);
  const char* before = ",\"unknown\":[";
  for (const std::string& item : answer.unknown) {
    text += before;
    append_json_string(text, item);
    before = ",";
  }
  if (!answer.unknown.empty()) text += ']';
  if (answer.is_by_frequency) text += ",\"source\":\"popular\"";
  text += ",\"best\":[";
  before = "{\"id\":";
  for (const Recommendation& each : answer.best) {
    text += before;
    append_json_string(text, each.item);
    if (const auto title = title_of(each.item)) {
      text += ",\"title\":";
      append_json_string(text, *title);
    }
    text += ",\"score\":";
    append_json_number(text, each.score);
    if (each.probability) {
      text += ",\"probability\":";
      append_json_number(text, *each.probability);
    }
    text += '}';
    before = ",{\"id\":";
  }
  text += "]}\n";
}

void AnswerFormat::append_csv(std::string& text, std::int64_t number, const Request& request,
                              const Answer& answer) const {
  std::string start;
  append_whole(start, number);
  start += ',';
  append_field(start, request.user);
  append_field(start, answer.task);
  std::int64_t place = 0;
  for (const Recommendation& each : answer.best) {
    text += start;
    append_whole(text, ++place);
    text += ',';
    append_field(text, each.item);
    append_field(text, title_of(each.item).value_or(""));
    append_shortest(text, each.score);
    text += ',';
    if (each.probability) append_shortest(text, *each.probability);
    text += '\n';
  }
}

std::string described(std::string_view item, const std::optional<Titles>& titles) {
  if (titles) {
    if (const auto title = titles->find(item)) return fmt::format("{:<8} {}", item, *title);
  }
  return std::string(item);
}

}  // namespace refrain::examples
