#pragma once
/// Answers messages for any model.

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/concat.hpp"
#include "refrain/train/checkpoint.hpp"
#include "serve/message.hpp"

namespace refrain::serve {

/// Users, divided among shards. Each shard belongs to one thread; any thread may call load, unload
/// and loaded.
class Service {
 public:
  virtual ~Service() = default;

  /// The tasks that are loaded at one moment.
  using Tasks = std::shared_ptr<const void>;
  virtual Tasks loaded() const = 0;

  /// The answer to an event (empty) or a request, by the tasks that were loaded when its line was
  /// read. Throws Error.
  virtual std::string answer(std::size_t shard, std::int64_t line, const Message& message,
                             const Tasks& tasks) = 0;
  /// Loads a task from a file and returns its name.  Throws Error.
  virtual std::string load(const std::string& file) = 0;
  /// Throws OptionError for an unknown task.
  virtual void unload(const std::string& task) = 0;
  virtual std::vector<std::string> tasks() const = 0;

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

  Tasks loaded() const final {
    return std::make_shared<const LoadedTasks>(recommender_.snapshot());
  }

  std::string answer(std::size_t shard, std::int64_t line, const Message& message,
                     const Tasks& bound) final {
    const LoadedTasks& tasks = *static_cast<const LoadedTasks*>(bound.get());
    if (const auto* event = std::get_if<Event>(&message)) {
      const std::int32_t item = recommender_.id_of(event->item);
      recommender_.observe(tasks, users_[shard][event->user], item);
      return {};
    }
    if (const auto* request = std::get_if<HistoryRequest>(&message)) {
      std::vector<std::int32_t> history;
      for (const std::string& item : request->history) {
        const std::int32_t id = recommender_.items().find(item);
        if (id >= recommender_.items().first_item())
          history.push_back(id);  // a new item may be unknown to the model
      }
      const bool is_known = !history.empty();
      const std::string& task = named(tasks, request->task);
      return answer_line(
          line, nullptr, request->task,
          is_known ? recommender_.recommend(tasks, task, history, request->k)
                   : recommender_.most_frequent(tasks, task, request->k),
          {.unknown = static_cast<std::int64_t>(request->history.size() - history.size()),
           .by_frequency = !is_known});
    }
    const UserRequest& request = std::get<UserRequest>(message);
    const auto user = users_[shard].find(request.user);
    if (user == users_[shard].end())
      throw OptionError(examples::concat("user '", request.user, "' has no events"));
    const std::string& task = named(tasks, request.task);
    recommender_.follow(tasks, user->second, task);
    return answer_line(line, &request.user, request.task,
                       recommender_.recommend(tasks, task, user->second, request.k));
  }

  void unload(const std::string& task) override {
    if (!recommender_.unload(task))
      throw OptionError(examples::concat("unknown task '", task, "'"));
  }
  std::vector<std::string> tasks() const final { return recommender_.tasks(); }

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
  using LoadedTasks = typename Recommender<Model>::Tasks;

  /// The loaded task for a requested name. "next" and "base" both name the next item: the base
  /// answers "next" unless a patch for "next" is loaded.
  static const std::string& named(const LoadedTasks& tasks, const std::string& task) {
    static const std::string next = "next", base = "base";
    if (Recommender<Model>::has(tasks, task)) return task;
    const std::string& other = task == next ? base : task == base ? next : task;
    return Recommender<Model>::has(tasks, other) ? other : task;
  }

  Recommender<Model> recommender_;
  std::vector<std::unordered_map<std::string, typename Recommender<Model>::User>> users_;
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
