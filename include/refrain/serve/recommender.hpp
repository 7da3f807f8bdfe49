#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "refrain/autograd/tape.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/data/vocabulary.hpp"
#include "refrain/serve/loaded_tasks.hpp"
#include "refrain/serve/model.hpp"
#include "refrain/serve/recommendation.hpp"
#include "refrain/serve/request.hpp"
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
///
/// Events and requests that wait together can be passed as one batch, which a GroupServedModel
/// computes in one pass. Answers and users have the bits that single calls give them, whatever else
/// is in the batch. An error belongs to its event or request alone and is returned beside the
/// others' results, because the members of a batch come from clients that know nothing of each
/// other.
template <ServedModel Model>
class Recommender {
 public:
  using Task = typename Model::Task;
  using Stream = typename Model::Stream;

  /// Options of load().
  struct TaskOptions {
    Vocabulary targets;  ///< the names of the task's scores; special ids are never recommended
    /// exclude items of the history from targets with the same names, unless a request overrides
    /// it
    bool leave_out = false;
    /// the scores are logits: answers contain their softmax over all targets that the request may
    /// recommend
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

  using Event = ServedEvent<User>;
  using Request = ServedRequest<User>;
  using Answer = ServedAnswer;

 private:
  struct Loaded;
  using TaskMap = typename detail::LoadedTasks<Loaded>::Map;

 public:
  /// The tasks that are loaded at one moment. A value: later loads and unloads do not change it.
  class Tasks {
   private:
    friend class Recommender;
    explicit Tasks(std::shared_ptr<const TaskMap> map) : map_(std::move(map)) {}
    std::shared_ptr<const TaskMap> map_;
  };

  /// Serves `model`, whose items are those of the vocabulary, without any task.
  Recommender(Model model, Vocabulary items, const RecommenderOptions& options = {})
      : model_(std::move(model)), items_(std::move(items)), options_(options) {
    if (options.history < 0) {
      throw OptionError(
          detail::concat("Recommender: expected a history of at least 0, got ", options.history));
    }
  }

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
    tasks_.load(name, std::move(loaded));
  }

  /// Removes a task; false when there is none with this name.
  bool unload(std::string_view name) { return tasks_.unload(name); }

  /// The currently loaded tasks.
  Tasks snapshot() const { return Tasks(tasks_.now()); }

  /// Whether a task of this name is loaded.
  static bool has(const Tasks& tasks, std::string_view name) {
    return find_or_null(tasks, name) != nullptr;
  }

  /// Names of the loaded tasks.
  std::vector<std::string> tasks() const {
    return detail::LoadedTasks<Loaded>::names_of(*tasks_.now());
  }

  /// The names of a task's scores, as load() got them. The pointer identifies this load: a task
  /// that replaces it has another one. Throws for an unknown task.
  static std::shared_ptr<const Vocabulary> targets(const Tasks& tasks, std::string_view task) {
    const Loaded& loaded = find(tasks, task);
    return {tasks.map_->find(task)->second, &loaded.options.targets};
  }

  /// The k best of the selected targets after a history, oldest item first; fewer when fewer
  /// remain. Throws for an unknown task, an empty history, unknown items, k below 1, and filters of
  /// another number of targets.
  std::vector<Recommendation> recommend(const Tasks& tasks, std::string_view task,
                                        std::span<const std::int32_t> history, std::int64_t k,
                                        const TargetSelection& select = {}) const {
    const Loaded& loaded = checked(tasks, task, history, k);
    for (const std::int32_t item : history) check_item(item);
    const Here here;
    return best(loaded, model_.scores(loaded.task, history), history, k, select);
  }
  std::vector<Recommendation> recommend(std::string_view task,
                                        std::span<const std::int32_t> history, std::int64_t k,
                                        const TargetSelection& select = {}) const {
    return recommend(snapshot(), task, history, k, select);
  }

  /// recommend() after the history of a user: from the user's stream of the task if there is one,
  /// otherwise by a full pass.
  std::vector<Recommendation> recommend(const Tasks& tasks, std::string_view task, const User& user,
                                        std::int64_t k, const TargetSelection& select = {}) const {
    const Loaded& loaded = checked(tasks, task, user.items_, k);
    const Here here;
    const Stream* const stream = stream_or_null(user, task, loaded);
    return best(loaded,
                stream != nullptr ? model_.scores(loaded.task, *stream)
                                  : model_.scores(loaded.task, user.items()),
                user.items_, k, select);
  }
  std::vector<Recommendation> recommend(std::string_view task, const User& user, std::int64_t k,
                                        const TargetSelection& select = {}) const {
    return recommend(snapshot(), task, user, k, select);
  }

