#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <string>

#include "common/behaviour.hpp"
#include "common/concat.hpp"
#include "common/device.hpp"
#include "common/standard_streams.hpp"
#include "peterrec/commands.hpp"
#include "peterrec/evaluation.hpp"
#include "peterrec/recommendation.hpp"

namespace refrain::peterrec {

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

Request user_request(const RawData& raw, const std::string& user) {
  const Sequences& source = raw.behaviour.source;
  const std::int64_t row = examples::row_of_user(source, user);
  return {"User " + user,
          examples::item_names(source, row),
          examples::item_names(raw.behaviour.target, row),
          {}};
}

/// The tasks on one base, and how each answers.
class Answers {
 public:
  Answers(const Options& options, const std::optional<Titles>& titles)
      : options_(options),
        titles_(titles),
        base_(load_base(options.base_file, examples::device_of(options.run))) {
    for (const std::string& path : options.patch_files) {
      LoadedPatch patch = load_patch_set(path, base_);
      const auto same = std::find_if(
          patches_.begin(), patches_.end(),
          [&](const LoadedPatch& before) { return before.note.task == patch.note.task; });
      if (same != patches_.end()) {
        throw OptionError(
            examples::concat("--patch: expected one file a task, got ",
                             options.patch_files[static_cast<std::size_t>(same - patches_.begin())],
                             " and ", path, " of task ", patch.note.task));
      }
      patches_.push_back(std::move(patch));
    }
  }

  std::vector<std::string> tasks() const {
    std::vector<std::string> names;
    for (const LoadedPatch& patch : patches_) names.push_back(patch.note.task);
    if (names.empty()) names.push_back("base");
    return names;
  }

  /// Throws OptionError for a task that is not there.
  void expect(const std::string& task) const {
    if (task != "base") find(task);
  }

  void print(const Request& request, const std::string& task) const {
    const LoadedPatch* patch = task == "base" ? nullptr : &find(task);
    RaggedIds history;
    std::int64_t unknown = 0;
    for (const std::string& item : request.history) {
      const std::int32_t id = base_.vocabulary.find(item);
      id == unknown_id ? void(++unknown) : history.add(id);
    }
    history.end_row();
    fmt::print("\n{} ({} items{}), task {}\n", request.label, request.history.size(),
               unknown > 0 ? fmt::format(", {} of them unknown to the base", unknown) : "", task);
    if (patch == nullptr) return print_next(request, history);
    const TaskKind kind = task_kind(task);
    const bool empty = history[0].empty();
    const Vocabulary& targets = patch->note.targets;
    if (empty) fmt::print("  no known item in the history: going by what is frequent\n");
    const Tensor scores = empty ? examples::frequency_scores(targets) : scores_of(*patch, history);
    if (kind == TaskKind::profile) return print_classes(targets, scores);
    std::vector<std::int32_t> seen;
    if (!options_.recommend.keep_seen) {
      for (const std::string& item : kind == TaskKind::next ? request.history : request.owned)
        seen.push_back(targets.find(item));
    }
    examples::print_items(targets, best(scores, options_.recommend.count, 0, seen), titles_);
  }

 private:
  const LoadedPatch& find(const std::string& task) const {
    for (const LoadedPatch& patch : patches_) {
      if (patch.note.task == task) return patch;
    }
    std::string known = "base";
    for (const LoadedPatch& patch : patches_) known += ", " + patch.note.task;
    throw OptionError(examples::concat(
        "--task ", task, ": expected base or the task of a --patch file, ", known, ", got ", task));
  }

  Tensor scores_of(const LoadedPatch& patch, const RaggedIds& history) const {
    const std::vector<std::int64_t> rows{0};
    const Tensor ids = tcl_batch(history, rows, patch.note.length, placement_of(*base_.network));
    return base_.network->with(*patch.set).scores(ids.to(base_.network->device())).to(Device::cpu);
  }

  void print_next(const Request& request, const RaggedIds& history) const {
    const Vocabulary& items = base_.vocabulary;
    Tensor scores;
    if (history[0].empty()) {
      fmt::print("  no known item in the history: going by what is frequent\n");
      scores = examples::frequency_scores(items);
    } else {
      const std::vector<std::int64_t> rows{0};
      examples::expect_length(
          options_.data.length,
          std::max(base_.note.length, static_cast<std::int64_t>(request.history.size())));
      // A two-way base guesses a hidden item: here the one after the last.
      RaggedIds asked;
      for (const std::int32_t id : history[0]) asked.add(id);
      if (!base_.network->is_causal()) asked.add(mask_id);
      asked.end_row();
      scores =
          base_.network
              ->scores(padded_batch(asked, rows, options_.data.length).to(base_.network->device()))
              .to(Device::cpu);
    }
    std::vector<std::int32_t> seen;
    if (!options_.recommend.keep_seen) {
      for (const std::string& item : request.history) seen.push_back(items.find(item));
    }
    examples::print_items(items, best(scores, options_.recommend.count, items.first_item(), seen),
                          titles_);
  }

  void print_classes(const Vocabulary& classes, const Tensor& scores) const {
    const std::vector<double> share = probabilities(scores);
    for (const Recommended& label : best(scores, options_.recommend.count, 0, {})) {
      fmt::print("  {:<20} {:6.1f} %\n", classes.name(label.id),
                 100 * share[static_cast<std::size_t>(label.id)]);
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
    raw.titles = examples::titles_of(options.data.titles, options.data.skip_bad_lines);
  }
  if (raw.behaviour.source.rows.empty() && !options.recommend.users.empty()) {
    throw OptionError(
        "--user: give the behaviour of the users with --data, or a history with --history");
  }
  const Answers answers(options, raw.titles);
  const std::vector<std::string> tasks =
      options.task.names.empty() ? answers.tasks() : options.task.names;
  for (const std::string& task : tasks) answers.expect(task);
  const auto answer = [&](const Request& request) {
    if (!request.task.empty()) return answers.print(request, request.task);
    for (const std::string& task : tasks) answers.print(request, task);
  };
  for (const std::string& user : options.recommend.users) answer(user_request(raw, user));
  for (const std::string& history : options.recommend.histories)
    answer({"History", examples::split_list(history), {}, {}});
  if (!options.recommend.users.empty() || !options.recommend.histories.empty())
    return Outcome::done;
  fmt::print(
      "Reading histories from standard input, one a line: item,item,... or task: item,item,... "
      "(commas or blanks)\n");
  examples::flush_output();
  for (std::string line; std::getline(std::cin, line);) {
    Request request{"History", {}, {}, {}};
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) request.task = line.substr(0, colon);
    request.history = examples::split_list(
        std::string_view(line).substr(colon == std::string::npos ? 0 : colon + 2));
    try {
      answer(request);
    } catch (const OptionError& error) {
      fmt::print("  {}\n", error.what());  // the next line may be better
    }
    examples::flush_output();
  }
  return Outcome::done;
}

}  // namespace refrain::peterrec
