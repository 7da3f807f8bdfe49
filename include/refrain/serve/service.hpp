#pragma once
/// Answers messages for any model.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "refrain/serve/filters.hpp"
#include "refrain/serve/message.hpp"
#include "refrain/serve/recently_used.hpp"
#include "refrain/serve/recommender.hpp"

namespace refrain::serve {

/// Where a service reads users that are not in memory, for instance an event log.
struct Past {
  /// The newest items of a user, at most `count`, oldest first; empty for an unknown user.
  std::function<std::vector<std::string>(const std::string& user, std::int64_t count)> items;
  /// Number of the shard's events, in the order of observe(), that items() returns. A user with
  /// later events stays in memory.
  std::function<std::uint64_t(std::size_t shard)> settled;
};

/// How much of users a service keeps in memory.
struct ServiceMemory {
  /// Number of users. The least recently used ones are removed. With a Past they are read again
  /// when they are needed; without one they are forgotten.
  std::size_t users = 100'000;
  /// Newest items of a user; 0: all. With a Past at least 1. The Past should keep more, for
  /// instance twice as many, because items that the model does not know are among them.
  std::int64_t history = 1'000;
};

/// Users, divided among shards. A shard belongs to one thread at a time, which may call fetch,
/// observe, recommend, items, forget and restore for it; any thread may call the other functions,
/// except for save and set_past.
///
/// The functions take and return values, so that any front end can call them: parse_message()
/// makes messages of text, answer_text() and answer_line() make text of answers.
class Service {
 public:
  virtual ~Service() = default;

  /// The tasks and filters at one moment.
  using Snapshot = std::shared_ptr<const void>;
  virtual Snapshot snapshot() const = 0;

  virtual std::size_t shards() const = 0;

  /// Makes the service read users from a Past, or with an empty one from none. Called before the
  /// first message or after the last one.
  virtual void set_past(Past past) = 0;

  /// Whether the model knows an item.
  virtual bool knows(std::string_view item) const = 0;
  /// While the result exists, no user of the shard leaves memory.
  virtual std::shared_ptr<void> hold(std::size_t shard) = 0;
  /// Reads a user from the Past unless the user is in memory. To be called before an event of the
  /// user is added to the Past, and the user to be held until observe(), so that the event is added
  /// to the user once. Throws what the Past throws.
  virtual void fetch(std::size_t shard, const std::string& user) = 0;
  /// The items of a user that the model knows, oldest first; empty for an unknown user.
  virtual std::vector<std::string> items(std::size_t shard, const std::string& user) = 0;
  /// Removes a user from memory; false when the user is not there.
  virtual bool forget(std::size_t shard, const std::string& user) = 0;

  /// Appends an item to the history of a user, and creates the user at the first known item. An
  /// item that the model does not know changes nothing; then the result is false. Throws Error.
  virtual bool observe(std::size_t shard, const Event& event, const Snapshot& now) = 0;
  /// The answers to a request, one for each of its tasks. Throws Error; then no task is answered.
  virtual std::vector<TaskAnswer> recommend(std::size_t shard, const Request& request,
                                            const Snapshot& now) = 0;

  struct Observed {
    bool is_known = false;       ///< what observe() returns
    std::exception_ptr error{};  ///< what it throws; null: no error
  };
  struct Answered {
    std::vector<TaskAnswer> answers{};  ///< what recommend() returns
    std::exception_ptr error{};         ///< what it throws; null: no error
  };
  /// observe() of each event in their order, and recommend() of each request, in one pass of the
  /// model if it can. They have the results of single calls.
  virtual std::vector<Observed> observe(std::size_t shard, std::span<const Event* const> events,
                                        const Snapshot& now) = 0;
  virtual std::vector<Answered> recommend(std::size_t shard,
                                          std::span<const Request* const> requests,
                                          const Snapshot& now) = 0;

  /// Loads a task from a file and returns its name. Throws Error, also for a task of another name
  /// than `expected` unless that is empty.
  virtual std::string load(const std::string& file, std::string_view expected) = 0;
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
  /// Throws OptionError for no shards and a memory of no users.
  ModelService(Model model, Vocabulary items, std::size_t shards, const ServiceMemory& memory = {})
      : recommender_(std::move(model), std::move(items), {.history = memory.history}),
        memory_(memory) {
    if (shards == 0) throw OptionError("ModelService: expected at least one shard, got 0");
    const std::size_t users = memory.users / shards + (memory.users % shards != 0 ? 1 : 0);
    for (std::size_t shard = 0; shard < shards; ++shard) {
      shards_.push_back({.users = Users(users, [this, shard](const Known& known) {
                           return !past_.settled || known.events <= past_.settled(shard);
                         })});
    }
  }

