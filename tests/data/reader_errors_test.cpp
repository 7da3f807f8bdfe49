/// What readers refuse: files, lines and values, each with its place and reason.

#include "data/read_texts.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

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
      {"1\t2\t3\tnoon", "time \"noon\" is neither a number nor a date"},
      {"1\t2\t3\t9223372036854775808", "does not fit 64 bits"},
      {"1\t2\t3\t-1e30", "does not fit 64 bits"},
      {"\t2\t3\t4", "the user id is empty"},
      {"1\t\t3\t4", "the item id is empty"},
      {nul, "NUL"},
      {std::string(3000, '9') + "\t2\t3\t4",
       "at most 2000 bytes (max_line_bytes), got a longer one"},
      {"caf\xE9\t2\t3\t4", "the user id \"caf\\xE9\" is not UTF-8"},
      {"1\t\xC3\xA9\xE9\t3\t4", "the item id \"\xC3\xA9\\xE9\" is not UTF-8"},
      {"1\t2\t3\t2024-01-31",
       "time \"2024-01-31\" is a date without an offset from UTC: expected a number, as in line 1"},
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

TEST_CASE("readers: an incomplete last line is reported", "[data]") {
  const ScratchFolder folder;
  CHECK(failing_line(folder.write("ratings.dat", "1::2::3::4\n5::6::"), "is the file truncated?") ==
        2);
}

TEST_CASE("readers: up to skip_bad_lines invalid lines are skipped, the next one throws",
          "[data]") {
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

TEST_CASE("readers: a path with a NUL byte is refused, and the message has the full path",
          "[data]") {
  const ScratchFolder folder;
  folder.write("a", "1 2 3\n");
  const std::string path = folder.path("a") + std::string("\0b", 2);
  CHECK_THROWS_MATCHES(read_sequences(path, {.format = Format::user_items}), DataError,
                       message_contains("a\\x00b: the path holds a NUL byte"));
}

TEST_CASE("readers: a time column that is not read is an error", "[data]") {
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
  for (const char* column : {"updated_at", "updatedAt", "updatedat", "birth date", "Delivery-Date",
                             "day", "reviewTime2.date", "end_datetime", "timestamp_utc", "when"}) {
    refused(detail::concat("user,item,", column, "\nu,b,x\nu,a,y\n"),
            detail::concat("column \"", column, "\" looks like times and is not read"));
  }
  refused("user_id:token\titem_id:token\tupdated_at:token\nu\tb\t2\nu\ta\t1\n",
          "column \"updated_at:token\" looks like times and is not read, so the order of a user's "
          "events is unknown: name it with time_column (--time-column) to read it, remove it, or, "
          "if each user's events are in time order in the file, set in_file_order "
          "(--in-file-order)",
          "log.inter");
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

TEST_CASE("readers: two columns with the same meaning are reported", "[data]") {
  const ScratchFolder folder;
  CHECK_THROWS_MATCHES(
      detect_format(folder.write("log.csv", "user,item,product_id,ts\nu,i,p,5\n")), DataError,
      message_contains("log.csv:1: two columns of the header, \"item\" and \"product_id\", both "
                       "mean the item: choose one with item_column (--item-column)"));
  CHECK_THROWS_MATCHES(
      detect_format(folder.write("log.csv", "user,item,score,stars\nu,i,5,5\n")), DataError,
      message_contains("\"score\" and \"stars\", both mean the rating: rename or remove one of "
                       "them"));
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

TEST_CASE("readers: a second line of a user is refused in formats with one line per user",
          "[data]") {
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
