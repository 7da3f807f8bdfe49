#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "refrain/autograd/tape.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/data/vocabulary.hpp"
#include "refrain/serve/model.hpp"
#include "refrain/serve/recommendation.hpp"
#include "refrain/serve/state_bytes.hpp"

namespace refrain {

/// Serves one model with its items and the currently loaded tasks.
///
/// All functions may be called from many threads at once. Loading and unloading swap pointers: a
/// request in progress finishes with the tasks that it started with, and waits for no other thread.
/// A request computes only on the thread that makes it; throughput comes from concurrent requests.
/// A User belongs to one thread at a time; only functions that read it (recommend, save) may share
/// it.
///
/// snapshot() returns the currently loaded tasks. A program that answers a request later than it
/// reads it takes a snapshot when it reads; its answers do not depend on loads in between.
///
/// Items are ids of the vocabulary (id_of); special ids are refused. All errors are OptionError
/// unless stated otherwise.
template <ServedModel Model>
class Recommender {
 public:
  using Task = typename Model::Task;
  using Stream = typename Model::Stream;

  /// Options of load().
  struct TaskOptions {
    Vocabulary targets;      ///< the names of the task's scores; special ids are never recommended
    bool leave_out = false;  ///< exclude items of the history from targets with the same names
    /// the scores are logits: answers contain their softmax over all targets that are not excluded
    bool probabilities = false;
  };

  /// The history of one user, and the streams of the tasks passed to follow().
  class User {
   public:
    /// The items, oldest first.
    std::span<const std::int32_t> items() const noexcept { return items_; }

   private:
    friend class Recommender;
    struct Followed {
      std::uint64_t load;  ///< number of the load() that the stream belongs to
      Stream stream;
    };
    std::vector<std::int32_t> items_;
    std::map<std::string, Followed, std::less<>> followed_;
  };

 private:
  struct Loaded;
  using TaskMap = std::map<std::string, std::shared_ptr<const Loaded>, std::less<>>;

 public:
  /// The tasks that are loaded at one moment. A value: later loads and unloads do not change it.
  class Tasks {
   private:
    friend class Recommender;
    explicit Tasks(std::shared_ptr<const TaskMap> map) : map_(std::move(map)) {}
    std::shared_ptr<const TaskMap> map_;
  };

  /// Serves `model`, whose items are those of the vocabulary, without any task.
  Recommender(Model model, Vocabulary items)
      : model_(std::move(model)),
        items_(std::move(items)),
        tasks_(std::make_shared<const TaskMap>()) {}

  const Model& model() const noexcept { return model_; }
  const Vocabulary& items() const noexcept { return items_; }

  /// The id of an item. Throws for an unknown item.
  std::int32_t id_of(std::string_view item) const {
    const std::int32_t id = items_.find(item);
    if (id < items_.first_item() || id >= items_.size())
      throw OptionError(detail::concat("unknown item '", item, "'"));
    return id;
  }

  /// Adds a task, or replaces the task with this name.
  void load(const std::string& name, Task task, TaskOptions options) {
    auto loaded = std::make_shared<Loaded>(Loaded{std::move(task), std::move(options), {}, 0});
    if (loaded->options.leave_out) {
      for (std::int32_t id = items_.first_item(); id < items_.size(); ++id) {
        loaded->target_of.push_back(loaded->options.targets.find(items_.name(id)));
      }
    }
    std::shared_ptr<const TaskMap> before;  // destroyed after the lock is released
    const std::unique_lock lock(mutex_);
    loaded->number = ++loads_;
    auto after = std::make_shared<TaskMap>(*tasks_);
    (*after)[name] = std::move(loaded);
    before = std::exchange(tasks_, std::move(after));
  }

  /// Removes a task; false when there is none with this name.
  bool unload(std::string_view name) {
    std::shared_ptr<const TaskMap> before;
    const std::unique_lock lock(mutex_);
    const auto found = tasks_->find(name);
    if (found == tasks_->end()) return false;
    auto after = std::make_shared<TaskMap>(*tasks_);
    after->erase(found->first);
    before = std::exchange(tasks_, std::move(after));
    return true;
  }

  /// The currently loaded tasks.
  Tasks snapshot() const {
    const std::shared_lock lock(mutex_);
    return Tasks(tasks_);
  }

  /// Whether a task of this name is loaded.
  static bool has(const Tasks& tasks, std::string_view name) {
    return find_or_null(tasks, name) != nullptr;
  }

  /// Names of the loaded tasks.
  std::vector<std::string> tasks() const { return names_of(snapshot()); }

