#include "fields.hpp"
#include "refrain/data/readers.hpp"

namespace refrain {
namespace {

/// Length of the UTF-8 character that `text` starts with, or 0 when it is none (overlong forms and
/// surrogates included).
std::size_t utf8_length(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto follows = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return byte(i) >= low && byte(i) <= high;
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return follows(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF)
    return follows(1, lead == 0xE0 ? 0xA0 : 0x80, lead == 0xED ? 0x9F : 0xBF) && follows(2) ? 3 : 0;
  if (lead >= 0xF0 && lead <= 0xF4) {
    return follows(1, lead == 0xF0 ? 0x90 : 0x80, lead == 0xF4 ? 0x8F : 0xBF) && follows(2) &&
                   follows(3)
               ? 4
               : 0;
  }
  return 0;
}

/// The text itself when it is UTF-8, else each byte as the latin-1 character that it is.
std::string to_utf8(std::string_view text) {
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t length = utf8_length(rest);
    if (length == 0) {
      std::string converted;
      for (const char c : text) {
        const unsigned code = static_cast<unsigned char>(c);
        if (code >= 0x80) converted += static_cast<char>(0xC0 | (code >> 6));
        converted += static_cast<char>(code < 0x80 ? code : 0x80 | (code & 0x3F));
      }
      return converted;
    }
    rest.remove_prefix(length);
  }
  return std::string(text);
}

/// Fields: id, title, and others that are not read.
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

}  // namespace

std::optional<std::string_view> Titles::find(std::string_view item) const {
  const std::int32_t number = items.find(item);
  if (number == StringTable::absent) return std::nullopt;
  return titles[static_cast<std::size_t>(number)];
}

Titles read_titles(const std::string& path, const ReadOptions& options) {
  Titles titles;
  detail::LineReader reader(path, options.max_line_bytes);
  std::optional<TitleFormat> format;
  std::vector<std::string_view> fields;
  detail::for_each_line(reader, options, [&](const detail::Line& line) -> std::string {
    if (!format) {
      format = title_format(line.text());
      if (format->header) return {};
    }
    if (const char* problem = detail::split(line, format->separator, fields); problem != nullptr)
      return problem;
    if (fields.size() < 2)
      return concat("expected an item id and a title parted by \"", format->separator.text, "\"");
    if (fields[0].empty()) return "the item id is empty";
    const std::int32_t known = titles.items.size();
    if (titles.items.intern(fields[0]) != known)
      return concat("item ", detail::quoted(fields[0]), " has a title already");
    titles.titles.push_back(to_utf8(fields[1]));
    return {};
  });
  if (titles.titles.empty()) throw DataError(path, 0, "holds no titles");
  return titles;
}

}  // namespace refrain
