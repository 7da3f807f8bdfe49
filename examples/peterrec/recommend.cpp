#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/all_users.hpp"
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
using examples::Answered;
using examples::concat;
using examples::Request;
using examples::UserBatch;

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

  const LoadedBase& base() const noexcept { return base_; }
  /// The targets of a task.
  const Vocabulary& targets(const std::string& task) const {
    const LoadedPatch* const patch = find(task);
    return patch != nullptr ? patch->note.targets : base_.vocabulary;
  }
  /// The kind of a task; base is one of next items.
  TaskKind kind(const std::string& task) const {
    return find(task) != nullptr ? task_kind(task) : TaskKind::next;
  }

  /// Throws OptionError about --length if the base's own head reads mostly padding, where the
  /// longest history has this length.
  void expect_length(const std::string& task, std::int64_t longest) const {
    if (find(task) == nullptr)
      examples::expect_length(options_.data.length, std::max(base_.note.length, longest));
  }

  Answer answer(const Request& request, const std::string& task) const {
    Answer answer{.task = task};
    std::vector<std::string> history = request.history;
    answer.unknown = examples::remove_unknown(history, base_.vocabulary);
    answer.is_by_frequency = history.empty();
    if (!history.empty()) expect_length(task, std::ssize(history));
    UserBatch user;
    user.histories.push_back(ids_of(base_.vocabulary, history));
    const TaskKind kind_of_task = kind(task);
    if (!options_.recommend.keep_seen && kind_of_task != TaskKind::profile) {
      for (const std::string& item : kind_of_task == TaskKind::next ? history : request.owned)
        user.seen.add(targets(task).find(item));
    }
    user.seen.end_row();
    answer.best = std::move(best(task, user).front());
    return answer;
  }

  /// The best targets of each user.
  std::vector<std::vector<Recommendation>> best(const std::string& task,
                                                const UserBatch& users) const {
    return examples::best_of_users(users, targets(task), options_.recommend.count,
                                   kind(task) == TaskKind::profile,
                                   [&](std::span<const std::int64_t> rows) {
                                     return scores(find(task), users.histories, rows);
                                   });
  }

 private:
  /// The patch of a task; null where there is none.
  const LoadedPatch* find(const std::string& task) const {
    const auto found =
        std::find_if(patches_.begin(), patches_.end(),
                     [&](const LoadedPatch& patch) { return patch.note.task == task; });
    return found == patches_.end() ? nullptr : &*found;
  }

  /// The scores of a patch's task, or of the base's own head without one, after the histories of
  /// these rows.
  Tensor scores(const LoadedPatch* patch, const RaggedIds& histories,
                std::span<const std::int64_t> rows) const {
    const NextItNet& network = *base_.network;
    if (patch != nullptr) {
      const Tensor read = tcl_batch(histories, rows, patch->note.length, placement_of(network));
      return network.with(*patch->set).scores(read.to(network.device())).to(Device::cpu);
    }
    const std::int64_t length = options_.data.length;
    const auto scores_of = [&](const Tensor& ids) {
      return network.scores(ids.to(network.device())).to(Device::cpu);
    };
    if (network.is_causal()) return scores_of(padded_batch(histories, rows, length));
    // A non-causal base predicts a masked item: here the one after the last.
    RaggedIds masked;
    std::vector<std::int64_t> numbers;
    for (const std::int64_t row : rows) {
      for (const std::int32_t id : histories[row]) masked.add(id);
      masked.add(mask_id);
      masked.end_row();
      numbers.push_back(std::ssize(numbers));
    }
    return scores_of(padded_batch(masked, numbers, length));
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

/// Answers for users of a log by their rows, in batches.
class BatchAnswers {
 public:
  BatchAnswers(const RawData& raw, const Answers& answers, const Options& options)
      : raw_(raw),
        answers_(answers),
        ids_(examples::ids_of_items(raw.behaviour.source.items, answers.base().vocabulary)) {
    for (const std::string& name : answers.tasks()) {
      Task& task = tasks_.emplace_back(Task{.name = name});
      const TaskKind kind = answers.kind(name);
      if (options.recommend.keep_seen || kind == TaskKind::profile) continue;
      task.left_out = kind == TaskKind::next ? &raw.behaviour.source : &raw.behaviour.target;
      task.ids = examples::ids_of_items(task.left_out->items, answers.targets(name));
    }
  }

  std::vector<Answered> operator()(std::int64_t begin, std::int64_t end) const {
    const std::size_t users = static_cast<std::size_t>(end - begin), tasks = tasks_.size();
    UserBatch batch;
    std::vector<Answered> answers(users * tasks);
    for (std::int64_t row = begin; row < end; ++row) {
      const std::size_t first = static_cast<std::size_t>(row - begin) * tasks;
      std::vector<std::string> unknown;
      add_known(row, batch.histories, unknown);
      const bool is_by_frequency = batch.histories[row - begin].empty();
      for (std::size_t t = 0; t < tasks; ++t) {
        answers[first + t].request.user = examples::user_name(raw_.behaviour.source, row);
        answers[first + t].answer = {
            .task = tasks_[t].name, .unknown = unknown, .is_by_frequency = is_by_frequency};
      }
    }
    for (std::size_t t = 0; t < tasks; ++t) {
      batch.seen = {};
      for (std::int64_t row = begin; row < end; ++row) add_seen(tasks_[t], row, batch.seen);
      std::vector<std::vector<Recommendation>> best = answers_.best(tasks_[t].name, batch);
      for (std::size_t user = 0; user < users; ++user)
        answers[user * tasks + t].answer.best = std::move(best[user]);
    }
    return answers;
  }

 private:
  struct Task {
    std::string name;
    const Sequences* left_out = nullptr;  ///< the log whose items are not recommended
    std::vector<std::int32_t> ids = {};   ///< of its items, among the targets
  };

  void add_known(std::int64_t row, RaggedIds& histories, std::vector<std::string>& unknown) const {
    const Sequences& source = raw_.behaviour.source;
    for (const std::int32_t item : source.rows[row]) {
      const std::int32_t id = ids_[static_cast<std::size_t>(item)];
      if (id >= answers_.base().vocabulary.first_item()) {
        histories.add(id);
      } else {
        unknown.emplace_back(source.items[item]);
      }
    }
    histories.end_row();
  }

  static void add_seen(const Task& task, std::int64_t row, RaggedIds& seen) {
    if (task.left_out != nullptr && row < task.left_out->rows.rows()) {
      for (const std::int32_t item : task.left_out->rows[row])
        seen.add(task.ids[static_cast<std::size_t>(item)]);
    }
    seen.end_row();
  }

  const RawData& raw_;
  const Answers& answers_;
  std::vector<std::int32_t> ids_;  ///< of the source items, among those of the base
  std::vector<Task> tasks_;
};

Outcome recommend_all(const RawData& raw, const Answers& answers, const Options& options) {
  const std::vector<std::string> tasks = answers.tasks();
  nlohmann::ordered_json patches = nlohmann::ordered_json::array();
  for (const std::string& path : options.patch_files)
    patches.push_back(examples::hash_of_file(path));
  std::int64_t targets = 0;
  for (const std::string& task : tasks) {
    answers.expect_length(task, examples::longest_row(raw.behaviour.source));
    targets = std::max<std::int64_t>(targets, answers.targets(task).size());
  }
  return examples::recommend_all(
      options.recommend, options.run, raw.titles,
      {.users = raw.behaviour.source.rows.rows(),
       .tasks = std::ssize(tasks),
       .batch = examples::users_at_once(targets),
       .settings = {{"program", "peterrec"},
                    {"model", examples::hash_of_file(options.base_file)},
                    {"patches", patches},
                    {"tasks", tasks},
                    {"length", options.data.length},
                    {"data", examples::hash_of(raw.behaviour.source)},
                    {"target_data", examples::hash_of(raw.behaviour.target)}},
       .answer = BatchAnswers(raw, answers, options)});
}

}  // namespace

Outcome recommend(const Options& options) {
  RawData raw;
  if (!options.data.files.empty()) {
    raw = read_data(options.data);
  } else if (options.recommend.all) {
    throw OptionError("--all: expected the users' behaviour in --data, got none");
  } else if (options.recommend.users.empty()) {
    raw.titles = examples::titles_of(options.data);
  } else {
    throw OptionError(
        "--user: expected the users' behaviour in --data, got none; give --data, or a history with "
        "--history");
  }
  const Answers answers(options);
  if (options.recommend.all) return recommend_all(raw, answers, options);
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
