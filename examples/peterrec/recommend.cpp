#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>
#include <memory>
#include <string>

#include "peterrec/commands.hpp"
#include "peterrec/evaluation.hpp"
#include "peterrec/recommendation.hpp"

namespace refrain::peterrec {

std::vector<Recommended> best(const Tensor& scores, std::int64_t count, std::int32_t first,
                              std::span<const std::int32_t> excluded) {
  Tensor open = scores.clone();
  const std::span<float> values = open.span<float>();
  constexpr float out = -std::numeric_limits<float>::infinity();
  for (std::int32_t id = 0; id < first; ++id) values[static_cast<std::size_t>(id)] = out;
  for (const std::int32_t id : excluded) {
    if (id >= 0 && static_cast<std::size_t>(id) < values.size()) values[static_cast<std::size_t>(id)] = out;
  }
  const TopKResult top = top_k(open, std::min(count, open.numel()));
  std::vector<Recommended> found;
  for (std::int64_t i = 0; i < top.values.numel(); ++i) {
    if (top.values.data<float>()[i] == out) break;
    found.push_back({top.indices.data<std::int32_t>()[i], top.values.data<float>()[i]});
  }
  return found;
}

std::string described(std::string_view item, const std::optional<Titles>& titles) {
  if (titles) {
    if (const auto title = titles->find(item)) return fmt::format("{:<8} {}", item, *title);
  }
  return std::string(item);
}

std::vector<double> probabilities(const Tensor& scores) {
  const std::span<const float> values = scores.span<float>();
  const double largest = *std::max_element(values.begin(), values.end());
  std::vector<double> share;
  double sum = 0;
  for (const float value : values) sum += share.emplace_back(std::exp(value - largest));
  for (double& value : share) value /= sum;
  return share;
}

namespace {

/// Whom to recommend to, in original ids.
struct Request {
  std::string label;
  std::vector<std::string> history;  ///< oldest first
  std::vector<std::string> owned;    ///< items of the target domain
  std::string task;                  ///< empty: all that were asked for
};

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    std::string_view item = text.substr(0, comma);
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    while (!item.empty() && (item.back() == ' ' || item.back() == '\r')) item.remove_suffix(1);
    if (!item.empty()) items.emplace_back(item);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return items;
}

std::vector<std::string> names_of(const Sequences& sequences, std::int64_t row) {
  std::vector<std::string> names;
  if (row >= sequences.rows.rows()) return names;
  for (const std::int32_t item : sequences.rows[row]) names.emplace_back(sequences.items[item]);
  return names;
}

Request user_request(const RawData& raw, const std::string& user) {
  const Sequences& source = raw.behaviour.source;
  std::int64_t row = -1;
  if (source.users.empty()) {  // such files have no user ids: a user is a line
    row = user.find_first_not_of("0123456789") == std::string::npos && user.size() < 10 ? std::stoll(user) - 1 : -1;
    if (row < 0 || row >= source.rows.rows()) {
      throw OptionError(concat("--user ", user, ": the data has no user ids; expected a line from 1 to ", source.rows.rows()));
    }
  } else {
    const std::int32_t number = source.users.find(user);
    if (number == StringTable::absent) throw OptionError("--user " + user + ": the data has no such user");
    row = std::find(source.user.begin(), source.user.end(), number) - source.user.begin();
  }
  return {"User " + user, names_of(source, row), names_of(raw.behaviour.target, row), {}};
}

/// The tasks on one base, and how each answers.
class Answers {
 public:
  Answers(const Options& options, const std::optional<Titles>& titles)
      : options_(options), titles_(titles), base_(load_base(options.base_file)) {
    for (const std::string& path : options.patch_files) patches_.push_back(load_patch_set(path, base_));
  }

  std::vector<std::string> tasks() const {
    std::vector<std::string> names;
    for (const LoadedPatch& patch : patches_) names.push_back(patch.note.task);
    if (names.empty()) names.push_back("base");
    return names;
  }

  void print(const Request& request, const std::string& task) const {
    RaggedIds history;
    std::int64_t unknown = 0;
    for (const std::string& item : request.history) {
      const std::int32_t id = base_.vocabulary.find(item);
      id == unknown_id ? void(++unknown) : history.add(id);
    }
    history.end_row();
    fmt::print("\n{} ({} items{}), task {}\n", request.label, request.history.size(),
               unknown > 0 ? fmt::format(", {} of them unknown to the base", unknown) : "", task);
    if (task == "base") return print_next(request, history);
    const LoadedPatch& patch = find(task);
    const TaskKind kind = task_kind(task);
    const bool empty = history[0].empty();
    const Vocabulary& targets = patch.note.targets;
    if (empty) fmt::print("  no known item in the history: going by what is frequent\n");
    const Tensor scores = empty ? frequencies(targets) : scores_of(patch, history);
    if (kind == TaskKind::profile) return print_classes(targets, scores);
    std::vector<std::int32_t> seen;
    if (!options_.recommend.keep_seen) {
      for (const std::string& item : kind == TaskKind::next ? request.history : request.owned)
        seen.push_back(targets.find(item));
    }
    print_items(targets, best(scores, options_.recommend.count, 0, seen));
  }

