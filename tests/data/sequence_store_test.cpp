/// Sequence stores: the same rows as the log in memory, for every format and memory.

#include <algorithm>
#include <filesystem>

#include "data/read_texts.hpp"
#include "refrain/core/random.hpp"
#include "refrain/data/batches.hpp"
#include "refrain/data/dataset.hpp"
#include "refrain/data/sequence_store.hpp"
#include "support/generated_ratings.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {
namespace store_test {

using refrain::detail::concat;

constexpr std::int64_t mib = std::int64_t{1} << 20;

bool same_ids(const refrain::detail::StringTable& a, const refrain::detail::StringTable& b) {
  if (a.size() != b.size()) return false;
  for (std::int32_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

/// Rows, numbers and ids are equal.
bool same(const Sequences& a, const Sequences& b) {
  return a.rows == b.rows && a.user == b.user && same_ids(a.items, b.items) &&
         same_ids(a.users, b.users);
}

/// Prepares a store of a log and compares it with the log in memory.
void check_store(const std::string& log, ReadOptions options = {},
                 std::int64_t memory_bytes = StoreOptions::min_memory_bytes) {
  const ScratchFolder folder;
  const std::string path = folder.path("events.store");
  const StoreReport report =
      prepare_store(log, path, {.read = options, .memory_bytes = memory_bytes});
  CHECK(is_store(path));
  CHECK(report.log_bytes == static_cast<std::int64_t>(std::filesystem::file_size(log)));
  const Format format = options.format == Format::automatic ? detect_format(log) : options.format;
  CHECK(detect_format(path) == format);
  if (format == Format::transfer_csv) {
    const TransferSequences expected = read_transfer(log, options);
    const TransferSequences got = read_transfer(path, options);
    CHECK(same(got.source, expected.source));
    CHECK(same(got.target, expected.target));
    CHECK(report.events == expected.source.rows.total() + expected.target.rows.total());
    CHECK_THROWS_AS(read_sequences(path), OptionError);
    return;
  }
  const Sequences expected = read_sequences(log, options);
  const Sequences got = read_sequences(path, options);
  CHECK(same(got, expected));
  CHECK(got.rows.file() != nullptr);
  CHECK(report.rows == expected.rows.rows());
  CHECK(report.events == expected.rows.total());
  CHECK(report.items == expected.items.size());
  CHECK_THROWS_AS(read_transfer(path), OptionError);
  CHECK_THROWS_AS(read_interactions(path), OptionError);
}

/// The names of the files in a folder, in order.
std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

/// A log of random events of one format. Users and items have ids of several lengths, times are
/// often equal, and lines are in no order.
std::string random_events(Format format, std::uint64_t seed) {
  Random random(seed);
  const std::int64_t users = 1 + random.below(40);
  const std::int64_t items = 1 + random.below(60);
  const std::int64_t events = 1 + random.below(600);
  std::string text;
  if (format == Format::ratings_csv) text = "timestamp,userId,more,movieId\n";
  if (format == Format::inter)
    text = "item_id:token\tuser_id:token\trating:float\ttimestamp:float\n";
  for (std::int64_t event = 0; event < events; ++event) {
    const std::int64_t u = random.below(users);
    const std::int64_t i = random.below(items);
    const std::string user = concat("u", std::string(static_cast<std::size_t>(u % 20), 'y'), u);
    const std::string item = concat(i, std::string(static_cast<std::size_t>(i % 3), 'z'));
    const std::int64_t time = 1'000'000'000 + random.below(50);
    switch (format) {
      case Format::ratings_dat:
        text += concat(user, "::", item, "::3::", time, "\n");
        break;
      case Format::ratings_csv:
        text += concat(time, ",\"", user, "\",,", item, "\n");
        break;
      case Format::u_data:
        text += concat(user, "\t", item, "\t3\t", time, "\r\n");
        break;
      case Format::inter:
        text += concat(item, "\t", user, "\t3\t", time, "\n");
        break;
      default:
        text += concat(user, " ", item, "\n");
    }
    if (random.below(100) == 0) text += "\n";
  }
  return text;
}

/// A log of random sequences of one format.
std::string random_rows(Format format, std::uint64_t seed) {
  Random random(seed);
  const std::int64_t rows = 1 + random.below(80);
  const std::int64_t items = 1 + random.below(60);
  std::string text;
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto list = [&](char separator, std::int64_t least) {
      std::string words;
      for (std::int64_t left = least + random.below(9); left > 0; --left) {
        if (!words.empty()) words += separator;
        words += concat("i", random.below(items));
      }
      return words;
    };
    if (format == Format::user_items) text += concat("user", row, " ", list(' ', 1));
    if (format == Format::user_item_list) text += concat("user", row, "\t", list(',', 1));
    if (format == Format::sequence_csv) text += list(',', 1);
    if (format == Format::transfer_csv) {
      const std::string source = list(',', 0);
      text += concat(source, source.empty() ? "" : ",", ",", list(',', 1));
    }
    text += "\n";
  }
  return text;
}

}  // namespace store_test

using namespace store_test;

}  // namespace

