#include "common/answers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "common/standard_streams.hpp"
#include "refrain/core/text.hpp"

namespace refrain::examples {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* frequency_note = "no known item in the history: ranked by frequency";

std::string unknown_note(const Answer& answer) {
  return fmt::format("skipped, unknown to the model: {}", fmt::join(answer.unknown, ", "));
}

/// Prints one object and replaces invalid UTF-8.
void print_line(const Json& object) {
  fmt::print("{}\n", object.dump(-1, ' ', false, Json::error_handler_t::replace));
}

/// Quotes a field of a CSV line if necessary (RFC 4180).
std::string field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) quoted.append(c == '"' ? 2 : 1, c);
  return quoted + '"';
}

}  // namespace

void AnswerPrinter::print(const Request& request, const Answer& answer) {
  switch (output_) {
    case Output::text:
      print_text(request, answer);
      break;
    case Output::json_lines:
      print_json(request, answer);
      break;
    case Output::csv:
      print_csv(request, answer);
      break;
  }
  ++answers_;
  flush_output();
}

void AnswerPrinter::print_error(const Request& request, std::string_view reason) const {
  if (output_ == Output::json_lines) {
    print_line({{"task", request.task}, {"error", reason}});
  } else if (output_ == Output::csv) {
    say("{}\n", reason);
  } else {
    fmt::print("  {}\n", reason);
  }
  flush_output();
}

void AnswerPrinter::print_text(const Request& request, const Answer& answer) const {
  fmt::print("\n{} ({}), task {}\n", request.user.empty() ? "History" : "User " + request.user,
             counted(static_cast<std::int64_t>(request.history.size()), "item"), answer.task);
  if (!answer.unknown.empty()) fmt::print("  {}\n", unknown_note(answer));
  if (answer.is_by_frequency) fmt::print("  {}\n", frequency_note);
  int place = 0;
  for (const Recommendation& each : answer.best) {
    if (each.probability) {
      fmt::print("  {:<20} {:6.1f} %\n", each.item, 100 * *each.probability);
    } else {
      fmt::print("  {:>3}. {:<60} {:9.4f}\n", ++place, described(each.item, titles_), each.score);
    }
  }
}

void AnswerPrinter::print_json(const Request& request, const Answer& answer) const {
  Json object = Json::object();
  if (!request.user.empty()) object["user"] = request.user;
  object["task"] = answer.task;
  if (!answer.unknown.empty()) object["unknown"] = answer.unknown;
  if (answer.is_by_frequency) object["fallback"] = "frequency";
  Json& best = object["best"] = Json::array();
  for (const Recommendation& each : answer.best) {
    Json& line = best.emplace_back(Json{{"id", each.item}});
    if (const auto title = title_of(each.item)) line["title"] = *title;
    line["score"] = each.score;
    if (each.probability) line["probability"] = *each.probability;
  }
  print_line(object);
}

void AnswerPrinter::print_csv(const Request& request, const Answer& answer) const {
  if (answers_ == 0) fmt::print("answer,user,task,place,id,title,score,probability\n");
  if (!answer.unknown.empty()) say("answer {}: {}\n", answers_ + 1, unknown_note(answer));
  if (answer.is_by_frequency) say("answer {}: {}\n", answers_ + 1, frequency_note);
  int place = 0;
  for (const Recommendation& each : answer.best) {
    fmt::print("{},{},{},{},{},{},{},{}\n", answers_ + 1, field(request.user), field(answer.task),
               ++place, field(each.item), field(title_of(each.item).value_or("")), each.score,
               each.probability ? fmt::format("{}", *each.probability) : "");
  }
}

void answer_requests(const RecommendOptions& options, AnswerPrinter& printer, bool has_tasks,
                     const std::function<Request(const std::string& user)>& request_of,
                     const std::function<void(const Request&)>& answer) {
  for (const std::string& user : options.users) answer(request_of(user));
  for (const std::string& history : options.histories) answer({{}, split_list(history), {}, {}});
  if (!options.users.empty() || !options.histories.empty()) return;
  say("Reading histories from standard input, one per line: item,item,...{} (commas or blanks)\n",
      has_tasks ? " or task: item,item,..." : "");
  for (std::string line; std::getline(std::cin, line);) {
    Request request;
    const std::size_t colon = has_tasks ? line.find(": ") : std::string::npos;
    const bool has_task = colon != std::string::npos;
    if (has_task) request.task = line.substr(0, colon);
    request.history = split_list(std::string_view(line).substr(has_task ? colon + 2 : 0));
    try {
      answer(request);
    } catch (const OptionError& error) {
      printer.print_error(request, error.what());
    }
  }
}

std::vector<std::string> remove_unknown(std::vector<std::string>& history,
                                        const Vocabulary& vocabulary) {
  const auto unknown = std::stable_partition(
      history.begin(), history.end(),
      [&](const std::string& item) { return vocabulary.find(item) >= vocabulary.first_item(); });
  std::vector<std::string> removed(unknown, history.end());
  history.erase(unknown, history.end());
  return removed;
}

Tensor frequency_scores(const Vocabulary& vocabulary) {
  Tensor scores({1, vocabulary.size()}, DType::f32);
  for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
    scores.data<float>()[id] = std::log(static_cast<float>(vocabulary.count(id)) + 0.5f);
  }
  return scores;
}

std::string described(std::string_view item, const std::optional<Titles>& titles) {
  if (titles) {
    if (const auto title = titles->find(item)) return fmt::format("{:<8} {}", item, *title);
  }
  return std::string(item);
}

std::vector<std::string> split_list(std::string_view text) {
  constexpr std::string_view blanks = " \t\r";
  const std::string_view separators = text.find(',') == std::string_view::npos ? blanks : ",";
  std::vector<std::string> items;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of(separators), text.size());
    const std::string_view item = text.substr(0, end);
    const std::size_t first = item.find_first_not_of(blanks);
    if (first != std::string_view::npos)
      items.emplace_back(item.substr(first, item.find_last_not_of(blanks) - first + 1));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return items;
}

}  // namespace refrain::examples
