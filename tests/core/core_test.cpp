/// Shapes, tensors, the memory pool, random numbers and parallel loops.

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cmath>
#include <limits>
#include <locale>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "refrain/core/parallel.hpp"
#include "refrain/core/random.hpp"
#include "refrain/core/tensor.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("error: numbers in texts and files do not depend on the program's locale", "[core]") {
  struct Grouped : std::numpunct<char> {
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
    char do_decimal_point() const override { return ','; }
  };
  const std::locale before = std::locale::global(std::locale(std::locale::classic(), new Grouped));
  std::ostringstream here;
  here << 12345;
  const std::string text = detail::concat(12345, " ", 0.5, " ", Shape{1000, 2});
  std::locale::global(before);
  CHECK(here.str() == "12.345");
  CHECK(text == "12345 0.5 [1000, 2]");
}

/// The output of a stream in the classic locale.
template <class... Parts>
std::string printed(const Parts&... parts) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  (out << ... << parts);
  return out.str();
}

TEST_CASE("error: texts hold what a stream of the classic locale prints", "[core]") {
  const auto check = [](const auto& part) { CHECK(detail::concat(part) == printed(part)); };
  for (const double number :
       {0.0, -0.0, 1.0, -1.5, 0.1, 1e-7, 123456.0, 1234567.0, 1e300, -1e-300, 5e-324,
        std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
        std::numeric_limits<double>::quiet_NaN()}) {
    check(number);
    check(static_cast<float>(number));
  }
  check(std::numeric_limits<std::int64_t>::min());
  check(std::numeric_limits<std::uint64_t>::max());
  check(std::numeric_limits<int>::min());
  check(short{-3});
  check(true);
  check('x');
  check(std::string("a\0b", 3));
  check(std::string_view());
  check("text");
  check(static_cast<const void*>(&check));
  check(Shape{2, 3});
  check(DType::i64);
  check(Device::cpu);
  CHECK(detail::concat() == "");
  CHECK(detail::concat("expected ", Shape{}, ", got ", 3, std::string(", and "), 'c') ==
        "expected [], got 3, and c");
}

TEST_CASE("shape: extents, rows and text", "[core][shape]") {
  const Shape shape{2, 3, 4};
  CHECK(shape.rank() == 3);
  CHECK(shape.numel() == 24);
  CHECK(shape.rows() == 6);
  CHECK(shape[0] == 2);
  CHECK(shape[-1] == 4);
  CHECK(shape.str() == "[2, 3, 4]");
  CHECK(shape.with(-1, 7) == Shape{2, 3, 7});
  CHECK(shape != Shape{2, 3});
  CHECK(Shape().numel() == 1);
  CHECK(Shape{5, 0, 3}.numel() == 0);
}

TEST_CASE("shape: impossible extents are refused", "[core][shape]") {
  CHECK_THROWS_MATCHES((Shape{2, -1}), ShapeError,
                       message_contains("expected extents >= 0, got -1"));
  CHECK_THROWS_MATCHES((Shape{1, 1, 1, 1, 1, 1, 1}), ShapeError, message_contains("rank 7"));
  CHECK_THROWS_AS((Shape{std::int64_t{1} << 32, std::int64_t{1} << 31}), ShapeError);
  CHECK((Shape{std::int64_t{1} << 32, std::int64_t{1} << 30}).numel() == std::int64_t{1} << 62);
  CHECK_THROWS_AS((Shape{std::int64_t{1} << 40, std::int64_t{1} << 40, 0}), ShapeError);
  CHECK((Shape{std::int64_t{1} << 62, 0}).numel() == 0);
  CHECK_THROWS_MATCHES((Shape{2, 3}[2]), ShapeError,
                       message_contains("expected an axis of [2, 3], got 2"));
  CHECK_THROWS_AS((Shape{2, 3}[-3]), ShapeError);
  CHECK_THROWS_AS((Shape{2, 3}.with(0, -4)), ShapeError);
}

TEST_CASE("tensor: copies, slices and reshapes share elements, clones do not", "[core][tensor]") {
  Tensor a = Tensor::from<float>({3, 2}, {0, 1, 2, 3, 4, 5});
  Tensor shared = a;
  Tensor row = a.slice(1, 2);
  Tensor flat = a.reshape({6});
  Tensor cloned = a.clone();
  CHECK(row.shape() == Shape{1, 2});
  CHECK(flat.shape() == Shape{6});
  a.data<float>()[3] = 30;
  CHECK(shared.data<float>()[3] == 30);
  CHECK(row.data<float>()[1] == 30);
  CHECK(flat.data<float>()[3] == 30);
  CHECK(cloned.data<float>()[3] == 3);
  CHECK(row.shares_storage_with(a));
  CHECK_FALSE(cloned.shares_storage_with(a));
  CHECK_FALSE(a.unique());
  CHECK(cloned.unique());
  a = Tensor();
  CHECK_FALSE(a.defined());
  CHECK(row.data<float>()[0] == 2);  // a slice keeps the storage alive
}

