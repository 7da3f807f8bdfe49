/// Streams, events, transfer buffers and the pool of device memory, as far as they can be tested
/// without a GPU.

#include <cstdint>
#include <cstdlib>
#include <map>
#include <set>
#include <vector>

#include "refrain/core/stream.hpp"
#include "src/stream_pool.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

/// Memory represented by numbers, with a limit.
struct Numbers {
  std::size_t limit = SIZE_MAX;
  std::size_t held = 0;
  std::map<void*, std::size_t> blocks{};
  std::uintptr_t next = 4096;
  int waits = 0;
  bool may_wait = true;
};

struct NumberSource {
  Numbers* numbers;
  void* allocate(std::size_t bytes) {
    if (numbers->held + bytes > numbers->limit) return nullptr;
    void* block = reinterpret_cast<void*>(
        numbers->next);  // NOLINT(performance-no-int-to-ptr): never followed
    numbers->next += bytes;
    numbers->blocks[block] = bytes;
    numbers->held += bytes;
    return block;
  }
  void release(void* block) noexcept {
    numbers->held -= numbers->blocks.at(block);
    numbers->blocks.erase(block);
  }
  bool wait() {
    ++numbers->waits;
    return numbers->may_wait;
  }
};

using Pool = StreamPool<NumberSource>;

const int queues[3] = {};
const void* const first = &queues[0];
const void* const second = &queues[1];
const void* const capturing = &queues[2];

}  // namespace

TEST_CASE("stream pool: a released block goes to the next request of its queue and size",
          "[core][device]") {
  Numbers numbers;
  Pool pool(NumberSource{&numbers});
  void* a = pool.allocate(1000, first);
  void* b = pool.allocate(1000, first);
  CHECK(a != b);
  pool.release(a);
  // Work of the other queue may run while the block is in use.
  CHECK(pool.allocate(1000, second) != a);
  CHECK(pool.allocate(5000, first) != a);
  CHECK(pool.allocate(1010, first) == a);  // the same class of sizes
  CHECK(pool.stats().system_allocations == 4);
  CHECK(numbers.waits == 0);
  for (int round = 0; round < 100; ++round) {
    void* c = pool.allocate(70000, first);
    void* d = pool.allocate(3, second);
    pool.release(c);
    pool.release(d);
  }
  CHECK(pool.stats().system_allocations == 6);
}

TEST_CASE("stream pool: counters", "[core][device]") {
  Numbers numbers;
  Pool pool(NumberSource{&numbers});
  void* a = pool.allocate(1, first);
  const std::int64_t unit = pool.stats().used_bytes;
  CHECK(unit == static_cast<std::int64_t>(numbers.held));
  void* b = pool.allocate(1, second);
  pool.release(a);
  CHECK(pool.stats().used_bytes == unit);
  CHECK(pool.stats().peak_used_bytes == 2 * unit);
  CHECK(pool.stats().held_bytes == 2 * unit);
  pool.reset_peak();
  CHECK(pool.stats().peak_used_bytes == unit);
  pool.trim();
  CHECK(pool.stats().held_bytes == unit);
  CHECK(numbers.waits == 1);
  pool.release(b);
  pool.trim();
  CHECK(pool.stats().held_bytes == 0);
  CHECK(numbers.blocks.empty());
}

TEST_CASE("stream pool: cached blocks are released before an allocation fails", "[core][device]") {
  Numbers numbers{.limit = 100000};
  Pool pool(NumberSource{&numbers});
  void* a = pool.allocate(60000, first);
  pool.release(a);
  CHECK_NOTHROW(pool.allocate(90000, second));
  CHECK(numbers.waits == 1);
  CHECK_THROWS_AS(pool.allocate(90000, second), std::bad_alloc);
  numbers.may_wait = false;  // as inside a capture
  CHECK_THROWS_AS(pool.allocate(90000, second), std::bad_alloc);
  CHECK(pool.stats().held_bytes == static_cast<std::int64_t>(numbers.held));
}

TEST_CASE("stream pool: a capture keeps its blocks until it ends", "[core][device]") {
  Numbers numbers;
  Pool pool(NumberSource{&numbers});
  pool.keep(capturing);
  void* live = pool.allocate(1000, capturing);
  void* freed = pool.allocate(1000, capturing);
  pool.release(freed);
  CHECK(pool.allocate(1000, first) != freed);  // a later run of the captured graph writes there
  pool.trim();
  CHECK(numbers.blocks.count(freed) == 1);
  pool.hand_over(capturing, first);
  CHECK(pool.allocate(1000, first) == freed);
  pool.release(live);
  CHECK(pool.allocate(1000, first) == live);
  pool.release(live);
  pool.release(freed);
  pool.trim();
  CHECK(numbers.blocks.size() == 1);  // the block that `first` allocated in between
}