  /// recommend() of each request, in their order. Requests that users' streams can answer are
  /// computed in one pass, the others one by one.
  std::vector<Answer> recommend(const Tasks& tasks, std::span<const Request> requests) const {
    std::vector<Answer> answers(requests.size());
    std::vector<std::size_t> alone;
    if constexpr (GroupServedModel<Model>) {
      alone = recommend_from_streams(tasks, requests, answers);
    } else {
      for (std::size_t i = 0; i < requests.size(); ++i) alone.push_back(i);
    }
    for (const std::size_t i : alone) {
      const Request& request = requests[i];
      answers[i].error = error_of([&] {
        answers[i].best =
            request.user != nullptr
                ? recommend(tasks, request.task, *request.user, request.k, request.select)
                : recommend(tasks, request.task, request.history, request.k, request.select);
      });
    }
    return answers;
  }
  std::vector<Answer> recommend(std::span<const Request> requests) const {
    return recommend(snapshot(), requests);
  }

  /// The k most frequent of the selected targets, for a history without known items. The score of a
  /// target is log(count + 1/2), so that probabilities are relative frequencies. Throws for an
  /// unknown task, k below 1, and filters of another number of targets.
  std::vector<Recommendation> most_frequent(const Tasks& tasks, std::string_view task,
                                            std::int64_t k,
                                            const TargetSelection& select = {}) const {
    const Loaded& loaded = checked(tasks, task, k);
    const Vocabulary& targets = loaded.options.targets;
    Tensor scores({1, targets.size()}, DType::f32);
    for (std::int32_t id = 0; id < targets.size(); ++id)
      scores.data<float>()[id] = std::log(static_cast<float>(targets.count(id)) + 0.5f);
    return best(loaded, std::move(scores), {}, k, select);
  }

  /// A user with these items, oldest first, who follows no task. Throws for an unknown item.
  User user_after(std::span<const std::int32_t> items) const {
    User user;
    for (const std::int32_t item : items) check_item(item);
    user.items_.assign(items.begin(), items.end());
    forget_oldest(user);
    return user;
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
    append(user, item);
    advance(tasks, user, item);
  }

  /// observe() of each event. Events of one user are applied in their order; those of different
  /// users are computed in one pass. Returns for each event what observe() of it throws, or null.
  std::vector<std::exception_ptr> observe(const Tasks& tasks, std::span<const Event> events) const {
    std::vector<std::exception_ptr> errors(events.size());
    if constexpr (GroupServedModel<Model>) {
      // A round has at most one event of each user.
      std::vector<std::vector<std::size_t>> rounds;
      std::unordered_map<const User*, std::size_t> events_of;
      for (std::size_t i = 0; i < events.size(); ++i) {
        errors[i] = error_of([&] {
          check_user(events[i].user);
          check_item(events[i].item);
        });
        if (errors[i] != nullptr) continue;
        const std::size_t round = events_of[events[i].user]++;
        if (round == rounds.size()) rounds.emplace_back();
        rounds[round].push_back(i);
      }
      for (const std::vector<std::size_t>& round : rounds)
        observe_round(tasks, events, round, errors);
    } else {
      for (std::size_t i = 0; i < events.size(); ++i) {
        errors[i] = error_of([&] {
          check_user(events[i].user);
          observe(tasks, *events[i].user, events[i].item);
        });
      }
    }
    return errors;
  }
  std::vector<std::exception_ptr> observe(std::span<const Event> events) const {
    return observe(snapshot(), events);
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
    forget_oldest(user);
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
    /// with leave_out: the target of each item, from the first item on
    std::vector<std::int32_t> target_of;
    std::uint64_t number;  ///< number of this load(), unique
  };

  /// The settings of a request: recording off, parallel loops on this thread.
  struct Here {
    NoGrad off;
    SerialLoops serial;
  };

  void append(User& user, std::int32_t item) const {
    user.items_.push_back(item);
    forget_oldest(user);
  }
  void forget_oldest(User& user) const {
    const std::int64_t excess = std::ssize(user.items_) - options_.history;
    if (options_.history > 0 && excess > 0)
      user.items_.erase(user.items_.begin(), user.items_.begin() + excess);
  }

  /// What a function throws, or null.
  template <class Function>
  static std::exception_ptr error_of(Function&& function) {
    try {
      function();
    } catch (...) {
      return std::current_exception();
    }
    return nullptr;
  }

  /// The user's stream of a task, or null.
  static const Stream* stream_or_null(const User& user, std::string_view task,
                                      const Loaded& loaded) {
    const auto found = user.followed_.find(task);
    const bool follows = found != user.followed_.end() && found->second.load == loaded.number;
    return follows ? &found->second.stream : nullptr;
  }

  /// Drops the streams of tasks that were unloaded or replaced, and calls function(task, stream)
  /// for the others.
  template <class Function>
  static void for_current_streams(const Tasks& tasks, User& user, Function&& function) {
    for (auto at = user.followed_.begin(); at != user.followed_.end();) {
      const Loaded* const loaded = find_or_null(tasks, at->first);
      if (loaded == nullptr || loaded->number != at->second.load) {
        at = user.followed_.erase(at);
      } else {
        function(loaded->task, at->second.stream);
        ++at;
      }
    }
  }

