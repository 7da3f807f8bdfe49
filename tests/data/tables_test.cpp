/// Tables: their separators, the columns that are read, and the order of their lines.

#include "data/read_texts.hpp"

using namespace refrain;
using namespace refrain::test;

namespace tables_test {

std::string read_as(const std::string& path, ReadOptions options = {}) {
  ReadReport report;
  options.report = &report;
  read_interactions(path, options);
  return report.read_as;
}

void refused(const std::string& path, const std::string& why, const ReadOptions& options = {}) {
  CHECK_THROWS_MATCHES(read_interactions(path, options), DataError, message_contains(why));
}

}  // namespace tables_test

using namespace tables_test;

TEST_CASE("tables: commas, semicolons and tabs separate fields, as in the header", "[data]") {
  const ScratchFolder folder;
  const std::vector<std::string> expected{"u1 a, b 100", "u;2 \"c\" 50"};
  for (const auto& [name, text] : {
           std::pair("comma.csv",
                     "customerId,product-id,created_at\nu1,\"a, b\",100\nu;2,\"\"\"c\"\"\",50\n"),
           std::pair("semicolon.csv",
                     "\"customerId\";\"product-id\";created_at\nu1;a, b;100\n\"u;2\";\"\"\"c\"\"\""
                     ";50\n"),
           std::pair(
               "tab.tsv",
               "customerId\tproduct-id\tcreated_at\r\nu1\ta, b\t100\r\nu;2\t\"\"\"c\"\"\"\t50"),
       }) {
    INFO(name);
    const std::string path = folder.write(name, text);
    CHECK(detect_format(path) == Format::ratings_csv);
    CHECK(events(read_interactions(path)) == expected);
    CHECK(events(read_interactions(path, {.format = Format::ratings_csv})) == expected);
    CHECK(read_as(path) ==
          R"(ratings_csv: user "customerId", item "product-id", time "created_at")");
  }
  // RecBole quotes no fields.
  const std::string inter = folder.write("log", "user_id:token\titem_id:token\nu\t\"a\n");
  CHECK(detect_format(inter) == Format::inter);
  CHECK(events(read_interactions(inter)) == std::vector<std::string>{"u \"a"});
  refused(folder.write("short.csv", "user;item\nu;a\nu,a\n"),
          "short.csv:3: expected 2 fields separated by \";\", got 1");
}

TEST_CASE("tables: decimal commas are refused", "[data]") {
  const ScratchFolder folder;
  refused(folder.write("log.csv", "user;item;rating;timestamp\nu;a;3,5;7\n"),
          "log.csv:2: rating \"3,5\" is not a number: write a decimal point");
}

TEST_CASE("tables: common column names are known", "[data]") {
  const ScratchFolder folder;
  for (const char* user : {"user", "USER_ID", "customerId", "Customer ID", "client_id", "member-id",
                           "visitorId", "session_id", "buyer_id:token"}) {
    INFO(user);
    CHECK(events(read_interactions(
              folder.write("a.csv", detail::concat("item,", user, ",ts\na,u,3\n")))) ==
          std::vector<std::string>{"u a 3"});
  }
  for (const char* item : {"item", "ItemID", "product_id", "sku", "article-id", "asin", "track_id",
                           "movieId", "StockCode", "parent_asin"}) {
    INFO(item);
    CHECK(events(read_interactions(
              folder.write("a.csv", detail::concat(item, ",user,ts\na,u,3\n")))) ==
          std::vector<std::string>{"u a 3"});
  }
  for (const char* time :
       {"timestamp", "Time", "created_at", "createdAt", "order_date", "event-time", "InvoiceDate",
        "date", "t_dat", "order_purchase_timestamp"}) {
    INFO(time);
    CHECK(events(read_interactions(folder.write(
              "a.csv", detail::concat(time, ",user,item\n1970-01-01T00:00:01,u,a\n")))) ==
          std::vector<std::string>{"u a 1000000"});
  }
}

