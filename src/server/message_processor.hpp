#pragma once
// Processes events and requests of users, each user on one thread, with a log of events.

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_set>
#include <variant>
#include <vector>

#include "refrain/serve/service.hpp"
#include "refrain/serve/work_queues.hpp"
#include "refrain/server/committer.hpp"
#include "refrain/server/event_log.hpp"
#include "refrain/server/http_api.hpp"
#include "src/server/body_answers.hpp"

namespace refrain::serve {

struct EventWork {
  Event event;
  std::shared_ptr<refrain::detail::EventsAnswer> answer;
};
struct RequestWork {
  Request request;
  std::size_t number;  ///< among the requests of the body
  std::shared_ptr<refrain::detail::RequestsAnswer> answer;
};
/// Work of another kind, on the thread of the shard.
using ShardTask = std::function<void(std::size_t shard)>;

/// Any thread may call any function.
class MessageProcessor {
 public:
  /// At most options.events events and options.requests requests are posted at a time, and at most
  /// `tasks` threads call on_shard().
  MessageProcessor(Service& service, EventLog* log, const HttpApiOptions& options,
                   std::size_t tasks);
  ~MessageProcessor();
  MessageProcessor(const MessageProcessor&) = delete;
  MessageProcessor& operator=(const MessageProcessor&) = delete;

  void post(EventWork work);
  void post(RequestWork work);
  /// Runs a task on the thread of a user, after what was posted for the user, and waits for it.
  void on_shard(const std::string& user, const ShardTask& task);
  /// Waits until the log has all events of a user that were posted before.
  void settle(const std::string& user);
  /// Removes a user from memory, to be read again with all events that came before; false when the
  /// user is not there. To be called on the thread of the shard.
  bool forget(std::size_t shard, const std::string& user);

  /// Whether the last attempt to write the log failed.
  bool is_failing() const noexcept { return is_failing_; }

  /// Processes what waits, and writes it to the log.
  void finish();

 private:
  using Work = std::variant<EventWork, RequestWork, ShardTask>;

  struct Shard {
    std::uint64_t submitted = 0;             ///< events that were handed to the log
    std::atomic<std::uint64_t> settled = 0;  ///< those of them that it has or has refused
    std::mutex mutex;
    std::vector<std::string> refused;  ///< users with events that the log has refused
  };

  /// Messages that are computed in one pass: first the events, then the requests.
  struct Group {
    std::vector<EventWork*> events;
    std::vector<RequestWork*> requests;
    std::unordered_set<std::string_view> users;  ///< of the requests
  };

  void process(std::size_t shard, std::vector<Work>& work);
  void complete(std::size_t shard, Group& group);
  void observe(std::size_t shard, const std::vector<EventWork*>& group,
               const Service::Snapshot& now);
  void recommend(std::size_t shard, const std::vector<RequestWork*>& group,
                 const Service::Snapshot& now);
  /// Hands an event to the log. With `waits`, the answer waits for its transaction.
  void submit(std::size_t shard, const EventWork& work, bool waits);
  void forget_refused(std::size_t shard);
  /// forget() of all these users, if there is a log.
  void forget(std::size_t shard, std::vector<std::string> users);
  /// Adds events to the histories of the log, in steps between which other threads write, and
  /// probes a log that could not be written.
  void keep_log();
  /// Writes to the log without an event.
  void probe();
  /// An empty reason: the log can be written.
  void set_failing(const std::string& reason);
  void report(const std::string& what) const noexcept;

  Service& service_;
  EventLog* log_;
  HttpApiOptions options_;
  std::vector<Shard> shards_;
  std::atomic<bool> is_failing_ = false;
  std::atomic<std::size_t> turn_ = 0;  ///< divides requests without a user among the shards
  std::optional<Committer> committer_;
  std::optional<WorkQueues<Work>> queues_;
  std::mutex ending_;
  std::condition_variable changed_;  ///< is_ending_ or is_failing_
  bool is_ending_ = false;
  std::thread log_thread_;
};

}  // namespace refrain::serve
