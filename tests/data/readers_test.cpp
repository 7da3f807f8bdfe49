/// Readers against handwritten files.

#include <cstring>
#include <string>
#include <vector>

#include "refrain/data/readers.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"

using namespace refrain;
using refrain::test::contains;
using refrain::test::message_contains;
using refrain::test::ScratchFolder;

namespace {

using Words = std::vector<std::vector<std::string>>;

/// Rows as original ids.
Words words(const Sequences& sequences) {
  Words rows;
  for (std::int64_t row = 0; row < sequences.rows.rows(); ++row) {
    rows.emplace_back();
    for (const std::int32_t item : sequences.rows[row])
      rows.back().emplace_back(sequences.items[item]);
  }
  return rows;
}

std::vector<std::string> row_users(const Sequences& sequences) {
  std::vector<std::string> users;
  for (const std::int32_t user : sequences.user) users.emplace_back(sequences.users[user]);
  return users;
}

std::vector<std::string> events(const Interactions& log) {
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < log.user.size(); ++i) {
    lines.push_back(detail::concat(log.users[log.user[i]], " ", log.items[log.item[i]]));
    if (!log.rating.empty()) lines.back() += detail::concat(" ", log.rating[i]);
    if (!log.time.empty()) lines.back() += detail::concat(" ", log.time[i]);
  }
  return lines;
}

/// Runs read_interactions and returns the line number of its error, or -1 without an error.
std::int64_t failing_line(const std::string& path, const std::string& reason,
                          ReadOptions options = {}) {
  try {
    read_interactions(path, options);
  } catch (const DataError& error) {
    CHECK_THAT(error.what(), contains(reason));
    CHECK(error.file() == path);
    return error.line();
  }
  return -1;
}

}  // namespace

TEST_CASE("readers: every layout of an event log gives the same events", "[data]") {
  const ScratchFolder folder;
  const std::vector<std::string> expected{"u1 a 5 100", "u2 b 3.5 50", "u1 c 1 90"};
  const std::vector<std::pair<std::string, Format>> files{
      {folder.write("ratings.dat", "u1::a::5::100\nu2::b::3.5::50\nu1::c::1::90\n"),
       Format::ratings_dat},
      {folder.write("ratings.csv",
                    "userId,movieId,rating,timestamp\nu1,a,5,100\n\"u2\",b,3.5,50\nu1,c,1.0,90\n"),
       Format::ratings_csv},
      {folder.write("u.data", "u1\ta\t5\t100\nu2\tb\t3.5\t50\nu1\tc\t1\t90\n"), Format::u_data},
      {folder.write("x.inter",
                    "timestamp:float\titem_id:token\trating:float\tuser_id:token\tmore:token\n"
                    "100.0\ta\t5\tu1\t-\n5e1\tb\t3.5\tu2\t-\n90\tc\t1\tu1\t-\n"),
       Format::inter},
      {folder.write("log", "u1::a::5::100\nu2::b::3.5::50\nu1::c::1::90\n"), Format::ratings_dat},
      {folder.write("log.csv",
                    "movieId,rating,userId,timestamp\na,5,u1,100\nb,3.5,u2,50\nc,1,u1,90\n"),
       Format::ratings_csv},
  };
  for (const auto& [path, format] : files) {
    INFO(path);
    CHECK(detect_format(path) == format);
    CHECK(events(read_interactions(path, {.keep_ratings = true})) == expected);
    CHECK(read_interactions(path).rating.empty());
    const Sequences sequences = read_sequences(path);
    CHECK(words(sequences) == Words{{"c", "a"}, {"b"}});
    CHECK(row_users(sequences) == std::vector<std::string>{"u1", "u2"});
  }
}

