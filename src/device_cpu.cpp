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
class Shelf {
 public:
  static bool holds(const SizeClass& size) noexcept { return size.index < classes; }

  SpinLock mutex;  ///< locked by the owning thread and by visit_shelves()

  /// Null when the shelf has no block of the class.
  void* take(const SizeClass& size) noexcept {
    FreeBlock* block = free_[size.index];
    if (block == nullptr) return nullptr;
    free_[size.index] = block->next;
    --blocks_[size.index];
    used_bytes += static_cast<std::int64_t>(size.bytes);
    peak_bytes = std::max(peak_bytes, used_bytes);
    return block;
  }
  /// False when the shelf is full.
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

  std::int64_t used_bytes = 0;  ///< since the shelf was last added to the pool's counts
  std::int64_t peak_bytes = 0;  ///< their largest value

 private:
  static constexpr std::size_t classes = 4 * 14;  ///< up to 16 KiB
  static constexpr int max_blocks = 16;
  static constexpr std::int64_t uncounted_limit_bytes = 1 << 16;
  std::array<FreeBlock*, classes> free_{};
  std::array<int, classes> blocks_{};
};

/// Lock order: shelves_mutex_, the mutex of a shelf, mutex_.
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
    if (Shelf* shelf = this_thread(); shelf != nullptr && Shelf::holds(size)) {
      const std::lock_guard lock(shelf->mutex);
      if (shelf->put(block, size)) {
        if (shelf->must_report()) report(*shelf);
        return;
      }
    }
    const std::lock_guard lock(mutex_);
    free_[size.index] = new (block) FreeBlock{free_[size.index]};
    stats_.used_bytes -= static_cast<std::int64_t>(size.bytes);
  }

  PoolStats stats() {
    visit_shelves([this](Shelf& shelf) { report(shelf); });
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() {
    visit_shelves([this](Shelf& shelf) { report(shelf); });
    const std::lock_guard lock(mutex_);
    stats_.peak_used_bytes = stats_.used_bytes;
  }

  void trim() {
    visit_shelves([this](Shelf& shelf) { empty(shelf); });
    const std::lock_guard lock(mutex_);
    for (FreeBlock*& head : free_) {
      while (head != nullptr) std::free(std::exchange(head, head->next));
    }
    stats_.held_bytes = stats_.used_bytes;
  }

 private:
  /// Owns a shelf while its thread lives.
  struct Owner {
    Shelf shelf;
    Owner() {
      Pool& pool = instance();
      const std::lock_guard lock(pool.shelves_mutex_);
      pool.shelves_.push_back(&shelf);
    }
    ~Owner() {
      Pool& pool = instance();
      own = nullptr;
      has_ended = true;
      const std::lock_guard lock(pool.shelves_mutex_);
      pool.shelves_.erase(std::find(pool.shelves_.begin(), pool.shelves_.end(), &shelf));
      const std::lock_guard shelf_lock(shelf.mutex);
      pool.empty(shelf);
    }
  };

  /// Null when the thread is ending; blocks released then go to the pool.
  static Shelf* this_thread() {
    if (own == nullptr && !has_ended) {
      thread_local Owner owner;
      own = &owner.shelf;
    }
    return own;
  }

  /// A cached block of the class, or null.
  void* cached(const SizeClass& size) {
    Shelf* shelf = this_thread();
    if (shelf == nullptr) return pooled(size);
    const std::lock_guard lock(shelf->mutex);
    if (void* block = Shelf::holds(size) ? shelf->take(size) : nullptr) {
      if (shelf->must_report()) report(*shelf);
      return block;
    }
    return pooled(size, shelf);
  }

  /// A block from the pool. The counts of `shelf` are added first.
  void* pooled(const SizeClass& size, Shelf* shelf = nullptr) {
    const std::lock_guard lock(mutex_);
    if (shelf != nullptr) take_over(*shelf);
    FreeBlock* block = free_[size.index];
    if (block == nullptr) return nullptr;
    free_[size.index] = block->next;
    count_used(size.bytes);
    return block;
  }

  template <class Visit>
  void visit_shelves(const Visit& visit) {
    const std::lock_guard lock(shelves_mutex_);
    for (Shelf* shelf : shelves_) {
      const std::lock_guard shelf_lock(shelf->mutex);
      visit(*shelf);
    }
  }

  /// Adds the counts of a locked shelf to the pool's. Requires mutex_ locked.
  void take_over(Shelf& shelf) noexcept {
    stats_.peak_used_bytes = std::max(stats_.peak_used_bytes, stats_.used_bytes + shelf.peak_bytes);
    stats_.used_bytes += shelf.used_bytes;
    shelf.used_bytes = shelf.peak_bytes = 0;
  }

  void report(Shelf& shelf) noexcept {
    const std::lock_guard lock(mutex_);
    take_over(shelf);
  }

  void empty(Shelf& shelf) noexcept {
    const std::lock_guard lock(mutex_);
    take_over(shelf);
    shelf.clear([this](FreeBlock* block, std::size_t index) {
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

  static thread_local Shelf* own;
  static thread_local bool has_ended;

  std::mutex shelves_mutex_;
  std::vector<Shelf*> shelves_;
  std::mutex mutex_;
  std::array<FreeBlock*, SizeClass::count> free_{};
  PoolStats stats_;
};

constinit thread_local Shelf* Pool::own = nullptr;
constinit thread_local bool Pool::has_ended = false;

}  // namespace

void* allocate(std::size_t bytes) { return Pool::instance().allocate(bytes); }
void release(void* block, std::size_t bytes) noexcept { Pool::instance().release(block, bytes); }
PoolStats stats() { return Pool::instance().stats(); }
void reset_peak() { Pool::instance().reset_peak(); }
void trim() { Pool::instance().trim(); }

}  // namespace refrain::cpu