  /// Appends an item to the streams of a user.
  void advance(const Tasks& tasks, User& user, std::int32_t item) const {
    try {
      for_current_streams(tasks, user, [&](const Task& task, Stream& stream) {
        model_.advance(task, stream, item);
      });
    } catch (...) {
      // Streams that may have processed a part of the item are dropped; follow() rebuilds them.
      user.followed_.clear();
      throw;
    }
  }

  /// observe() of valid events of different users.
  void observe_round(const Tasks& tasks, std::span<const Event> events,
                     const std::vector<std::size_t>& round,
                     std::vector<std::exception_ptr>& errors) const {
    const Here here;
    std::vector<StreamEvent<Model>> group;
    std::vector<std::size_t> advancing;
    advancing.reserve(round.size());
    for (const std::size_t i : round) {
      errors[i] = error_of([&] { append(*events[i].user, events[i].item); });
      if (errors[i] == nullptr) advancing.push_back(i);
    }
    const auto advance_group = [&] {
      for (const std::size_t i : advancing) {
        const Event& event = events[i];
        for_current_streams(tasks, *event.user, [&](const Task& task, Stream& stream) {
          group.push_back({&task, &stream, event.item});
        });
      }
      model_.advance(std::span<const StreamEvent<Model>>(group));
    };
    if (error_of(advance_group) == nullptr) return;
    // No stream has changed; the events that cannot be processed fail alone.
    for (const std::size_t i : advancing)
      errors[i] = error_of([&] { advance(tasks, *events[i].user, events[i].item); });
  }

  /// Answers the requests for which users have streams. Returns the other ones.
  std::vector<std::size_t> recommend_from_streams(const Tasks& tasks,
                                                  std::span<const Request> requests,
                                                  std::vector<Answer>& answers) const {
    const Here here;
    std::vector<std::size_t> alone;
    std::vector<std::size_t> asked;  // the request of each member of the group
    std::vector<const Loaded*> loaded_of;
    std::vector<StreamQuery<Model>> group;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const auto& [task, user, history, k, select] = requests[i];
      const Loaded* const loaded = user == nullptr ? nullptr : find_or_null(tasks, task);
      const Stream* const stream =
          loaded == nullptr ? nullptr : stream_or_null(*user, task, *loaded);
      if (stream == nullptr || user->items_.empty() || k < 1) {
        alone.push_back(i);
        continue;
      }
      asked.push_back(i);
      loaded_of.push_back(loaded);
      group.push_back({&loaded->task, stream});
    }
    std::vector<bool> is_answered(asked.size());
    const auto take = [&](std::size_t at, Tensor scores) {
      const std::size_t i = asked[at];
      answers[i].error = error_of([&] {
        answers[i].best = best(*loaded_of[at], std::move(scores), requests[i].user->items_,
                               requests[i].k, requests[i].select);
      });
      is_answered[at] = true;
    };
    const auto answer_group = [&] {
      model_.scores(std::span<const StreamQuery<Model>>(group), take);
    };
    if (error_of(answer_group) == nullptr) return alone;
    // The requests that cannot be computed fail alone.
    for (std::size_t at = 0; at < asked.size(); ++at)
      if (!is_answered[at]) alone.push_back(asked[at]);
    return alone;
  }

  static void check_user(const User* user) {
    if (user == nullptr) throw OptionError("Recommender: expected an event of a user, got none");
  }

  static const Loaded* find_or_null(const Tasks& tasks, std::string_view name) {
    return detail::LoadedTasks<Loaded>::find_or_null(*tasks.map_, name);
  }
  static const Loaded& find(const Tasks& tasks, std::string_view name) {
    return detail::LoadedTasks<Loaded>::find(*tasks.map_, name);
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

  /// The target with the name of an item; no target if negative or special.
  std::int32_t target_of(const Loaded& loaded, std::int32_t item) const {
    return loaded.target_of.empty()
               ? loaded.options.targets.find(items_.name(item))
               : loaded.target_of[static_cast<std::size_t>(item - items_.first_item())];
  }

  std::vector<Recommendation> best(const Loaded& loaded, Tensor scores,
                                   std::span<const std::int32_t> history, std::int64_t k,
                                   const TargetSelection& select) const {
    const Vocabulary& targets = loaded.options.targets;
    if (scores.numel() != targets.size()) {
      throw ShapeError(detail::concat("Recommender: expected scores of ", targets.size(),
                                      " targets, got ", scores.shape()));
    }
    std::vector<std::int32_t> excluded(select.exclude.begin(), select.exclude.end());
    const bool leaves_out = select.seen == SeenItems::by_task ? loaded.options.leave_out
                                                              : select.seen == SeenItems::exclude;
    if (leaves_out) {
      for (const std::int32_t item : history) excluded.push_back(target_of(loaded, item));
    }
    return best_items(scores, targets, k, excluded, loaded.options.probabilities, select.filters);
  }

  Model model_;
  Vocabulary items_;
  RecommenderOptions options_;
  detail::LoadedTasks<Loaded> tasks_;
};

}  // namespace refrain
