/// Titles: always UTF-8, and the same after being written as quoted CSV and read again.

#include "fuzz/program.hpp"
#include "refrain/data/readers.hpp"

namespace refrain::fuzz {
namespace {

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
