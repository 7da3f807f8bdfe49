/// Parallel loops.

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>

#include "refrain/core/parallel.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("parallel: every task runs once, each on a separate worker", "[core][parallel]") {
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

TEST_CASE("parallel: ranges cover the count and are at most as long as the grain",
          "[core][parallel]") {
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

TEST_CASE("parallel: within SerialLoops every task runs on the calling thread",
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
