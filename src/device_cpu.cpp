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

/// A released block's first bytes link it to the next one of its class.
struct FreeBlock {
  FreeBlock* next;
};

/// All memory of the machine, swap space included; where the system does not tell, no limit.
std::size_t machine_bytes() noexcept {
#if defined(__linux__)
  struct sysinfo memory = {};
  if (::sysinfo(&memory) == 0)
    return (std::size_t{memory.totalram} + memory.totalswap) * memory.mem_unit;
#endif
  return std::numeric_limits<std::size_t>::max();
}

/// For a few instructions of one thread that others hardly ever disturb.
class SpinLock {
 public:
  void lock() noexcept {
    while (is_locked_.test_and_set(std::memory_order_acquire)) std::this_thread::yield();
  }
  void unlock() noexcept { is_locked_.clear(std::memory_order_release); }

 private:
  std::atomic_flag is_locked_;
};

/// What one thread keeps at hand, so that threads do not wait for each other: few blocks of each
/// small class, and the bytes that it took and gave since the pool was last told.
class Shelf {
 public:
  static bool holds(const SizeClass& size) noexcept { return size.index < classes; }

  SpinLock mutex;  ///< of its thread, and of those who ask all shelves

  /// Null: there is none.
  void* take(const SizeClass& size) noexcept {
    FreeBlock* block = free_[size.index];
    if (block == nullptr) return nullptr;
    free_[size.index] = block->next;
    --blocks_[size.index];
    used_bytes += static_cast<std::int64_t>(size.bytes);
    peak_bytes = std::max(peak_bytes, used_bytes);
    return block;
  }
  /// False: it is full.
  bool put(void* block, const SizeClass& size) noexcept {
    if (blocks_[size.index] == most_blocks) return false;
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
  bool must_tell() const noexcept {
    return used_bytes > untold_bytes || used_bytes < -untold_bytes;
  }

  std::int64_t used_bytes = 0;  ///< since the pool was told
  std::int64_t peak_bytes = 0;  ///< their largest value

 private:
  static constexpr std::size_t classes = 4 * 14;  ///< up to 16 KiB
  static constexpr int most_blocks = 16;
  static constexpr std::int64_t untold_bytes = 1 << 16;
  std::array<FreeBlock*, classes> free_{};
  std::array<int, classes> blocks_{};
};

/// Locks are taken in the order shelves_mutex_, a shelf's, mutex_.
class Pool {
 public:
  // Never destroyed: tensors with static lifetime may be released after any destructor here would
  // have run.
  static Pool& instance() {
    static Pool& pool = *new Pool;
    return pool;
  }

  void* allocate(std::size_t bytes) {
    const SizeClass size = SizeClass::of(bytes, alignment);
    if (void* block = cached(size)) return block;
    // A system that promises more than it has would end the process when the block is written.
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
        if (shelf->must_tell()) tell(*shelf);
        return;
      }
    }
    const std::lock_guard lock(mutex_);
    free_[size.index] = new (block) FreeBlock{free_[size.index]};
    stats_.used_bytes -= static_cast<std::int64_t>(size.bytes);
  }

  PoolStats stats() {
    visit_shelves([this](Shelf& shelf) { tell(shelf); });
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() {
    visit_shelves([this](Shelf& shelf) { tell(shelf); });
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
  /// A shelf for as long as its thread lives.
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

  /// Null when the thread is ending: what is released then goes to the pool itself.
  static Shelf* this_thread() {
    if (own == nullptr && !has_ended) {
      thread_local Owner owner;
      own = &owner.shelf;
    }
    return own;
  }

  /// Null: no released block of the class is at hand.
  void* cached(const SizeClass& size) {
    Shelf* shelf = this_thread();
    if (shelf == nullptr) return pooled(size);
    const std::lock_guard lock(shelf->mutex);
    if (void* block = Shelf::holds(size) ? shelf->take(size) : nullptr) {
      if (shelf->must_tell()) tell(*shelf);
      return block;
    }
    return pooled(size, shelf);
  }

  /// A block of the pool; before it is counted, what the shelf has counted is.
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

  /// Takes over what a locked shelf has counted, with mutex_ locked.
  void take_over(Shelf& shelf) noexcept {
    stats_.peak_used_bytes = std::max(stats_.peak_used_bytes, stats_.used_bytes + shelf.peak_bytes);
    stats_.used_bytes += shelf.used_bytes;
    shelf.used_bytes = shelf.peak_bytes = 0;
  }

  void tell(Shelf& shelf) noexcept {
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
