#include "src/formats.hpp"

#include <algorithm>

namespace refrain {
namespace {

constexpr std::array<std::string_view, 9> user_names{"userid",     "user",      "uid",
                                                     "reviewerid", "sessionid", "customerid",
                                                     "customer",   "visitorid", "accountid"};

constexpr std::array format_names{"automatic",    "ratings_dat", "ratings_csv", "u_data",
                                  "inter",        "user_item",   "user_items",  "user_item_list",
                                  "sequence_csv", "transfer_csv"};

/// Layout of each format; empty where a header names the columns.
constexpr std::array format_layouts{"",
                                    "user::item::rating::timestamp",
                                    "",
                                    "user, item, rating, timestamp, separated by tabs",
                                    "",
                                    "user item, one event per line",
                                    "user item item ..., one user per line",
                                    "user<TAB>item,item,..., one user per line",
                                    "item,item,..., one sequence per line, no users",
                                    "source,...,,target,..., one user per line"};
static_assert(format_layouts.size() == format_names.size());

/// The names of all formats, separated by commas.
std::string all_formats() {
  std::string known;
  for (std::size_t i = 1; i < format_names.size(); ++i)
    known += detail::concat(i == 1 ? "" : ", ", format_names[i]);
  return known;
}

/// The first lines that are not blank.
std::vector<std::string> first_lines(const std::string& path) {
  constexpr std::size_t max_lines = 20;
  detail::LineReader reader(path, ReadOptions{}.max_line_bytes);
  if (reader.file_bytes() == 0)
    throw DataError(path, 0, "the file is empty or not seekable: name its format");
  std::vector<std::string> lines;
  detail::Line line;
  while (lines.size() < max_lines && reader.next(line)) {
    if (!line.problem.empty()) {
      if (lines.empty()) throw DataError(path, line.number, line.problem);
      break;  // the reader reports or skips it
    }
    const std::string_view text = detail::trim(line.text());
    if (!text.empty()) lines.emplace_back(line.text());
  }
  if (lines.empty()) throw DataError(path, 0, "the file is empty");
  return lines;
}

std::vector<std::string_view> fields_of(std::string& line, detail::Separator separator) {
  std::vector<std::string_view> fields;
  detail::FieldSplitter splitter(line.data(), line.data() + line.size(), separator);
  for (std::string_view field; splitter.next(field);) fields.push_back(field);
  return fields;
}

std::size_t count_fields(std::string& line, detail::Separator separator) {
  return fields_of(line, separator).size();
}

/// True when the line names a user and an item column. Throws DataError when two of its columns
/// have one meaning.
bool is_header(const std::string& path, std::string line, detail::EventFormat format) {
  const std::string reason = detail::name_columns(fields_of(line, format.separator), format);
  if (!reason.empty() && format.user >= 0 && format.item >= 0) throw DataError(path, 1, reason);
  return reason.empty();
}

/// True when these are lines of three or four fields whose last is a time: a table without a
/// header.
bool all_end_in_times(std::vector<std::string>& lines, detail::Separator separator) {
  return std::all_of(lines.begin(), lines.end(), [&](std::string& line) {
    const std::vector<std::string_view> fields = fields_of(line, separator);
    return fields.size() >= 3 && fields.size() <= 4 &&
           detail::looks_like_time(detail::trim(fields.back()));
  });
}

/// The format that the lines match, or automatic.
Format guess(const std::string& path, std::vector<std::string>& lines) {
  using detail::event_formats;
  for (const detail::EventFormat& format : event_formats) {
    if (format.header && is_header(path, lines.front(), format)) return format.format;
  }
  const auto any = [&](auto&& holds) { return std::any_of(lines.begin(), lines.end(), holds); };
  const auto all_have = [&](std::size_t fields, detail::Separator separator) {
    return !any([&](std::string& line) { return count_fields(line, separator) != fields; });
  };
  if (all_have(4, {"::"})) return Format::ratings_dat;
  if (all_have(4, {"\t"})) return Format::u_data;
  const bool commas =
      any([](const std::string& line) { return line.find(',') != std::string::npos; });
  if (commas && all_have(2, {"\t"})) return Format::user_item_list;
  if (commas && any([](const std::string& line) { return line.find(",,") != std::string::npos; }))
    return Format::transfer_csv;
  // A line without digits above lines with digits and as many fields is the header of a table
  // without user and item columns, not a sequence.
  const auto has_digit = [](const std::string& line) {
    return line.find_first_of("0123456789") != std::string::npos;
  };
  const bool has_words_first = !has_digit(lines.front()) && any(has_digit);
  if (commas && has_words_first && all_have(count_fields(lines.front(), {","}), {","}))
    return Format::automatic;
  for (const detail::Separator separator : {detail::Separator{","}, {"\t"}, {""}}) {
    if (all_end_in_times(lines, separator)) return Format::automatic;
  }
  if (commas) return Format::sequence_csv;
  if (all_have(2, {""})) return Format::user_item;
  if (any([](std::string& line) { return count_fields(line, {""}) > 2; }))
    return Format::user_items;
  return Format::automatic;
}

}  // namespace

const char* name(Format format) noexcept { return format_names[static_cast<std::size_t>(format)]; }

Format parse_format(std::string_view name) {
  for (std::size_t i = 0; i < format_names.size(); ++i) {
    if (name == format_names[i]) return static_cast<Format>(i);
  }
  throw OptionError(
      detail::concat("format: expected one of automatic, ", all_formats(), ", got \"", name, "\""));
}

Format detect_format(const std::string& path) {
  const std::string_view file = detail::file_name(path);
  std::vector<std::string> lines = first_lines(path);
  if (file == "users.dat" || file == "u.user")
    throw DataError(path, 0, "contains user profiles, expected a behaviour log: use read_profiles");
  if (file.starts_with("movies.") || file == "u.item")
    throw DataError(path, 0, "contains titles, expected a behaviour log: use read_titles");
  if (const std::string reason = detail::foreign_start(
          lines.front(), detail::concat("one of the formats ", all_formats()));
      !reason.empty())
    throw DataError(path, 0, reason);
  if (file == "ratings.dat") return Format::ratings_dat;
  if (file == "ratings.csv") return Format::ratings_csv;
  if (file == "u.data") return Format::u_data;
  if (file.ends_with(".inter")) return Format::inter;
  const Format format = guess(path, lines);
  if (format == Format::automatic) {
    throw DataError(
        path, 0,
        detail::concat(
            "looks like no known format (it begins with ", detail::quoted(lines.front()),
            "): a table needs a header with columns like user, item and timestamp; or name the "
            "format, one of ",
            all_formats()));
  }
  return format;
}

namespace detail {

std::string_view file_name(std::string_view path) noexcept {
  return path.substr(path.find_last_of('/') + 1);
}

std::string description(Format format) {
  const std::string_view layout = format_layouts[static_cast<std::size_t>(format)];
  return layout.empty() ? name(format) : detail::concat(name(format), ": ", layout);
}

std::string foreign_start(std::string_view first_line, std::string_view expected) {
  const std::string_view text = trim(first_line);
  if (text.starts_with('{') || text.starts_with('['))
    return detail::concat("looks like JSON (it begins with ", quoted(text), "): expected ",
                          expected);
  if (text.starts_with('#')) {
    return detail::concat("begins with a comment, ", quoted(text), ": expected ", expected,
                          "; remove the line, or name the format if it holds ids");
  }
  return {};
}

std::string plain_name(std::string_view column) {
  std::string plain;
  for (const char c : trim(column)) {
    if (c == ':') break;
    if (c != '_') plain += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return plain;
}

bool is_user_column(std::string_view column) {
  return std::find(user_names.begin(), user_names.end(), plain_name(column)) != user_names.end();
}

std::string name_columns(const std::vector<std::string_view>& header, EventFormat& format) {
  struct Meaning {
    const char* of;
    int EventFormat::*column;
    std::vector<std::string_view> names;
  };
  static const std::array meanings{
      Meaning{"the user", &EventFormat::user, {user_names.begin(), user_names.end()}},
      Meaning{
          "the item",
          &EventFormat::item,
          {"itemid", "item", "iid", "movieid", "asin", "productid", "product", "sku", "articleid"}},
      Meaning{"the rating", &EventFormat::rating, {"rating", "overall", "score", "stars"}},
      Meaning{"the time",
              &EventFormat::time,
              {"timestamp", "time", "unixreviewtime", "ts", "eventtime", "unixtime", "epoch"}},
  };
  format.columns = static_cast<int>(header.size());
  std::string twice;
  for (int column = 0; column < format.columns; ++column) {
    const std::string_view name = header[static_cast<std::size_t>(column)];
    const std::string plain = plain_name(name);
    for (const Meaning& meaning : meanings) {
      if (std::find(meaning.names.begin(), meaning.names.end(), plain) == meaning.names.end())
        continue;
      int& place = format.*meaning.column;
      if (place >= 0 && twice.empty()) {
        twice = detail::concat(
            "two columns of the header, ", quoted(header[static_cast<std::size_t>(place)]), " and ",
            quoted(name), ", both mean ", meaning.of, ": rename or remove one of them");
      }
      if (place < 0) place = column;
    }
  }
  if (!twice.empty()) return twice;
  if (format.user < 0 || format.item < 0) {
    std::string got;
    for (const auto& name : header) got += detail::concat(got.empty() ? "" : ",", name);
    return detail::concat(
        "expected a header that names a user and an item column (userId,movieId,... or "
        "user_id:token,item_id:token,...), ",
        "got ", got.substr(0, 200));
  }
  return {};
}

}  // namespace detail
}  // namespace refrain
