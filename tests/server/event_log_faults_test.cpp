/// The event log when processes are killed, disks are full and files are damaged.

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <thread>

#include "refrain/server/committer.hpp"
#include "refrain/server/event_log.hpp"
#include "server/event_log_support.hpp"
#include "support/catch.hpp"

using namespace refrain;

namespace event_log_faults_test {

using test::Strings;

/// An acknowledged event, as the child writes it to the pipe: one write of a few bytes is atomic.
struct Acknowledged {
  std::int64_t thread;
  std::int64_t number;
  std::int64_t position;
};

constexpr int workers = 3;

std::string user_of(std::int64_t thread) { return "thread " + std::to_string(thread); }

/// Appends numbered events of one user per thread, folds, erases other users and makes copies,
/// until it is killed.
void append_until_killed(const std::string& path, int pipe) {
  EventLog log(path, {.keep_events = true, .history = test::all_items});
  Committer committer(log, {.batch = 50, .queue = 200});
  std::vector<std::thread> running;
  for (std::int64_t thread = 0; thread < workers; ++thread) {
    const auto before = log.history(user_of(thread), test::all_items).items.size();
    running.emplace_back([&, thread, number = static_cast<std::int64_t>(before)]() mutable {
      for (;; ++number) {
        const auto done = [thread, number, pipe](std::int64_t position, std::exception_ptr error) {
          const Acknowledged line{thread, number, position};
          if (error != nullptr || ::write(pipe, &line, sizeof line) != sizeof line) ::_exit(3);
        };
        while (!committer.submit({user_of(thread), std::to_string(number)}, done))
          std::this_thread::yield();
      }
    });
  }
  for (int i = 0;; ++i) {
    log.fold(100);
    log.append(std::vector<LogEvent>{{.user = "erased", .item = "secret"}});
    log.erase("erased");
    if (i % 10 == 0) log.backup(path + ".copy");
  }
}

/// Reads until the other end is closed.
std::vector<Acknowledged> read_all(int pipe) {
  std::vector<Acknowledged> lines;
  for (Acknowledged line{}; ::read(pipe, &line, sizeof line) == sizeof line;) lines.push_back(line);
  return lines;
}

int number_from_environment(const char* name, int otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

/// A log with histories, kept events, unfolded events, a snapshot and a source; returns its state.
void write_log(EventLog& log) {
  for (int i = 0; i < 20; ++i) {
    std::vector<LogEvent> events;
    for (int j = 0; j < 50; ++j)
      events.push_back(
          {"user " + std::to_string(j % 17), "item " + std::to_string((i * j) % 90), j});
    log.append(events, {"source", std::to_string(i)});
    if (i == 12) test::fold_all(log);
  }
  log.put(std::vector<StateSnapshot>{{"user 1", "model", 900, std::string(20'000, 's')}});
}

/// Everything that a log answers, as text.
Strings answers_of(const EventLog& log) {
  Strings answers;
  for (int user = 0; user < 17; ++user) {
    const auto history = log.history("user " + std::to_string(user), test::all_items);
    answers.push_back(std::to_string(history.position));
    answers.insert(answers.end(), history.items.begin(), history.items.end());
  }
  for (const auto& [item, count] : test::item_counts(log))
    answers.push_back(item + "=" + std::to_string(count));
  answers.push_back(log.source_position("source").value_or("none"));
  const auto snapshot = log.snapshot("user 1", "model");
  answers.push_back(snapshot ? snapshot->bytes : "none");
  return answers;
}

/// Limits the size of every file that this process writes. SIGXFSZ is ignored, so that a write
/// fails instead.
void limit_files(rlim_t bytes) {
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  limit.rlim_cur = std::min(bytes, limit.rlim_max);
  ::setrlimit(RLIMIT_FSIZE, &limit);
}

/// Appends until the disk is full, makes space, appends again, and compares.
bool survives_full_disk(const std::string& path, const std::function<void(bool full)>& fill) {
  constexpr std::int64_t most = 100'000;
  Strings expected;
  const auto append = [&](EventLog& log) {
    std::vector<LogEvent> events;
    for (int i = 0; i < 40; ++i)
      events.push_back({"u", "item " + std::to_string(expected.size() + events.size())});
    const std::int64_t first = log.append(events);
    if (first != static_cast<std::int64_t>(expected.size()) + 1) throw Error("a wrong position");
    for (const LogEvent& event : events) expected.push_back(event.item);
  };
  const EventLogOptions options{.history = test::all_items};
  auto log = std::make_unique<EventLog>(path, options);
  for (int round = 0; round < 3; ++round) {
    append(*log);
    fill(true);
    int errors = 0;
    while (errors < 5 && static_cast<std::int64_t>(expected.size()) < most) {
      try {
        append(*log);
        log->fold(50);
      } catch (const DataError& error) {
        const std::string text = error.what();
        if (text.find("cannot be") == std::string::npos) throw;
        ++errors;
      }
      if (log->history("u", test::all_items).items != expected) throw Error("another history");
    }
    if (errors == 0) throw Error("the disk did not become full");
    // Also when the log is opened anew, on a full disk (which may refuse it) or later.
    if (round == 1) {
      log.reset();
      try {
        log = std::make_unique<EventLog>(path, options);
      } catch (const DataError&) {
      }
    }
    fill(false);
    if (log == nullptr) log = std::make_unique<EventLog>(path, options);
    append(*log);
    test::fold_all(*log);
  }
  log.reset();
  return EventLog(path, options).history("u", test::all_items).items == expected;
}

}  // namespace event_log_faults_test

TEST_CASE("event log: acknowledged events survive kill -9, once each", "[server]") {
  using namespace event_log_faults_test;
  const int kills = number_from_environment("REFRAIN_KILLS", 20);
  const test::ScratchFolder folder;
  const std::string path = folder.path("log.sqlite");
  Random random(1);
  std::vector<std::size_t> counts(workers);  // events of each thread
  std::int64_t newest = 0, acknowledged = 0;
  for (int kill = 0; kill < kills; ++kill) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(ends[0]);
      try {
        append_until_killed(path, ends[1]);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "in the child: %s\n", error.what());
      }
      ::_exit(2);
    }
    REQUIRE(child > 0);
    ::close(ends[1]);
    // From the creation of the file to many transactions later.
    std::vector<Acknowledged> lines;
    std::thread reader([&] { lines = read_all(ends[0]); });
    std::this_thread::sleep_for(std::chrono::microseconds(random.below(1 << (8 + kill % 11))));
    ::kill(child, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    reader.join();
    ::close(ends[0]);
    REQUIRE(WIFSIGNALED(status));

    const EventLog log(path, {.keep_events = true, .history = test::all_items});
    std::vector<std::size_t> least = counts;
    for (const Acknowledged& line : lines) {
      CHECK(line.position > newest);
      newest = line.position;
      CHECK(static_cast<std::size_t>(line.number) == least[static_cast<std::size_t>(line.thread)]);
      ++least[static_cast<std::size_t>(line.thread)];
    }
    CHECK(log.counts().position >= newest);
    newest = log.counts().position;
    for (std::size_t thread = 0; thread < workers; ++thread) {
      const Strings items =
          log.history(user_of(static_cast<std::int64_t>(thread)), test::all_items).items;
      CHECK(items.size() >= least[thread]);
      Strings expected;
      for (std::size_t i = 0; i < items.size(); ++i) expected.push_back(std::to_string(i));
      CHECK(items == expected);
      counts[thread] = items.size();
    }
    acknowledged += static_cast<std::int64_t>(lines.size());
    const std::string copy = path + ".copy";
    if (std::filesystem::exists(copy)) CHECK_NOTHROW(EventLog(copy));
  }
  CAPTURE(acknowledged);
  CHECK(acknowledged > 0);
}

TEST_CASE("event log: a full disk loses nothing, and the log works when there is space",
          "[server]") {
  using namespace event_log_faults_test;
  const test::ScratchFolder folder;
  CHECK(test::holds_in_child([&] {
    std::uint64_t size = 300'000;
    return survives_full_disk(folder.path("log.sqlite"), [&](bool full) {
      limit_files(full ? size : RLIM_INFINITY);
      size += 400'000;
    });
  }));
  // On a small disk, such as a tmpfs of 2 MiB.
  if (const char* const disk = std::getenv("REFRAIN_SMALL_DISK")) {
    const std::string path = std::string(disk) + "/log.sqlite";
    const std::string filler = std::string(disk) + "/filler";
    CHECK(survives_full_disk(path, [&](bool full) {
      if (!full) {
        std::filesystem::remove(filler);
      } else {
        std::ofstream out(filler, std::ios::binary);
        const std::string block(4'096, 'x');
        while (out.write(block.data(), 4'096).flush()) {
        }
      }
    }));
  }
}

TEST_CASE("event log: damaged files are refused or answer correctly", "[server]") {
  using namespace event_log_faults_test;
  const test::ScratchFolder folder;
  const std::string path = folder.path("log.sqlite");
  Strings expected;
  {
    EventLog log(path);
    write_log(log);
    expected = answers_of(log);
  }
  const std::string good = test::read_file(path);
  const std::string damaged = folder.path("damaged.sqlite");
  Random random(7);
  const int cases = number_from_environment("REFRAIN_DAMAGES", 150);
  int refused = 0, answered = 0;
  for (int i = 0; i < cases; ++i) {
    std::string bytes = good;
    const auto at = static_cast<std::size_t>(random.below(static_cast<std::int64_t>(good.size())));
    switch (i % 3) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
        break;
      case 1:
        bytes.resize(at);
        break;
      default:
        for (std::size_t j = at; j < std::min(bytes.size(), at + 600); ++j)
          bytes[j] = static_cast<char>(random.below(256));
    }
    if (bytes.empty()) continue;
    CAPTURE(i, at);
    folder.write("damaged.sqlite", bytes);
    for (const bool check : {true, false}) {
      try {
        const EventLog log(damaged, {.check = check});
        const Strings answers = answers_of(log);
        CHECK(answers == expected);
        ++answered;
      } catch (const DataError& error) {
        CHECK(std::string(error.what()).find("damaged.sqlite") != std::string::npos);
        ++refused;
      }
      std::filesystem::remove(damaged + "-wal");
      std::filesystem::remove(damaged + "-shm");
    }
  }
  CAPTURE(refused, answered);
  CHECK(refused > cases);
  CHECK(answered > 0);
}

TEST_CASE("event log: a damaged write-ahead log ends before the damage", "[server]") {
  using namespace event_log_faults_test;
  const test::ScratchFolder folder;
  const std::string path = folder.path("log.sqlite");
  EventLog log(path);
  Strings items;
  for (int i = 0; i < 60; ++i) {
    items.push_back("item " + std::to_string(i));
    log.append(std::vector<LogEvent>{{"u", items.back()}});
  }
  const std::string main = test::read_file(path);
  const std::string wal = test::read_file(path + "-wal");
  REQUIRE(wal.size() > 100'000);
  Random random(8);
  for (int i = 0; i < 60; ++i) {
    std::string bytes = wal;
    const auto at = static_cast<std::size_t>(random.below(static_cast<std::int64_t>(wal.size())));
    if (i % 2 == 0) {
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
    } else {
      bytes.resize(at);
    }
    CAPTURE(i, at);
    const std::string copy = folder.write("copy.sqlite", main);
    folder.write("copy.sqlite-wal", bytes);
    const Strings got = EventLog(copy).history("u", test::all_items).items;
    CHECK(got.size() < items.size());
    CHECK(got == Strings(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(got.size())));
  }
}
