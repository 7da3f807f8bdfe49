#pragma once
/// A caching pool of device memory that reuses blocks in stream order.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <unordered_map>
#include <utility>

#include "refrain/core/device.hpp"
#include "src/size_class.hpp"

namespace refrain {

/// A block belongs to the queue that it was allocated for: a stream or a capture. A released block
/// goes to the free list of its queue and is reused by later allocations of the same queue without
/// waiting: work of a queue runs in order, so earlier work with the block has finished when the new
/// owner's work runs. The blocks of a captured graph stay with it until the graph is destroyed.
///
/// The pool calls the device only through `Source`: allocate(bytes) (null when memory is
/// exhausted), release(block) and wait(), which returns false where waiting is forbidden. After the
/// first allocation of a size class the pool allocates no host memory.
template <class Source>
class StreamPool {
 public:
  using Queue = const void*;

  explicit StreamPool(Source source = {}) : source_(std::move(source)) {}

  /// Throws std::bad_alloc when memory is exhausted even after all cached blocks were returned.
  void* allocate(std::size_t bytes, Queue queue) {
    const SizeClass size = SizeClass::of(bytes, smallest);
    const std::lock_guard<std::mutex> lock(mutex_);
    Block*& free = free_lists_[queue].free[size.index];
    if (free == nullptr) return fetch(size, queue);
    Block& block = *std::exchange(free, free->next);
    block.is_free = false;
    count_used(block.bytes);
    return block.data;
  }

  void release(void* data) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    Block& block = blocks_.find(data)->second;
    add_to_free_list(block);
    stats_.used_bytes -= static_cast<std::int64_t>(block.bytes);
  }

  /// Marks a queue as a capture: trim() keeps its blocks.
  void keep(Queue queue) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_lists_[queue].kept = true;
  }

  /// Moves all blocks of a queue that ends, in use or free, to another one. Work queued in `to`
  /// from this call on must run after all work of `from`.
  void hand_over(Queue from, Queue to) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = free_lists_.find(from);
    if (found == free_lists_.end()) return;
    free_lists_.erase(found);
    for (auto& [data, block] : blocks_) {
      if (block.queue != from) continue;
      block.queue = to;
      if (block.is_free) add_to_free_list(block);
    }
  }

  PoolStats stats() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return stats_;
  }

  void reset_peak() {
    const std::lock_guard<std::mutex> lock(mutex_);
    stats_.peak_used_bytes = stats_.used_bytes;
  }

  void trim() {
    const std::lock_guard<std::mutex> lock(mutex_);
    release_free_blocks();
  }

 private:
  static constexpr std::size_t smallest = 512;

  struct Block {
    void* data = nullptr;
    std::size_t bytes = 0;
    std::size_t size_class = 0;
    Queue queue = nullptr;
    bool is_free = false;
    Block* next = nullptr;  ///< next block of the same free list
  };

  struct FreeLists {
    std::array<Block*, SizeClass::count> free{};
    bool kept = false;
  };

  void add_to_free_list(Block& block) noexcept {
    Block*& first = free_lists_[block.queue].free[block.size_class];
    block.next = std::exchange(first, &block);
    block.is_free = true;
  }

  void* fetch(SizeClass size, Queue queue) {
    void* data = source_.allocate(size.bytes);
    if (data == nullptr && release_free_blocks()) data = source_.allocate(size.bytes);
    if (data == nullptr)
      throw OutOfMemory("cuda", size.bytes, static_cast<std::size_t>(stats_.used_bytes));
    try {
      blocks_.emplace(
          data, Block{.data = data, .bytes = size.bytes, .size_class = size.index, .queue = queue});
    } catch (...) {
      source_.release(data);
      throw;
    }
    ++stats_.system_allocations;
    stats_.held_bytes += static_cast<std::int64_t>(size.bytes);
    count_used(size.bytes);
    return data;
  }

  void count_used(std::size_t bytes) {
    stats_.used_bytes += static_cast<std::int64_t>(bytes);
    stats_.peak_used_bytes = std::max(stats_.peak_used_bytes, stats_.used_bytes);
  }

  /// Returns the free blocks of all streams to the device; false when waiting is forbidden.
  bool release_free_blocks() {
    if (!source_.wait()) return false;
    for (auto& [queue, lists] : free_lists_) {
      if (lists.kept) continue;
      for (Block*& first : lists.free) {
        while (first != nullptr) {
          Block* block = std::exchange(first, first->next);
          stats_.held_bytes -= static_cast<std::int64_t>(block->bytes);
          source_.release(block->data);
          blocks_.erase(block->data);
        }
      }
    }
    return true;
  }

  Source source_;
  mutable std::mutex mutex_;
  std::unordered_map<const void*, Block> blocks_;
  std::unordered_map<Queue, FreeLists> free_lists_;
  PoolStats stats_;
};

}  // namespace refrain
