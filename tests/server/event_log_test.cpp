/// The event log: laws of appending, folding, erasing and reopening; sources, snapshots, copies.

#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>

#include "refrain/server/event_log.hpp"
#include "server/event_log_support.hpp"
#include "src/server/history_bytes.hpp"
#include "support/catch.hpp"

using namespace refrain;

namespace event_log_test {

using test::Strings;

/// The law of a log: all that was appended and not erased.
class NaiveLog {
 public:
  struct Event {
    std::int64_t position;
    std::string item;
  };
  std::map<std::string, std::vector<Event>> users;
  std::int64_t newest = 0;

  void append(const std::vector<LogEvent>& events) {
    for (const LogEvent& event : events) users[event.user].push_back({++newest, event.item});
  }

  /// Compares a history. The log may have dropped all but the newest `kept` items.
  void check(const EventLog& log, const std::string& user, std::int64_t count, std::int64_t after,
             std::int64_t kept) const {
    const auto found = users.find(user);
    const UserHistory history = log.history(user, count, after);
    Strings expected;
    std::int64_t newest_of_user = 0;
    if (found != users.end()) {
      newest_of_user = found->second.back().position;
      for (const Event& event : found->second)
        if (event.position > after) expected.push_back(event.item);
    }
    CHECK(history.position == newest_of_user);
    const auto got = static_cast<std::int64_t>(history.items.size());
    const auto all = static_cast<std::int64_t>(expected.size());
    CHECK(got >= std::min({count, kept, all}));
    CHECK(got <= std::min(count, all));
    CHECK(history.complete == (got == all));
    expected.erase(expected.begin(), expected.end() - std::min(got, all));
    CHECK(history.items == expected);
  }