  /// The k best targets after a history, oldest item first; fewer when fewer remain after
  /// exclusion. Throws for an unknown task, an empty history, unknown items, and k below 1.
  std::vector<Recommendation> recommend(const Tasks& tasks, std::string_view task,
                                        std::span<const std::int32_t> history,
                                        std::int64_t k) const {
    const Loaded& loaded = checked(tasks, task, history, k);
    for (const std::int32_t item : history) check_item(item);
    const Here here;
    return best(loaded, model_.scores(loaded.task, history), history, k);
  }
  std::vector<Recommendation> recommend(std::string_view task,
                                        std::span<const std::int32_t> history,
                                        std::int64_t k) const {
    return recommend(snapshot(), task, history, k);
  }

  /// recommend() after the history of a user: from the user's stream of the task if there is one,
  /// otherwise by a full pass.
  std::vector<Recommendation> recommend(const Tasks& tasks, std::string_view task, const User& user,
                                        std::int64_t k) const {
    const Loaded& loaded = checked(tasks, task, user.items_, k);
    const Here here;
    const auto found = user.followed_.find(task);
    const bool follows = found != user.followed_.end() && found->second.load == loaded.number;
    return best(loaded,
                follows ? model_.scores(loaded.task, found->second.stream)
                        : model_.scores(loaded.task, user.items()),
                user.items_, k);
  }
  std::vector<Recommendation> recommend(std::string_view task, const User& user,
                                        std::int64_t k) const {
    return recommend(snapshot(), task, user, k);
  }

  /// The k most frequent targets, for a history without known items. The score of a target is
  /// log(count + 1/2), so that probabilities are relative frequencies. Throws for an unknown task
  /// and k below 1.
  std::vector<Recommendation> most_frequent(const Tasks& tasks, std::string_view task,
                                            std::int64_t k) const {
    const Loaded& loaded = checked(tasks, task, k);
    const Vocabulary& targets = loaded.options.targets;
    Tensor scores({1, targets.size()}, DType::f32);
    for (std::int32_t id = 0; id < targets.size(); ++id)
      scores.data<float>()[id] = std::log(static_cast<float>(targets.count(id)) + 0.5f);
    return best(loaded, std::move(scores), {}, k);
  }

  /// Keeps a stream of the task for this user, so that a recommendation costs one time step instead
  /// of a full pass. No effect when there is one. Returns false for a task without streams. Throws
  /// for an unknown task.
  bool follow(const Tasks& tasks, User& user, std::string_view task) const {
    const Loaded& loaded = find(tasks, task);
    if (!model_.is_incremental(loaded.task)) return false;
    const auto found = user.followed_.find(task);
    if (found != user.followed_.end() && found->second.load == loaded.number) return true;
    const Here here;
    user.followed_.insert_or_assign(
        std::string(task),
        typename User::Followed{loaded.number, model_.start(loaded.task, user.items())});
    return true;
  }
  bool follow(User& user, std::string_view task) const { return follow(snapshot(), user, task); }

  /// Appends an item to the history of a user. Streams of tasks that were unloaded or replaced are
  /// dropped. Throws for an unknown item.
  void observe(User& user, std::int32_t item) const { observe(snapshot(), user, item); }
  void observe(const Tasks& tasks, User& user, std::int32_t item) const {
    check_item(item);
    const Here here;
    user.items_.push_back(item);
    try {
      for (auto at = user.followed_.begin(); at != user.followed_.end();) {
        const Loaded* const loaded = find_or_null(tasks, at->first);
        if (loaded == nullptr || loaded->number != at->second.load) {
          at = user.followed_.erase(at);
        } else {
          model_.advance(loaded->task, at->second.stream, item);
          ++at;
        }
      }
    } catch (...) {
      // Streams that may have processed a part of the item are dropped; follow() rebuilds them.
      user.followed_.clear();
      throw;
    }
  }

  /// The state of a user as bytes, which restore() reads on any machine with the same model.
  std::string save(const User& user) const {
    StateWriter state;
    state(magic);
    state(std::string_view(model_.identity()));
    state(user.items());
    const Tasks tasks = snapshot();
    std::vector<std::pair<std::string_view, const Loaded*>> current;
    for (const auto& [name, followed] : user.followed_) {
      const Loaded* const loaded = find_or_null(tasks, name);
      if (loaded != nullptr && loaded->number == followed.load) current.emplace_back(name, loaded);
    }
    state(static_cast<std::int64_t>(current.size()));
    for (const auto& [name, loaded] : current) {
      state(name);
      state(std::string_view(loaded->task.identity()));
      StateWriter stream;
      model_.visit(loaded->task, std::as_const(user.followed_.find(name)->second.stream), stream);
      state(std::string_view(stream.bytes()));
    }
    return std::move(state).finish();
  }

