/// Logs of events: a log that is read, written as quoted CSV and read again stays the same.

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "fuzz/program.hpp"
#include "refrain/data/readers.hpp"

namespace refrain::fuzz {
namespace {

constexpr std::array formats{Format::automatic, Format::ratings_dat, Format::ratings_csv,
                             Format::u_data,    Format::inter,       Format::user_item};
/// A file's name can determine its format.
constexpr std::array names{"log",     "ratings.dat", "ratings.csv", "u.data",
                           "a.inter", "users.dat",   "movies.csv"};

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

template <class Number>
std::string exact(Number number) {
  std::array<char, 64> digits;
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), number);
  return {digits.data(), end};
}

std::string as_csv(const Interactions& events) {
  std::string text = detail::concat("userId,itemId", events.rating.empty() ? "" : ",rating",
                                    events.time.empty() ? "" : ",timestamp", "\n");
  for (std::size_t i = 0; i < events.user.size(); ++i) {
    text += quoted(events.users[events.user[i]]) + "," + quoted(events.items[events.item[i]]);
    if (!events.rating.empty()) text += "," + exact(events.rating[i]);
    if (!events.time.empty()) text += "," + exact(events.time[i]);
    text += "\n";
  }
  return text;
}

void check(const Interactions& events, const ReadReport& report) {
  const std::size_t count = events.user.size();
  require(count > 0 && events.item.size() == count,
          "every event has a user and an item, and there is one");
  require(events.time.empty() || events.time.size() == count, "all events have a time, or none");
  require(events.rating.empty() || events.rating.size() == count,
          "all events have a rating, or none");
  for (std::size_t i = 0; i < count; ++i) {
    for (const std::string_view id : {events.users[events.user[i]], events.items[events.item[i]]})
      require(!id.empty() && is_utf8(id), "no id is empty, and all are UTF-8");
    require(events.rating.empty() || std::isfinite(events.rating[i]), "ratings are finite");
  }
  const std::int64_t lines =
      report.blank_lines + static_cast<std::int64_t>(report.bad_lines.size()) + events.size();
  require(report.lines == lines || report.lines == lines + 1,
          "every line but a header is blank, bad or an event");
}

void same(const Interactions& a, const Interactions& b) {
  require(a.user == b.user && a.item == b.item, "users and items come back");
  require(a.time == b.time && a.rating == b.rating, "times and ratings come back");
  for (const auto table : {&Interactions::users, &Interactions::items}) {
    require((a.*table).size() == (b.*table).size(), "as many ids come back");
    for (std::int32_t i = 0; i < (a.*table).size(); ++i)
      require((a.*table)[i] == (b.*table)[i], "ids come back");
  }
}

}  // namespace

void try_input(std::string_view input) {
  Choices choices(input);
  const unsigned name = choices.next();
  ReadReport report;
  ReadOptions options{.format = formats[choices.next() % formats.size()], .report = &report};
  const unsigned strictness = choices.next();
  options.skip_bad_lines = strictness & 7;
  options.keep_ratings = (strictness & 8) != 0;
  if ((strictness & 16) != 0) options.max_line_bytes = 24;
  options.in_file_order = (strictness & 32) != 0;
  const std::string& path = file_with(names[name % names.size()], choices.rest());
  Interactions events;
  try {
    if (!accepted(path, [&] { events = read_interactions(path, options); })) return;
  } catch (const OptionError&) {
    require(options.format == Format::automatic, "only a detected format may be one of sequences");
    return;
  }
  check(events, report);
  require(!options.in_file_order || events.time.empty(), "the file's order has no times");
  const std::string& again = file_with("again.csv", as_csv(events));
  same(events, read_interactions(again, {.format = Format::ratings_csv,
                                         .max_line_bytes = 1 << 22,
                                         .keep_ratings = true,
                                         .in_file_order = events.time.empty()}));
}

std::vector<std::string> seeds() {
  const std::string two("\0\0", 2);
  return {
      std::string("\1\1\0", 3) +
          "1::10::5::978300760\n1::661::3::978302109\n2::10::4.5::978301968\n",
      std::string("\2\2\x08", 3) +
          "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n\"a \"\"b\"\"\",\"c,d\",3,1\r\n",
      std::string("\3\3\x0F", 3) + "196\t242\t3\t881250949\n\n186\t302\t3\t891717742.5\nbad\n",
      std::string("\4\4\x10", 3) + "user_id:token\titem_id:token\ttimestamp:float\nu1\ti1\t1e9\n",
      std::string("\0\5\x01", 3) + "\xEF\xBB\xBFuser1 item1\nuser1 item2\n",
      two + "\x08" + "1::2::3::4\n5::6::-7e-3::-8",
      std::string("\0\0\x20", 3) + "user,item,created_at,rating\nu,i,2024-01-31T10:15,4\n",
      std::string("\0\0\1", 3) +
          "customer_id;sku;created_at\nu;\"i\";2024-01-31T10:15:00.5+02:00\nu;j;2024-02-30\n",
      std::string("\0\0\0", 3) + "user,item,x,y\nu,i,20240131,1700000000123\nu,j,5,1.2.2024\n",
  };
}

}  // namespace refrain::fuzz