TEST_CASE("readers: one sequence a line", "[data]") {
  const ScratchFolder folder;
  SECTION("user item") {
    const std::string path = folder.write("pairs.txt", "7 x\n7 y\n8 x\n7 x\n");
    CHECK(detect_format(path) == Format::user_item);
    CHECK(words(read_sequences(path)) == Words{{"x", "y", "x"}, {"x"}});
  }
  SECTION("user item item ...") {
    const std::string path = folder.write("rows.txt", "7 x\n8 x y  z\n 9\tz \n");
    CHECK(detect_format(path) == Format::user_items);
    const Sequences sequences = read_sequences(path);
    CHECK(words(sequences) == Words{{"x"}, {"x", "y", "z"}, {"z"}});
    CHECK(row_users(sequences) == std::vector<std::string>{"7", "8", "9"});
  }
  SECTION("user<TAB>item,item,... and its two domains") {
    const std::string path = folder.write("lists.txt", "1\t150,10198,149\n2\t9\n3\t10000\n");
    CHECK(detect_format(path) == Format::user_item_list);
    const Sequences sequences = read_sequences(path);
    CHECK(words(sequences) == Words{{"150", "10198", "149"}, {"9"}, {"10000"}});
    const TransferSequences parts = split_domains(sequences, 10000);
    CHECK(words(parts.source) == Words{{"150", "149"}, {"9"}, {}});
    CHECK(words(parts.target) == Words{{"10198"}, {}, {"10000"}});
    CHECK(row_users(parts.target) == std::vector<std::string>{"1", "2", "3"});
    CHECK_THROWS_MATCHES(split_domains(read_sequences(folder.write("l", "1\ta,b\n")), 5), DataError,
                         message_contains("\"a\""));
  }
  SECTION("item,item,... with any ids") {
    const std::string path =
        folder.write("uuid.csv", "6cd36130-2d93,8695cbc9-de0c\n771dd9c1-062c, 6cd36130-2d93\n");
    CHECK(detect_format(path) == Format::sequence_csv);
    const Sequences sequences = read_sequences(path);
    CHECK(words(sequences) ==
          Words{{"6cd36130-2d93", "8695cbc9-de0c"}, {"771dd9c1-062c", "6cd36130-2d93"}});
    CHECK(sequences.user.empty());
  }
  SECTION("source,,target") {
    const std::string path = folder.write("transfer.csv", "a,b,,1,2\nb,,1\n,3\n");
    CHECK(detect_format(path) == Format::transfer_csv);
    const TransferSequences rows = read_transfer(path);
    CHECK(words(rows.source) == Words{{"a", "b"}, {"b"}, {}});
    CHECK(words(rows.target) == Words{{"1", "2"}, {"1"}, {"3"}});
    CHECK_THROWS_AS(read_sequences(path), OptionError);
    CHECK_THROWS_MATCHES(
        read_transfer(folder.write("b", "a,,1\na,b\n"), {.format = Format::transfer_csv}),
        DataError, message_contains("b:2: expected an empty field"));
    CHECK_THROWS_MATCHES(read_transfer(folder.write("b", "a,,1,,2\n")), DataError,
                         message_contains("field 4 is empty"));
    CHECK_THROWS_MATCHES(read_transfer(folder.write("b", "a,,1\na,\n")), DataError,
                         message_contains("b:2: expected target items"));
  }
}

TEST_CASE("readers: a table whose header names no user and no item is not read as sequences",
          "[data]") {
  const ScratchFolder folder;
  const std::string path = folder.write("visits.csv", "day,who,what\n20,u1,i7\n21,u2,i9\n");
  CHECK_THROWS_MATCHES(detect_format(path), DataError, message_contains("a table needs a header"));
  // Files of words only, and words above lines of other lengths, may be sequences.
  CHECK(detect_format(folder.write("fruit.csv", "fig,pear\npear,plum\n")) == Format::sequence_csv);
  CHECK(detect_format(folder.write("mixed.csv", "fig,pear\ni1,i2,i3\n")) == Format::sequence_csv);
}

TEST_CASE("readers: the report names the format and the columns", "[data]") {
  const ScratchFolder folder;
  ReadReport report;
  read_sequences(folder.write("shop.csv", "customer_id,price,product,ts\nu,3,i,5\n"),
                 {.report = &report});
  CHECK(report.read_as ==
        R"(ratings_csv: user "customer_id", item "product", time "ts"; not read: "price")");
  read_sequences(folder.write("days.csv", "user,item,place\nu,i,5\n"), {.report = &report});
  CHECK(
      report.read_as ==
      R"(ratings_csv: user "user", item "item", no time: events stay in the file's order; not read: "place")");
  read_sequences(folder.write("rows.csv", "a,b,c\nd,e\n"), {.report = &report});
  CHECK(report.read_as == "sequence_csv: item,item,..., one sequence a line, no users");
  read_sequences(folder.write("rows.txt", "1\t2\t3\t4\n"), {.report = &report});
  CHECK(report.read_as == "u_data: user, item, rating, timestamp, separated by tabs");
}

TEST_CASE("readers: equal timestamps keep the order of the file", "[data]") {
  const ScratchFolder folder;
  const std::string path =
      folder.write("u.data", "1\ta\t1\t5\n1\tb\t1\t4\n1\tc\t1\t5\n1\td\t1\t-4\n1\te\t1\t4\n");
  CHECK(words(read_sequences(path)) == Words{{"d", "b", "e", "a", "c"}});
}