  std::size_t shards() const final { return shards_.size(); }

  void set_past(Past past) final {
    if (past.items && memory_.history < 1) {
      throw OptionError(detail::concat(
          "ModelService: expected a history of at least 1 with a past, got ", memory_.history));
    }
    past_ = std::move(past);
    for (Shard& shard : shards_) {
      shard.events = 0;
      shard.users.for_each([](const std::string&, Known& known) { known.events = 0; });
    }
  }

  bool knows(std::string_view item) const final {
    return recommender_.items().find(item) >= recommender_.items().first_item();
  }

  std::shared_ptr<void> hold(std::size_t shard) final {
    return std::make_shared<typename Users::Hold>(shards_[shard].users);
  }
  void fetch(std::size_t shard, const std::string& user) final { known(shard, user, true); }

  std::vector<std::string> items(std::size_t shard, const std::string& user) final {
    std::vector<std::string> names;
    if (const User* const found = user_or_null(shard, user)) {
      for (const std::int32_t item : found->items())
        names.emplace_back(recommender_.items().name(item));
    }
    return names;
  }

  bool forget(std::size_t shard, const std::string& user) final {
    return shards_[shard].users.erase(user);
  }

  /// Number of users in memory. Not to be called while a message is processed.
  std::size_t users_in_memory() const {
    std::size_t users = 0;
    for (const Shard& shard : shards_) users += shard.users.size();
    return users;
  }

  Snapshot snapshot() const final {
    return std::make_shared<const Bound>(Bound{recommender_.snapshot(), filters_.now()});
  }

  bool observe(std::size_t shard, const Event& event, const Snapshot& now) final {
    const std::uint64_t number = ++shards_[shard].events;
    const std::int32_t item = recommender_.items().find(event.item);
    if (item < recommender_.items().first_item()) return false;
    Known& user = *known(shard, event.user, true);
    user.events = number;
    recommender_.observe(bound(now).tasks, user.user, item);
    return true;
  }

