#include "src/server/json_elements.hpp"

#include "refrain/core/error.hpp"

namespace refrain::detail {
namespace {

constexpr std::string_view blanks = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(blanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

void add(std::vector<std::string_view>& parts, std::string_view part, std::size_t most) {
  if (parts.size() == most)
    throw OptionError(
        concat("expected at most ", most, " messages or items in one body, got more"));
  parts.push_back(part);
}

}  // namespace

bool is_json_list(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(blanks);
  return begin != std::string_view::npos && text[begin] == '[';
}

std::vector<std::string_view> json_elements(std::string_view list, std::size_t most) {
  const std::string_view text = trimmed(list);
  if (text.size() < 2 || text.front() != '[' || text.back() != ']')
    throw OptionError("expected a JSON list, got an incomplete one");
  const std::string_view inside = text.substr(1, text.size() - 2);
  std::vector<std::string_view> elements;
  if (trimmed(inside).empty()) return elements;
  std::size_t depth = 0, begin = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < inside.size(); ++i) {
    const char character = inside[i];
    if (in_string) {
      if (character == '\\') {
        ++i;
      } else if (character == '"') {
        in_string = false;
      }
    } else if (character == '"') {
      in_string = true;
    } else if (character == '[' || character == '{') {
      ++depth;
    } else if (character == ']' || character == '}') {
      if (depth == 0) throw OptionError("expected one JSON list, got text after its end");
      --depth;
    } else if (character == ',' && depth == 0) {
      add(elements, trimmed(inside.substr(begin, i - begin)), most);
      begin = i + 1;
    }
  }
  if (in_string || depth != 0) throw OptionError("expected a JSON list, got an incomplete one");
  add(elements, trimmed(inside.substr(begin)), most);
  return elements;
}

std::vector<std::string_view> filled_lines(std::string_view text, std::size_t most) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = trimmed(text.substr(0, end));
    if (!line.empty()) add(lines, line, most);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  }
  return lines;
}

}  // namespace refrain::detail