TEST_CASE("tensor: mistakes are named", "[core][tensor]") {
  Tensor a({2, 3}, DType::f32);
  CHECK_THROWS_MATCHES(a.reshape({4}), ShapeError,
                       message_contains("expected a shape of 6 elements for [2, 3], got [4]"));
  CHECK_THROWS_AS(a.slice(1, 3), ShapeError);
  CHECK_THROWS_AS(a.slice(-1, 1), ShapeError);
  CHECK_THROWS_AS(a.slice(2, 1), ShapeError);
  CHECK_THROWS_AS(Tensor({}, DType::f32).slice(0, 0), ShapeError);
  CHECK_THROWS_MATCHES(a.data<double>(), DTypeError,
                       message_contains("expected a tensor of f64, got f32"));
  CHECK_THROWS_AS(a.span<std::int32_t>(), DTypeError);
  CHECK_THROWS_AS(Tensor().data<float>(), ShapeError);
  CHECK_THROWS_AS(a.item(), ShapeError);
  CHECK_THROWS_AS(a.copy_from(Tensor({3, 2}, DType::f32)), ShapeError);
  CHECK_THROWS_AS(a.copy_from(Tensor({2, 3}, DType::f64)), DTypeError);
  CHECK_THROWS_AS(Tensor::from<float>({3}, {1, 2}), ShapeError);
}

TEST_CASE("tensor: sizes past the address space throw before anything is allocated",
          "[core][tensor]") {
  const PoolStats before = pool_stats();
  CHECK_THROWS_AS(Tensor({std::int64_t{1} << 62}, DType::f64), ShapeError);
  CHECK_THROWS_AS(Tensor({std::int64_t{1} << 31, std::int64_t{1} << 31}, DType::f32), ShapeError);
  const PoolStats after = pool_stats();
  CHECK(after.system_allocations == before.system_allocations);
  CHECK(after.used_bytes == before.used_bytes);
}

TEST_CASE("tensor: fill, convert, item, zero, empty", "[core][tensor]") {
  const Tensor ones = Tensor::full({5}, 1.75, DType::f64);
  CHECK(doubles(ones.to(DType::f32)) == std::vector<double>(5, 1.75));
  CHECK(integers(ones.to(DType::i32)) == std::vector<std::int32_t>(5, 1));
  CHECK(ones.to(DType::f64).shares_storage_with(ones));
  CHECK(Tensor::full({1, 1}, 9, DType::i64).item() == 9);
  CHECK(doubles(Tensor::zeros({3}, DType::f32)) == std::vector<double>(3, 0.0));
  Tensor empty({0, 4}, DType::f32);
  empty.zero();
  empty.fill(3);
  CHECK(empty.defined());
  CHECK(empty.bytes() == 0);
  CHECK(empty.clone().shape() == Shape{0, 4});
  CHECK(empty.slice(0, 0).numel() == 0);
}

TEST_CASE("device: another device without a backend is Unsupported", "[core][device]") {
  if (is_available(Device::cuda)) {
    CHECK_NOTHROW(pool_stats(Device::cuda));
    return;
  }
  CHECK_THROWS_AS(Tensor({2}, DType::f32, Device::cuda), Unsupported);
  CHECK_THROWS_AS(Tensor({2}, DType::f32).to(Device::cuda), Unsupported);
  CHECK_THROWS_AS(pool_stats(Device::cuda), Unsupported);
}

