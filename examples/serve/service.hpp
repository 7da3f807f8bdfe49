#pragma once
/// Answers messages for any model.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/concat.hpp"
#include "refrain/serve/recommender.hpp"
#include "refrain/train/checkpoint.hpp"
#include "serve/filters.hpp"
#include "serve/message.hpp"

namespace refrain::serve {

/// Users, divided among shards. A shard belongs to one thread at a time, which may call observe,
/// recommend and restore for it; any thread may call the other functions, except for save.
///
/// The functions take and return values, so that any front end can call them: parse_message()
/// makes messages of text, answer_text() and answer_line() make text of answers.
class Service {
 public:
  virtual ~Service() = default;

  /// The tasks and filters at one moment.
  using Snapshot = std::shared_ptr<const void>;
  virtual Snapshot snapshot() const = 0;

  /// Appends an item to the history of a user, and creates the user at the first known item. An
  /// item that the model does not know changes nothing; then the result is false. Throws Error.
  virtual bool observe(std::size_t shard, const Event& event, const Snapshot& now) = 0;
  /// The answers to a request, one for each of its tasks. Throws Error; then no task is answered.
  virtual std::vector<TaskAnswer> recommend(std::size_t shard, const Request& request,
                                            const Snapshot& now) = 0;

  /// Loads a task from a file and returns its name. Throws Error.
  virtual std::string load(const std::string& file) = 0;
  /// Throws OptionError for an unknown task.
  virtual void unload(const std::string& task) = 0;
  virtual std::vector<std::string> tasks() const = 0;

  /// Adds a filter, or replaces the filter with this name as a whole. Returns the number of its
  /// items that the model does not know.
  virtual std::int64_t set_filter(const std::string& name, std::vector<std::string> items) = 0;
  /// Throws OptionError for an unknown filter.
  virtual void drop_filter(const std::string& name) = 0;

  /// Receives a user's name and state.
  using TakeState = std::function<void(const std::string& user, std::string_view bytes)>;
  /// Serializes the users one by one, so that only one user's bytes are in memory at a time.
  virtual void save(const TakeState& take) const = 0;
  /// Throws DataError.
  virtual void restore(std::size_t shard, const std::string& user, std::string_view bytes) = 0;
};

/// A Recommender and its users.
template <class Model>
class ModelService : public Service {
 public:
  ModelService(Model model, Vocabulary items, std::size_t shards)
      : recommender_(std::move(model), std::move(items)), users_(shards) {}

  Snapshot snapshot() const final {
    return std::make_shared<const Bound>(Bound{recommender_.snapshot(), filters_.now()});
  }

  bool observe(std::size_t shard, const Event& event, const Snapshot& now) final {
    const std::int32_t item = recommender_.items().find(event.item);
    if (item < recommender_.items().first_item()) return false;
    recommender_.observe(bound(now).tasks, users_[shard][event.user], item);
    return true;
  }

  std::vector<TaskAnswer> recommend(std::size_t shard, const Request& request,
                                    const Snapshot& now) final {
    const Tasks& tasks = bound(now).tasks;
    const std::vector<std::int32_t> history = known_of(request.history);
    User* const user = request.user ? user_or_null(shard, *request.user) : nullptr;
    if (user == nullptr && history.empty() && request.fallback == Fallback::none) {
      throw OptionError(request.user ? examples::concat("user '", *request.user, "' has no events")
                                     : std::string("the model knows no item of the history"));
    }
    std::vector<TaskAnswer> answers;
    for (const std::string& name : request.tasks) {
      const std::string& task = named(tasks, name);
      TaskAnswer& answer = answers.emplace_back();
      answer.unknown = std::ssize(request.history) - std::ssize(history);
      std::optional<RequestSelection> selection;
      if (!request.exclude.empty() || request.allow || !request.filters.empty()) {
        selection.emplace(request, *bound(now).filters, recommender_.targets(tasks, task));
        answer.unknown += selection->unknown();
      }
      const TargetSelection select =
          selection ? selection->view() : TargetSelection{.seen = request.seen};
      if (user != nullptr) {
        answer.source = recommender_.follow(tasks, *user, task) ? Source::state : Source::pass;
        answer.best = recommender_.recommend(tasks, task, *user, request.k, select);
      } else if (!history.empty()) {
        answer.source = Source::pass;
        answer.best = recommender_.recommend(tasks, task, history, request.k, select);
      } else {
        answer.source = Source::popular;
        answer.best = recommender_.most_frequent(tasks, task, request.k, select);
      }
    }
    return answers;
  }