TEST_CASE("tables: a better known name has priority, and two equal ones are an error", "[data]") {
  const ScratchFolder folder;
  CHECK(read_as(folder.write("a.csv",
                             "session_id,user_id,item_id,track_id,ts,created_at\ns,u,i,t,1,2\n")) ==
        R"(ratings_csv: user "user_id", item "item_id", time "ts"; not read: "session_id", )"
        R"("track_id", "created_at")");
  refused(folder.write("a.csv", "user_id,customer_id,item,ts\nu,c,i,1\n"),
          "a.csv:1: two columns of the header, \"user_id\" and \"customer_id\", both mean the "
          "user: choose one with user_column (--user-column)");
  refused(folder.write("a.csv", "user,song_id,track_id,ts\nu,i,j,1\n"),
          "\"song_id\" and \"track_id\", both mean the item: choose one with item_column "
          "(--item-column)");
  // A date and a time of day in two columns are no column of times.
  refused(folder.write("a.csv", "user,item,date,time\nu,i,2024-01-31,10\n"),
          "\"date\" and \"time\", both mean the time: choose one with time_column (--time-column)");
}

TEST_CASE("tables: options name the columns", "[data]") {
  const ScratchFolder folder;
  const std::string path = folder.write(
      "a.csv", "kunde;artikel:token;wann;user_id\nu1;b;2024-01-31;x\nu1;a;2024-01-30;y\n");
  const ReadOptions named{.user_column = "kunde", .item_column = "artikel", .time_column = "wann"};
  CHECK(detect_format(path, named) == Format::ratings_csv);
  CHECK(words(read_sequences(path, named)) == Words{{"a", "b"}});
  CHECK(read_as(path, named) ==
        R"(ratings_csv: user "kunde", item "artikel:token", time "wann"; not read: "user_id")");
  CHECK(words(read_sequences(path, {.item_column = "artikel:token", .time_column = "wann"})) ==
        Words{{"b"}, {"a"}});
  // The options settle which of two columns has a meaning.
  const std::string two = folder.write("b.csv", "user_id,customer_id,item,ts,date\nu,c,i,1,2\n");
  CHECK(events(read_interactions(two, {.user_column = "customer_id", .time_column = "date"})) ==
        std::vector<std::string>{"c i 2"});

  refused(path,
          "a.csv:1: user_column (--user-column): expected a column of the header, got \"kunden\"; "
          "the header has kunde,artikel:token,wann,user_id",
          {.user_column = "kunden", .item_column = "artikel"});
  refused(path, "time_column (--time-column): expected a column of the header, got \"Wann\"",
          {.item_column = "artikel", .time_column = "Wann"});
  refused(path, "expected a header that names a user and an item column", {.user_column = "kunde"});
  refused(path,
          "item_column (--item-column): expected a column of its own, got \"kunde\", which another "
          "option names",
          {.user_column = "kunde", .item_column = "kunde"});
  refused(folder.write("c.csv", "user,x,x\nu,1,2\n"),
          "item_column (--item-column): expected one column, got \"x\" twice in user,x,x",
          {.item_column = "x"});
  CHECK_THROWS_MATCHES(
      read_interactions(path,
                        {.in_file_order = true, .item_column = "artikel", .time_column = "wann"}),
      OptionError, message_contains("time_column (--time-column): expected no in_file_order"));
}

TEST_CASE("tables: options that name columns need a header", "[data]") {
  const ScratchFolder folder;
  const std::string data = folder.write("u.data", "1\t2\t3\t4\n");
  CHECK_THROWS_MATCHES(
      read_sequences(data, {.time_column = "ts"}), OptionError,
      message_contains("time_column (--time-column): expected a table whose header names the "
                       "columns, got " +
                       data + " of format u_data"));
  const std::string rows = folder.write("rows.txt", "1 2 3\n4 5 6\n");
  CHECK_THROWS_MATCHES(read_sequences(rows, {.format = Format::user_items, .user_column = "u"}),
                       OptionError, message_contains("of format user_items"));
  refused(rows,
          "rows.txt:1: user_column (--user-column): expected a column of the header, got "
          "\"u\"; the header has 1 2 3",
          {.user_column = "u"});
}

TEST_CASE("tables: a header without user and item is not read as sequences", "[data]") {
  const ScratchFolder folder;
  for (const char* text : {"day;who;what\n20;u1;i7\n21;u2;i9\n", "a;b;c\nd;e;f\n",
                           "day\twho\twhat\n20\tu1\ti7\n", "the day;who\n1 x;u1\n2 x;u2\n"}) {
    INFO(text);
    CHECK_THROWS_MATCHES(detect_format(folder.write("log", text)), DataError,
                         message_contains("with other columns that user_column and item_column "
                                          "name (--user-column, --item-column)"));
  }
}

