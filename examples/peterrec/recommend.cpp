#include <algorithm>
#include <string>
#include <vector>

#include "common/answers.hpp"
#include "common/behaviour.hpp"
#include "common/concat.hpp"
#include "common/device.hpp"
#include "peterrec/commands.hpp"
#include "peterrec/evaluation.hpp"
#include "refrain/serve/recommend.hpp"

namespace refrain::peterrec {
namespace {

using examples::Answer;
using examples::concat;
using examples::Request;

/// Answers requests for the tasks of one base.
class Answers {
 public:
  explicit Answers(const Options& options)
      : options_(options), base_(load_base(options.base_file, examples::device_of(options.run))) {
    for (const std::string& path : options.patch_files) {
      LoadedPatch patch = load_patch_set(path, base_);
      if (const LoadedPatch* same = find(patch.note.task)) {
        throw OptionError(concat("--patch: expected one file per task, got ",
                                 options.patch_files[static_cast<std::size_t>(same - &patches_[0])],
                                 " and ", path, " for task ", patch.note.task));
      }
      patches_.push_back(std::move(patch));
    }
  }

  /// The tasks of the command line, or by default those of the patches, or next. Throws OptionError
  /// for an unknown task.
  std::vector<std::string> tasks() const {
    std::vector<std::string> names = options_.task.names;
    for (std::string& name : names) name = known(name);
    if (!names.empty()) return names;
    for (const LoadedPatch& patch : patches_) names.push_back(patch.note.task);
    return names.empty() ? std::vector<std::string>{next_task} : names;
  }

  /// The canonical name of a task: without a patch for next, base is an alias of next. Throws
  /// OptionError for an unknown task.
  std::string known(const std::string& task) const {
    const bool has_next = find(next_task) != nullptr;
    if (task == base_task) return has_next ? base_task : next_task;
    if (task_kind(task) == TaskKind::next || find(task) != nullptr) return task;
    std::string names = has_next ? "" : "next, ";
    for (const LoadedPatch& patch : patches_) names += patch.note.task + ", ";
    throw OptionError(concat("--task: expected one of ", names, base_task, ", got ", task));
  }

  Answer answer(const Request& request, const std::string& task) const {
    const LoadedPatch* const patch = find(task);
    const Vocabulary& targets = patch != nullptr ? patch->note.targets : base_.vocabulary;
    const TaskKind kind = patch != nullptr ? task_kind(task) : TaskKind::next;
    Answer answer{.task = task};
    std::vector<std::string> history = request.history;
    answer.unknown = examples::remove_unknown(history, base_.vocabulary);
    answer.is_by_frequency = history.empty();
    std::vector<std::int32_t> seen;
    if (!options_.recommend.keep_seen && kind != TaskKind::profile) {
      for (const std::string& item : kind == TaskKind::next ? history : request.owned)
        seen.push_back(targets.find(item));
    }
    answer.best =
        best_items(history.empty() ? examples::frequency_scores(targets) : scores(patch, history),
                   targets, options_.recommend.count, seen, kind == TaskKind::profile);
    return answer;
  }

 private:
  /// The patch of a task; null where there is none.
  const LoadedPatch* find(const std::string& task) const {
    const auto found =
        std::find_if(patches_.begin(), patches_.end(),
                     [&](const LoadedPatch& patch) { return patch.note.task == task; });
    return found == patches_.end() ? nullptr : &*found;
  }

  /// The scores of a patch's task, or of the base's own head without one.
  Tensor scores(const LoadedPatch* patch, const std::vector<std::string>& history) const {
    const NextItNet& network = *base_.network;
    std::vector<std::int32_t> ids = ids_of(base_.vocabulary, history);
    const std::int64_t row[] = {0};
    RaggedIds rows;
    if (patch != nullptr) {
      rows.push_back(ids);
      const Tensor read = tcl_batch(rows, row, patch->note.length, placement_of(network));
      return network.with(*patch->set).scores(read.to(network.device())).to(Device::cpu);
    }
    const std::int64_t length = options_.data.length;
    examples::expect_length(length, std::max(base_.note.length, std::ssize(history)));
    // A non-causal base predicts a masked item: here the one after the last.
    if (!network.is_causal()) ids.push_back(mask_id);
    rows.push_back(ids);
    return network.scores(padded_batch(rows, row, length).to(network.device())).to(Device::cpu);
  }

  const Options& options_;
  LoadedBase base_;
  std::vector<LoadedPatch> patches_;
};

Request request_of(const RawData& raw, const std::string& user) {
  const Sequences& source = raw.behaviour.source;
  const std::int64_t row = examples::row_of_user(source, user);
  return {.user = user,
          .history = examples::item_names(source, row),
          .owned = examples::item_names(raw.behaviour.target, row),
          .task = {}};
}

}  // namespace

Outcome recommend(const Options& options) {
  RawData raw;
  if (!options.data.files.empty()) {
    raw = read_data(options.data);
  } else if (options.recommend.users.empty()) {
    raw.titles = examples::titles_of(options.data);
  } else {
    throw OptionError(
        "--user: expected the users' behaviour in --data, got none; give --data, or a history with "
        "--history");
  }
  const Answers answers(options);
  const std::vector<std::string> tasks = answers.tasks();
  examples::AnswerPrinter printer(options.recommend.output, raw.titles);
  examples::answer_requests(
      options.recommend, printer, true,
      [&](const std::string& user) { return request_of(raw, user); },
      [&](const Request& request) {
        if (!request.task.empty()) {
          const std::string task = answers.known(request.task);
          return printer.print(request, answers.answer(request, task));
        }
        for (const std::string& task : tasks) printer.print(request, answers.answer(request, task));
      });
  return Outcome::done;
}

}  // namespace refrain::peterrec
