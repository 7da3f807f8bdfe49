/// What the serve program does with lines, times and the file of states; the program itself is run
/// by tests/examples/serve.sh.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>

#include "refrain/core/random.hpp"
#include "serve/latency.hpp"
#include "serve/message.hpp"
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

/// Counts events and has an answer to every request.
class Counting final : public Service {
 public:
  std::string answer(std::size_t, std::int64_t line, const Message& message) override {
    if (std::holds_alternative<serve::Event>(message)) {
      ++events;
      return {};
    }
    return answer_line(line, nullptr, "next", {});
  }
  std::string load(const std::string& file) override { return file; }
  void unload(const std::string&) override {}
  std::vector<std::string> tasks() const override { return {}; }
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
  std::map<std::string, std::string> users;
  std::function<void()> on_save;
};

/// Takes so many bytes and then no more, like a pipe that was closed.
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

std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

}  // namespace

TEST_CASE("serve: shares of times are those of the sorted times, to half a percent", "[serve]") {
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
      // The smallest time such that at least so large a share is no longer.
      const auto found = std::find_if(sorted.begin(), sorted.end(), [&](const double& time) {
        return 100 * (&time - sorted.data() + 1) >= percent * count;
      });
      REQUIRE(found != sorted.end());
      // Half a nanosecond is lost above.
      CHECK(std::abs(all.percentile_us(percent) - *found) <= 0.00501 * *found + 0.0005);
    }
    CHECK(std::abs(all.largest_us() - sorted.back()) <= 0.0005);
  }
}

TEST_CASE("serve: times outside of the bins, and none", "[serve]") {
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

TEST_CASE("serve: a deeply nested value is refused wherever it stands", "[serve]") {
  const std::string deep = nested(100000);
  for (const std::string& line :
       std::vector<std::string>{R"({"user": "u", "task": "next", "k": )" + deep + "}",
                                R"({"user": )" + deep + R"(, "item": "i"})",
                                R"({"history": [)" + deep + R"(], "task": "next"})",
                                R"({"history": ["i"], "task": )" + deep + "}",
                                R"({"load": )" + deep + "}", R"({"unload": )" + deep + "}"}) {
    CHECK_THROWS_WITH(parse_message(line), test::contains(", got array"));
  }
  CHECK_THROWS_AS(parse_message(deep), OptionError);
  CHECK_THROWS_AS(parse_message(deep.substr(0, 100000)), OptionError);
  CHECK_THROWS_WITH(parse_message(R"({"user": "u", "task": "next", "k": 1.5})"),
                    test::contains("got 1.5"));
}

TEST_CASE("serve: what is no JSON is told by its byte", "[serve]") {
  CHECK_THROWS_WITH(parse_message(R"({"user": u})"),
                    test::contains("no JSON: it goes wrong at byte 10"));
  CHECK_THROWS_WITH(parse_message(R"({"user": "u", "task": "next", "k": 1e999})"),
                    test::contains("a number is too large"));
}

TEST_CASE("serve: a line that is too long is passed over", "[serve]") {
  const std::string event = R"({"user": "u", "item": "i"})";
  for (const std::size_t shards : {1U, 2U}) {
    for (const bool ends : {false, true}) {
      INFO(shards << " shards, a line end after the last line: " << ends);
      Counting service;
      std::istringstream in(event + std::string(longest_line_bytes - event.size(), ' ') + '\n' +
                            event + std::string(longest_line_bytes + 1 - event.size(), ' ') + '\n' +
                            event + '\n' + std::string(3 * longest_line_bytes, 'x') +
                            (ends ? "\n" : ""));
      std::ostringstream out;
      const ServerReport report = serve::serve(service, {.shards = shards}, in, out);
      CHECK(report.lines == 4);
      CHECK(report.errors == 2);
      CHECK(report.events.count() == 2);
      CHECK(out.str() ==
            "{\"line\":2,\"error\":\"the line is longer than 1048576 bytes\"}\n"
            "{\"line\":4,\"error\":\"the line is longer than 1048576 bytes\"}\n");
    }
  }
}

TEST_CASE("serve: when answers cannot be written no more is read, and what was read counts",
          "[serve][threads]") {
  constexpr std::int64_t lines = 100000;
  std::string text;
  for (std::int64_t i = 0; i < lines / 2; ++i) {
    const std::string user = concat("{\"user\": \"u", i % 17, "\", ");
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
    CHECK(service.events ==
          (report.lines + 1) / 2);  // every other line is an event, the first one is
  }
}

TEST_CASE("serve: states of users come back, and a file that was cut short is refused", "[serve]") {
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

TEST_CASE("serve: that states cannot be written is known before they are", "[serve]") {
  const ScratchFolder folder;
  expect_writable(folder.path("users.states"));
  CHECK(files_in(folder).empty());
  folder.write("users.states", "as it was");
  expect_writable(folder.path("users.states"));
  CHECK(slurp(folder.path("users.states")) == "as it was");
  CHECK_THROWS_WITH(expect_writable(folder.path("absent/users.states")),
                    test::contains("No such file or directory"));
  CHECK_THROWS_WITH(expect_writable(folder.path("")), test::contains("is not a regular file"));
}