TEST_CASE("tables: falling times with ties are refused", "[data]") {
  const ScratchFolder folder;
  const std::string falling = folder.write(
      "log.csv",
      "user,item,date\nu,c,2024-01-31\nv,c,2024-01-31\nu,b,2024-01-30\nu,a,2024-01-30\n");
  refused(
      falling,
      "the file is in falling time order, and 1 event has the same time as the event before "
      "of the same user: equal times keep the order of the lines, which would be the reverse one. "
      "Reverse the order of the lines");
  CHECK(words(read_sequences(falling, {.in_file_order = true})) == Words{{"c", "b", "a"}, {"c"}});
  // Without ties the times give the order, and with rising times ties are in order.
  CHECK(words(read_sequences(folder.write("log.csv", "user,item,ts\nu,c,3\nu,b,2\nu,a,1\n"))) ==
        Words{{"a", "b", "c"}});
  CHECK(words(read_sequences(folder.write("log.csv", "user,item,ts\nu,a,1\nu,b,1\nu,c,2\n"))) ==
        Words{{"a", "b", "c"}});
  // A few rises among many falls are still falling times.
  std::string mostly = "user,item,ts\nu,x,99\nu,x,99\n", mixed = mostly;
  for (int i = 0; i < 60; ++i) {
    mostly += detail::concat("u,i,", i % 30 == 7 ? 98 - i : 90 - i, "\n");
    mixed += detail::concat("u,i,", i % 3 == 2 ? 98 - i : 90 - i, "\n");
  }
  refused(folder.write("log.csv", mostly), "the file is in falling time order, and 1 event has");
  CHECK(read_interactions(folder.write("log.csv", mixed)).size() == 62);
}

TEST_CASE("tables: in_file_order reports times that fall", "[data]") {
  const ScratchFolder folder;
  const ReadOptions in_order{.in_file_order = true};
  CHECK(read_as(folder.write("log.csv", "user,item,updated_at\nu,c,2024-01-31\nu,a,2024-01-30\n"),
                in_order) ==
        R"(ratings_csv: user "user", item "item", no time: events stay in the file's order; not )"
        R"(read: "updated_at"; warning: the times in column "updated_at" fall from line to line, )"
        R"(so the newest event of a user is taken as the oldest: reverse the order of the lines, )"
        R"(or read the times)");
  CHECK_THAT(read_as(folder.write("u.data", "1\ta\t1\t9\n1\tb\t1\t5\n"), in_order),
             contains("the times in field 4 fall from line to line"));
  for (const char* text : {"user,item,ts\nu,c,1\nu,a,2\n", "user,item,ts\nu,c,2\nv,a,1\n",
                           "user,item,ts\nu,c,2\nu,a,1\nu,a,noon\n", "user,item\nu,c\n"}) {
    INFO(text);
    CHECK(read_as(folder.write("log.csv", text), in_order).find("warning") == std::string::npos);
  }
}

TEST_CASE("tables: profiles have the same separators and names", "[data]") {
  const ScratchFolder folder;
  for (const char* text : {"client_id;land\nu1;\"N;O\"\n", "client_id\tland\nu1\t\"N;O\"\n",
                           "land,Customer ID\nN;O,u1\n"}) {
    INFO(text);
    CHECK(read_profiles(folder.write("p.csv", text)).value("u1", "land") == "N;O");
  }
  const std::string two = folder.write("p.csv", "user_id,customer_id,kunde\nu,c,k\n");
  CHECK_THROWS_MATCHES(read_profiles(two), DataError,
                       message_contains("p.csv:1: two columns of the header, \"user_id\" and "
                                        "\"customer_id\", both mean the user: choose one with "
                                        "user_column (--user-column)"));
  CHECK(read_profiles(two, {.user_column = "kunde"}).value("k", "user_id") == "u");
  // A table without this column has its user column found by name.
  CHECK(read_profiles(folder.write("q.csv", "user,a\nu,1\n"), {.user_column = "kunde"})
            .value("u", "a") == "1");
}
