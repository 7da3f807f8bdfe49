#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <utility>

#include "common/answers.hpp"
#include "common/standard_streams.hpp"
#include "peterrec/comparison.hpp"
#include "refrain/core/text.hpp"
#include "refrain/serve/recommendation.hpp"

namespace refrain::peterrec {
namespace {

using examples::described;

void print_line(const Line& line, std::int64_t base_parameters) {
  fmt::print("{:<24} {:>5.0f}%", line.method, 100 * line.share);
  if (line.trained < 0) {
    fmt::print(" {:>12} {:>9} {:>8} {:>7}", "-", "-", "-", "-");
  } else {
    fmt::print(
        " {:>12} {:>8.1f}% {:>8} {:>7}", with_commas(line.trained),
        100 * static_cast<double>(line.trained) / static_cast<double>(base_parameters),
        std::isnan(line.seconds_per_epoch) ? "-" : fmt::format("{:.2f}", line.seconds_per_epoch),
        line.epochs);
  }
  for (const Figure& figure : line.figures) fmt::print(" {:>14.4f}", figure.value);
  fmt::print("\n");
  if (line.spread.empty()) return;
  fmt::print("{:<70}", "  +-");
  for (const double value : line.spread) fmt::print(" {:>14.4f}", value);
  fmt::print("\n");
}

/// Appends the history and the targets of the n-th shown user. Returns the targets.
std::vector<std::int32_t> add_user(std::string& text, const Comparison& comparison,
                                   const TaskData& task, std::int64_t row, std::int64_t n,
                                   const std::optional<Titles>& titles) {
  const std::span<const std::int32_t> history = task.sources[row];
  fmt::format_to(std::back_inserter(text), "\nUser {}, latest of {}:\n", n,
                 counted(std::ssize(history), "item"));
  for (const std::int32_t id : history.last(std::min<std::size_t>(6, history.size())))
    fmt::format_to(std::back_inserter(text), "    {}\n",
                   described(comparison.source.vocabulary.name(id), titles));
  fmt::format_to(std::back_inserter(text), "  targets:");
  std::vector<std::int32_t> truth;
  for (std::size_t e = 0; e < task.test.source.size(); ++e) {
    if (task.test.source[e] != row) continue;
    truth.push_back(task.test.target[e]);
    fmt::format_to(std::back_inserter(text), "  {}",
                   described(task.targets.name(truth.back()), titles));
  }
  fmt::format_to(std::back_inserter(text), "\n");
  return truth;
}

}  // namespace

void print_table(const Comparison& comparison, const TaskData& task,
                 const std::vector<Line>& lines) {
  fmt::print("\nTask {}: {} training, {} validation, {} test examples, {} targets\n", task.name,
             with_commas(task.training.size()), with_commas(task.validation.size()),
             with_commas(task.test.size()), with_commas(task.targets.size()));
  const Figures shape =
      measure(task, task.test, comparison.options.protocols(), popularity(task).scorer);
  fmt::print("Figures on the test part: {}.\n", shape.protocols());
  if (const std::string note = shape.note(); !note.empty()) fmt::print("Sampled: {}.\n", note);
  const std::int64_t seeds = comparison.options.compare.seeds;
  if (seeds > 1)
    fmt::print("Means over {} seeds of fine-tuning, with the standard deviation below.\n", seeds);
  fmt::print("\n{:<24} {:>6} {:>12} {:>9} {:>8} {:>7}", "method", "data", "trained", "of base",
             "s/epoch", "epochs");
  for (const Figure& figure : lines.front().figures) fmt::print(" {:>14}", figure.column);
  fmt::print("\n");
  for (const Line& line : lines) print_line(line, comparison.base->parameter_count());
  examples::flush_output();
}

void print_summary(std::span<const std::vector<Line>> lines) {
  const std::vector<Line>& first = lines.front();
  fmt::print(
      "\nMeans over {} profile tasks; in how many of them a method is better, equal and "
      "worse than {} with the same share of the data:\n\n{:<24} {:>6}",
      lines.size(), first.front().method, "method", "data");
  for (const Figure& figure : first.front().figures)
    fmt::print(" {:>14} {:>15}", figure.column, "better/=/worse");
  fmt::print("\n");
  for (std::size_t method = 0; method < first.size(); ++method) {
    const std::size_t reference = static_cast<std::size_t>(
        std::ranges::find(first, first[method].share, &Line::share) - first.begin());
    fmt::print("{:<24} {:>5.0f}%", first[method].method, 100 * first[method].share);
    for (std::size_t figure = 0; figure < first.front().figures.size(); ++figure) {
      double sum = 0;
      std::array<std::int64_t, 3> counts{};  // better, equal, worse
      for (const std::vector<Line>& task : lines) {
        const Figure& own = task[method].figures[figure];
        const double other = task[reference].figures[figure].value;
        sum += own.value;
        const bool is_better = own.larger_is_better ? own.value > other : own.value < other;
        ++counts[own.value == other ? 1 : is_better ? 0 : 2];
      }
      fmt::print(
          " {:>14.4f} {:>15}", sum / static_cast<double>(lines.size()),
          method == reference ? "-" : fmt::format("{}/{}/{}", counts[0], counts[1], counts[2]));
    }
    fmt::print("\n");
  }
  examples::flush_output();
}

std::string users_text(const Comparison& comparison, const TaskData& task, const Reference& learned,
                       const std::optional<Titles>& titles) {
  const std::int64_t users = comparison.options.compare.show_users;
  std::string text;
  if (users <= 0) return text;
  const auto add = [&text]<class... Args>(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text), format, std::forward<Args>(args)...);
  };
  add("\nUsers of the test part, task {}\n", task.name);
  std::vector<std::int64_t> rows = task.test.source;
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  std::vector<Reference> shown{learned, popularity(task),
                               random_scores(task, comparison.options.run.seed)};
  if (task.is_profile()) shown[1].title = "most frequent";
  for (std::int64_t n = 0; n < std::min(users, std::ssize(rows)); ++n) {
    const std::int64_t row = rows[static_cast<std::size_t>(n)];
    const std::vector<std::int32_t> truth = add_user(text, comparison, task, row, n + 1, titles);
    for (const auto& [title, scorer] : shown) {
      add("  {}:\n", title);
      const std::vector<ScoredId> best =
          best_ids(scorer(std::span(&row, 1)), task.is_profile() ? 1 : 5, 0, task.seen[row]);
      for (const ScoredId& item : best) {
        const bool hit = std::find(truth.begin(), truth.end(), item.id) != truth.end();
        add("    {} {}\n", hit ? "*" : " ", described(task.targets.name(item.id), titles));
      }
    }
  }
  add("\n(* = {})\n", task.is_profile() ? "correct" : "a target of the user");
  return text;
}

}  // namespace refrain::peterrec