TEST_CASE("store: the rows of every format of events", "[data][store]") {
  const ScratchFolder folder;
  for (const Format format : {Format::ratings_dat, Format::ratings_csv, Format::u_data,
                              Format::inter, Format::user_item}) {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
      INFO(name(format) << " " << seed);
      const std::string log = folder.write("log", random_events(format, seed));
      const std::int64_t memory = (std::int64_t{8} << (seed % 8)) * mib;  // 8 MB to 1 GB
      check_store(log, {.format = format}, memory);
      check_store(log, {.format = format, .in_file_order = true}, memory);
    }
  }
}

TEST_CASE("store: the rows of every format of one sequence per line", "[data][store]") {
  const ScratchFolder folder;
  for (const Format format :
       {Format::user_items, Format::user_item_list, Format::sequence_csv, Format::transfer_csv}) {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
      INFO(name(format) << " " << seed);
      const std::string log = folder.write("log", random_rows(format, seed));
      check_store(log, {.format = format}, (std::int64_t{8} << (seed % 8)) * mib);
    }
  }
}

TEST_CASE("store: damaged logs give the same rows or the same error", "[data][store]") {
  const ScratchFolder folder;
  Random random(21);
  const std::vector<Format> formats{
      Format::ratings_dat,    Format::ratings_csv,  Format::u_data,
      Format::inter,          Format::user_item,    Format::user_items,
      Format::user_item_list, Format::sequence_csv, Format::automatic};
  int errors = 0;
  int rows = 0;
  for (int round = 0; round < 200; ++round) {
    const std::size_t kind = static_cast<std::size_t>(round) % formats.size();
    const Format format = formats[kind];
    const bool has_events = kind < 5 || random.below(2) == 0;
    std::string text = has_events
                           ? random_events(format, static_cast<std::uint64_t>(round))
                           : random_rows(format == Format::automatic ? Format::user_items : format,
                                         static_cast<std::uint64_t>(round));
    for (std::int64_t changes = random.below(6); changes > 0; --changes) {
      const std::size_t at =
          static_cast<std::size_t>(random.below(static_cast<std::int64_t>(text.size())));
      constexpr std::string_view bytes("\n\t ,:\"\r0a\xFF\0", 11);
      text[at] = bytes[static_cast<std::size_t>(random.below(11))];
    }
    INFO(round << ": " << text.substr(0, 300));
    const std::string log = folder.write("log", text);
    const ReadOptions options{.format = format,
                              .skip_bad_lines = random.below(3) * 4,
                              .max_line_bytes = random.below(4) == 0 ? 60 : 1 << 20};
    Sequences expected;
    std::string error;
    try {
      if (format == Format::automatic && detect_format(log) == Format::transfer_csv) continue;
      expected = read_sequences(log, options);
    } catch (const Error& caught) {
      error = caught.what();
    }
    std::filesystem::remove_all(folder.path("s"));
    try {
      prepare_store(log, folder.path("s"), {.read = options});
      CHECK(error.empty());
      CHECK(same(read_sequences(folder.path("s")), expected));
      ++rows;
    } catch (const Error& caught) {
      CHECK(caught.what() == error);
      CHECK_FALSE(std::filesystem::exists(folder.path("s")));
      ++errors;
    }
  }
  CHECK(errors > 20);
  CHECK(rows > 60);
}

