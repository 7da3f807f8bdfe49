#include "formats.hpp"

#include <algorithm>

namespace refrain {
namespace {

constexpr std::array<std::string_view, 9> user_names{"userid",     "user",      "uid",
                                                     "reviewerid", "sessionid", "customerid",
                                                     "customer",   "visitorid", "accountid"};

constexpr std::array format_names{"automatic",    "ratings_dat", "ratings_csv", "u_data",
                                  "inter",        "user_item",   "user_items",  "user_item_list",
                                  "sequence_csv", "transfer_csv"};

/// Copies of the first lines that hold anything.
std::vector<std::string> first_lines(const std::string& path) {
  constexpr std::size_t enough = 20;
  detail::LineReader reader(path, ReadOptions{}.max_line_bytes);
  if (reader.file_bytes() == 0)
    throw DataError(path, 0,
                    "the file is empty, or no file whose start can be read twice: name its format");
  std::vector<std::string> lines;
  detail::Line line;
  while (lines.size() < enough && reader.next(line)) {
    if (line.problem != nullptr) {
      if (lines.empty()) throw DataError(path, line.number, line.problem);
      break;  // reading reports it, or passes over it
    }
    const std::string_view text = detail::trim(line.text());
    if (!text.empty()) lines.emplace_back(line.text());
  }
  if (lines.empty()) throw DataError(path, 0, "the file is empty");
  return lines;
}

std::size_t count_fields(std::string& line, detail::Separator separator) {
  detail::FieldSplitter splitter(line.data(), line.data() + line.size(), separator);
  std::size_t fields = 0;
  for (std::string_view field; splitter.next(field);) ++fields;
  return fields;
}

bool is_header(std::string line, detail::EventFormat format) {
  std::vector<std::string_view> fields;
  detail::FieldSplitter splitter(line.data(), line.data() + line.size(), format.separator);
  for (std::string_view field; splitter.next(field);) fields.push_back(field);
  return detail::name_columns(fields, format).empty();
}

/// Whether these are lines of three or four fields, of which the last is a Unix time in seconds or
/// milliseconds.
bool all_end_in_times(std::vector<std::string>& lines) {
  return std::all_of(lines.begin(), lines.end(), [](std::string& line) {
    const std::size_t fields = count_fields(line, {","});
    const std::string_view last = std::string_view(line).substr(line.rfind(',') + 1);
    return fields >= 3 && fields <= 4 && last.size() >= 9 && last.size() <= 13 &&
           last.find_first_not_of("0123456789") == std::string_view::npos;
  });
}

/// What the lines look like, or automatic.
Format guess(std::vector<std::string>& lines) {
  using detail::event_formats;
  for (const detail::EventFormat& format : event_formats) {
    if (format.header && is_header(lines.front(), format)) return format.format;
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
  // Words above lines of equal length that hold digits: a table whose header names no user and no
  // item, hardly sequences.
  const auto has_digit = [](const std::string& line) {
    return line.find_first_of("0123456789") != std::string::npos;
  };
  const bool has_words_first = !has_digit(lines.front()) && any(has_digit);
  if (commas && has_words_first && all_have(count_fields(lines.front(), {","}), {","}))
    return Format::automatic;
  if (commas && all_end_in_times(lines)) return Format::automatic;  // a table without a header
  if (commas) return Format::sequence_csv;
  if (all_have(2, {""})) return Format::user_item;
  if (any([](std::string& line) { return count_fields(line, {""}) > 2; }))
    return Format::user_items;
  return Format::automatic;
}

}  // namespace

const char* name(Format format) noexcept { return format_names[static_cast<std::size_t>(format)]; }

Format parse_format(std::string_view name) {
  std::string known;
  for (std::size_t i = 0; i < format_names.size(); ++i) {
    if (name == format_names[i]) return static_cast<Format>(i);
    known += concat(i == 0 ? "" : ", ", format_names[i]);
  }
  throw OptionError(concat("format: expected one of ", known, ", got \"", name, "\""));
}

Format detect_format(const std::string& path) {
  const std::string_view file = detail::file_name(path);
  std::vector<std::string> lines = first_lines(path);
  if (file == "users.dat" || file == "u.user")
    throw DataError(path, 0, "holds user profiles, not behaviour: use read_profiles");
  if (file.starts_with("movies.") || file == "u.item")
    throw DataError(path, 0, "holds titles, not behaviour: use read_titles");
  if (file == "ratings.dat") return Format::ratings_dat;
  if (file == "ratings.csv") return Format::ratings_csv;
  if (file == "u.data") return Format::u_data;
  if (file.ends_with(".inter")) return Format::inter;
  const Format format = guess(lines);
  if (format == Format::automatic) {
    throw DataError(
        path, 0,
        concat("looks like no known format (it begins with ", detail::quoted(lines.front()),
               "): a table needs a header with columns like user, item and timestamp; or name the "
               "format"));
  }
  return format;
}

namespace detail {

std::string_view file_name(std::string_view path) noexcept {
  return path.substr(path.find_last_of('/') + 1);
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
    int EventFormat::*column;
    std::vector<std::string_view> names;
  };
  static const std::array meanings{
      Meaning{&EventFormat::user, {user_names.begin(), user_names.end()}},
      Meaning{
          &EventFormat::item,
          {"itemid", "item", "iid", "movieid", "asin", "productid", "product", "sku", "articleid"}},
      Meaning{&EventFormat::rating, {"rating", "overall", "score", "stars"}},
      Meaning{&EventFormat::time,
              {"timestamp", "time", "unixreviewtime", "ts", "eventtime", "unixtime", "epoch"}},
  };
  format.columns = static_cast<int>(header.size());
  for (int column = 0; column < format.columns; ++column) {
    const std::string plain = plain_name(header[static_cast<std::size_t>(column)]);
    for (const Meaning& meaning : meanings) {
      if (std::find(meaning.names.begin(), meaning.names.end(), plain) == meaning.names.end())
        continue;
      if (format.*meaning.column >= 0)
        return concat("two columns of the header mean \"", meaning.names[0], "\"");
      format.*meaning.column = column;
    }
  }
  if (format.user < 0 || format.item < 0) {
    std::string got;
    for (const auto& name : header) got += concat(got.empty() ? "" : ",", name);
    return concat(
        "expected a header that names a user and an item column (userId,movieId,... or "
        "user_id:token,item_id:token,...), ",
        "got ", got.substr(0, 200));
  }
  return {};
}

}  // namespace detail
}  // namespace refrain
