#include "src/device_cpu.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

namespace refrain::cpu {
namespace {

constexpr std::size_t alignment = 64;
constexpr std::size_t classes = 4 * 64;

/// Size classes: four steps to each power of two, so that at most a fifth of a block is slack.
struct SizeClass {
  std::size_t index;
  std::size_t bytes;
};

SizeClass size_class(std::size_t bytes) {
  const std::size_t wanted = bytes < alignment ? alignment : bytes;
  if (wanted > (std::size_t{1} << 62)) throw std::bad_alloc();
  const std::size_t power = static_cast<std::size_t>(std::bit_width(wanted - 1)) - 1;  // 2^power < wanted <= 2^(power+1)
  const std::size_t base = std::size_t{1} << power;
  const std::size_t step = base / 4;
  const std::size_t quarter = (wanted - base + step - 1) / step;  // 1..4
  return {power * 4 + quarter - 1, base + quarter * step};
}

/// A released block's first bytes link it to the next one of its class.
struct FreeBlock {
  FreeBlock* next;
};

class Pool {
 public:
  // Never destroyed: tensors with static lifetime may be released after any destructor here would have run.
  static Pool& instance() {
    static Pool& pool = *new Pool;
    return pool;
  }

  void* allocate(std::size_t bytes) {
    const SizeClass size = size_class(bytes);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (FreeBlock* block = free_[size.index]) {
        free_[size.index] = block->next;
        count_used(size.bytes);
        return block;
      }
    }
    void* block = std::aligned_alloc(alignment, (size.bytes + alignment - 1) / alignment * alignment);
    if (block == nullptr) {
      trim();
      block = std::aligned_alloc(alignment, (size.bytes + alignment - 1) / alignment * alignment);
      if (block == nullptr) throw std::bad_alloc();
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    ++stats_.system_allocations;
    stats_.held_bytes += static_cast<std::int64_t>(size.bytes);
    count_used(size.bytes);
    return block;
  }

  void release(void* block, std::size_t bytes) noexcept {
    const SizeClass size = size_class(bytes);
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
  void count_used(std::size_t bytes) {
    stats_.used_bytes += static_cast<std::int64_t>(bytes);
    stats_.peak_used_bytes = std::max(stats_.peak_used_bytes, stats_.used_bytes);
  }

  std::mutex mutex_;
  std::array<FreeBlock*, classes> free_{};
  PoolStats stats_;
};

}  // namespace

void* allocate(std::size_t bytes) { return Pool::instance().allocate(bytes); }
void release(void* block, std::size_t bytes) noexcept { Pool::instance().release(block, bytes); }
PoolStats stats() { return Pool::instance().stats(); }
void reset_peak() { Pool::instance().reset_peak(); }
void trim() { Pool::instance().trim(); }

}  // namespace refrain::cpu
