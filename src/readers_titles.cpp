#include "refrain/data/readers.hpp"
#include "src/formats.hpp"

namespace refrain {
namespace {

/// Returns UTF-8 unchanged and decodes any other text as latin-1.
std::string to_utf8(std::string_view text) {
  if (detail::is_utf8(text)) return std::string(text);
  std::string converted;
  for (const char c : text) {
    const unsigned code = static_cast<unsigned char>(c);
    if (code >= 0x80) converted += static_cast<char>(0xC0 | (code >> 6));
    converted += static_cast<char>(code < 0x80 ? code : 0x80 | (code & 0x3F));
  }
  return converted;
}

/// Fields: id, title, and more, which are not read.
struct TitleFormat {
  detail::Separator separator;
  bool header;
};

TitleFormat title_format(std::string_view first_line) {
  if (first_line.find("::") != std::string_view::npos) return {{"::"}, false};
  const std::size_t bar = first_line.find('|');
  const std::size_t comma = first_line.find(',');
  if (bar < comma) return {{"|"}, false};
  return {{",", true}, first_line.starts_with("movieId,") || first_line.starts_with("item")};
}

constexpr std::string_view expected_titles =
    "movies.csv (header; item,title), movies.dat (item::title) or u.item (item|title)";

}  // namespace

std::optional<std::string_view> Titles::find(std::string_view item) const {
  const std::int32_t number = items.find(item);
  if (number == absent_id) return std::nullopt;
  return titles[static_cast<std::size_t>(number)];
}

Titles read_titles(const std::string& path, const ReadOptions& options) {
  Titles titles;
  detail::LineReader reader(path, options.max_line_bytes);
  std::optional<TitleFormat> format;
  std::vector<std::string_view> fields;
  detail::for_each_line(reader, options, {}, [&](const detail::Line& line) -> std::string {
    if (!format) {
      if (std::string reason = detail::foreign_start(line.text(), expected_titles); !reason.empty())
        throw DataError(path, line.number, reason);
      format = title_format(line.text());
      if (format->header) return {};
    }
    if (const char* problem = detail::split(line, format->separator, fields); problem != nullptr)
      return problem;
    if (fields.size() < 2)
      return detail::concat("expected an item id and a title separated by ",
                            detail::quoted(format->separator.text), ", got one field");
    if (fields[0].empty()) return "the item id is empty";
    const std::int32_t known = titles.items.size();
    if (titles.items.intern(to_utf8(fields[0])) != known)
      return detail::concat("duplicate title of item ", detail::quoted(fields[0]));
    titles.titles.push_back(to_utf8(fields[1]));
    return {};
  });
  if (titles.titles.empty()) throw DataError(path, 0, "holds no titles");
  return titles;
}

}  // namespace refrain
