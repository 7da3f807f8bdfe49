#include "common/answers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <utility>

#include "common/standard_streams.hpp"
#include "refrain/train/popularity.hpp"

namespace refrain::examples {
namespace {

/// The rows, and copies of the last one up to least_batch.
std::vector<std::int64_t> filled(std::span<const std::int64_t> rows) {
  std::vector<std::int64_t> batch(rows.begin(), rows.end());
  while (std::ssize(batch) < least_batch) batch.push_back(rows.back());
  return batch;
}

/// The rows of a batch, in their order.
RaggedIds rows_of(const RaggedIds& all, std::span<const std::int64_t> rows) {
  RaggedIds chosen;
  for (const std::int64_t row : rows) chosen.push_back(all[row]);
  return chosen;
}

}  // namespace

void AnswerPrinter::print(const Request& request, const Answer& answer) {
  std::string text;
  if (answers_ == 0) text = format_.heading();
  ++answers_;
  if (format_.output() == Output::csv) {
    if (!answer.unknown.empty()) say("answer {}: {}\n", answers_, unknown_note(answer));
    if (answer.is_by_frequency) say("answer {}: {}\n", answers_, frequency_note);
  }
  format_.append(text, answers_, request, answer);
  fmt::print("{}", text);
  flush_output();
}

void AnswerPrinter::print_error(const Request& request, std::string_view reason) const {
  switch (format_.output()) {
    case Output::text:
      fmt::print("  {}\n", reason);
      break;
    case Output::json_lines: {
      std::string line = "{\"task\":";
      append_json_string(line, request.task);
      line += ",\"error\":";
      append_json_string(line, reason);
      fmt::print("{}}}\n", line);
      break;
    }
    case Output::csv:
      say("{}\n", reason);
      break;
  }
  flush_output();
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

std::vector<std::int32_t> ids_of_items(const refrain::detail::StringTable& items,
                                       const Vocabulary& vocabulary) {
  std::vector<std::int32_t> ids;
  ids.reserve(static_cast<std::size_t>(items.size()));
  for (std::int32_t item = 0; item < items.size(); ++item)
    ids.push_back(vocabulary.find(items[item]));
  return ids;
}

std::vector<std::vector<Recommendation>> best_of_users(
    const UserBatch& users, const Vocabulary& targets, std::int64_t count, bool probabilities,
    const std::function<Tensor(std::span<const std::int64_t> rows)>& scores) {
  std::vector<std::int64_t> known, without;
  for (std::int64_t row = 0; row < users.histories.rows(); ++row)
    (users.histories[row].empty() ? without : known).push_back(row);
  std::vector<std::vector<Recommendation>> best(static_cast<std::size_t>(users.histories.rows()));
  const auto add = [&](std::span<const std::int64_t> rows, Tensor of_rows) {
    std::vector<std::vector<Recommendation>> lists = best_items_of_rows(
        std::move(of_rows), targets, count, rows_of(users.seen, rows), probabilities);
    for (std::size_t i = 0; i < rows.size(); ++i)
      best[static_cast<std::size_t>(rows[i])] = std::move(lists[i]);
  };
  if (!known.empty()) add(known, scores(filled(known)).slice(0, std::ssize(known)));
  if (!without.empty()) {
    const Tensor row = frequency_scores(targets);
    add(without, repeat_row(row.reshape({row.numel()}), std::ssize(without)));
  }
  return best;
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
