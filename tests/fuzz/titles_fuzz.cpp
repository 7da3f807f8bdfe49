/// Titles: always UTF-8, and the same after being written as quoted CSV and read again.

#include "fuzz/program.hpp"
#include "refrain/data/readers.hpp"

namespace refrain::fuzz {
namespace {

/// UTF-8 by its definition: decodes each character and asks whether it had to be written so.
bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const unsigned lead = static_cast<unsigned char>(text[at]);
    const std::size_t length = lead < 0x80         ? 1
                               : (lead >> 5) == 6  ? 2
                               : (lead >> 4) == 14 ? 3
                               : (lead >> 3) == 30 ? 4
                                                   : 0;
    if (length == 0 || at + length > text.size()) return false;
    unsigned code = length == 1 ? lead : lead & (0x7Fu >> length);
    for (std::size_t i = 1; i < length; ++i) {
      const unsigned more = static_cast<unsigned char>(text[at + i]);
      if ((more >> 6) != 2) return false;
      code = code << 6 | (more & 63);
    }
    const std::size_t needed = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (needed != length || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
    at += length;
  }
  return true;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

}  // namespace

void try_input(std::string_view input) {
  Choices choices(input);
  ReadReport report;
  const unsigned strictness = choices.next();
  ReadOptions options{.skip_bad_lines = strictness & 3, .report = &report};
  if ((strictness & 4) != 0) options.max_line_bytes = 24;
  const std::string& path = file_with("titles", choices.rest());
  Titles titles;
  if (!accepted(path, [&] { titles = read_titles(path, options); })) return;
  require(titles.titles.size() == static_cast<std::size_t>(titles.items.size()),
          "every item has one title");
  std::string text = "movieId,title\n";
  for (std::int32_t i = 0; i < titles.items.size(); ++i) {
    require(!titles.items[i].empty(), "no item is empty");
    require(is_utf8(titles.titles[static_cast<std::size_t>(i)]), "titles are UTF-8");
    text +=
        quoted(titles.items[i]) + "," + quoted(titles.titles[static_cast<std::size_t>(i)]) + "\n";
  }
  const std::string& again = file_with("again.csv", text);
  const Titles back = read_titles(again, {.max_line_bytes = 1 << 23});
  require(back.titles == titles.titles, "titles come back");
  for (std::int32_t i = 0; i < titles.items.size(); ++i)
    require(back.items[i] == titles.items[i], "items come back");
}

std::vector<std::string> seeds() {
  return {
      std::string("\0", 1) +
          "movieId,title,genres\n1,Toy Story (1995),Animation\n11,\"American President, The "
          "\"\"x\"\"\",Drama\n",
      std::string("\1", 1) +
          "1::Toy Story (1995)::Animation|Comedy\n2::Caf\xC3\xA9 \xE2\x82\xAC "
          "\xF0\x9F\x98\x80::x\n",
      std::string("\2", 1) + "1|Mis\xE9rables, Les (1995)|01-Jan-1995||http://a|0|1\n",
  };
}

}  // namespace refrain::fuzz