TEST_CASE("stream pool: random use never returns a live block", "[core][device]") {
  Numbers numbers{.limit = std::size_t{1} << 22};
  Pool pool(NumberSource{&numbers});
  Random random(5);
  std::vector<void*> live;
  std::set<void*> known;
  for (int step = 0; step < 20000; ++step) {
    if (!live.empty() && random.below(2) == 0) {
      const std::size_t at =
          static_cast<std::size_t>(random.below(static_cast<std::int64_t>(live.size())));
      pool.release(live[at]);
      known.erase(live[at]);
      live[at] = live.back();
      live.pop_back();
    } else {
      try {
        void* block =
            pool.allocate(static_cast<std::size_t>(random.below(70000)), &queues[random.below(2)]);
        REQUIRE(known.insert(block).second);
        live.push_back(block);
      } catch (const std::bad_alloc&) {
        REQUIRE(!live.empty());
      }
    }
    if (step % 997 == 0) pool.trim();
  }
  for (void* block : live) pool.release(block);
  pool.trim();
  CHECK(pool.stats().used_bytes == 0);
  CHECK(pool.stats().held_bytes == 0);
  CHECK(numbers.blocks.empty());
  CHECK(numbers.held == 0);
}

TEST_CASE("device: streams and events of the CPU do not block", "[core][device]") {
  const OwnedStream stream(Device::cpu);
  CHECK(stream.get().handle == nullptr);
  const StreamScope scope(stream);
  Event before(Device::cpu);
  Event after(Device::cpu);
  before.record();
  after.record();
  after.delay();
  after.synchronize();
  CHECK(after.has_passed());
  CHECK(after.milliseconds_since(before) >= 0);
  CHECK_NOTHROW(synchronize(Device::cpu));
  CHECK_FALSE(is_capturing());
  bool called = false;
  CHECK_THROWS_AS(CapturedWork(Device::cpu, [&] { called = true; }), Unsupported);
  CHECK_FALSE(called);
}

TEST_CASE("device: transfer buffers on the CPU copy immediately and check their range",
          "[core][device]") {
  PinnedBuffer buffer(16, Device::cpu);
  const Tensor source = Tensor::from<float>({4}, {1, 2, 3, 4});
  Tensor target = Tensor::zeros({2}, DType::f32);
  buffer.fetch(source.raw(), 0, 16);
  buffer.send(target.mutable_view().data, 8, 8);
  CHECK(doubles(target) == std::vector<double>{3, 4});
  CHECK_THROWS_AS(buffer.send(target.mutable_view().data, 12, 8), ShapeError);
  CHECK_THROWS_AS(buffer.fetch(source.raw(), 17, 0), ShapeError);
  PinnedBuffer moved = std::move(buffer);
  CHECK(buffer.data() ==
        nullptr);  // NOLINT(bugprone-use-after-move): the moved-from state is part of the contract
  CHECK(moved.bytes() == 16);
}

TEST_CASE("device: a pattern of bytes repeats over any length", "[core][device]") {
  for (const std::int64_t count : {1, 2, 3, 7, 64, 1000}) {
    Tensor tensor = Tensor::zeros({count + 1}, DType::i32);
    tensor.data<std::int32_t>()[0] = 17;
    repeat_bytes(tensor.mutable_view().data, Device::cpu, 4, 4 * static_cast<std::size_t>(count));
    std::vector<std::int32_t> expected(static_cast<std::size_t>(count), 17);
    expected.push_back(0);  // no write after the end
    CHECK(integers(tensor) == expected);
  }
  const Tensor repeated = Tensor::repeated(Tensor::from<double>({1, 1}, {2.5}), {2, 3});
  CHECK(repeated.shape() == Shape{2, 3});
  CHECK(doubles(repeated) == std::vector<double>(6, 2.5));
  CHECK(Tensor::repeated(Tensor::full({}, 1, DType::f32), {0, 3}).numel() == 0);
  CHECK_THROWS_AS(Tensor::repeated(Tensor::zeros({2}, DType::f32), {2}), ShapeError);
}

TEST_CASE("device: a query for a GPU never throws, the use of a missing one does",
          "[core][device]") {
  if (is_available(Device::cuda)) {
    CHECK(current_stream(Device::cuda).handle != nullptr);
    return;
  }
  CHECK_THROWS_MATCHES(current_stream(Device::cuda), Unsupported,
                       message_contains("Device::cuda is not available"));
  CHECK_THROWS_AS(synchronize(Device::cuda), Unsupported);
  CHECK_THROWS_AS(OwnedStream(Device::cuda), Unsupported);
  CHECK_THROWS_AS(Event(Device::cuda), Unsupported);
  CHECK_THROWS_AS(PinnedBuffer(8, Device::cuda), Unsupported);
  CHECK_THROWS_AS(CapturedWork(Device::cuda, [] {}), Unsupported);
  CHECK_THROWS_AS(pool_trim(Device::cuda), Unsupported);
}