TEST_CASE("readers: CRLF, byte order mark, blank lines and a missing last line end change nothing",
          "[data]") {
  const ScratchFolder folder;
  ReadReport report;
  const std::string path = folder.write(
      "ratings.csv", "\xEF\xBB\xBFuserId,movieId,rating,timestamp\r\n1,2,3,4\r\n\r\n  \n5,6,1,8");
  CHECK(events(read_interactions(path, {.report = &report})) ==
        std::vector<std::string>{"1 2 4", "5 6 8"});
  CHECK(report.lines == 5);
  CHECK(report.blank_lines == 2);
  CHECK(report.bad_lines.empty());
}

TEST_CASE("readers: lines that straddle a block come out whole", "[data]") {
  const ScratchFolder folder;
  std::string text;
  std::vector<std::string> expected;
  for (int i = 0; i < 60000; ++i) {  // about 2.4 MB, lines of changing length
    const std::string user(static_cast<std::size_t>(1 + i % 37), static_cast<char>('a' + i % 26));
    text += detail::concat(user, "\t", i, "\t", i % 5, "\t", 1000000 + i, "\n");
    expected.push_back(detail::concat(user, " ", i, " ", 1000000 + i));
  }
  CHECK(events(read_interactions(folder.write("u.data", text))) == expected);
}

TEST_CASE("readers: missing and empty files are refused", "[data]") {
  const ScratchFolder folder;
  for (const Format format :
       {Format::automatic, Format::u_data, Format::ratings_csv, Format::user_item}) {
    INFO(name(format));
    CHECK(failing_line(folder.path("missing"), "No such file", {.format = format}) == 0);
    CHECK(failing_line(folder.path(""), "directory", {.format = format}) == 0);
    CHECK(failing_line(folder.write("empty", ""), "empty", {.format = format}) == 0);
    CHECK(failing_line(folder.write("blank", "\n\r\n \n"), "empty", {.format = format}) == 0);
  }
  CHECK(failing_line(folder.write("ratings.csv", "userId,movieId,rating,timestamp\n"),
                     "no events") == 0);
  CHECK(failing_line(folder.write("ratings.csv", "1,2,3,4\n"), "expected a header") == 1);
  CHECK(failing_line(folder.write("x.inter", "user_id:token\titem_id:token\tuser:token\n"),
                     "two columns") == 1);
}

TEST_CASE("readers: a malformed line is named with its number and reason", "[data]") {
  const ScratchFolder folder;
  struct Case {
    std::string line;
    std::string reason;
  };
  const std::string nul("1\t2\0\t3\t4", 8);
  const std::vector<Case> cases{
      {"1\t2\t3", "expected 4 fields separated by \"\\t\", got 3"},
      {"1\t2\t3\t4\t5", "got 5"},
      {"1\t2\tgood\t4", "rating \"good\" is not a number"},
      {"1\t2\tnan\t4", "rating \"nan\""},
      {"1\t2\t\t4", "rating \"\""},
      {"1\t2\t3\tnoon", "timestamp \"noon\" is not a number"},
      {"1\t2\t3\t9223372036854775808", "does not fit 64 bits"},
      {"1\t2\t3\t-1e30", "does not fit 64 bits"},
      {"\t2\t3\t4", "the user id is empty"},
      {"1\t\t3\t4", "the item id is empty"},
      {nul, "NUL"},
      {std::string(3000, '9') + "\t2\t3\t4",
       "at most 2000 bytes (max_line_bytes), got a longer one"},
      {"caf\xE9\t2\t3\t4", "the user id \"caf\\xE9\" is not UTF-8"},
      {"1\t\xC3\xA9\xE9\t3\t4", "the item id \"\xC3\xA9\\xE9\" is not UTF-8"},
      {"1\t2\t3\t2024-01-31", "timestamp \"2024-01-31\" is a date: expected seconds"},
  };
  for (const Case& bad : cases) {
    INFO(bad.reason);
    const ReadOptions options{.max_line_bytes = 2000};
    CHECK(failing_line(folder.write("u.data", "1\t1\t1\t1\n\n" + bad.line + "\n2\t2\t2\t2\n"),
                       bad.reason, options) == 3);
    ReadReport report;
    const Interactions log = read_interactions(
        folder.path("u.data"), {.skip_bad_lines = 1, .max_line_bytes = 2000, .report = &report});
    CHECK(events(log) == std::vector<std::string>{"1 1 1", "2 2 2"});
    CHECK(log.users.size() == 2);
    CHECK(log.items.size() == 2);
    REQUIRE(report.bad_lines.size() == 1);
    CHECK(report.bad_lines[0].line == 3);
    CHECK_THAT(report.bad_lines[0].reason, contains(bad.reason));
  }
}

TEST_CASE("readers: a file cut off in its last line says so", "[data]") {
  const ScratchFolder folder;
  CHECK(failing_line(folder.write("ratings.dat", "1::2::3::4\n5::6::"), "is the file truncated?") ==
        2);
}

