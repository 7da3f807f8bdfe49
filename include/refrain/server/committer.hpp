#pragma once
/// Events of many threads, committed in groups.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>

#include "refrain/server/event_log.hpp"

namespace refrain {

struct CommitterOptions {
  std::chrono::microseconds wait{5'000};  ///< the longest time that an event waits for others
  std::size_t batch = 1'000;              ///< the most events of one transaction
  std::size_t queue = 100'000;            ///< the most events that wait
};

/// One thread that appends the events of many threads to a log. A transaction of an SQLite file
/// costs about as much for 1,000 events as for one, so the events that wait become one.
///
///   Committer committer(log);
///   committer.submit({.user = "u1", .item = "i9"}, [](std::int64_t position, auto error) { ... });
///
/// All functions may be called from many threads.
class REFRAIN_API Committer {
 public:
  /// Receives the position of the event, which is then durable, or the error of its transaction
  /// with position 0; the event is then not in the log. Called once, on the thread of the
  /// committer, in the order of the positions. May call submit(); may not throw, and may not call
  /// flush() or stop().
  using Completion = std::function<void(std::int64_t position, std::exception_ptr error)>;

  /// `log` outlives the committer. Throws OptionError for an option out of range.
  explicit Committer(EventLog& log, const CommitterOptions& options = {});
  /// stop().
  ~Committer();
  Committer(const Committer&) = delete;
  Committer& operator=(const Committer&) = delete;

  /// Hands over an event. False, without a call of `done`, when the queue is full or the committer
  /// has stopped. Throws OptionError for an event that the log does not accept. Events of one
  /// thread get positions in its order.
  [[nodiscard]] bool submit(LogEvent event, Completion done);

  /// Returns when `done` has been called for all events that were handed over before. They do not
  /// wait for others.
  void flush();
  /// flush(), and ends the thread; submit() is then false.
  void stop();

  /// The number of events that wait for their transaction to begin.
  std::size_t waiting() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace refrain
