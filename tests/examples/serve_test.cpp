/// The parts of the serve program: the server, latencies and the states file;
/// tests/examples/serve.sh runs the program.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <thread>

#include "common/output_files.hpp"
#include "refrain/core/random.hpp"
#include "refrain/serve/message.hpp"
#include "serve/latency.hpp"
#include "serve/server.hpp"
#include "serve/states_file.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"
#include "support/system_faults.hpp"

namespace {

using namespace refrain;
using namespace refrain::serve;
using test::ScratchFolder;
using test::SystemFaults;

/// Counts events and answers every request with the loaded task, after a delay.
class Counting final : public Service {
 public:
  Snapshot snapshot() const override { return std::make_shared<const std::string>(task); }
  bool observe(std::size_t, const serve::Event& event, const Snapshot&) override {
    ++events;
    return event.item != "unknown";
  }
  std::vector<TaskAnswer> recommend(std::size_t, const serve::Request&,
                                    const Snapshot& now) override {
    std::this_thread::sleep_for(delay);
    return {{.best = {{*static_cast<const std::string*>(now.get())}}}};
  }
  std::size_t shards() const override { return 1; }
  void set_past(Past) override {}
  std::shared_ptr<void> hold(std::size_t) override { return nullptr; }
  bool knows(std::string_view item) const override { return item != "unknown"; }
  void fetch(std::size_t, const std::string&) override {}
  std::vector<Observed> observe(std::size_t, std::span<const serve::Event* const>,
                                const Snapshot&) override {
    return {};
  }
  std::vector<Answered> recommend(std::size_t, std::span<const serve::Request* const>,
                                  const Snapshot&) override {
    return {};
  }
  std::vector<std::string> items(std::size_t, const std::string&) override { return {}; }
  bool forget(std::size_t, const std::string&) override { return false; }
  std::string load(const std::string& file, std::string_view) override { return task = file; }
  void unload(const std::string&) override { task = "nothing"; }
  std::vector<std::string> tasks() const override { return {}; }
  std::int64_t set_filter(const std::string& name, std::vector<std::string> items) override {
    task = name;
    return std::ssize(items);
  }
  void drop_filter(const std::string&) override { task = "no filter"; }
  void save(const TakeState& take) const override {
    for (const auto& [user, bytes] : users) {
      if (on_save) on_save();
      take(user, bytes);
    }
  }
  void restore(std::size_t, const std::string& user, std::string_view bytes) override {
    users[user] = bytes;
  }

  std::atomic<std::int64_t> events = 0;
  std::string task = "nothing";
  std::chrono::microseconds delay{0};
  std::map<std::string, std::string> users;
  std::function<void()> on_save;
};

/// Accepts a number of bytes and then fails, like a closed pipe.
class Closing final : public std::streambuf {
 public:
  explicit Closing(std::size_t bytes) : left_(bytes) {}

 protected:
  int_type overflow(int_type next) override {
    if (left_ == 0) return traits_type::eof();
    --left_;
    return traits_type::not_eof(next);
  }

 private:
  std::size_t left_;
};

std::string slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> files_in(const ScratchFolder& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path("")))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::map<std::string, std::string> read_all(const std::string& path) {
  Counting service;
  read_states(path, [&](const std::string& user, std::string_view bytes) {
    service.restore(0, user, bytes);
  });
  return service.users;
}

}  // namespace

TEST_CASE("serve: quantiles of times equal those of the sorted times within half a percent",
          "[serve]") {
  Random random(3);
  for (const int count : {1, 2, 7, 100, 101, 5000}) {
    INFO(count << " times");
    std::vector<double> sorted;  // microseconds, 150 ns to 90 s, each decade alike
    for (int i = 0; i < count; ++i) sorted.push_back(0.15 * std::pow(6e8, random.uniform()));
    Latency half(true);
    Latency all(true);
    bool even = false;
    for (const double us : sorted) {
      (even ? half : all).add(std::chrono::nanoseconds(std::llround(1000 * us)));
      even = !even;
    }
    all.add(half);
    std::sort(sorted.begin(), sorted.end());
    REQUIRE(all.count() == count);
    for (std::int64_t percent = 1; percent <= 100; ++percent) {
      INFO(percent << " percent");
      // The smallest time that at least `percent` percent of the times do not exceed.
      const auto found = std::find_if(sorted.begin(), sorted.end(), [&](const double& time) {
        return 100 * (&time - sorted.data() + 1) >= percent * count;
      });
      REQUIRE(found != sorted.end());
      // The times above are rounded to nanoseconds.
      CHECK(std::abs(all.percentile_us(percent) - *found) <= 0.00501 * *found + 0.0005);
    }
    CHECK(std::abs(all.largest_us() - sorted.back()) <= 0.0005);
  }
}