TEST_CASE("readers: as many bad lines as allowed are skipped, the next one throws", "[data]") {
  const ScratchFolder folder;
  const std::string path = folder.write("ratings.dat", "x\n1::2::3::4\ny\nz\n5::6::7::8\n");
  ReadReport report;
  CHECK(failing_line(path, "2 bad lines were skipped before it (read as ratings_dat: user::item::",
                     {.skip_bad_lines = 2, .report = &report}) == 4);
  CHECK(report.bad_lines.size() == 2);
  CHECK(failing_line(path, "got 1", {.skip_bad_lines = 0}) == 1);
  CHECK(read_interactions(path, {.skip_bad_lines = 3, .report = &report}).size() == 2);
  CHECK(report.lines == 5);
  CHECK_THROWS_AS(read_interactions(path, {.skip_bad_lines = -1}), OptionError);
}

TEST_CASE("readers: a huge line without an end is refused within bounded memory", "[data]") {
  const ScratchFolder folder;
  const std::string path =
      folder.write("u.data", "1\t1\t1\t1\n" + std::string(std::size_t{8} << 20, 'x'));
  CHECK(failing_line(path, "at most 1048576 bytes (max_line_bytes)") == 2);
  ReadReport report;
  CHECK(read_interactions(path, {.skip_bad_lines = 1, .report = &report}).size() == 1);
  CHECK(report.lines == 2);
}

TEST_CASE("readers: a line without any end ends reading", "[data]") {
  for (const std::int64_t skipped : {0, 1}) {
    CHECK_THROWS_MATCHES(
        read_sequences("/dev/zero", {.format = Format::user_items, .skip_bad_lines = skipped}),
        DataError,
        message_contains(skipped == 0 ? "/dev/zero:1: expected a line of at most 1048576 bytes"
                                      : "/dev/zero:1: the line has no end within 1073741824"));
  }
}

TEST_CASE("readers: lines after one that is too long are read", "[data]") {
  const ScratchFolder folder;
  for (const std::size_t length : {101u, 5000u, 3u << 20}) {
    ReadReport report;
    const std::string path = folder.write(
        "u.data", detail::concat("1\t1\t1\t1\n", std::string(length, 'x'), "\n2\t2\t2\t2\n"));
    CHECK(events(read_interactions(
              path, {.skip_bad_lines = 1, .max_line_bytes = 100, .report = &report})) ==
          std::vector<std::string>{"1 1 1", "2 2 2"});
    CHECK(report.lines == 3);
  }
}

TEST_CASE("readers: a path with a NUL byte is refused, and named whole", "[data]") {
  const ScratchFolder folder;
  folder.write("a", "1 2 3\n");
  const std::string path = folder.path("a") + std::string("\0b", 2);
  CHECK_THROWS_MATCHES(read_sequences(path, {.format = Format::user_items}), DataError,
                       message_contains("a\\x00b: the path holds a NUL byte"));
}

TEST_CASE("readers: times that are not read are refused", "[data]") {
  const ScratchFolder folder;
  const auto refused = [&](const std::string& text, const std::string& why,
                           const std::string& name = "log.csv") {
    INFO(text);
    const std::string path = folder.write(name, text);
    CHECK_THROWS_MATCHES(read_sequences(path), DataError, message_contains(why));
    CHECK_THROWS_MATCHES(read_sequences(path), DataError,
                         message_contains("log" + name.substr(3) + ":1: "));
    CHECK_THROWS_MATCHES(read_sequences(path, {.skip_bad_lines = 5}), DataError,
                         message_contains("--in-file-order"));
    const Interactions log = read_interactions(path, {.in_file_order = true});
    CHECK(events(log) == std::vector<std::string>{"u b", "u a"});
  };
  // By the name of the column.
  for (const char* column : {"created_at", "createdAt", "createdat", "date", "Order-Date", "day",
                             "reviewTime2.date", "event_datetime", "timestamp_utc", "when"}) {
    refused(detail::concat("user,item,", column, "\nu,b,x\nu,a,y\n"),
            detail::concat("column \"", column, "\" looks like times and is not read"));
  }
  refused("user_id:token\titem_id:token\tcreated_at:token\nu\tb\t2\nu\ta\t1\n",
          "column \"created_at:token\" looks like times", "log.inter");
  // By its fields.
  for (const auto& [first, second] :
       {std::pair("2024-01-31", "2023-12-01"), std::pair("2024-01-31T10:15:00Z", "2024-01-30 9:15"),
        std::pair("31.01.2024", "1.2.2024"), std::pair("1/31/2024 10:15", "1/30/2024 10:15"),
        std::pair("20240131", "20231201"), std::pair("978300760", "978300759"),
        std::pair("1700000001000", "1700000000000"), std::pair("1.7e3", "1700000000.5")}) {
    const bool is_time = std::string(first) != "1.7e3";
    const std::string text = detail::concat("x,item,user\n", first, ",b,u\n", second, ",a,u\n");
    if (is_time) refused(text, "column \"x\" looks like times and is not read");
    if (!is_time) CHECK(read_interactions(folder.write("log.csv", text)).size() == 2);
  }
  // Ratings without times.
  refused("user,item,rating\nu,b,5\nu,a,4\n",
          "the table has ratings (column \"rating\") and no times");

  // Other columns are ignored, a time column that is read suffices, and one field that is not a
  // time rules out its column.
  for (const char* text :
       {"user,item,update,price,category\nu,b,1,5,7\n", "user,item\nu,b\n",
        "user,item,ts,created_at\nu,b,1,2024-01-31\n", "user,item,rating,time\nu,b,1,5\n",
        "user,item,x\nu,b,2024-01-31\nu,a,5\n"}) {
    INFO(text);
    CHECK(read_interactions(folder.write("log.csv", text)).size() >= 1);
  }
}