TEST_CASE("store: detected formats and skipped lines", "[data][store]") {
  const ScratchFolder folder;
  check_store(folder.write("ratings.csv", generated_ratings()));
  check_store(folder.write("rows.txt", "7 x\n8 x y  z\n 9\tz \n"));
  const std::string log = folder.write(
      "u.data", "u1\ta\t5\t100\nbroken\nu2\tb\t3.5\t50\n\nu1\tc\t1\tnever\nu1\tc\t1\t90\n");
  check_store(log, {.skip_bad_lines = 2});
  CHECK_THROWS_AS(check_store(log, {.skip_bad_lines = 1}), DataError);
  ReadReport report;
  prepare_store(log, folder.path("s"), {.read = {.skip_bad_lines = 2, .report = &report}});
  CHECK(report.bad_lines.size() == 2);
  ReadReport of_store;
  read_sequences(folder.path("s"), {.report = &of_store});
  CHECK(of_store.read_as == "a sequence store of u.data, " + report.read_as);
}

TEST_CASE("store: buckets that exceed the memory are divided", "[data][store]") {
  // 900,000 events of 30,000 users in no order: each of the 16 buckets of the smallest memory needs
  // more than 6 MB, and one user has a tenth of the events.
  const ScratchFolder folder;
  std::string text;
  Random random(7);
  for (int event = 0; event < 900'000; ++event) {
    const std::int64_t user = random.below(10) == 0 ? 0 : 1 + random.below(30'000);
    text += concat("user", user, " ", random.below(5'000), "\n");
  }
  const std::string log = folder.write("log", text);
  text = {};
  const Sequences expected = read_sequences(log);
  std::int64_t spilled = 0;
  for (const std::int64_t memory : {8 * mib, 64 * mib, 1024 * mib}) {
    INFO(memory);
    const std::string path = folder.path(concat("store", memory));
    const StoreReport report = prepare_store(log, path, {.memory_bytes = memory});
    CHECK(same(read_sequences(path), expected));
    // Each event is written to a bucket, and once more where buckets are divided.
    if (memory == 8 * mib) spilled = report.spilled_bytes;
    if (memory == 1024 * mib) CHECK(spilled > report.spilled_bytes + 900'000 * 24 * 9 / 10);
    CHECK(read_file(path + "/items.i32") ==
          read_file(folder.path(concat("store", 8 * mib)) + "/items.i32"));
    CHECK(names_in(path) == std::vector<std::string>{"ends.i64", "item_ids.ends", "item_ids.text",
                                                     "items.i32", "manifest.json", "users.ends",
                                                     "users.text"});
  }
}

TEST_CASE("store: memory that is too small is an error that names the need", "[data][store]") {
  const ScratchFolder folder;
  const std::string log = folder.write("log", "u a\nu b\n");
  CHECK_THROWS_WITH(prepare_store(log, folder.path("s"), {.memory_bytes = 8 * mib - 1}),
                    contains("expected memory_bytes (--memory) of at least 8388608"));
  SECTION("the events of one user") {
    std::string text;
    for (int event = 0; event < 300'000; ++event) text += "u a\n";
    const std::string large = folder.write("large", text);
    CHECK_THROWS_WITH(prepare_store(large, folder.path("s"), {.memory_bytes = 8 * mib}),
                      contains("the 300000 events of one user need memory_bytes"));
    check_store(large, {}, 16 * mib);
  }
  SECTION("the ids of items") {
    std::string text;
    for (int event = 0; event < 200'000; ++event)
      text += concat("u", event % 1000, " item", event, "\n");
    CHECK_THROWS_WITH(
        prepare_store(folder.write("large", text), folder.path("s"), {.memory_bytes = 8 * mib}),
        contains("the ids of the items need memory_bytes"));
  }
  CHECK(names_in(folder.path("")).size() <= 2);  // no folder is left
  CHECK_FALSE(std::filesystem::exists(folder.path("s")));
}

TEST_CASE("store: cutting, splitting and holding out are views of the file", "[data][store]") {
  const ScratchFolder folder;
  const std::string log = folder.write("ratings.csv", generated_ratings());
  prepare_store(log, folder.path("s"));
  const Sequences memory = read_sequences(log);
  const Sequences store = read_sequences(folder.path("s"));
  const auto is_view = [](const RaggedIds& rows) { return rows.file() != nullptr; };
  const CutSequences pieces = cut(store.rows, {.length = 4, .min_length = 2});
  const CutSequences expected = cut(memory.rows, {.length = 4, .min_length = 2});
  CHECK(is_view(pieces.rows));
  CHECK(pieces.rows == expected.rows);
  CHECK(pieces.rows.total() == expected.rows.total());
  CHECK(pieces.origin == expected.origin);
  const LeaveLastOut parts = split_leave_last_out(store.rows);
  CHECK(is_view(parts.test.rows));
  CHECK(parts.train == split_leave_last_out(memory.rows).train);
  CHECK(parts.valid.rows == split_leave_last_out(memory.rows).valid.rows);

  RaggedIds rows = store.rows;  // rows that are added make the views a copy
  rows.push_back(memory.rows[0]);
  CHECK_FALSE(is_view(rows));
  CHECK(rows.rows() == store.rows.rows() + 1);
  CHECK(std::ranges::equal(rows[5], memory.rows[5]));
  RaggedIds mixed;
  mixed.push_row(memory.rows, 0);
  mixed.push_row(store.rows, 1);
  CHECK_FALSE(is_view(mixed));
  CHECK(std::ranges::equal(mixed[1], memory.rows[1]));
  CHECK_THROWS_AS(mixed.push_part(store.rows, 0, 0, 1000), OptionError);
}

TEST_CASE("store: a data set of a store is that of the log", "[data][store][dataset]") {
  const ScratchFolder folder;
  const std::string log = folder.write("ratings.csv", generated_ratings(200, 60));
  prepare_store(log, folder.path("s"));
  for (const bool leave_last_out : {true, false}) {
    for (const std::int64_t piece_length : {0, 5}) {
      for (const std::int64_t min_count : {1, 35}) {
        const DatasetOptions options{
            .min_count = min_count, .leave_last_out = leave_last_out, .piece_length = piece_length};
        const Dataset expected = read_dataset(log, options);
        const Dataset data = read_dataset(folder.path("s"), options);
        CHECK(data.fingerprint() == expected.fingerprint());
        CHECK(data.users == expected.users);
        CHECK(data.events == expected.events);
        CHECK(data.training.file() != nullptr);
        CHECK(data.test.origin == expected.test.origin);
      }
    }
  }
  CHECK(read_dataset(folder.path("s")).text().find("a sequence store of ratings.csv") !=
        std::string::npos);
}

TEST_CASE("store: two logs are joined as in memory", "[data][store]") {
  const ScratchFolder folder;
  const std::string a = folder.write("a", random_events(Format::user_item, 1));
  const std::string b = folder.write("b", random_events(Format::user_item, 2));
  prepare_store(a, folder.path("s"));
  Sequences expected = read_sequences(a);
  Sequences got = read_sequences(folder.path("s"));
  append(expected, read_sequences(b));
  append(got, read_sequences(b));
  CHECK(same(got, expected));
}