TEST_CASE("serve: times outside of the bins, and no times", "[serve]") {
  using namespace std::chrono_literals;
  Latency times(true);
  CHECK(times.percentile_us(50) == 0);
  times.add(0ns);
  CHECK(times.percentile_us(50) == 0);
  times.add(3ns);
  times.add(1000s);
  CHECK(times.percentile_us(50) == Approx(0.1));
  CHECK(times.percentile_us(99) == Approx(1e9));
  CHECK(times.largest_us() == Approx(1e9));
  Latency counter;
  for (int i = 0; i < 5; ++i) counter.add(7us);
  CHECK(counter.count() == 5);
  CHECK(counter.percentile_us(50) == 0);
}

TEST_CASE("serve: a line is answered by the tasks and filters of the moment when it is read",
          "[serve][threads]") {
  std::string text;
  constexpr int lines = 400;
  for (int line = 1; line <= lines; ++line) {
    text +=
        line % 7 == 0    ? refrain::detail::concat("{\"load\": \"task", line, "\"}\n")
        : line % 11 == 0 ? std::string("{\"unload\": \"any\"}\n")
        : line % 13 == 0 ? refrain::detail::concat("{\"filter\": \"f", line, "\", \"items\": []}\n")
        : line % 19 == 0
            ? std::string("{\"drop_filter\": \"any\"}\n")
            : refrain::detail::concat("{\"user\": \"u", line % 17, "\", \"task\": \"asked\"}\n");
  }
  const auto answers = [&](std::size_t shards) {
    Counting service;
    service.delay = std::chrono::microseconds(100);
    std::istringstream in(text);
    std::ostringstream out;
    serve::serve(service, {.shards = shards}, in, out);
    std::vector<std::string> sorted;
    std::istringstream written(out.str());
    for (std::string line; std::getline(written, line);) sorted.push_back(line);
    std::sort(sorted.begin(), sorted.end());
    return sorted;
  };
  const std::vector<std::string> expected = answers(1);
  CHECK(expected.size() == lines);
  CHECK(answers(4) == expected);
}

TEST_CASE("serve: events of unknown items are counted and are no errors", "[serve]") {
  for (const std::size_t shards : {1U, 3U}) {
    Counting service;
    std::istringstream in(
        "{\"user\": \"u\", \"item\": \"unknown\"}\n{\"user\": \"u\", \"item\": \"i\"}\n"
        "{\"user\": \"v\", \"item\": \"unknown\"}\n");
    std::ostringstream out;
    const ServerReport report = serve::serve(service, {.shards = shards}, in, out);
    CHECK(report.events.count() == 3);
    CHECK(report.unknown_items == 2);
    CHECK(report.errors == 0);
    CHECK(out.str().empty());
  }
}

TEST_CASE("serve: a line that is too long is skipped", "[serve]") {
  const std::string event = R"({"user": "u", "item": "i"})";
  for (const std::size_t shards : {1U, 2U}) {
    for (const bool ends : {false, true}) {
      INFO(shards << " shards, a line end after the last line: " << ends);
      Counting service;
      std::istringstream in(event + std::string(max_line_bytes - event.size(), ' ') + '\n' + event +
                            std::string(max_line_bytes + 1 - event.size(), ' ') + '\n' + event +
                            '\n' + std::string(3 * max_line_bytes, 'x') + (ends ? "\n" : ""));
      std::ostringstream out;
      const ServerReport report = serve::serve(service, {.shards = shards}, in, out);
      CHECK(report.lines == 4);
      CHECK(report.errors == 2);
      CHECK(report.events.count() == 2);
      CHECK(
          out.str() ==
          "{\"line\":2,\"error\":\"expected a line of at most 1048576 bytes, got a longer one\"}\n"
          "{\"line\":4,\"error\":\"expected a line of at most 1048576 bytes, got a longer "
          "one\"}\n");
    }
  }
}

TEST_CASE("serve: when answers cannot be written, reading stops and events that were read are kept",
          "[serve][threads]") {
  constexpr std::int64_t lines = 100000;
  std::string text;
  for (std::int64_t i = 0; i < lines / 2; ++i) {
    const std::string user = refrain::detail::concat("{\"user\": \"u", i % 17, "\", ");
    text += user + "\"item\": \"i\"}\n" + user + "\"task\": \"next\"}\n";
  }
  for (const std::size_t shards : {1U, 3U}) {
    INFO(shards << " shards");
    Counting service;
    std::istringstream in(text);
    Closing closing(1000);
    std::ostream out(&closing);
    const ServerReport report = serve::serve(service, {.shards = shards}, in, out);
    CHECK_FALSE(out);
    CHECK(report.lines > 2);
    CHECK(report.lines < lines / 2);
    // Every second line is an event, starting with the first.
    CHECK(service.events == (report.lines + 1) / 2);
  }
}