 private:
  const LoadedPatch& find(const std::string& task) const {
    for (const LoadedPatch& patch : patches_) {
      if (patch.note.task == task) return patch;
    }
    throw OptionError("--task " + task + ": no patch file of this task was given; see --patch");
  }

  Tensor scores_of(const LoadedPatch& patch, const RaggedIds& history) const {
    const NoGrad off;
    const std::vector<std::int64_t> rows{0};
    const Tensor ids = tcl_batch(history, rows, patch.note.length, placement_of(*base_.network));
    return patch.set->scores(patch.set->user(*base_.network, ids));
  }

  static Tensor frequencies(const Vocabulary& targets) {
    Tensor scores({1, targets.size()}, DType::f32);
    for (std::int32_t id = 0; id < targets.size(); ++id) {
      scores.data<float>()[id] = std::log(static_cast<float>(targets.count(id)) + 0.5f);
    }
    return scores;
  }

  void print_next(const Request& request, const RaggedIds& history) const {
    const Vocabulary& items = base_.vocabulary;
    Tensor scores;
    if (history[0].empty()) {
      fmt::print("  no known item in the history: going by what is frequent\n");
      scores = frequencies(items);
    } else {
      const std::vector<std::int64_t> rows{0};
      // A two-way base guesses a hidden item: here the one after the last.
      RaggedIds asked;
      for (const std::int32_t id : history[0]) asked.add(id);
      if (!base_.network->is_causal()) asked.add(mask_id);
      asked.end_row();
      scores = base_.network->scores(padded_batch(asked, rows, options_.data.length));
    }
    std::vector<std::int32_t> seen;
    if (!options_.recommend.keep_seen) {
      for (const std::string& item : request.history) seen.push_back(items.find(item));
    }
    print_items(items, best(scores, options_.recommend.count, items.first_item(), seen));
  }

  void print_items(const Vocabulary& items, const std::vector<Recommended>& list) const {
    int place = 0;
    for (const Recommended& item : list) {
      fmt::print("  {:>3}. {:<60} {:9.4f}\n", ++place, described(items.name(item.id), titles_), item.score);
    }
  }

  void print_classes(const Vocabulary& classes, const Tensor& scores) const {
    const std::vector<double> share = probabilities(scores);
    for (const Recommended& label : best(scores, options_.recommend.count, 0, {})) {
      fmt::print("  {:<20} {:6.1f} %\n", classes.name(label.id), 100 * share[static_cast<std::size_t>(label.id)]);
    }
  }

  const Options& options_;
  const std::optional<Titles>& titles_;
  LoadedBase base_;
  std::vector<LoadedPatch> patches_;
};

}  // namespace

Outcome recommend(const Options& options) {
  RawData raw;
  if (!options.data.files.empty()) {
    raw = read_data(options.data);
  } else if (!options.data.titles.empty()) {
    raw.titles = read_titles(options.data.titles);
  }
  if (raw.behaviour.source.rows.empty() && !options.recommend.users.empty()) {
    throw OptionError("--user: give the behaviour of the users with --data, or a history with --history");
  }
  const Answers answers(options, raw.titles);
  const std::vector<std::string> tasks = options.task.names.empty() ? answers.tasks() : options.task.names;
  const auto answer = [&](const Request& request) {
    if (!request.task.empty()) return answers.print(request, request.task);
    for (const std::string& task : tasks) answers.print(request, task);
  };
  for (const std::string& user : options.recommend.users) answer(user_request(raw, user));
  for (const std::string& history : options.recommend.histories) answer({"History", split_list(history), {}, {}});
  if (!options.recommend.users.empty() || !options.recommend.histories.empty()) return Outcome::done;
  fmt::print("Reading histories from standard input, one a line: item,item,... or task: item,item,...\n");
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
    Request request{"History", {}, {}, {}};
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) request.task = line.substr(0, colon);
    request.history = split_list(std::string_view(line).substr(colon == std::string::npos ? 0 : colon + 2));
    try {
      answer(request);
    } catch (const OptionError& error) {
      fmt::print("  {}\n", error.what());  // the next line may be better
    }
    std::fflush(stdout);
  }
  return Outcome::done;
}

}  // namespace refrain::peterrec