  std::map<std::string, std::int64_t> item_counts() const {
    std::map<std::string, std::int64_t> counts;
    for (const auto& [user, events] : users)
      for (const Event& event : events) ++counts[event.item];
    return counts;
  }
};

std::string random_name(Random& random, const char* kind, std::int64_t count) {
  return kind + std::to_string(random.below(count));
}

std::vector<LogEvent> random_events(Random& random, std::int64_t users, std::int64_t items) {
  std::vector<LogEvent> events(static_cast<std::size_t>(random.below(40)));
  for (LogEvent& event : events) {
    event = {.user = random_name(random, "u", users), .item = random_name(random, "i", items)};
    if (random.below(2) == 0) event.time = random.below(1'000);
  }
  return events;
}

}  // namespace event_log_test

using event_log_test::NaiveLog;
using test::fold_all;
using test::ScratchFolder;
using test::Strings;

TEST_CASE("event log: histories equal those of a list under random calls", "[server]") {
  const bool keep = GENERATE(false, true);
  const std::uint64_t seed = GENERATE(range<std::uint64_t>(0, 5));
  CAPTURE(keep, seed);
  Random random(seed);
  const ScratchFolder folder;
  const std::string path = folder.path("log.sqlite");
  const std::int64_t kept = 1 + random.below(20);
  const EventLogOptions options{.keep_events = keep, .history = kept, .cache_bytes = 1 << 20};
  auto log = std::make_unique<EventLog>(path, options);
  NaiveLog naive;
  const std::int64_t users = 1 + random.below(30);
  for (int step = 0; step < 100; ++step) {
    switch (random.below(8)) {
      case 0:
      case 1:
      case 2: {
        const auto events = event_log_test::random_events(random, users, 50);
        CHECK(log->append(events) == naive.newest + 1);
        naive.append(events);
        break;
      }
      case 3:
      case 4:
        log->fold(1 + random.below(60));
        break;
      case 5:
        fold_all(*log, 1 + random.below(60));
        break;
      case 6: {
        const std::string user = event_log_test::random_name(random, "u", users);
        CHECK(log->erase(user) == (naive.users.erase(user) == 1));
        break;
      }
      default:
        log.reset();
        log = std::make_unique<EventLog>(path, options);
    }
    const std::string user = event_log_test::random_name(random, "u", users);
    naive.check(*log, user, random.below(30), random.below(naive.newest + 2), kept);
    const auto counts = log->counts();
    CHECK(counts.users == static_cast<std::int64_t>(naive.users.size()));
    CHECK(counts.position == naive.newest);
  }
  for (std::int64_t user = 0; user < users; ++user)
    naive.check(*log, "u" + std::to_string(user), test::all_items, 0, kept);
  // Events that were dropped from a history still count after the user is erased.
  const auto counts = test::item_counts(*log);
  if (keep) CHECK(counts == naive.item_counts());
  for (const auto& [item, count] : naive.item_counts()) CHECK(counts.at(item) >= count);
  CHECK(log->counts().items == static_cast<std::int64_t>(counts.size()));
  fold_all(*log);  // the pass that may have begun
  fold_all(*log);
  CHECK(log->counts().unfolded == 0);
  CHECK(test::item_counts(*log) == counts);
}

TEST_CASE("event log: positions of erased events are not used again", "[server]") {
  const ScratchFolder folder;
  const std::string path = folder.path("log.sqlite");
  const std::vector<LogEvent> events{{.user = "u", .item = "i"}, {.user = "v", .item = "j"}};
  {
    EventLog log(path);
    CHECK(log.append(events) == 1);
    CHECK(log.append({}) == 3);
    log.erase("u");
    log.erase("v");
    CHECK(log.counts().items == 0);
  }
  EventLog log(path);
  CHECK(log.append(events) == 3);
  fold_all(log);
  CHECK(log.append(events) == 5);
}

TEST_CASE("event log: names are any bytes without NUL, of limited length", "[server]") {
  const ScratchFolder folder;
  EventLog log(folder.path("log.sqlite"));
  const std::string longest(EventLog::max_name_bytes, 'x');
  const Strings names{
      "'; DROP TABLE users; --", "\xff\xfe", "\n", longest, "caf\xC3\xA9", "1", "01"};
  for (const std::string& name : names) log.append(std::vector<LogEvent>{{name, name, {}}});
  for (const std::string& name : names) CHECK(log.history(name, 2).items == Strings{name});
  fold_all(log);
  for (const std::string& name : names) CHECK(log.history(name, 2).items == Strings{name});
  const auto before = log.counts();
  for (const std::string& name : {std::string(), longest + "x", std::string("a\0b", 3)}) {
    const LogEvent user{.user = name, .item = "i"};
    const LogEvent item{.user = "u", .item = name};
    for (const LogEvent& event : {user, item}) {
      const std::vector<LogEvent> events{{.user = "u", .item = "i"}, event};
      CHECK_THROWS_MATCHES(log.append(events), OptionError,
                           test::message_contains("of 1 to 1024 bytes without NUL"));
    }
  }
  CHECK(log.counts().position == before.position);
  CHECK(log.counts().users == before.users);
  CHECK_THROWS_AS(log.history("u", -1), OptionError);
  CHECK_THROWS_AS(log.fold(0), OptionError);
}

TEST_CASE("event log: a source continues where its last batch ended", "[server]") {
  const ScratchFolder folder;
  const std::string path = folder.path("log.sqlite");
  Strings expected;
  for (int run = 0; run < 3; ++run) {
    EventLog log(path);
    const auto before = log.source_position("queue");
    CHECK(before.has_value() == (run > 0));
    int offset = before ? std::stoi(*before) : 0;
    CHECK(offset == run * 20);
    for (int batch = 0; batch < 2; ++batch) {
      std::vector<LogEvent> events;
      for (int i = 0; i < 10; ++i, ++offset) {
        events.push_back({.user = "u", .item = "item " + std::to_string(offset)});
        expected.push_back(events.back().item);
      }
      log.append(events, {.source = "queue", .position = std::to_string(offset)});
      // A batch that is refused leaves the position of its source.
      events.push_back({.user = "", .item = "i"});
      CHECK_THROWS_AS(log.append(events, {.source = "queue", .position = "0"}), OptionError);
    }
    CHECK_FALSE(log.source_position("another").has_value());
    // A batch without events, all of which the reader skipped.
    log.append({}, {.source = "another" + std::to_string(run), .position = ""});
    CHECK(log.source_position("another" + std::to_string(run)) == "");
  }
  CHECK(EventLog(path).history("u", test::all_items).items == expected);
}

TEST_CASE("event log: snapshots of states", "[server]") {
  const ScratchFolder folder;
  EventLog log(folder.path("log.sqlite"));
  const auto append = [&](const char* user) {
    return log.append(std::vector<LogEvent>{{.user = user, .item = "i"}});
  };
  append("u");
  const std::string bytes("a\0b", 3);
  using Snapshots = std::vector<StateSnapshot>;
  CHECK(log.put(Snapshots{{"u", "m", 1, bytes}, {"nobody", "m", 1, "x"}, {"u", "n", 1, ""}}) == 2);
  CHECK(log.snapshot("u", "m")->bytes == bytes);
  CHECK(log.snapshot("u", "m")->position == 1);
  CHECK(log.snapshot("u", "n")->bytes.empty());
  CHECK_FALSE(log.snapshot("nobody", "m").has_value());
  append("u");
  CHECK(log.put(Snapshots{{"u", "m", 2, "newer"}}) == 1);
  CHECK(log.put(Snapshots{{"u", "m", 1, "older"}}) == 0);
  CHECK(log.snapshot("u", "m")->bytes == "newer");

  // A state that was computed before the user was erased does not come back.
  CHECK(log.erase("u"));
  CHECK(log.put(Snapshots{{"u", "m", 2, "erased"}}) == 0);
  CHECK(append("u") == 3);
  CHECK(log.put(Snapshots{{"u", "m", 2, "erased"}}) == 0);
  CHECK_FALSE(log.snapshot("u", "m").has_value());
  CHECK(log.put(Snapshots{{"u", "m", 3, "m"}, {"u", "n", 3, "n"}, {"u", "o", 3, "o"}}) == 3);
  CHECK(log.erase_snapshots_except("m", 1) == 1);
  CHECK(log.erase_snapshots_except("m") == 1);
  CHECK(log.erase_snapshots_except("m") == 0);
  CHECK(log.snapshot("u", "m")->bytes == "m");
  CHECK_FALSE(log.snapshot("u", "n").has_value());
}

TEST_CASE("event log: nothing of an erased user stays in the files", "[server]") {
  const bool keep = GENERATE(false, true);
  const std::uint64_t seed = GENERATE(range<std::uint64_t>(0, 3));
  CAPTURE(keep, seed);
  Random random(seed);
  const ScratchFolder folder;
  EventLog log(folder.path("log.sqlite"), {.keep_events = keep});
  // Names of many lengths, so that pages of the file split at many places.
  const auto name = [&](const char* kind, std::int64_t user) {
    return kind + std::to_string(user) + std::string(static_cast<std::size_t>(user % 90), '.') +
           "$";
  };
  constexpr std::int64_t users = 2'000;
  for (int round = 0; round < 9; ++round) {
    std::vector<LogEvent> events;
    for (int i = 0; i < 400; ++i) {
      const std::int64_t user = random.below(users);
      events.push_back({name("user-", user), name("item-of-", user), user});
    }
    log.append(events);
    std::vector<StateSnapshot> states;
    for (int i = 0; i < 20; ++i) {
      const std::int64_t user = random.below(users);
      const std::string state = name("state-of-", user);
      std::string bytes;
      for (std::int64_t copies = random.below(300); copies >= 0; --copies) bytes += state;
      states.push_back({name("user-", user), "m", log.counts().position, bytes});
    }
    log.put(states);
    if (round % 3 == 1) fold_all(log, 300);
    if (round % 3 == 2) log.fold(100);
    for (int i = 0; i < 8; ++i) {
      const std::int64_t user = random.below(users);
      if (!log.erase(name("user-", user))) continue;
      for (const auto& [file, content] : test::files_of(folder.path("."))) {
        CAPTURE(round, user, file);
        for (const char* const kind : {"user-", "item-of-", "state-of-"})
          CHECK(content.find(name(kind, user)) == std::string::npos);
      }
      CHECK(log.history(name("user-", user), 1).position == 0);
    }
  }
}

TEST_CASE("event log: a copy is a log as of one moment", "[server]") {
  const ScratchFolder folder;
  const std::string path = folder.path("log.sqlite");
  const std::string copy = folder.path("copy.sqlite");
  Random random(3);
  NaiveLog naive;
  EventLog log(path);
  for (int i = 0; i < 20; ++i) {
    const auto events = event_log_test::random_events(random, 10, 10);
    log.append(events, {.source = "s", .position = std::to_string(i)});
    naive.append(events);
    if (i == 10) fold_all(log);
    if (i == 15) log.fold(10);
  }
  log.backup(copy);
  log.append(std::vector<LogEvent>{{.user = "u0", .item = "later"}});
  {
    const EventLog copied(copy);
    for (int user = 0; user < 10; ++user)
      naive.check(copied, "u" + std::to_string(user), test::all_items, 0, test::all_items);
    CHECK(copied.source_position("s") == "19");
    CHECK(copied.counts().position == naive.newest);
  }
  log.backup(copy);  // replaces the old one
  CHECK(EventLog(copy).history("u0", 1).items == Strings{"later"});

  CHECK_THROWS_MATCHES(log.backup(path), OptionError,
                       test::message_contains("belongs to the log itself"));
  CHECK_THROWS_AS(log.backup(""), OptionError);
  CHECK_THROWS_MATCHES(log.backup(folder.path(".")), DataError,
                       test::message_contains("not a regular file"));
  CHECK_THROWS_AS(log.backup(folder.path("missing/copy")), DataError);
  const EventLog in_use(copy);
  CHECK_THROWS_MATCHES(log.backup(copy), DataError, test::message_contains("is in use"));
  CHECK_FALSE(std::filesystem::exists(copy + ".tmp"));
}

TEST_CASE("event log: files that are no logs are refused and not changed", "[server]") {
  const ScratchFolder folder;
  const std::string path = folder.path("log.sqlite");
  { EventLog(path).append(std::vector<LogEvent>{{.user = "u", .item = "i"}}); }
  const std::string good = test::read_file(path);
  const auto changed = [&](std::size_t offset, char byte) {
    std::string bytes = good;
    bytes[offset] = byte;
    return bytes;
  };
  const std::map<std::string, std::string> refused{
      {"text.sqlite", "user,item,time\n"},
      {"notes.sqlite", std::string(5'000, 'x')},
      {"other.sqlite", changed(71, 'X')},     // application id
      {"newer.sqlite", changed(63, '\x02')},  // version
      {"pages.sqlite", changed(20, '\x00')},  // size of checksums
      {"damaged.sqlite", changed(3'900, '\x01')},
      {"cut.sqlite", good.substr(0, good.size() - 100)}};
  std::map<std::string, std::string> messages{{"text.sqlite", "no SQLite database"},
                                              {"notes.sqlite", "no SQLite database"},
                                              {"other.sqlite", "of another program"},
                                              {"newer.sqlite", "a newer version"},
                                              {"pages.sqlite", "another size of pages"},
                                              {"damaged.sqlite", "is damaged"},
                                              {"cut.sqlite", "is damaged"}};
  for (const auto& [name, bytes] : refused) {
    CAPTURE(name);
    const std::string file = folder.write(name, bytes);
    CHECK_THROWS_MATCHES(EventLog(file), DataError, test::message_contains(messages.at(name)));
    CHECK(test::read_file(file) == bytes);
    CHECK_FALSE(std::filesystem::exists(file + "-wal"));
  }
  CHECK_THROWS_MATCHES(EventLog(folder.path(".")), DataError,
                       test::message_contains("not a regular file"));
  const std::string fifo = folder.path("fifo");
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  CHECK_THROWS_MATCHES(EventLog(fifo), DataError, test::message_contains("not a regular file"));
  CHECK_THROWS_AS(EventLog(""), OptionError);
  CHECK_THROWS_AS(EventLog(std::string("a\0b", 3)), OptionError);
  CHECK_THROWS_MATCHES(EventLog(folder.path("missing/log")), DataError,
                       test::message_contains("its folder does not exist"));
  CHECK_THROWS_MATCHES(EventLog(folder.path("missing"), {.create = false}), DataError,
                       test::message_contains("does not exist"));
  // A folder in which no file can be created, whoever runs the test.
  CHECK_THROWS_MATCHES(EventLog("/proc/log.sqlite"), DataError,
                       test::message_contains("lock file cannot be created"));
  CHECK_THROWS_AS(EventLog(path, {.history = 0}), OptionError);
  // An empty file becomes a log.
  CHECK(EventLog(folder.write("empty.sqlite", "")).counts().position == 0);
}

TEST_CASE("event log: any bytes are a history or refused", "[server]") {
  Random random(5);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes(static_cast<std::size_t>(random.below(30)), '\0');
    for (char& byte : bytes)
      byte = static_cast<char>(random.below(2) == 0 ? random.below(256) : random.below(4));
    const auto history = detail::parse_history(bytes);
    if (!history) continue;
    std::int64_t before = history->left_out;
    for (const detail::UserEvent& event : history->events) {
      CHECK(event.position > before);
      before = event.position;
    }
    const auto same = detail::parse_history(detail::history_bytes(*history));
    REQUIRE(same.has_value());
    REQUIRE(same->events.size() == history->events.size());
    CHECK(same->left_out == history->left_out);
    for (std::size_t j = 0; j < same->events.size(); ++j) {
      CHECK(same->events[j].position == history->events[j].position);
      CHECK(same->events[j].item == history->events[j].item);
    }
  }
}

TEST_CASE("event log: a log that is in use is refused", "[server]") {
  const ScratchFolder folder;
  const std::string path = folder.path("log.sqlite");
  const auto is_refused = [&](const std::string& same) {
    try {
      const EventLog second(same);
    } catch (const DataError& error) {
      return std::string(error.what()).find("is in use by another process") != std::string::npos;
    }
    return false;
  };
  auto log = std::make_unique<EventLog>(path);
  std::filesystem::create_symlink(path, folder.path("link"));
  CHECK(is_refused(path));
  CHECK(is_refused(folder.path("link")));
  CHECK(test::holds_in_child([&] { return is_refused(path); }));
  CHECK(log->append(std::vector<LogEvent>{{.user = "u", .item = "i"}}) == 1);
  log.reset();
  CHECK(test::holds_in_child([&] { return EventLog(path).history("u", 1).position == 1; }));
  CHECK(EventLog(path).history("u", 1).items == Strings{"i"});
}