TEST_CASE("readers: in_file_order reads no times", "[data]") {
  const ScratchFolder folder;
  const std::string path = folder.write("u.data", "u\tb\t1\t2024-02-01\nu\ta\t1\t2024-01-31\n");
  CHECK_THROWS_AS(read_sequences(path), DataError);
  CHECK(words(read_sequences(path, {.in_file_order = true})) == Words{{"b", "a"}});
  const std::string table = folder.write("log.csv", "user,item,timestamp\nu,b,9\nu,a,5\n");
  CHECK(words(read_sequences(table)) == Words{{"a", "b"}});
  ReadReport report;
  CHECK(words(read_sequences(table, {.in_file_order = true, .report = &report})) ==
        Words{{"b", "a"}});
  CHECK_THAT(report.read_as, contains("no time: events stay in the file's order; not read: "
                                      "\"timestamp\""));
}

TEST_CASE("readers: a table of times without a header is not read as sequences", "[data]") {
  const ScratchFolder folder;
  for (const char* text :
       {"u,a,2024-01-31\nu,b,2024-01-30\n", "u\ta\t978300760\nv\tb\t978300761\n",
        "u a 978300760\nv b 978300761\n", "u,a,5,978300760\nu,b,4,978300761\n"}) {
    INFO(text);
    CHECK_THROWS_MATCHES(detect_format(folder.write("log", text)), DataError,
                         message_contains("a table needs a header"));
  }
}

TEST_CASE("readers: JSON and comments are refused by name", "[data]") {
  const ScratchFolder folder;
  for (const char* text :
       {"{\"user\": \"u\", \"item\": \"i\"}\n", "{\"user\":\"u\",\"item\":\"i\"}\n",
        "[[\"u\",\"i\"],[\"u\",\"j\"]]\n", "\n [\n1,2,3\n]\n"}) {
    INFO(text);
    for (const char* name : {"log", "ratings.csv", "log.inter"}) {
      CHECK_THROWS_MATCHES(detect_format(folder.write(name, text)), DataError,
                           message_contains("looks like JSON"));
    }
    CHECK_THROWS_MATCHES(detect_format(folder.path("log")), DataError,
                         message_contains("ratings_dat, ratings_csv, u_data, inter, user_item, "));
    CHECK_THROWS_MATCHES(read_titles(folder.path("log")), DataError,
                         message_contains("looks like JSON"));
    CHECK_THROWS_MATCHES(read_profiles(folder.path("log")), DataError,
                         message_contains("looks like JSON"));
  }
  const std::string commented = folder.write("log.csv", "# from shop 5\nuser,item\nu,i\nu,j\n");
  CHECK_THROWS_MATCHES(detect_format(commented), DataError,
                       message_contains("begins with a comment, \"# from shop 5\""));
  // A named format reads any ids.
  CHECK(words(read_sequences(folder.write("tags", "#a,#b\n"), {.format = Format::sequence_csv})) ==
        Words{{"#a", "#b"}});
}