  void unload(const std::string& task) override {
    if (!recommender_.unload(task))
      throw OptionError(examples::concat("unknown task '", task, "'"));
  }
  std::vector<std::string> tasks() const final { return recommender_.tasks(); }

  std::int64_t set_filter(const std::string& name, std::vector<std::string> items) final {
    const std::int64_t unknown = std::ssize(items) - std::ssize(known_of(items));
    filters_.set(name, std::make_shared<const Filter>(std::move(items)));
    return unknown;
  }
  void drop_filter(const std::string& name) final { filters_.drop(name); }

  void save(const TakeState& take) const final {
    for (const auto& shard : users_) {
      for (const auto& [name, user] : shard) take(name, recommender_.save(user));
    }
  }
  void restore(std::size_t shard, const std::string& user, std::string_view bytes) final {
    users_[shard].insert_or_assign(user, recommender_.restore(bytes));
  }

 protected:
  Recommender<Model>& recommender() noexcept { return recommender_; }

 private:
  using Tasks = typename Recommender<Model>::Tasks;
  using User = typename Recommender<Model>::User;
  struct Bound {
    Tasks tasks;
    std::shared_ptr<const Filters::Map> filters;
  };

  static const Bound& bound(const Snapshot& now) { return *static_cast<const Bound*>(now.get()); }

  /// The ids of the items that the model knows; a history may have newer ones.
  std::vector<std::int32_t> known_of(const std::vector<std::string>& items) const {
    std::vector<std::int32_t> ids;
    for (const std::string& item : items) {
      const std::int32_t id = recommender_.items().find(item);
      if (id >= recommender_.items().first_item()) ids.push_back(id);
    }
    return ids;
  }

  /// A user with at least one item, or null.
  User* user_or_null(std::size_t shard, const std::string& name) {
    const auto found = users_[shard].find(name);
    return found == users_[shard].end() || found->second.items().empty() ? nullptr : &found->second;
  }

  /// The loaded task for a requested name. "next" and "base" both name the next item: the base
  /// answers "next" unless a patch for "next" is loaded.
  static const std::string& named(const Tasks& tasks, const std::string& task) {
    static const std::string next = "next", base = "base";
    if (Recommender<Model>::has(tasks, task)) return task;
    const std::string& other = task == next ? base : task == base ? next : task;
    return Recommender<Model>::has(tasks, other) ? other : task;
  }

  Recommender<Model> recommender_;
  Filters filters_;
  std::vector<std::unordered_map<std::string, User>> users_;
};

/// Options of a service.
struct ServiceOptions {
  std::string model;                 ///< base of PeterRec, or a CmnRec model
  std::vector<std::string> patches;  ///< patch files of PeterRec
  /// by default the length in the task's training
  std::optional<std::int64_t> padding_steps;
  std::size_t shards = 1;
};

/// Serves a file written by peterrec pretrain or cmnrec train; the file determines the model.
/// Throws Error.
std::unique_ptr<Service> open_service(const ServiceOptions& options);
/// open_service() for a file that has already been read.
std::unique_ptr<Service> open_peterrec(const ServiceOptions& options, Checkpoint base);
std::unique_ptr<Service> open_cmnrec(const ServiceOptions& options, Checkpoint base);

}  // namespace refrain::serve
