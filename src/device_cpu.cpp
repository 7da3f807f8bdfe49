#include "src/device_cpu.hpp"

#if defined(__linux__)
#include <sys/sysinfo.h>
#endif

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <new>
#include <utility>

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
  if (::sysinfo(&memory) == 0) return (std::size_t{memory.totalram} + memory.totalswap) * memory.mem_unit;
#endif
  return std::numeric_limits<std::size_t>::max();
}

class Pool {
 public:
  // Never destroyed: tensors with static lifetime may be released after any destructor here would have run.
  static Pool& instance() {
    static Pool& pool = *new Pool;
    return pool;
  }

  void* allocate(std::size_t bytes) {
    const SizeClass size = SizeClass::of(bytes, alignment);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (FreeBlock* block = free_[size.index]) {
        free_[size.index] = block->next;
        count_used(size.bytes);
        return block;
      }
    }
    // A system that promises more than it has would end the process when the block is written.
    static const std::size_t limit_bytes = machine_bytes();
    if (size.bytes > limit_bytes) refuse(bytes);
    void* block = std::aligned_alloc(alignment, (size.bytes + alignment - 1) / alignment * alignment);
    if (block == nullptr) {
      trim();
      block = std::aligned_alloc(alignment, (size.bytes + alignment - 1) / alignment * alignment);
      if (block == nullptr) refuse(bytes);
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    ++stats_.system_allocations;
    stats_.held_bytes += static_cast<std::int64_t>(size.bytes);
    count_used(size.bytes);
    return block;
  }

  void release(void* block, std::size_t bytes) noexcept {
    const SizeClass size = SizeClass::of(bytes, alignment);
    const std::lock_guard<std::mutex> lock(mutex_);
    free_[size.index] = new (block) FreeBlock{free_[size.index]};
    stats_.used_bytes -= static_cast<std::int64_t>(size.bytes);
  }

  PoolStats stats() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return stats_;
  }

  void reset_peak() {
    const std::lock_guard<std::mutex> lock(mutex_);
    stats_.peak_used_bytes = stats_.used_bytes;
  }

  void trim() {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (FreeBlock*& head : free_) {
      while (head != nullptr) std::free(std::exchange(head, head->next));
    }
    stats_.held_bytes = stats_.used_bytes;
  }

 private:
  [[noreturn]] void refuse(std::size_t bytes) { throw OutOfMemory("cpu", bytes, static_cast<std::size_t>(stats().used_bytes)); }

  void count_used(std::size_t bytes) {
    stats_.used_bytes += static_cast<std::int64_t>(bytes);
    stats_.peak_used_bytes = std::max(stats_.peak_used_bytes, stats_.used_bytes);
  }

  std::mutex mutex_;
  std::array<FreeBlock*, SizeClass::count> free_{};
  PoolStats stats_;
};

}  // namespace

void* allocate(std::size_t bytes) { return Pool::instance().allocate(bytes); }
void release(void* block, std::size_t bytes) noexcept { Pool::instance().release(block, bytes); }
PoolStats stats() { return Pool::instance().stats(); }
void reset_peak() { Pool::instance().reset_peak(); }
void trim() { Pool::instance().trim(); }

}  // namespace refrain::cpu