TEST_CASE("readers: ids and values that are not UTF-8 are refused", "[data]") {
  const ScratchFolder folder;
  const auto refused = [&](const std::string& text, Format format, const std::string& why) {
    const std::string path = folder.write("log", text);
    INFO(name(format));
    CHECK_THROWS_MATCHES(format == Format::transfer_csv
                             ? read_transfer(path, {.format = format}).source
                             : read_sequences(path, {.format = format}),
                         DataError, message_contains(why));
  };
  refused("1 a\n2 caf\xE9\n", Format::user_item, "log:2: the item id \"caf\\xE9\" is not UTF-8");
  refused("1 a b\n\xFF a\n", Format::user_items, "log:2: the user id \"\\xFF\" is not UTF-8");
  refused("1 a caf\xC3\xA9 caf\xE9\n", Format::user_items,
          "log:1: item id \"caf\\xE9\" (field 4) is not UTF-8");
  refused("1\ta,\xE9\n", Format::user_item_list, "log:1: item id \"\\xE9\" (field 2)");
  refused("a,b\n\xED\xA0\x80\n", Format::sequence_csv, "log:2: item id");
  refused("a,,\xC0\x80\n", Format::transfer_csv, "log:1: item id");
  CHECK(words(read_sequences(folder.write("log", "1 caf\xC3\xA9 \xF0\x9F\x8D\xB5\n"),
                             {.format = Format::user_items})) ==
        Words{{"caf\xC3\xA9", "\xF0\x9F\x8D\xB5"}});

  CHECK_THROWS_MATCHES(read_profiles(folder.write("p.csv", "user,a\n1,\xE9\n")), DataError,
                       message_contains("p.csv:2: the value of \"a\", \"\\xE9\", is not UTF-8"));
  CHECK_THROWS_MATCHES(read_profiles(folder.write("p.csv", "user,a\n\xE9,1\n")), DataError,
                       message_contains("the user id \"\\xE9\" is not UTF-8"));
  CHECK_THROWS_MATCHES(read_profiles(folder.write("p.csv", "user,\xE9\n1,1\n")), DataError,
                       message_contains("column \"\\xE9\" of the header is not UTF-8"));
}

TEST_CASE("readers: two columns of one meaning are named", "[data]") {
  const ScratchFolder folder;
  CHECK_THROWS_MATCHES(
      detect_format(folder.write("log.csv", "user,item,product_id,ts\nu,i,p,5\n")), DataError,
      message_contains("log.csv:1: two columns of the header, \"item\" and \"product_id\", both "
                       "mean the item: rename or remove one of them"));
}

TEST_CASE("readers: quoted fields", "[data]") {
  const ScratchFolder folder;
  const std::string path = folder.write(
      "ratings.csv", "user,item\n\"a,b\",\"say \"\"hi\"\"\"\n\"\",x\n\"open,x\n\"a\"b,x\n");
  ReadReport report;
  CHECK(events(read_interactions(path, {.skip_bad_lines = 3, .report = &report})) ==
        std::vector<std::string>{"a,b say \"hi\""});
  REQUIRE(report.bad_lines.size() == 3);
  CHECK_THAT(report.bad_lines[0].reason, contains("user id is empty"));
  CHECK_THAT(report.bad_lines[1].reason,
             contains("quote is not closed on its line: expected a closing quote, and no line "
                      "break within quotes"));
  CHECK_THAT(report.bad_lines[2].reason, contains("follows a closing quote"));
}

TEST_CASE("readers: formats have names, and files of another kind are refused", "[data]") {
  const ScratchFolder folder;
  for (const char* known :
       {"ratings_dat", "ratings_csv", "u_data", "inter", "user_item", "user_items",
        "user_item_list", "sequence_csv", "transfer_csv", "automatic"}) {
    CHECK(std::string(name(parse_format(known))) == known);
  }
  CHECK_THROWS_MATCHES(parse_format("xml"), OptionError, message_contains("sequence_csv"));
  CHECK_THROWS_MATCHES(detect_format(folder.write("poem", "Roses\nviolets\n")), DataError,
                       message_contains("no known format"));
  CHECK_THROWS_MATCHES(detect_format(folder.write("users.dat", "1::F::1::10::48067\n")), DataError,
                       message_contains("read_profiles"));
  CHECK_THROWS_MATCHES(detect_format(folder.write("movies.csv", "movieId,title\n")), DataError,
                       message_contains("read_titles"));
  CHECK_THROWS_MATCHES(detect_format(folder.write("b", std::string_view("\x7f\x45\0\0", 4))),
                       DataError, message_contains("NUL"));
  CHECK_THROWS_AS(read_interactions(folder.write("rows", "1 2 3\n")), OptionError);
  CHECK_THROWS_AS(read_transfer(folder.write("rows", "1 2 3\n")), OptionError);
}

