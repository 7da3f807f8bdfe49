#include "refrain/server/committer.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace refrain {

using Clock = std::chrono::steady_clock;

class Committer::Impl {
 public:
  Impl(EventLog& log, const CommitterOptions& options)
      : log_(log), options_(options), thread_([this] { run(); }) {}
  ~Impl() { stop(); }

  bool submit(LogEvent event, Completion done) {
    EventLog::expect_valid(event);
    const std::scoped_lock lock(mutex_);
    if (is_stopping_ || events_.size() >= options_.queue) return false;
    events_.push_back(std::move(event));
    waiting_.push_back({Clock::now(), std::move(done)});
    ++submitted_;
    // The thread waits for a first event, or for a full batch.
    if (events_.size() == 1 || events_.size() == options_.batch) work_.notify_one();
    return true;
  }

  void flush() {
    std::unique_lock lock(mutex_);
    const std::uint64_t target = submitted_;
    flushed_ = std::max(flushed_, target);
    work_.notify_one();
    done_.wait(lock, [&] { return completed_ >= target; });
  }

  void stop() {
    {
      const std::scoped_lock lock(mutex_);
      is_stopping_ = true;
      work_.notify_one();
    }
    const std::scoped_lock lock(joining_);
    if (thread_.joinable()) thread_.join();
  }

  std::size_t waiting() const {
    const std::scoped_lock lock(mutex_);
    return events_.size();
  }

 private:
  struct Waiting {
    Clock::time_point since;
    Completion done;
  };

  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      work_.wait(lock, [&] { return is_stopping_ || !events_.empty(); });
      if (events_.empty()) return;
      work_.wait_until(lock, waiting_.front().since + options_.wait, [&] {
        return is_stopping_ || flushed_ > completed_ || events_.size() >= options_.batch;
      });
      commit(lock);
    }
  }

  /// Commits the first events of the queue, without the lock.
  void commit(std::unique_lock<std::mutex>& lock) {
    const auto count = static_cast<std::ptrdiff_t>(std::min(events_.size(), options_.batch));
    const std::vector<LogEvent> events(std::make_move_iterator(events_.begin()),
                                       std::make_move_iterator(events_.begin() + count));
    std::vector<Waiting> waiting(std::make_move_iterator(waiting_.begin()),
                                 std::make_move_iterator(waiting_.begin() + count));
    events_.erase(events_.begin(), events_.begin() + count);
    waiting_.erase(waiting_.begin(), waiting_.begin() + count);
    lock.unlock();
    std::int64_t first = 0;
    std::exception_ptr error;
    try {
      first = log_.append(events);
    } catch (...) {
      error = std::current_exception();
    }
    for (std::int64_t i = 0; i < count; ++i) {
      Waiting& each = waiting[static_cast<std::size_t>(i)];
      if (each.done) each.done(error == nullptr ? first + i : 0, error);
    }
    // Completions may own objects whose destructors take time.
    waiting.clear();
    lock.lock();
    completed_ += static_cast<std::uint64_t>(count);
    done_.notify_all();
  }

  EventLog& log_;
  const CommitterOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable done_;
  std::deque<LogEvent> events_;
  std::deque<Waiting> waiting_;  ///< of the same events
  std::uint64_t submitted_ = 0;
  std::uint64_t completed_ = 0;
  std::uint64_t flushed_ = 0;  ///< events up to this number do not wait for others
  bool is_stopping_ = false;
  std::mutex joining_;
  std::thread thread_;  ///< begins when everything above exists
};

Committer::Committer(EventLog& log, const CommitterOptions& options) {
  if (options.wait.count() < 0 || options.batch == 0 || options.queue == 0)
    throw OptionError(detail::concat(
        "committer: expected a wait of at least 0 and a positive batch and queue, got ",
        static_cast<long long>(options.wait.count()), " us, ", options.batch, " and ",
        options.queue));
  impl_ = std::make_unique<Impl>(log, options);
}
Committer::~Committer() = default;

bool Committer::submit(LogEvent event, Completion done) {
  return impl_->submit(std::move(event), std::move(done));
}
void Committer::flush() { impl_->flush(); }
void Committer::stop() { impl_->stop(); }
std::size_t Committer::waiting() const { return impl_->waiting(); }

}  // namespace refrain
