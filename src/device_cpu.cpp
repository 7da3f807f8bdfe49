#include "src/device_cpu.hpp"

#if defined(__linux__)
#include <sys/sysinfo.h>
#endif

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "refrain/core/error.hpp"

#include "src/size_class.hpp"

namespace refrain::cpu {
namespace {

constexpr std::size_t alignment = 64;

/// A free block. Its first bytes hold the link to the next free block of its class.
struct FreeBlock {
  FreeBlock* next;
};

/// Memory of the machine including swap, in bytes; no limit where the system does not report it.
std::size_t machine_bytes() noexcept {
#if defined(__linux__)
  struct sysinfo memory = {};
  if (::sysinfo(&memory) == 0)
    return (std::size_t{memory.totalram} + memory.totalswap) * memory.mem_unit;
#endif
  return std::numeric_limits<std::size_t>::max();
}

/// Guards a few instructions of one thread; contention is rare.
class SpinLock {
 public:
  void lock() noexcept {
    while (is_locked_.test_and_set(std::memory_order_acquire)) std::this_thread::yield();
  }
  void unlock() noexcept { is_locked_.clear(std::memory_order_release); }

 private:
  std::atomic_flag is_locked_;
};

/// Blocks that one thread keeps, so that threads do not contend for the pool: up to max_blocks of
/// each small class, and the bytes allocated and released since they were last added to the pool's
/// counts.
class ThreadCache {
 public:
  static bool holds(const SizeClass& size) noexcept { return size.index < classes; }

  SpinLock mutex;  ///< locked by the owning thread and by visit_caches()

  /// Null when the cache has no block of the class.
  void* take(const SizeClass& size) noexcept {
    FreeBlock* block = free_[size.index];
    if (block == nullptr) return nullptr;
    free_[size.index] = block->next;
    --blocks_[size.index];
    used_bytes += static_cast<std::int64_t>(size.bytes);
    peak_bytes = std::max(peak_bytes, used_bytes);
    return block;
  }
  /// False when the cache is full.
  bool put(void* block, const SizeClass& size) noexcept {
    if (blocks_[size.index] == max_blocks) return false;
    free_[size.index] = new (block) FreeBlock{free_[size.index]};
    ++blocks_[size.index];
    used_bytes -= static_cast<std::int64_t>(size.bytes);
    return true;
  }
  /// Hands every block to `receive(block, class index)`.
  template <class Receive>
  void clear(const Receive& receive) noexcept {
    for (std::size_t index = 0; index < classes; ++index) {
      while (free_[index] != nullptr)
        receive(std::exchange(free_[index], free_[index]->next), index);
      blocks_[index] = 0;
    }
  }
  bool must_report() const noexcept {
    return used_bytes > uncounted_limit_bytes || used_bytes < -uncounted_limit_bytes;
  }

  std::int64_t used_bytes = 0;  ///< since the cache was last added to the pool's counts
  std::int64_t peak_bytes = 0;  ///< their largest value

 private:
  static constexpr std::size_t classes = 4 * 14;  ///< up to 16 KiB
  static constexpr int max_blocks = 16;
  static constexpr std::int64_t uncounted_limit_bytes = 1 << 16;
  std::array<FreeBlock*, classes> free_{};
  std::array<int, classes> blocks_{};
};

/// Lock order: caches_mutex_, the mutex of a cache, mutex_.
class Pool {
 public:
  // Never destroyed: tensors with static lifetime may be released after any destructor here.
  static Pool& instance() {
    static Pool& pool = *new Pool;
    return pool;
  }

  void* allocate(std::size_t bytes) {
    const SizeClass size = SizeClass::of(bytes, alignment);
    if (void* block = cached(size)) return block;
    // A system that overcommits memory would kill the process at the first write to the block.
    static const std::size_t limit_bytes = machine_bytes();
    if (size.bytes > limit_bytes) refuse(bytes);
    void* block =
        std::aligned_alloc(alignment, (size.bytes + alignment - 1) / alignment * alignment);
    if (block == nullptr) {
      trim();
      block = std::aligned_alloc(alignment, (size.bytes + alignment - 1) / alignment * alignment);
      if (block == nullptr) refuse(bytes);
    }
    const std::lock_guard lock(mutex_);
    ++stats_.system_allocations;
    stats_.held_bytes += static_cast<std::int64_t>(size.bytes);
    count_used(size.bytes);
    return block;
  }

  void release(void* block, std::size_t bytes) noexcept {
    const SizeClass size = SizeClass::of(bytes, alignment);
    if (ThreadCache* cache = this_thread(); cache != nullptr && ThreadCache::holds(size)) {
      const std::lock_guard lock(cache->mutex);
      if (cache->put(block, size)) {
        if (cache->must_report()) report(*cache);
        return;
      }
    }
    const std::lock_guard lock(mutex_);
    free_[size.index] = new (block) FreeBlock{free_[size.index]};
    stats_.used_bytes -= static_cast<std::int64_t>(size.bytes);
  }

