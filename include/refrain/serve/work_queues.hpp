#pragma once
/// Threads that process the work of users, each user on one thread.

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "refrain/core/detail/xxh64.hpp"
#include "refrain/core/error.hpp"

namespace refrain {

/// The shard of a user: XXH64 of the name, modulo `shards`. It is the same on every machine, so
/// that users can be divided among processes.
inline std::size_t shard_of(std::string_view user, std::size_t shards) {
  detail::Xxh64 hash;
  hash.update(user.data(), user.size());
  return static_cast<std::size_t>(hash.digest() % shards);
}

/// One bounded queue and one thread for each shard.
///
/// A thread takes all work that waits in its queue and passes it to `process` at once, in the order
/// in which it was posted, so that waiting requests can be computed as one batch. Work that finds
/// an idle thread is processed alone and without delay. Any thread may post.
template <class Work>
class WorkQueues {
 public:
  /// Processes the work that waited for a shard, on that shard's thread. It must not throw.
  using Process = std::function<void(std::size_t shard, std::vector<Work>& work)>;

  /// Starts one thread for each shard. A queue holds at most `capacity` pieces of work. Throws
  /// OptionError for no shards and no capacity.
  WorkQueues(std::size_t shards, std::size_t capacity, Process process)
      : capacity_(capacity), process_(std::move(process)), queues_(shards) {
    if (shards == 0 || capacity == 0) {
      throw OptionError(detail::concat("WorkQueues: expected at least one shard and a capacity of ",
                                       "at least 1, got ", shards, " and ", capacity));
    }
    threads_.reserve(shards);
    for (std::size_t shard = 0; shard < shards; ++shard)
      threads_.emplace_back([this, shard] { run(shard); });
  }

  WorkQueues(const WorkQueues&) = delete;
  WorkQueues& operator=(const WorkQueues&) = delete;
  ~WorkQueues() { finish(); }

  std::size_t shards() const noexcept { return queues_.size(); }

  /// Posts work to a shard, and waits while its queue is full.
  void post(std::size_t shard, Work work) {
    Queue& queue = queues_[shard];
    std::unique_lock lock(queue.mutex);
    queue.room.wait(lock, [&] { return queue.waiting.size() < capacity_; });
    add(queue, std::move(work));
  }

  /// Posts work to a shard. Returns false, and leaves the work unchanged, while its queue is full.
  bool try_post(std::size_t shard, Work& work) {
    Queue& queue = queues_[shard];
    const std::lock_guard lock(queue.mutex);
    if (queue.waiting.size() >= capacity_) return false;
    add(queue, std::move(work));
    return true;
  }

  /// Waits until all posted work is processed and ends the threads. No work may be posted
  /// afterwards.
  void finish() {
    for (Queue& queue : queues_) {
      const std::lock_guard lock(queue.mutex);
      queue.is_closed = true;
      queue.came.notify_one();
    }
    for (std::thread& thread : threads_)
      if (thread.joinable()) thread.join();
  }

 private:
  struct Queue {
    std::mutex mutex;
    std::condition_variable came;
    std::condition_variable room;
    std::vector<Work> waiting;
    bool is_closed = false;
  };

  void add(Queue& queue, Work work) {
    queue.waiting.push_back(std::move(work));
    if (queue.waiting.size() == 1) queue.came.notify_one();
  }

  void run(std::size_t shard) {
    Queue& queue = queues_[shard];
    std::vector<Work> work;
    for (;;) {
      {
        std::unique_lock lock(queue.mutex);
        queue.came.wait(lock, [&] { return queue.is_closed || !queue.waiting.empty(); });
        if (queue.waiting.empty()) return;
        work.swap(queue.waiting);
      }
      queue.room.notify_all();
      process_(shard, work);
      work.clear();
    }
  }

  std::size_t capacity_;
  Process process_;
  std::vector<Queue> queues_;
  std::vector<std::thread> threads_;
};

}  // namespace refrain
