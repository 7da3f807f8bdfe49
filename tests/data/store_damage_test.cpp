/// Sequence stores that are damaged, change while they are read, or cannot be written.

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "data/read_texts.hpp"
#include "refrain/core/detail/xxh64.hpp"
#include "refrain/data/sequence_store.hpp"
#include "refrain/data/vocabulary.hpp"
#include "support/generated_ratings.hpp"
#include "support/system_faults.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {
namespace store_damage_test {

namespace fs = std::filesystem;

const std::vector<std::string> file_names{"items.i32",     "ends.i64",   "item_ids.text",
                                          "item_ids.ends", "users.text", "users.ends",
                                          "manifest.json"};

void write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// Prepares a store of 120 users in a folder of its own.
std::string prepared(const ScratchFolder& folder, const std::string& name = "s") {
  prepare_store(folder.write("ratings.csv", generated_ratings()), folder.path(name));
  return folder.path(name);
}

/// Reads the store to the end: every row.
void read_all(const std::string& store) {
  const Sequences sequences = read_sequences(store);
  encode(sequences, Vocabulary::build(sequences));
}

/// Writes the file anew with the given text, and its hash and length into the manifest: damage that
/// the hash does not show.
void replace(const std::string& store, const std::string& name, const std::string& text) {
  write(store + "/" + name, text);
  nlohmann::json manifest = nlohmann::json::parse(read_file(store + "/manifest.json"));
  refrain::detail::Xxh64 hash;
  hash.update(text.data(), text.size());
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash.digest()));
  manifest["files"][name] = {{"bytes", text.size()}, {"xxh64", digits}};
  write(store + "/manifest.json", manifest.dump());
}

template <class Value>
std::vector<Value> values_of(const std::string& text) {
  std::vector<Value> values(text.size() / sizeof(Value));
  std::memcpy(values.data(), text.data(), text.size());
  return values;
}
template <class Value>
std::string text_of(const std::vector<Value>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Value)};
}

/// Entries of a folder but the log.
std::vector<std::string> beside_log(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name != "log" && name != "ratings.csv") names.push_back(name);
  }
  return names;
}

}  // namespace store_damage_test
}  // namespace

using namespace store_damage_test;

TEST_CASE("store damage: a truncated or missing file is refused", "[data][store][reliability]") {
  const ScratchFolder folder;
  const std::string store = prepared(folder);
  read_all(store);
  for (const std::string& name : file_names) {
    const std::string path = store + "/" + name;
    const std::string whole = read_file(path);
    for (const std::size_t length :
         {std::size_t{0}, std::size_t{1}, whole.size() / 2, whole.size() - 5, whole.size() - 1}) {
      INFO(name << " of " << length << " bytes");
      write(path, whole.substr(0, length));
      // A manifest without its last line end is whole.
      if (name == "manifest.json" && length == whole.size() - 1) continue;
      CHECK_THROWS_AS(read_all(store), DataError);
    }
    write(path, whole + "x");
    if (name != "manifest.json") CHECK_THROWS_AS(read_all(store), DataError);
    fs::remove(path);
    CHECK_THROWS_AS(read_all(store), DataError);
    write(path, whole);
  }
  read_all(store);
}

TEST_CASE("store damage: a changed byte is refused", "[data][store][reliability]") {
  const ScratchFolder folder;
  const std::string store = prepared(folder);
  for (const std::string& name : file_names) {
    if (name == "manifest.json") continue;
    const std::string path = store + "/" + name;
    const std::string whole = read_file(path);
    for (const std::size_t at : {std::size_t{0}, whole.size() / 3, whole.size() - 1}) {
      INFO(name << " byte " << at);
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ 0x10);
      write(path, changed);
      CHECK_THROWS_MATCHES(read_all(store), DataError, message_contains(name));
    }
    write(path, whole);
  }
  read_all(store);
}