TEST_CASE("pool: repeated sizes ask the system for nothing", "[core][pool]") {
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

TEST_CASE("pool: what threads take, hand on and keep at hand is counted and trimmed",
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
    meeting.arrive_and_wait();  // 4: the thread lives on with its blocks at hand
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

TEST_CASE("random: Philox gives the published answers", "[core][random]") {
  using Words = std::array<std::uint32_t, 4>;
  // Random123 1.x, kat_vectors, philox4x32 with 10 rounds: counter words 0 1 2 3, key words 0 1.
  CHECK(philox(0, 0, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const std::uint64_t ones = ~std::uint64_t{0};
  CHECK(philox(ones, ones, ones) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  // Counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0: the digits of pi.
  CHECK(philox(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random: scalars use one block each, a stored state resumes", "[core][random]") {
  Random random(3, 4);
  CHECK(random.bits() == philox(3, 4, 0)[0]);
  random.uniform();
  random.normal();
  CHECK(random.state().position == 3);
  Random resumed(random.state());
  for (int i = 0; i < 10; ++i) CHECK(random.uniform() == resumed.uniform());
  CHECK(Random(3).split(1).bits() != Random(3).split(2).bits());
  CHECK(Random(3).split(1).bits() == Random(3).split(1).bits());
}

namespace {

struct Moments {
  double mean, variance, smallest, largest;
};

Moments moments(const Tensor& tensor) {
  const auto values = doubles(tensor);
  const double count = static_cast<double>(values.size());
  Moments m{0, 0, values[0], values[0]};
  for (const double value : values) {
    m.mean += value / count;
    m.smallest = std::min(m.smallest, value);
    m.largest = std::max(m.largest, value);
  }
  for (const double value : values) m.variance += (value - m.mean) * (value - m.mean) / count;
  return m;
}

}  // namespace

TEST_CASE("random: uniform, normal and truncated normal have their moments", "[core][random]") {
  const std::int64_t count = 200000;
  const double error =
      5 /
      std::sqrt(static_cast<double>(count));  // five standard errors of a mean with unit deviation
  Tensor tensor({count}, DType::f64);
  Random random(11);
  random.fill_uniform(tensor, -1, 3);
  const Moments uniform = moments(tensor);
  CHECK(std::abs(uniform.mean - 1) < error * std::sqrt(16.0 / 12));
  CHECK(std::abs(uniform.variance - 16.0 / 12) <
        error * 1.2);  // deviation of (x - 1)^2: 16 / sqrt(180)
  CHECK(uniform.smallest >= -1);
  CHECK(uniform.largest < 3);
  CHECK(uniform.smallest < -0.99);
  CHECK(uniform.largest > 2.99);

  random.fill_normal(tensor, 2);
  const Moments normal = moments(tensor);
  CHECK(std::abs(normal.mean) < error * 2);
  CHECK(std::abs(normal.variance - 4) < error * 4 * std::sqrt(2.0));
  CHECK(normal.largest > 7);
  const auto values = doubles(tensor);
  const auto within_one =
      std::count_if(values.begin(), values.end(), [](double v) { return std::abs(v) < 2; });
  CHECK(std::abs(static_cast<double>(within_one) / static_cast<double>(count) - 0.6826894921) <
        error * 0.466);

  random.fill_truncated_normal(tensor, 1);
  const Moments truncated = moments(tensor);
  CHECK(std::abs(truncated.mean) < error);
  CHECK(std::abs(truncated.variance - 0.7737413035) < error);  // 1 - 4 phi(2) / (2 Phi(2) - 1)
  CHECK(truncated.smallest >= -2);
  CHECK(truncated.largest <= 2);
  CHECK(truncated.largest > 1.99);
}

TEST_CASE("random: scalar draws follow the same laws", "[core][random]") {
  Random random(12);
  std::array<int, 7> seen{};
  for (int i = 0; i < 70000; ++i) ++seen[static_cast<std::size_t>(random.below(7))];
  double chi_squared = 0;
  for (const int times : seen) chi_squared += (times - 10000.0) * (times - 10000.0) / 10000.0;
  CHECK(chi_squared < 30);  // six degrees of freedom: exceeded with probability 4e-5
  double largest = 0;
  for (int i = 0; i < 10000; ++i)
    largest = std::max(largest, std::abs(random.truncated_normal(0.5)));
  CHECK(largest <= 1);
  CHECK(largest > 0.99);
  CHECK_THROWS_AS(random.below(0), OptionError);
  std::vector<int> order{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<int> sorted = order;
  random.shuffle(order);
  CHECK(order != sorted);
  std::sort(order.begin(), order.end());
  CHECK(order == sorted);
}

TEMPLATE_TEST_CASE("random: fills are the same for any number of threads and for any cut",
                   "[core][random][determinism]", float, double) {
  using T = TestType;
  const Shape shape{50021};
  same_for_any_threads([&] {
    std::vector<Tensor> filled;
    Random random(5);
    for (int i = 0; i < 3; ++i) filled.emplace_back(shape, dtype_of<T>);
    random.fill_uniform(filled[0], -1, 1);
    random.fill_normal(filled[1]);
    random.fill_truncated_normal(filled[2], 0.02);
    CHECK(random.state().position == 3 * 50021);
    return filled;
  });
  Tensor whole({100}, dtype_of<T>), parts({100}, dtype_of<T>);
  Random a(6), b(6);
  a.fill_normal(whole);
  Tensor first = parts.slice(0, 37), second = parts.slice(37, 100);
  b.fill_normal(first);
  b.fill_normal(second);
  CHECK(same_bytes(whole, parts));
  Tensor ids({3}, DType::i32);
  CHECK_THROWS_AS(a.fill_normal(ids), DTypeError);
}

TEST_CASE("parallel: every task runs once, on a worker of its own", "[core][parallel]") {
  for (const int count : {1, 2, 3, 5}) {
    const ThreadCount scope(count);
    for (const std::int64_t tasks : {0, 1, 2, 7, 1000}) {
      const std::size_t size = static_cast<std::size_t>(tasks);
      const std::unique_ptr<std::atomic<int>[]> runs(new std::atomic<int>[size + 1]());
      std::array<std::atomic<int>, 5> inside{};
      std::atomic<bool> in_range{true}, alone{true};
      parallel_tasks(tasks, [&](std::int64_t task, int worker) {
        if (worker < 0 || worker >= count) {
          in_range = false;
          return;
        }
        if (inside[static_cast<std::size_t>(worker)].fetch_add(1) != 0) alone = false;
        runs[static_cast<std::size_t>(task)].fetch_add(1);
        inside[static_cast<std::size_t>(worker)].fetch_sub(1);
      });
      CHECK(in_range);
      CHECK(alone);
      bool once = true;
      for (std::size_t task = 0; task < size; ++task) once = once && runs[task] == 1;
      CHECK(once);
    }
  }
}

TEST_CASE("parallel: ranges cover the count, none longer than the grain", "[core][parallel]") {
  const ThreadCount scope(3);
  for (const std::int64_t count : {0, 1, 10, 1001}) {
    for (const std::int64_t grain : {1, 3, 1000, 5000}) {
      std::atomic<std::int64_t> covered{0}, sum{0};
      std::atomic<bool> all_within_grain{true};
      parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
        if (end - begin > grain || end <= begin) all_within_grain = false;
        for (std::int64_t i = begin; i < end; ++i) sum += i;
        covered += end - begin;
      });
      CHECK(covered == count);
      CHECK(sum == count * (count - 1) / 2);
      CHECK(all_within_grain);
    }
  }
}

TEST_CASE(
    "parallel: an exception reaches the caller after the other tasks, and the workers survive it",
    "[core][parallel]") {
  for (const int count : {1, 3}) {
    const ThreadCount scope(count);
    std::atomic<int> finished{0};
    CHECK_THROWS_MATCHES(parallel_tasks(100,
                                        [&](std::int64_t task, int) {
                                          if (task == 37) throw std::runtime_error("task 37");
                                          ++finished;
                                        }),
                         std::runtime_error, message_contains("task 37"));
    CHECK(finished == 99);
    parallel_tasks(100, [&](std::int64_t, int) { ++finished; });
    CHECK(finished == 199);
  }
}

TEST_CASE("parallel: a loop inside a task runs there, as worker 0", "[core][parallel]") {
  const ThreadCount scope(3);
  std::atomic<int> inner{0};
  std::atomic<bool> here{true};
  parallel_tasks(8, [&](std::int64_t, int) {
    const std::thread::id outer = std::this_thread::get_id();
    parallel_tasks(5, [&](std::int64_t, int worker) {
      if (worker != 0 || std::this_thread::get_id() != outer) here = false;
      ++inner;
    });
  });
  CHECK(inner == 40);
  CHECK(here);
}

TEST_CASE("parallel: within SerialLoops every task runs on the thread that asks",
          "[core][parallel]") {
  const ThreadCount scope(4);
  const std::thread::id here = std::this_thread::get_id();
  std::atomic<int> elsewhere = 0;
  const auto loop = [&] {
    elsewhere = 0;
    parallel_tasks(64, [&](std::int64_t, int) {
      if (std::this_thread::get_id() != here) ++elsewhere;
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    });
  };
  {
    const SerialLoops outer;
    {
      const SerialLoops inner;
      loop();
      CHECK(elsewhere == 0);
    }
    loop();
    CHECK(elsewhere == 0);
  }
  // Restores the setting; other tests cover the workers.
  CHECK_FALSE(detail::set_serial(false));
}

TEST_CASE("parallel: loops of two threads at once both finish", "[core][parallel]") {
  const ThreadCount scope(2);
  std::atomic<int> runs{0};
  const auto many_loops = [&] {
    for (int i = 0; i < 200; ++i) parallel_tasks(10, [&](std::int64_t, int) { ++runs; });
  };
  std::thread other(many_loops);
  many_loops();
  other.join();
  CHECK(runs == 4000);
}

TEST_CASE("parallel: thread counts out of range are refused", "[core][parallel]") {
  CHECK_THROWS_AS(set_threads(-1), OptionError);
  CHECK_THROWS_AS(set_threads(1025), OptionError);
  const ThreadCount scope(4);
  CHECK(threads() == 4);
  set_threads(0);
  CHECK(threads() >= 1);
}
