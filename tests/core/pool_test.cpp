/// The memory pool.

#include <barrier>
#include <thread>
#include <vector>

#include "refrain/core/tensor.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("pool: repeated sizes need no system allocation", "[core][pool]") {
  const auto round = [] {
    std::vector<Tensor> held;
    for (const std::int64_t size : {1, 7, 64, 1000, 4096, 100000, 1000000}) {
      held.push_back(Tensor::full({size}, 1, DType::f32));
      held.push_back(held.back().clone());
    }
  };
  round();
  const PoolStats before = pool_stats();
  for (int i = 0; i < 5; ++i) round();
  const PoolStats after = pool_stats();
  CHECK(after.system_allocations == before.system_allocations);
  CHECK(after.used_bytes == before.used_bytes);
  CHECK(after.held_bytes == before.held_bytes);
  const Tensor larger({12345678}, DType::f64);
  CHECK(pool_stats().used_bytes >= before.used_bytes + 8 * 12345678);
}

TEST_CASE("pool: blocks are aligned, peaks and trimming are counted", "[core][pool]") {
  for (const std::int64_t size : {0, 1, 3, 17, 1025, 70001}) {
    const Tensor tensor({size}, DType::f32);
    CHECK(reinterpret_cast<std::uintptr_t>(tensor.raw()) % 64 == 0);
  }
  pool_reset_peak();
  const std::int64_t base = pool_stats().peak_used_bytes;
  CHECK(base == pool_stats().used_bytes);
  { const Tensor big({3000000}, DType::f32); }
  CHECK(pool_stats().peak_used_bytes >= base + 12000000);
  CHECK(pool_stats().used_bytes == base);
  pool_trim();
  CHECK(pool_stats().held_bytes == pool_stats().used_bytes);
  const std::int64_t allocations = pool_stats().system_allocations;
  const Tensor again({3000000}, DType::f32);
  CHECK(pool_stats().system_allocations > allocations);
}

TEST_CASE("pool: used, passed and cached blocks of threads are counted and trimmed",
          "[core][pool]") {
  constexpr std::int64_t block = 1024, count = 100;  // more than a thread cache holds of one size
  pool_trim();
  const PoolStats before = pool_stats();
  std::vector<void*> handed_on, own;
  std::barrier meeting(2);
  std::thread other([&] {
    for (std::int64_t i = 0; i < count; ++i) handed_on.push_back(pool_allocate(block, Device::cpu));
    for (std::int64_t i = 0; i < count; ++i) own.push_back(pool_allocate(block, Device::cpu));
    meeting.arrive_and_wait();  // 1
    meeting.arrive_and_wait();  // 2
    for (void* memory : own) pool_release(memory, block, Device::cpu);
    meeting.arrive_and_wait();  // 3
    meeting.arrive_and_wait();  // 4: the thread continues with its cached blocks
    void* again = pool_allocate(block, Device::cpu);
    pool_release(again, block, Device::cpu);
  });
  meeting.arrive_and_wait();  // 1
  CHECK(pool_stats().used_bytes == before.used_bytes + 2 * count * block);
  CHECK(pool_stats().peak_used_bytes >= before.used_bytes + 2 * count * block);
  for (void* memory : handed_on) pool_release(memory, block, Device::cpu);
  CHECK(pool_stats().used_bytes == before.used_bytes + count * block);
  meeting.arrive_and_wait();  // 2
  meeting.arrive_and_wait();  // 3
  CHECK(pool_stats().used_bytes == before.used_bytes);
  CHECK(pool_stats().held_bytes == before.held_bytes + 2 * count * block);
  pool_trim();
  CHECK(pool_stats().held_bytes == pool_stats().used_bytes);
  meeting.arrive_and_wait();  // 4
  other.join();
  CHECK(pool_stats().held_bytes == pool_stats().used_bytes + block);
  const std::int64_t allocations = pool_stats().system_allocations;
  pool_release(pool_allocate(block, Device::cpu), block, Device::cpu);
  // The blocks of the ended thread are reused.
  CHECK(pool_stats().system_allocations == allocations);
}
