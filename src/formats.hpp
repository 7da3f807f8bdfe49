#pragma once
/// Layouts of behaviour logs, as data.

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "src/fields.hpp"

namespace refrain::detail {

/// One event per line. Columns count from 0; -1 means absent.
struct EventFormat {
  Format format;
  Separator separator;
  bool header;  ///< the first line names the columns and overrides the fields below
  int columns;  ///< fields in a line
  int user, item, rating, time;
};

/// One sequence per line.
struct RowFormat {
  Format format;
  Separator items;
  /// the text after the leading user id; empty: no user id, or the user id is an ordinary field
  std::string_view user_end;
  bool user;
  bool parted;  ///< an empty field separates source from target
};

/// A table before its header is read.
inline constexpr EventFormat unnamed_columns{
    Format::ratings_csv, {",", true}, true, 0, -1, -1, -1, -1};

inline constexpr std::array event_formats{
    EventFormat{Format::ratings_dat, {"::"}, false, 4, 0, 1, 2, 3},
    unnamed_columns,
    EventFormat{Format::u_data, {"\t"}, false, 4, 0, 1, 2, 3},
    EventFormat{Format::inter, {"\t"}, true, 0, -1, -1, -1, -1},
    EventFormat{Format::user_item, {""}, false, 2, 0, 1, -1, -1},
};

inline constexpr std::array row_formats{
    RowFormat{Format::user_items, {""}, "", true, false},
    RowFormat{Format::user_item_list, {","}, "\t", true, false},
    RowFormat{Format::sequence_csv, {","}, "", false, false},
    RowFormat{Format::transfer_csv, {","}, "", false, true},
};

/// The description of a format, or null when the format is not one of `Formats`.
template <class Formats>
const typename Formats::value_type* find_format(const Formats& formats, Format format) noexcept {
  for (const auto& entry : formats) {
    if (entry.format == format) return &entry;
  }
  return nullptr;
}

/// The format of the first lines of a reader, which are then read; throws as detect_format().
Format format_of_lines(LineReader& reader, const ReadOptions& options);

/// The format's name and, unless a header names its columns, its layout: "u_data: user, item,
/// rating, timestamp, separated by tabs".
std::string description(Format format);

/// Finds user, item, rating and time among the columns: those that the options name, and the others
/// by find_column(). Returns the reason of a failure, or an empty string. Sets `format.user` and
/// `format.item` also when two columns have one meaning.
std::string name_columns(const std::vector<std::string_view>& header, const ReadOptions& options,
                         EventFormat& format);

/// The separator of a table: tabs, commas or semicolons, whichever is_header(names) accepts, else
/// the one with most fields. Fields may be quoted, except in RecBole's tables, which have tabs and
/// names with a type (user_id:token).
template <class IsHeader>
Separator table_separator(std::string_view header, const IsHeader& is_header);

/// Throws OptionError about options that name columns, for a file whose format has no header.
void expect_no_column_options(const ReadOptions& options, const std::string& path, Format format);

/// The reason why a file that begins with this line has no known format (JSON, a comment), or an
/// empty string. `expected` is a list of formats, or another phrase.
std::string foreign_start(std::string_view first_line, std::string_view expected);

/// Part of a path after the last slash.
std::string_view file_name(std::string_view path) noexcept;

template <class IsHeader>
Separator table_separator(std::string_view header, const IsHeader& is_header) {
  const bool is_typed = header.find(':') != std::string_view::npos;
  Separator best{",", true};
  std::size_t most = 0;
  std::vector<std::string_view> names;
  for (const Separator separator : {Separator{"\t", !is_typed}, {",", true}, {";", true}}) {
    std::string copy(header);  // splitting changes quotes in place
    const Line line{copy.data(), copy.data() + copy.size()};
    if (split(line, separator, names) != nullptr) continue;
    if (is_header(names)) return separator;
    if (names.size() > most) best = separator;
    most = std::max(most, names.size());
  }
  return best;
}

}  // namespace refrain::detail