TEST_CASE("serve: states of users are restored, and a truncated file is refused", "[serve]") {
  const ScratchFolder folder;
  Counting service;
  service.users = {{"a", std::string("\0\n{\"users\": 1}\n", 15)},
                   {"b \"\xC3\xA9\n", ""},
                   {"c", std::string(3 << 20, 'c')}};
  const std::string path = folder.path("users.states");
  write_states(path, service);
  CHECK(read_all(path) == service.users);
  service.users.erase("c");
  write_states(path, service);
  CHECK(read_all(path) == service.users);
  CHECK(files_in(folder) == std::vector<std::string>{"users.states"});
  const std::string by_hand = folder.write(
      "by_hand", "{\"user\":\"u1\",\"bytes\":3}\nabc{\"user\":\"7\",\"bytes\":0}\n{\"users\":2}\n");
  CHECK(read_all(by_hand) == std::map<std::string, std::string>{{"u1", "abc"}, {"7", ""}});
  const std::string whole = slurp(by_hand);
  for (std::size_t size = 0; size < whole.size() - 2; ++size) {
    CHECK_THROWS_AS(read_all(folder.write("short", whole.substr(0, size))), DataError);
  }
  for (const std::string& more : {whole, std::string("\n"), std::string("x")}) {
    CHECK_THROWS_WITH(read_all(folder.write("more", whole + more)),
                      test::contains("has bytes after its last line ({\"users\": 2})"));
  }
}

TEST_CASE("serve: a file of states belongs to one process", "[serve][reliability]") {
  const ScratchFolder folder;
  const std::string path = folder.path("users.states");
  {
    const StatesLock lock(path);
    CHECK(lock.is_held());
    CHECK_THROWS_WITH(StatesLock(path),
                      test::contains("users.states: is in use: another serve process"));
    std::filesystem::create_symlink("users.states", folder.path("link"));
    folder.write("users.states", "states");
    CHECK_THROWS_WITH(StatesLock(folder.path("link")), test::contains("is in use"));
    const StatesLock of_another_file(folder.path("other"));
  }
  CHECK(files_in(folder) == std::vector<std::string>{"link", "users.states"});
  folder.write("users.states.lock", "");  // a process was killed
  const StatesLock lock(path);
  CHECK(lock.is_held());
  CHECK_THROWS_WITH(StatesLock(folder.path("absent/states")),
                    test::contains("cannot be created: No such file or directory"));
}

TEST_CASE("serve: states are written user by user", "[serve]") {
  const ScratchFolder folder;
  Counting service;
  for (char name = 'a'; name <= 'p'; ++name)
    service.users[std::string(1, name)] = std::string(1 << 20, name);
  const SystemFaults system({});
  std::size_t asked = 0;
  std::size_t late = 0;
  service.on_save = [&] { late += system.written < asked++ << 20 ? 1U : 0U; };
  write_states(folder.path("users.states"), service);
  CHECK(asked == 16);
  CHECK(late == 0);
}

TEST_CASE("reliability: states of users are replaced as a whole, and synced",
          "[serve][reliability]") {
  const ScratchFolder folder;
  const std::string path = folder.path("users.states");
  Counting service;
  service.users = {{"a", "first"}};
  {
    const SystemFaults system({});
    write_states(path, service);
    CHECK(system.calls() ==
          std::vector<std::string>{"write", "fsync file", "rename", "fsync folder"});
  }
  service.users = {{"a", "second"}};
  {
    const SystemFaults system({.disk_bytes = 10});
    CHECK_THROWS_WITH(write_states(path, service),
                      test::contains("users.states: cannot be written: No space left"));
  }
  CHECK(read_all(path) == std::map<std::string, std::string>{{"a", "first"}});
  CHECK(files_in(folder) == std::vector<std::string>{"users.states"});
}

TEST_CASE("serve: unwritable states are detected at the start", "[serve]") {
  const ScratchFolder folder;
  const auto expect_writable = [](const std::string& path) {
    examples::expect_files({.read = {}, .replaced = {{"--states", path}}, .appended = {}});
  };
  expect_writable(folder.path("users.states"));
  CHECK(files_in(folder).empty());
  folder.write("users.states", "states");
  expect_writable(folder.path("users.states"));
  CHECK(slurp(folder.path("users.states")) == "states");
  CHECK_THROWS_WITH(expect_writable(folder.path("absent/users.states")),
                    test::contains("--states: expected a file in an existing folder"));
  CHECK_THROWS_WITH(expect_writable(folder.path("")), test::contains("is not a regular file"));
}