TEST_CASE("readers: profiles label users", "[data]") {
  const ScratchFolder folder;
  const Profiles coded =
      read_profiles(folder.write("users.dat", "1::F::1::10::48067\n2::M::56::16::70072\n"));
  CHECK(coded.value("1", "gender") == "F");
  CHECK(coded.value("2", "age") == "56");
  CHECK(coded.value("2", "occupation") == "16");
  CHECK_FALSE(coded.value("3", "age").has_value());
  CHECK_THROWS_MATCHES(coded.value("1", "shoe"), OptionError,
                       message_contains("\"gender\", \"age\", \"occupation\""));

  std::string text;
  const std::vector<std::pair<int, std::string>> ages{
      {7, "1"},   {17, "1"},  {18, "18"}, {24, "18"}, {25, "25"}, {34, "25"}, {35, "35"},
      {44, "35"}, {45, "45"}, {49, "45"}, {50, "50"}, {55, "50"}, {56, "56"}, {73, "56"}};
  for (const auto& [age, band] : ages) text += detail::concat("u", age, "|", age, "|M|writer|1\n");
  const Profiles years = read_profiles(folder.write("u.user", text));
  for (const auto& [age, band] : ages) CHECK(years.value(detail::concat("u", age), "age") == band);

  const std::string bad = folder.write(
      "users.dat",
      "1::F::2::10::4\n1::F::1::10::4\n1::M::1::1::1\n2::F\n3::F::x::1::1\n4::::1::1::1\n");
  ReadReport report;
  CHECK(read_profiles(bad, {.skip_bad_lines = 5, .report = &report}).users.size() == 1);
  REQUIRE(report.bad_lines.size() == 5);
  CHECK_THAT(report.bad_lines[0].reason, contains("age 2: expected one of the codes"));
  CHECK_THAT(report.bad_lines[1].reason, contains("profile already"));
  CHECK_THROWS_AS(read_profiles(bad), DataError);

  const Sequences sequences = read_sequences(folder.write("rows", "2 a b\n9 a c\n1 c\n"));
  const TransferSequences task = label_users(sequences, coded, "gender");
  CHECK(words(task.source) == Words{{"a", "b"}, {"c"}});
  CHECK(words(task.target) == Words{{"M"}, {"F"}});
  CHECK(row_users(task.source) == std::vector<std::string>{"2", "1"});
  CHECK_THROWS_AS(label_users(sequences, years, "gender"), DataError);
  CHECK_THROWS_AS(label_users(read_sequences(folder.write("nameless", "a,b\n")), coded, "gender"),
                  OptionError);
}

TEST_CASE("readers: profiles from a table with a header", "[data]") {
  const ScratchFolder folder;
  ReadReport report;
  const Profiles commas =
      read_profiles(folder.write("users.csv",
                                 "churned,Customer_ID,\"home, town\"\nno,anna,\"Oslo, "
                                 "N\"\nyes,ben,\n\n,cleo,\"\"\"Rome\"\"\"\n"),
                    {.report = &report});
  CHECK(report.read_as == "profiles: user \"Customer_ID\", \"churned\", \"home, town\"");
  CHECK(commas.value("anna", "home, town") == "Oslo, N");
  CHECK(commas.value("cleo", "home, town") == "\"Rome\"");
  CHECK_FALSE(commas.value("ben", "home, town").has_value());
  CHECK_FALSE(commas.value("cleo", "churned").has_value());
  CHECK(commas.value("ben", "churned") == "yes");

  const Profiles tabs =
      read_profiles(folder.write("a.user", "user_id:token\t age :float\n7\t24.5\n8\t 30 \n"));
  CHECK(tabs.value("7", "age") == "24.5");
  CHECK(tabs.value("8", "age") == "30");

  const Sequences sequences =
      read_sequences(folder.write("rows", "cleo a b\nben a c\nanna c\nx a\n"));
  const TransferSequences task = label_users(sequences, commas, "churned");
  CHECK(words(task.source) == Words{{"a", "c"}, {"c"}});
  CHECK(words(task.target) == Words{{"yes"}, {"no"}});
  CHECK_THROWS_MATCHES(label_users(sequences, tabs, "age"), DataError, message_contains("\"age\""));

  const auto refused = [&](const std::string& text, const std::string& why) {
    INFO(text);
    CHECK_THROWS_MATCHES(read_profiles(folder.write("bad.csv", text)), DataError,
                         message_contains(why));
  };
  refused("user,a\n1,2,3\n", ":2: expected 2 fields separated by \",\", got 3");
  refused("user,a\n1,2\n1,3\n", ":3: duplicate profile of user \"1\"");
  refused("user,a\n,3\n", "the user id is empty");
  refused("user,a\n", "holds no profiles");
  refused("user\n1\n", "no attribute");
  refused("user,a,a:token\n1,2,3\n", "two columns of the header are named \"a\"");
  refused("user,,b\n1,2,3\n", "column 2 of the header has no name");
  refused("name,a\n1,2\n", "MovieLens' users.dat or u.user, got \"name,a\"");
  refused("user,\"a\n1,2\n", "expected a header that names a user column");
}