  std::vector<TaskAnswer> recommend(std::size_t shard, const Request& request,
                                    const Snapshot& now) final {
    const Tasks& tasks = bound(now).tasks;
    const std::vector<std::int32_t> history = known_of(request.history);
    User* const user = request.user ? user_or_null(shard, *request.user) : nullptr;
    if (user == nullptr && history.empty() && request.fallback == Fallback::none) {
      throw OptionError(request.user
                            ? refrain::detail::concat("user '", *request.user, "' has no events")
                            : std::string("the model knows no item of the history"));
    }
    std::vector<TaskAnswer> answers;
    for (const std::string& name : request.tasks) {
      const std::string& task = named(tasks, name);
      TaskAnswer& answer = answers.emplace_back();
      answer.unknown = std::ssize(request.history) - std::ssize(history);
      std::optional<RequestSelection> selection;
      if (selects(request)) {
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

  std::vector<Observed> observe(std::size_t shard, std::span<const Event* const> events,
                                const Snapshot& now) final {
    std::vector<Observed> observed(events.size());
    const std::uint64_t before = shards_[shard].events;
    shards_[shard].events += events.size();
    const typename Users::Hold hold(shards_[shard].users);
    std::vector<ServedEvent<User>> group;
    std::vector<std::size_t> members;  // the event of each member of the group
    for (std::size_t i = 0; i < events.size(); ++i) {
      const std::int32_t item = recommender_.items().find(events[i]->item);
      observed[i].is_known = item >= recommender_.items().first_item();
      if (!observed[i].is_known) continue;
      try {
        Known& user = *known(shard, events[i]->user, true);
        user.events = before + i + 1;
        group.push_back({.user = &user.user, .item = item});
        members.push_back(i);
      } catch (...) {
        observed[i].error = std::current_exception();
      }
    }
    std::vector<std::exception_ptr> errors = recommender_.observe(bound(now).tasks, group);
    for (std::size_t at = 0; at < members.size(); ++at)
      observed[members[at]].error = std::move(errors[at]);
    return observed;
  }

  std::vector<Answered> recommend(std::size_t shard, std::span<const Request* const> requests,
                                  const Snapshot& now) final {
    const Bound& at = bound(now);
    std::vector<Answered> answered(requests.size());
    const typename Users::Hold hold(shards_[shard].users);
    std::vector<ServedRequest<User>> group;
    std::vector<std::pair<std::size_t, std::size_t>> members;  // request and task
    std::deque<RequestSelection> selections;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      try {
        const Request& request = *requests[i];
        User* const user = request.user ? user_or_null(shard, *request.user) : nullptr;
        if (user == nullptr || requests.size() == 1) {
          answered[i].answers = recommend(shard, request, now);
          continue;
        }
        answered[i].answers.resize(request.tasks.size());
        for (std::size_t t = 0; t < request.tasks.size(); ++t) {
          const std::string& task = named(at.tasks, request.tasks[t]);
          TaskAnswer& answer = answered[i].answers[t];
          TargetSelection select{.seen = request.seen};
          if (selects(request)) {
            const RequestSelection& selection =
                selections.emplace_back(request, *at.filters, recommender_.targets(at.tasks, task));
            answer.unknown = selection.unknown();
            select = selection.view();
          }
          answer.source = recommender_.follow(at.tasks, *user, task) ? Source::state : Source::pass;
          group.push_back({.task = task, .user = user, .k = request.k, .select = select});
          members.emplace_back(i, t);
        }
      } catch (...) {
        answered[i].error = std::current_exception();
      }
    }
    std::vector<ServedAnswer> best = recommender_.recommend(at.tasks, group);
    for (std::size_t member = 0; member < members.size(); ++member) {
      const auto& [request, task] = members[member];
      if (best[member].error != nullptr) answered[request].error = std::move(best[member].error);
      answered[request].answers[task].best = std::move(best[member].best);
    }
    return answered;
  }

  void unload(const std::string& task) override {
    if (!recommender_.unload(task))
      throw OptionError(refrain::detail::concat("unknown task '", task, "'"));
  }
  std::vector<std::string> tasks() const final { return recommender_.tasks(); }

  std::int64_t set_filter(const std::string& name, std::vector<std::string> items) final {
    const std::int64_t unknown = std::ssize(items) - std::ssize(known_of(items));
    filters_.set(name, std::make_shared<const Filter>(std::move(items)));
    return unknown;
  }
  void drop_filter(const std::string& name) final { filters_.drop(name); }

  void save(const TakeState& take) const final {
    for (const Shard& shard : shards_) {
      shard.users.for_each([&](const std::string& name, const Known& known) {
        take(name, recommender_.save(known.user));
      });
    }
  }
  void restore(std::size_t shard, const std::string& user, std::string_view bytes) final {
    shards_[shard].users.insert(user, {.user = recommender_.restore(bytes)});
  }

 protected:
  Recommender<Model>& recommender() noexcept { return recommender_; }

  /// Throws OptionError unless the task of a file has the expected name, if there is one.
  static void expect_task(const std::string& file, std::string_view task,
                          std::string_view expected) {
    if (!expected.empty() && task != expected) {
      throw OptionError(detail::concat(file, ": expected task '", expected, "', got '", task, "'"));
    }
  }

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

  /// A user in memory.
  struct Known {
    User user{};
    std::uint64_t events = 0;  ///< of the shard, up to the user's newest one
  };
  using Users = detail::RecentlyUsed<Known>;
  struct Shard {
    Users users;
    std::uint64_t events = 0;  ///< calls of observe()
  };

  /// A user from memory or from the past; otherwise null, or a new user.
  Known* known(std::size_t shard, const std::string& name, bool create) {
    Users& users = shards_[shard].users;
    if (Known* const found = users.find(name)) return found;
    std::vector<std::int32_t> history;
    if (past_.items) {
      // Some may be unknown to the model; user_after() takes the newest of the others.
      for (const std::string& item : past_.items(name, 2 * memory_.history)) {
        const std::int32_t id = recommender_.items().find(item);
        if (id >= recommender_.items().first_item()) history.push_back(id);
      }
    }
    if (history.empty() && !create) return nullptr;
    return &users.insert(name, {.user = recommender_.user_after(history)});
  }

  /// A user with at least one item, or null.
  User* user_or_null(std::size_t shard, const std::string& name) {
    Known* const found = known(shard, name, false);
    return found == nullptr || found->user.items().empty() ? nullptr : &found->user;
  }

  /// Whether a request selects targets beyond seen ones.
  static bool selects(const Request& request) {
    return !request.exclude.empty() || request.allow || !request.filters.empty();
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
  ServiceMemory memory_;
  Past past_;
  std::vector<Shard> shards_;
};

}  // namespace refrain::serve
