/// Group commit: order, errors, a full queue, and the end.

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "refrain/server/committer.hpp"
#include "server/event_log_support.hpp"
#include "support/catch.hpp"

using namespace refrain;

namespace committer_test {

/// A completion that waits until it is opened.
class Gate {
 public:
  void open() {
    const std::scoped_lock lock(mutex_);
    is_open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return is_open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_open_ = false;
};

}  // namespace committer_test

TEST_CASE("committer: events of many threads are durable, in the order of each", "[server]") {
  const test::ScratchFolder folder;
  const std::string path = folder.path("log.sqlite");
  constexpr int threads = 6, events = 400;
  {
    EventLog log(path);
    Committer committer(log, {.wait = std::chrono::microseconds(500), .batch = 100, .queue = 300});
    std::vector<std::vector<std::int64_t>> positions(threads);
    std::atomic<std::int64_t> newest{0};
    std::atomic<int> disorder{0}, errors{0};
    std::vector<std::thread> workers;
    for (int thread = 0; thread < threads; ++thread) {
      workers.emplace_back([&, thread] {
        for (int i = 0; i < events; ++i) {
          const auto done = [&, thread](std::int64_t position, std::exception_ptr error) {
            if (error != nullptr) ++errors;
            if (newest.exchange(position) >= position) ++disorder;
            positions[static_cast<std::size_t>(thread)].push_back(position);
          };
          while (!committer.submit({std::to_string(thread), std::to_string(i)}, done))
            std::this_thread::yield();
          // A reader sees at least what was acknowledged.
          if (i % 50 == 0) (void)log.history(std::to_string(thread), 10);
        }
      });
    }
    // Folding, copies and erasure run beside it.
    std::thread other([&] {
      for (int i = 0; i < 20; ++i) {
        log.fold(200);
        log.append(std::vector<LogEvent>{{.user = "other", .item = "i"}});
        if (i % 5 == 0) log.erase("other");
        (void)test::item_counts(log);
        (void)log.counts();
      }
    });
    for (std::thread& worker : workers) worker.join();
    committer.flush();
    other.join();
    CHECK(errors == 0);
    CHECK(disorder == 0);
    CHECK(committer.waiting() == 0);
    for (const auto& of_thread : positions) CHECK(of_thread.size() == events);
  }
  const EventLog log(path);
  test::Strings expected;
  for (int i = 0; i < events; ++i) expected.push_back(std::to_string(i));
  for (int thread = 0; thread < threads; ++thread)
    CHECK(log.history(std::to_string(thread), test::all_items).items == expected);
}

TEST_CASE("committer: a full queue refuses, and a refused event is not in the log", "[server]") {
  const test::ScratchFolder folder;
  EventLog log(folder.path("log.sqlite"));
  committer_test::Gate gate, entered;
  Committer committer(log, {.wait = std::chrono::microseconds(0), .batch = 2, .queue = 3});
  REQUIRE(committer.submit({"u", "first"}, [&](auto...) {
    entered.open();
    gate.pass();
  }));
  entered.pass();  // the thread of the committer is busy
  std::atomic<int> done{0};
  int accepted = 0;
  for (int i = 0; i < 10; ++i)
    accepted += committer.submit({"u", std::to_string(i)}, [&](auto...) { ++done; }) ? 1 : 0;
  CHECK(accepted == 3);
  CHECK(committer.waiting() == 3);
  CHECK(done == 0);
  gate.open();
  committer.flush();
  CHECK(done == 3);
  CHECK(log.history("u", 10).items == test::Strings{"first", "0", "1", "2"});
  CHECK_THROWS_AS((void)committer.submit({"", "i"}, {}), OptionError);
  CHECK(committer.submit({"u", "without a completion"}, {}));
  committer.stop();
  CHECK(log.history("u", 1).items == test::Strings{"without a completion"});
  CHECK_FALSE(committer.submit({"u", "late"}, {}));
  committer.flush();
  committer.stop();
  CHECK(log.counts().position == 5);
}

TEST_CASE("committer: events wait for others, but not in a flush", "[server]") {
  const test::ScratchFolder folder;
  EventLog log(folder.path("log.sqlite"));
  Committer committer(log, {.wait = std::chrono::minutes(10), .batch = 3});
  std::atomic<int> done{0};
  const auto submit = [&] { REQUIRE(committer.submit({"u", "i"}, [&](auto...) { ++done; })); };
  submit();
  CHECK(done == 0);
  committer.flush();
  CHECK(done == 1);
  for (int i = 0; i < 3; ++i) submit();  // a full batch
  while (done < 4) std::this_thread::yield();
  submit();
  CHECK(done == 4);
  committer.stop();
  CHECK(done == 5);
  CHECK_THROWS_AS(Committer(log, {.batch = 0}), OptionError);
  CHECK_THROWS_AS(Committer(log, {.queue = 0}), OptionError);
  CHECK_THROWS_AS(Committer(log, {.wait = std::chrono::microseconds(-1)}), OptionError);
}