TEST_CASE("readers: titles come out as UTF-8", "[data]") {
  const ScratchFolder folder;
  const std::string utf8 = "L\xC3\xA9on";  // é
  const Titles bars =
      read_titles(folder.write("u.item", "1|L\xE9on|x|y\n2|Plain|x\n3|L\xC3\xA9on\n"));
  CHECK(bars.find("1") == utf8);
  CHECK(bars.find("2") == "Plain");
  CHECK(bars.find("3") == utf8);
  CHECK_FALSE(bars.find("4").has_value());
  CHECK(read_titles(folder.write("movies.dat", "1::L\xE9on, the (1994)::Drama|War\n")).find("1") ==
        utf8 + ", the (1994)");
  const Titles quoted = read_titles(
      folder.write("movies.csv", "movieId,title,genres\n11,\"A, \"\"B\"\" (1995)\",X\n12,C,Y|Z\n"));
  CHECK(quoted.find("11") == "A, \"B\" (1995)");
  CHECK(quoted.find("12") == "C");
  CHECK_THROWS_MATCHES(read_titles(folder.write("movies.csv", "movieId,title,genres\n1\n")),
                       DataError, message_contains(":2:"));
  CHECK_THROWS_MATCHES(read_titles(folder.write("movies.csv", "movieId,title\n1,a\n1,b\n")),
                       DataError, message_contains("already"));
}

TEST_CASE("sequences: appending joins items, and users where both have them", "[data]") {
  const ScratchFolder folder;
  Sequences named = read_sequences(folder.write("a", "1 x y\n2 z z\n"));
  append(named, read_sequences(folder.write("b", "3 z z\n2 y w\n")));
  CHECK(words(named) == Words{{"x", "y"}, {"z", "z", "y", "w"}, {"z", "z"}});
  CHECK(row_users(named) == std::vector<std::string>{"1", "2", "3"});
  CHECK(named.items.size() == 4);
  append(named, read_sequences(folder.write("c", "3 q x\n4 y y\n1 z y\n")));
  CHECK(words(named) ==
        Words{{"x", "y", "z", "y"}, {"z", "z", "y", "w"}, {"z", "z", "q", "x"}, {"y", "y"}});
  CHECK(row_users(named) == std::vector<std::string>{"1", "2", "3", "4"});
  append(named, read_sequences(folder.write("d", "x,p\n")));
  CHECK(named.user.empty());
  CHECK(named.users.empty());
  CHECK(named.rows.rows() == 5);
  CHECK(named.items.size() == 6);
  append(named, read_sequences(folder.write("e", "1 x\n2 z z\n")));
  CHECK(named.rows.rows() == 7);
}

TEST_CASE("sequences: a user's rows are joined in their order, and an empty one is a row",
          "[data]") {
  // Row by row: user, items as letters.
  const auto made = [](const std::vector<std::pair<std::string, std::string>>& rows) {
    Sequences sequences;
    for (const auto& [user, items] : rows) {
      for (const char item : items)
        sequences.rows.add(sequences.items.intern(std::string(1, item)));
      sequences.rows.end_row();
      sequences.user.push_back(sequences.users.intern(user));
    }
    return sequences;
  };
  Sequences all = made({{"a", "xy"}, {"b", ""}, {"a", "z"}});
  append(all, made({{"c", ""}, {"b", "w"}, {"a", ""}, {"b", "x"}, {"a", "y"}}));
  CHECK(words(all) == Words{{"x", "y", "z", "y"}, {"w", "x"}, {}});
  CHECK(row_users(all) == std::vector<std::string>{"a", "b", "c"});
  Sequences none;
  append(none, made({{"b", "w"}, {"a", "x"}, {"b", "y"}}));
  CHECK(words(none) == Words{{"w", "y"}, {"x"}});
}

TEST_CASE("readers: a second line of a user is refused where a line is a user", "[data]") {
  const ScratchFolder folder;
  for (const auto& [text, format] : {std::pair("7 x y\n8 x\n7 z w\n", Format::user_items),
                                     std::pair("7\tx,y\n8\tx\n7\tz,w\n", Format::user_item_list)}) {
    const std::string path = folder.write("rows", text);
    CHECK_THROWS_MATCHES(read_sequences(path, {.format = format}), DataError,
                         message_contains("rows:3: duplicate line of user \"7\""));
    const Sequences rest = read_sequences(path, {.format = format, .skip_bad_lines = 1});
    CHECK(words(rest) == Words{{"x", "y"}, {"x"}});
    CHECK(rest.items.size() == 2);
  }
  CHECK(words(read_sequences(folder.write("events", "7 x\n8 x\n7 y\n"))) ==
        Words{{"x", "y"}, {"x"}});
}