  /// Inverts save(). Streams of tasks that are not loaded or differ are dropped; follow() rebuilds
  /// them. Throws DataError for bytes that are damaged, not a user's state, or of another model.
  User restore(std::string_view bytes) const {
    StateReader state = StateReader::of_state(bytes);
    if (state.text() != magic)
      StateReader::fail("was not written by this version of Recommender::save");
    const std::string identity = model_.identity();
    if (const std::string_view written = state.text(); written != identity) {
      StateReader::fail(
          detail::concat("belongs to another model: expected ", identity, ", got ", written));
    }
    User user;
    user.items_ = state.ids();
    for (const std::int32_t item : user.items_) {
      if (!is_item(item)) StateReader::fail(detail::concat("expected ids of items, got ", item));
    }
    const Here here;
    const Tasks tasks = snapshot();
    for (std::int64_t left = state.number(); left > 0; --left) {
      const std::string_view name = state.text();
      const std::string_view task = state.text();
      StateReader parts(state.text());
      const Loaded* const loaded = find_or_null(tasks, name);
      if (loaded == nullptr || loaded->task.identity() != task ||
          !model_.is_incremental(loaded->task))
        continue;
      Stream stream = model_.start(loaded->task, {});
      model_.visit(loaded->task, stream, parts);
      if (!parts.is_at_end())
        StateReader::fail(detail::concat("has bytes after the stream of task '", name, "'"));
      user.followed_.insert_or_assign(std::string(name),
                                      typename User::Followed{loaded->number, std::move(stream)});
    }
    if (!state.is_at_end()) StateReader::fail("has bytes after its end");
    return user;
  }

 private:
  static constexpr std::string_view magic = "refrain user 1";

  struct Loaded {
    Task task;
    TaskOptions options;
    /// the target of each item, from the first item on; no target if negative or special
    std::vector<std::int32_t> target_of;
    std::uint64_t number;  ///< number of this load(), unique
  };

  /// The settings of a request: recording off, parallel loops on this thread.
  struct Here {
    NoGrad off;
    SerialLoops serial;
  };

  static const Loaded* find_or_null(const Tasks& tasks, std::string_view name) {
    const auto found = tasks.map_->find(name);
    return found == tasks.map_->end() ? nullptr : found->second.get();
  }

  static std::vector<std::string> names_of(const Tasks& tasks) {
    std::vector<std::string> names;
    for (const auto& [name, task] : *tasks.map_) names.push_back(name);
    return names;
  }

  static const Loaded& find(const Tasks& tasks, std::string_view name) {
    if (const Loaded* const loaded = find_or_null(tasks, name)) return *loaded;
    std::string known;
    for (const std::string& each : names_of(tasks)) known += (known.empty() ? "" : ", ") + each;
    throw OptionError(
        detail::concat("unknown task '", name, "'; loaded: ", known.empty() ? "none" : known));
  }

  static const Loaded& checked(const Tasks& tasks, std::string_view task, std::int64_t k) {
    const Loaded& loaded = find(tasks, task);
    if (k < 1)
      throw OptionError(detail::concat("task '", task, "': expected k of at least 1, got ", k));
    return loaded;
  }
  static const Loaded& checked(const Tasks& tasks, std::string_view task,
                               std::span<const std::int32_t> history, std::int64_t k) {
    const Loaded& loaded = checked(tasks, task, k);
    if (history.empty())
      throw OptionError(detail::concat("task '", task, "': the history is empty"));
    return loaded;
  }

  bool is_item(std::int32_t id) const noexcept {
    return id >= items_.first_item() && id < items_.size();
  }
  void check_item(std::int32_t id) const {
    if (!is_item(id)) {
      throw OptionError(detail::concat("expected an item id from ", items_.first_item(), " to ",
                                       items_.size() - 1, ", got ", id));
    }
  }

  std::vector<Recommendation> best(const Loaded& loaded, Tensor scores,
                                   std::span<const std::int32_t> history, std::int64_t k) const {
    const Vocabulary& targets = loaded.options.targets;
    if (scores.numel() != targets.size()) {
      throw ShapeError(detail::concat("Recommender: expected scores of ", targets.size(),
                                      " targets, got ", scores.shape()));
    }
    std::vector<std::int32_t> excluded;
    if (loaded.options.leave_out) {
      for (const std::int32_t item : history) {
        excluded.push_back(loaded.target_of[static_cast<std::size_t>(item - items_.first_item())]);
      }
    }
    return best_items(scores, targets, k, excluded, loaded.options.probabilities);
  }

  Model model_;
  Vocabulary items_;
  mutable std::shared_mutex mutex_;
  std::shared_ptr<const TaskMap> tasks_;  ///< replaced as a whole
  std::uint64_t loads_ = 0;
};

}  // namespace refrain
