/// Dates as times of a log.

#include <array>
#include <cstdio>
#include <ctime>

#include "data/read_texts.hpp"
#include "refrain/core/random.hpp"

using namespace refrain;
using namespace refrain::test;

namespace dates_test {

/// The times of a log with these time fields, one event of one user each.
std::vector<std::int64_t> times_of(const std::vector<std::string>& fields) {
  const ScratchFolder folder;
  std::string text = "user,item,timestamp\n";
  for (const std::string& field : fields) text += detail::concat("u,i,\"", field, "\"\n");
  return read_interactions(folder.write("log.csv", text)).time;
}

std::int64_t time_of(const std::string& field) { return times_of({field}).front(); }

void refused(const std::vector<std::string>& fields, const std::string& why) {
  INFO(fields.back());
  const std::string line = detail::concat("log.csv:", fields.size() + 1, ": ");
  CHECK_THROWS_MATCHES(times_of(fields), DataError, message_contains(line));
  CHECK_THROWS_MATCHES(times_of(fields), DataError, message_contains(why));
}

constexpr std::int64_t second = 1'000'000;
constexpr std::int64_t day = 86'400 * second;

}  // namespace dates_test

using namespace dates_test;

TEST_CASE("dates: ISO 8601 dates are microseconds since 1970", "[data]") {
  CHECK(time_of("1970-01-01") == 0);
  CHECK(time_of("1970-01-02") == day);
  CHECK(time_of("1969-12-31") == -day);
  CHECK(time_of("2000-02-29") == 951'782'400 * second);
  CHECK(time_of("2024-02-29") == 1'709'164'800 * second);
  CHECK(time_of("9999-12-31T23:59:59.999999Z") == 253'402'300'799 * second + 999'999);
  CHECK(time_of("0001-01-01") == -719'162 * day);
  CHECK(time_of("0000-03-01") == -719'468 * day);

  constexpr std::int64_t quarter_past_ten = 1'706'696'100 * second;  // on 2024-01-31
  for (const char* text :
       {"2024-01-31 10:15", "2024-01-31T10:15", "2024-01-31t10:15:00", "2024-01-31T10:15:00Z",
        "2024-01-31T10:15:00z", "2024-01-31 10:15:00 UTC", "2024-01-31 10:15:00.000",
        "2024-01-31T10:15:00+00:00", "2024-01-31T12:15+02:00", "2024-01-31 12:15:00+02",
        "2024-01-31 15:45:00 +0530", "2024-01-30T23:15:00-11:00", "2024-02-01T00:14:00+13:59",
        "2024-01-31T10:14:60Z", "20240131T101500Z", "20240131T1015", "20240131T121500+0200",
        "20240131 101500", " 2024-01-31T10:15:00 "}) {
    INFO(text);
    CHECK(time_of(text) == quarter_past_ten);
  }
  CHECK(time_of("2024-01-31T10:15:00.5") == quarter_past_ten + 500'000);
  CHECK(time_of("2024-01-31T10:15:00,123") == quarter_past_ten + 123'000);
  CHECK(time_of("2024-01-31T10:15:00.000001Z") == quarter_past_ten + 1);
  CHECK(time_of("2024-01-31T10:15:00.123456789Z") == quarter_past_ten + 123'456);
}

TEST_CASE("dates: numbers stay as they are", "[data]") {
  CHECK(times_of({"978300760", "-5", "1.5e3", "7.9", "20240131", "-7.9"}) ==
        std::vector<std::int64_t>{978300760, -5, 1500, 7, 20240131, -7});
}

TEST_CASE("dates: dates that do not exist are refused with their line", "[data]") {
  refused({"2023-02-28", "2023-02-29"},
          "date \"2023-02-29\": expected a day from 01 to 28, got \"29\"");
  refused({"1900-02-29"}, "date \"1900-02-29\": expected a day from 01 to 28, got \"29\"");
  refused({"2024-02-30"}, "date \"2024-02-30\": expected a day from 01 to 29, got \"30\"");
  refused({"2024-04-31"}, "date \"2024-04-31\": expected a day from 01 to 30, got \"31\"");
  refused({"2024-00-10"}, "date \"2024-00-10\": expected a month from 01 to 12, got \"00\"");
  refused({"2024-13-10"}, "date \"2024-13-10\": expected a month from 01 to 12, got \"13\"");
  refused({"2024-1-31"}, "date \"2024-1-31\": expected a month from 01 to 12, got \"1-\"");
  refused({"2024-01-00"}, "date \"2024-01-00\": expected a day from 01 to 31, got \"00\"");
  refused({"2024-01"}, "date \"2024-01\": expected '-', got the end");
  refused({"2024-01-31T25:00"}, "expected an hour from 00 to 23, got \"25\"");
  refused({"2024-01-31T24:00"}, "expected an hour from 00 to 23, got \"24\"");
  refused({"2024-01-31T10"}, "expected ':', got the end");
  refused({"2024-01-31T10:60"}, "expected a minute from 00 to 59, got \"60\"");
  refused({"2024-01-31T10:15:61"}, "expected a second from 00 to 60, got \"61\"");
  refused({"2024-01-31T10:15:00."}, "expected digits after the decimal point");
  refused({"2024-01-31T10:15:00+24:00"}, "expected the hours of an offset from 00 to 23");
  refused({"2024-01-31T10:15:00+02:60"}, "expected the minutes of an offset from 00 to 59");
  refused({"2024-01-31Z"},
          "expected the end, a time of day (T10:15:00) or an offset (Z, +02:00), got \"Z\"");
  refused({"2024-01-31T10:15:00 PST"}, "or an offset (Z, +02:00), got \"PST\"");
  refused({"2024-01-31T10:15:00Zulu"}, "got \"ulu\"");
  refused({"20240231T1015"}, "date \"20240231T1015\": expected a day from 01 to 29, got \"31\"");
  refused({"2024-01-31T1015"}, "expected ':', got \"15\"");
}

TEST_CASE("dates: other notations are refused with what to write", "[data]") {
  for (const char* text : {"31/01/2024", "01/02/2024", "1/31/2024 10:15", "31.01.2024"}) {
    refused({text}, detail::concat("time \"", text,
                                   "\" is a date with the year last, in which day and month may be "
                                   "confused: expected the year first, as in 2024-01-31"));
  }
  for (const char* text : {"noon", "2024/01/31", "Jan 31, 2024", "1e999", "nan", "10:15"}) {
    refused({text}, detail::concat("time \"", text,
                                   "\" is neither a number nor a date as in ISO "
                                   "8601 (2024-01-31, 2024-01-31T10:15:00Z)"));
  }
  refused({"1700000000,5"},
          "time \"1700000000,5\" is neither a number nor a date as in ISO 8601 "
          "(2024-01-31, 2024-01-31T10:15:00Z): write a decimal point");
  refused({""}, "the time is empty");
  refused({"inf"}, "time \"inf\" does not fit 64 bits");
}

TEST_CASE("dates: the times of a column have one form", "[data]") {
  refused({"2024-01-31", "1706696100"},
          "time \"1706696100\" is a number: expected a date without an offset from UTC, as in line "
          "2");
  refused({"5", "6", "2024-01-31Z5"}, "date \"2024-01-31Z5\"");
  refused({"5", "6", "2024-01-31"},
          "time \"2024-01-31\" is a date without an offset from UTC: expected a number, as in line "
          "2");
  refused({"2024-01-31 10:15", "2024-01-31 10:15Z"},
          "time \"2024-01-31 10:15Z\" is a date with an offset from UTC: expected a date without "
          "an offset from UTC, as in line 2");
  CHECK(times_of({"2024-01-31T01:00+02:00", "2024-01-30T23:30Z"}) ==
        std::vector<std::int64_t>{1'706'655'600 * second, 1'706'657'400 * second});
  // A line that is skipped does not determine the form.
  const ScratchFolder folder;
  const std::string path =
      folder.write("log.csv", "user,item,ts\nu,a,2024-13-01\n,b,2024-01-01\nu,c,7\nu,d,6\n");
  CHECK(words(read_sequences(path, {.skip_bad_lines = 2})) == Words{{"d", "c"}});
}

TEST_CASE("dates: random points in time come back and keep their order", "[data]") {
  Random random(7);
  std::vector<std::string> fields;
  std::vector<std::int64_t> expected;
  for (int i = 0; i < 3000; ++i) {
    // Years 1600 to 2500, as the C library writes them.
    const std::time_t seconds =
        static_cast<std::time_t>(random.below(28'401'580'800)) - 11'676'096'000;
    const int micros = static_cast<int>(random.below(1'000'000));
    const int offset = static_cast<int>(random.below(2 * 14 * 60)) - 14 * 60;  // minutes
    const std::time_t local = seconds + 60 * offset;
    std::tm parts{};
    gmtime_r(&local, &parts);
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%06d%c%02d:%02d",
                  parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
                  parts.tm_min, parts.tm_sec, micros, offset < 0 ? '-' : '+', std::abs(offset) / 60,
                  std::abs(offset) % 60);
    fields.emplace_back(text.data());
    expected.push_back(static_cast<std::int64_t>(seconds) * second + micros);
  }
  CHECK(times_of(fields) == expected);
}

TEST_CASE("dates: a damaged date never crashes the reader", "[data]") {
  Random random(11);
  const std::string good = "2024-01-31T10:15:00.123+02:00";
  const std::string alphabet = "0123456789-:.,TtZz+ /x";
  const auto below = [&](std::size_t end) {
    return static_cast<std::size_t>(random.below(static_cast<std::int64_t>(end)));
  };
  for (int i = 0; i < 300; ++i) {
    std::string text = good.substr(0, 1 + below(good.size()));
    for (std::size_t edits = below(3); edits > 0; --edits)
      text[below(text.size())] = alphabet[below(alphabet.size())];
    INFO(text);
    try {
      const std::vector<std::int64_t> times = times_of({text});
      CHECK(times.size() == 1);
    } catch (const DataError& error) {
      CHECK(error.line() == 2);
    }
  }
}