  PoolStats stats() {
    visit_caches([this](ThreadCache& cache) { report(cache); });
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() {
    visit_caches([this](ThreadCache& cache) { report(cache); });
    const std::lock_guard lock(mutex_);
    stats_.peak_used_bytes = stats_.used_bytes;
  }

  void trim() {
    visit_caches([this](ThreadCache& cache) { empty(cache); });
    const std::lock_guard lock(mutex_);
    for (FreeBlock*& head : free_) {
      while (head != nullptr) std::free(std::exchange(head, head->next));
    }
    stats_.held_bytes = stats_.used_bytes;
  }

 private:
  /// Owns a cache while its thread lives.
  struct Owner {
    ThreadCache cache;
    Owner() {
      Pool& pool = instance();
      const std::lock_guard lock(pool.caches_mutex_);
      pool.caches_.push_back(&cache);
    }
    ~Owner() {
      Pool& pool = instance();
      own = nullptr;
      has_ended = true;
      const std::lock_guard lock(pool.caches_mutex_);
      pool.caches_.erase(std::find(pool.caches_.begin(), pool.caches_.end(), &cache));
      const std::lock_guard cache_lock(cache.mutex);
      pool.empty(cache);
    }
  };

  /// Null when the thread is ending; blocks released then go to the pool.
  static ThreadCache* this_thread() {
    if (own == nullptr && !has_ended) {
      thread_local Owner owner;
      own = &owner.cache;
    }
    return own;
  }

  /// A cached block of the class, or null.
  void* cached(const SizeClass& size) {
    ThreadCache* cache = this_thread();
    if (cache == nullptr) return pooled(size);
    const std::lock_guard lock(cache->mutex);
    if (void* block = ThreadCache::holds(size) ? cache->take(size) : nullptr) {
      if (cache->must_report()) report(*cache);
      return block;
    }
    return pooled(size, cache);
  }

  /// A block from the pool. The counts of `cache` are added first.
  void* pooled(const SizeClass& size, ThreadCache* cache = nullptr) {
    const std::lock_guard lock(mutex_);
    if (cache != nullptr) take_over(*cache);
    FreeBlock* block = free_[size.index];
    if (block == nullptr) return nullptr;
    free_[size.index] = block->next;
    count_used(size.bytes);
    return block;
  }

  template <class Visit>
  void visit_caches(const Visit& visit) {
    const std::lock_guard lock(caches_mutex_);
    for (ThreadCache* cache : caches_) {
      const std::lock_guard cache_lock(cache->mutex);
      visit(*cache);
    }
  }

  /// Adds the counts of a locked cache to the pool's. Requires mutex_ locked.
  void take_over(ThreadCache& cache) noexcept {
    stats_.peak_used_bytes = std::max(stats_.peak_used_bytes, stats_.used_bytes + cache.peak_bytes);
    stats_.used_bytes += cache.used_bytes;
    cache.used_bytes = cache.peak_bytes = 0;
  }

  void report(ThreadCache& cache) noexcept {
    const std::lock_guard lock(mutex_);
    take_over(cache);
  }

  void empty(ThreadCache& cache) noexcept {
    const std::lock_guard lock(mutex_);
    take_over(cache);
    cache.clear([this](FreeBlock* block, std::size_t index) {
      free_[index] = new (block) FreeBlock{free_[index]};
    });
  }

  [[noreturn]] void refuse(std::size_t bytes) {
    throw OutOfMemory("cpu", bytes, static_cast<std::size_t>(stats().used_bytes));
  }

  void count_used(std::size_t bytes) {
    stats_.used_bytes += static_cast<std::int64_t>(bytes);
    stats_.peak_used_bytes = std::max(stats_.peak_used_bytes, stats_.used_bytes);
  }

  static thread_local ThreadCache* own;
  static thread_local bool has_ended;

  std::mutex caches_mutex_;
  std::vector<ThreadCache*> caches_;
  std::mutex mutex_;
  std::array<FreeBlock*, SizeClass::count> free_{};
  PoolStats stats_;
};

constinit thread_local ThreadCache* Pool::own = nullptr;
constinit thread_local bool Pool::has_ended = false;

}  // namespace

void* allocate(std::size_t bytes) { return Pool::instance().allocate(bytes); }
void release(void* block, std::size_t bytes) noexcept { Pool::instance().release(block, bytes); }
PoolStats stats() { return Pool::instance().stats(); }
void reset_peak() { Pool::instance().reset_peak(); }
void trim() { Pool::instance().trim(); }

}  // namespace refrain::cpu