TEST_CASE("store damage: any changed byte of the manifest is refused or harmless",
          "[data][store][reliability]") {
  const ScratchFolder folder;
  const std::string store = prepared(folder);
  const std::string path = store + "/manifest.json";
  const std::string whole = read_file(path);
  const RaggedIds rows = read_sequences(store).rows;
  Random random(3);
  int refused = 0;
  for (int round = 0; round < 400; ++round) {
    std::string changed = whole;
    const std::size_t at =
        static_cast<std::size_t>(random.below(static_cast<std::int64_t>(whole.size())));
    changed[at] = static_cast<char>(changed[at] ^ (1 << random.below(8)));
    write(path, changed);
    try {
      const bool is_equal = read_sequences(store).rows == rows;
      CHECK(is_equal);
    } catch (const Error&) {
      ++refused;
    }
  }
  CHECK(refused > 200);
}

TEST_CASE("store damage: another version or byte order is refused", "[data][store][reliability]") {
  const ScratchFolder folder;
  const std::string store = prepared(folder);
  const std::string path = store + "/manifest.json";
  const nlohmann::json manifest = nlohmann::json::parse(read_file(path));
  const auto refuses = [&](const char* field, const nlohmann::json& value, const char* message) {
    nlohmann::json changed = manifest;
    changed[field] = value;
    write(path, changed.dump());
    CHECK_THROWS_MATCHES(read_sequences(store), DataError, message_contains(message));
  };
  refuses("version", 2, "expected version 1 of the format, got 2: prepare the store again");
  refuses("byte_order", "big", "expected files in little-endian byte order, got another");
  refuses("format", "zip", "expected the format \"refrain sequence store\", got another");
  refuses("version", "1", "no valid manifest of a sequence store");
  refuses("files", nlohmann::json::object(), "expected a file ");
  refuses("source", {{"rows", -1}, {"events", 1}, {"items", 1}, {"has_users", true}},
          "expected rows from 0");
  write(path, "[" + std::string(100'000, '[') + "{\"\":");
  CHECK_THROWS_AS(read_sequences(store), DataError);
}

TEST_CASE("store damage: values out of range with a correct hash are refused",
          "[data][store][reliability]") {
  const ScratchFolder folder;
  const std::string store = prepared(folder);
  const std::string items = read_file(store + "/items.i32");
  const std::string ends = read_file(store + "/ends.i64");
  for (const std::int32_t wrong : {-1, 40, std::numeric_limits<std::int32_t>::max()}) {
    std::vector<std::int32_t> values = values_of<std::int32_t>(items);
    values[values.size() / 2] = wrong;
    replace(store, "items.i32", text_of(values));
    CHECK_THROWS_MATCHES(read_all(store), DataError,
                         message_contains("expected item numbers below 40"));
  }
  replace(store, "items.i32", items);
  for (const std::int64_t wrong : {std::int64_t{-8}, std::int64_t{1} << 40}) {
    for (const std::size_t at : {std::size_t{0}, std::size_t{60}, std::size_t{119}}) {
      std::vector<std::int64_t> values = values_of<std::int64_t>(ends);
      values[at] = wrong;
      replace(store, "ends.i64", text_of(values));
      CHECK_THROWS_MATCHES(read_all(store), DataError, message_contains("expected ends that rise"));
    }
  }
  replace(store, "ends.i64", ends);
  std::vector<std::int64_t> user_ends = values_of<std::int64_t>(read_file(store + "/users.ends"));
  user_ends[0] = 0;  // an empty id, and those after it shifted
  user_ends[1] = 0;
  replace(store, "users.ends", text_of(user_ends));
  CHECK_THROWS_MATCHES(read_all(store), DataError, message_contains("expected different ids"));
}

TEST_CASE("store damage: any bytes with a correct hash are refused or harmless",
          "[data][store][reliability]") {
  const ScratchFolder folder;
  const std::string store = prepared(folder);
  Random random(17);
  int refused = 0;
  for (int round = 0; round < 240; ++round) {
    const std::string& name = file_names[static_cast<std::size_t>(round) % 6];
    const std::string whole = read_file(store + "/" + name);
    std::string changed = whole;
    for (std::int64_t changes = random.below(4); changes >= 0; --changes)
      changed[static_cast<std::size_t>(random.below(std::ssize(changed)))] =
          static_cast<char>(random.below(256));
    if (random.below(4) == 0)
      changed.resize(static_cast<std::size_t>(random.below(2 * std::ssize(whole))));
    INFO(round << " " << name);
    replace(store, name, changed);
    try {
      read_all(store);
    } catch (const DataError&) {
      ++refused;
    }
    replace(store, name, whole);
  }
  CHECK(refused > 80);
  read_all(store);
}

TEST_CASE("store damage: a file that shrinks while it is mapped is an error, not a crash",
          "[data][store][reliability]") {
  const ScratchFolder folder;
  std::string text;
  for (int event = 0; event < 100'000; ++event)
    text += refrain::detail::concat("u", event / 100, " i", event % 100, "\n");
  prepare_store(folder.write("log", text), folder.path("s"));
  const std::string items = folder.path("s") + "/items.i32";
  for (const std::uintmax_t left : std::initializer_list<std::uintmax_t>{0, 4096, 200001, 399999}) {
    INFO(left);
    fs::remove_all(folder.path("s"));
    prepare_store(folder.path("log"), folder.path("s"));
    const Sequences sequences = read_sequences(folder.path("s"));
    const Vocabulary vocabulary = Vocabulary::build(sequences);
    fs::resize_file(items, left);
    CHECK_THROWS_MATCHES(Vocabulary::build(sequences), DataError, message_contains("items.i32"));
    CHECK_THROWS_MATCHES(encode(sequences, vocabulary), DataError, message_contains("items.i32"));
    CHECK_THROWS_AS(sequences.rows.expect_intact(), DataError);
    // Whole pages are lost: rows after them tell it.
    if (left > 300'000) continue;
    CHECK_THROWS_MATCHES(
        [&] {
          std::int64_t sum = 0;
          for (std::int64_t row = 0; row < sequences.rows.rows(); ++row) {
            for (const std::int32_t item : sequences.rows[row]) sum += item;
          }
          return sum;
        }(),
        DataError, message_contains("shrank or its disk failed while it was read"));
  }
  // Data that was encoded before does not depend on the file.
  fs::remove_all(folder.path("s"));
  prepare_store(folder.path("log"), folder.path("s"));
  const Sequences sequences = read_sequences(folder.path("s"));
  const RaggedIds encoded = encode(sequences, Vocabulary::build(sequences));
  fs::resize_file(items, 0);
  encoded.expect_intact();
  CHECK(encoded[999].size() == 100);
}

TEST_CASE("store damage: a bus error elsewhere still ends the process",
          "[data][store][reliability]") {
  const ScratchFolder folder;
  read_all(prepared(folder));  // installs the handler
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGALRM, SIG_DFL);
    ::alarm(20);
    ::raise(SIGBUS);
    ::raise(SIGBUS);
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK((WIFSIGNALED(status) || WEXITSTATUS(status) != 0));  // a sanitizer reports and exits
}

TEST_CASE("store damage: preparing that fails leaves no store and no temporary files",
          "[data][store][reliability]") {
  const ScratchFolder folder;
  const std::string log = folder.write("log", generated_ratings());
  const auto prepare = [&] {
    prepare_store(log, folder.path("s"), {.read = {.format = Format::ratings_csv}});
  };
  std::uint64_t needed = 0;
  {
    SystemFaults faults({});
    prepare();
    needed = faults.written;
  }
  fs::remove_all(folder.path("s"));
  SECTION("a full disk") {
    for (std::uint64_t room = 0; room < needed; room += 1 + needed / 31) {
      INFO(room);
      const SystemFaults faults({.disk_bytes = room});
      CHECK_THROWS_MATCHES(prepare(), DataError, message_contains("No space left on device"));
      CHECK(beside_log(folder.path("")).empty());
    }
  }
  SECTION("a failing disk") {
    for (int call = 0; call < 8; ++call) {
      INFO(call);
      const SystemFaults faults({.failing_fsync = call});
      CHECK_THROWS_MATCHES(prepare(), DataError, message_contains("synced"));
      CHECK(beside_log(folder.path("")).empty());
    }
    const SystemFaults faults({.rename_fails = true});
    CHECK_THROWS_AS(prepare(), DataError);
    CHECK(beside_log(folder.path("")).empty());
  }
  SECTION("small and interrupted writes are no failure") {
    const SystemFaults faults({.max_bytes = 1000, .interruptions = 3});
    prepare();
    CHECK(read_sequences(folder.path("s")).rows ==
          read_sequences(log, {.format = Format::ratings_csv}).rows);
  }
  SECTION("a malformed line") {
    folder.write("log", generated_ratings() + "broken\n");
    CHECK_THROWS_AS(prepare(), DataError);
    CHECK(beside_log(folder.path("")).empty());
  }
}

TEST_CASE("store damage: encoding on a full disk is an error", "[data][store][reliability]") {
  const ScratchFolder folder;
  const Sequences sequences = read_sequences(prepared(folder));
  const Vocabulary vocabulary = Vocabulary::build(sequences);
  const SystemFaults faults({.disk_bytes = 100});
  CHECK_THROWS_MATCHES(encode(sequences, vocabulary), DataError,
                       message_contains("No space left on device"));
}

TEST_CASE("store damage: an existing path is not replaced", "[data][store][reliability]") {
  const ScratchFolder folder;
  const std::string log = folder.write("log", "u a\nu b\n");
  for (const char* name : {"file", "folder", "link"}) {
    if (name == std::string("file")) folder.write(name, "kept");
    if (name == std::string("folder")) fs::create_directory(folder.path(name));
    if (name == std::string("link")) fs::create_symlink("nowhere", folder.path(name));
    CHECK_THROWS_MATCHES(prepare_store(log, folder.path(name)), DataError,
                         message_contains("exists already"));
  }
  CHECK(read_file(folder.path("file")) == "kept");
  CHECK_THROWS_AS(prepare_store(log, folder.path("no/such/s")), DataError);
  CHECK_THROWS_AS(prepare_store(log, ""), DataError);
  CHECK_THROWS_AS(prepare_store(log, std::string("a\0b", 3)), DataError);
  CHECK_THROWS_AS(prepare_store(folder.path("missing"), folder.path("s")), DataError);
  prepare_store(log, folder.path("s/"));
  CHECK_THROWS_MATCHES(prepare_store(folder.path("s"), folder.path("t")), DataError,
                       message_contains("is a sequence store already"));
}

TEST_CASE("store damage: the folder of a killed process is no store and is removed",
          "[data][store][reliability]") {
  const ScratchFolder folder;
  std::string text;
  for (int event = 0; event < 300'000; ++event)
    text += refrain::detail::concat("u", event % 3000, " i", event % 100, "\n");
  const std::string log = folder.write("log", text);
  int left_behind = 0;
  for (int round = 0; round < 12; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      try {
        prepare_store(log, folder.path("s"));
      } catch (...) {
      }
      ::_exit(0);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + 17 * round));
    ::kill(child, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    for (const std::string& name : beside_log(folder.path(""))) {
      if (name == "s") {
        CHECK(read_sequences(folder.path("s")).rows.total() == 300'000);
        fs::remove_all(folder.path("s"));
      } else {
        ++left_behind;
        // Only a finished folder has a manifest.
        if (is_store(folder.path(name)))
          CHECK(read_sequences(folder.path(name)).rows.total() == 300'000);
      }
    }
  }
  CHECK(left_behind > 0);
  prepare_store(log, folder.path("s"));
  CHECK(beside_log(folder.path("")) == std::vector<std::string>{"s"});
}

TEST_CASE("store damage: options that contradict the store are refused", "[data][store]") {
  const ScratchFolder folder;
  const std::string store = prepared(folder);
  CHECK_THROWS_MATCHES(read_sequences(store, {.format = Format::u_data}), OptionError,
                       message_contains("expected format automatic or ratings_csv"));
  CHECK_THROWS_MATCHES(read_sequences(store, {.in_file_order = true}), OptionError,
                       message_contains("in_file_order (--in-file-order) belongs to preparing"));
  read_sequences(store, {.format = Format::ratings_csv});
  fs::create_directory(folder.path("empty"));
  CHECK_FALSE(is_store(folder.path("empty")));
  CHECK_THROWS_AS(read_sequences(folder.path("empty")), DataError);
}
