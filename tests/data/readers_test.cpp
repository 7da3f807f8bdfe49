/// Readers of event logs and of sequences against texts written out by hand.

#include "data/read_texts.hpp"

using namespace refrain;
using namespace refrain::test;

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

TEST_CASE("readers: one sequence per line", "[data]") {
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
  // Files without numbers, and files whose lines differ in length, may be sequences.
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
  CHECK(report.read_as == "sequence_csv: item,item,..., one sequence per line, no users");
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

TEST_CASE("readers: lines across blocks are read completely", "[data]") {
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

TEST_CASE("readers: in_file_order reads no times", "[data]") {
  const ScratchFolder folder;
  const std::string path = folder.write("u.data", "u\tb\t1\t2024-02-01\nu\ta\t1\t2024-01-31\n");
  CHECK(words(read_sequences(path)) == Words{{"a", "b"}});
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
