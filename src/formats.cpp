#include "src/formats.hpp"

#include <algorithm>
#include <utility>

#include "src/columns.hpp"
#include "src/store_files.hpp"
#include "src/time_columns.hpp"

namespace refrain {
namespace {

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
std::vector<std::string> first_lines(detail::LineReader& reader) {
  constexpr std::size_t max_lines = 20;
  const std::string& path = reader.path();
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

/// The format of a table whose header this is, or automatic. Throws DataError when two of its
/// columns have one meaning.
Format table_format(const std::string& path, std::string_view line, const ReadOptions& options) {
  bool is_header = false;
  const detail::Separator separator =
      detail::table_separator(line, [&](const std::vector<std::string_view>& names) {
        detail::EventFormat format = detail::unnamed_columns;
        const std::string reason = detail::name_columns(names, options, format);
        if (!reason.empty() && format.user >= 0 && format.item >= 0)
          throw DataError(path, 1, reason);
        is_header = reason.empty();
        return is_header;
      });
  if (!is_header) return Format::automatic;
  return separator.text == "\t" && !separator.quotes ? Format::inter : Format::ratings_csv;
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

bool names_columns(const ReadOptions& options) noexcept {
  return !options.user_column.empty() || !options.item_column.empty() ||
         !options.time_column.empty();
}

/// The format that the lines match, or automatic.
Format guess(const std::string& path, std::vector<std::string>& lines, const ReadOptions& options) {
  if (const Format format = table_format(path, lines.front(), options);
      format != Format::automatic || names_columns(options)) {
    return format == Format::automatic ? Format::ratings_csv : format;
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
  // without user and item columns, not a sequence. Semicolons separate only fields of tables.
  const auto has_digit = [](const std::string& line) {
    return line.find_first_of("0123456789") != std::string::npos;
  };
  const bool has_words_first = !has_digit(lines.front()) && any(has_digit);
  const auto is_table = [&](const char* separator, std::size_t min_fields) {
    const std::size_t fields = count_fields(lines.front(), {separator});
    return fields >= min_fields && all_have(fields, {separator});
  };
  if (has_words_first && (is_table(",", 2) || is_table(";", 2) || is_table("\t", 3)))
    return Format::automatic;
  if (!commas && is_table(";", 2)) return Format::automatic;
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

Format detect_format(const std::string& path, const ReadOptions& options) {
  if (is_store(path)) return detail::read_manifest(path).format;
  detail::LineReader reader(path, ReadOptions{}.max_line_bytes);
  if (reader.file_bytes() == 0)
    throw DataError(path, 0, "the file is empty or not seekable: name its format");
  return detail::format_of_lines(reader, options);
}

Format detail::format_of_lines(LineReader& reader, const ReadOptions& options) {
  const std::string& path = reader.path();
  const std::string_view file = detail::file_name(path);
  std::vector<std::string> lines = first_lines(reader);
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
  const Format format = guess(path, lines, options);
  if (format == Format::automatic) {
    throw DataError(
        path, 0,
        detail::concat(
            "looks like no known format (it begins with ", detail::quoted(lines.front()),
            "): a table needs a header with columns like user, item and timestamp, or with other "
            "columns that user_column and item_column name (--user-column, --item-column); or name "
            "the format, one of ",
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

void expect_no_column_options(const ReadOptions& options, const std::string& path, Format format) {
  for (const auto& [name, option] : {std::pair(&options.user_column, Role::user),
                                     {&options.item_column, Role::item},
                                     {&options.time_column, Role::time}}) {
    if (name->empty()) continue;
    throw OptionError(concat(column_option(option),
                             ": expected a table whose header names the columns, got ", path,
                             " of format ", refrain::name(format)));
  }
}

std::string name_columns(const std::vector<std::string_view>& header, const ReadOptions& options,
                         EventFormat& format) {
  struct Wanted {
    Role role;
    int EventFormat::*column;
    std::string_view chosen;
  };
  const std::array wanted{Wanted{Role::user, &EventFormat::user, options.user_column},
                          Wanted{Role::item, &EventFormat::item, options.item_column},
                          Wanted{Role::rating, &EventFormat::rating, {}},
                          Wanted{Role::time, &EventFormat::time, options.time_column}};
  format.columns = static_cast<int>(header.size());
  std::string reason;
  std::vector<int> chosen;
  for (const Wanted& each : wanted) {
    if (each.chosen.empty()) continue;
    const std::string_view option = column_option(each.role);
    const int column = chosen_column(header, each.chosen, option, reason);
    if (column < 0) return reason;
    if (std::find(chosen.begin(), chosen.end(), column) != chosen.end())
      return concat(option, ": expected a column of its own, got ", quoted(each.chosen),
                    ", which another option names");
    format.*each.column = column;
    chosen.push_back(column);
  }
  for (const Wanted& each : wanted) {
    const bool is_ignored = each.role == Role::time && options.in_file_order;
    if (!each.chosen.empty() || is_ignored) continue;
    const Candidates found = find_column(header, each.role, chosen);
    format.*each.column = found.column;
    if (!found.is_ambiguous() || !reason.empty()) continue;
    const std::string_view option = column_option(each.role);
    reason =
        concat(two_columns(header, each.role, found),
               option.empty() ? ": rename or remove one of them" : ": choose one with ", option);
  }
  if (!reason.empty()) return reason;
  if (format.user < 0 || format.item < 0) {
    return concat(
        "expected a header that names a user and an item column (userId,movieId,... or "
        "user_id:token,item_id:token,...), or the names of these columns in user_column "
        "and item_column (--user-column, --item-column), got ",
        header_text(header));
  }
  return {};
}

}  // namespace detail
}  // namespace refrain
