/// Bodies of several messages: lists and lines, and the names in them.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fuzz/program.hpp"
#include "refrain/serve/message.hpp"
#include "src/server/json_elements.hpp"

namespace refrain::fuzz {
namespace {

using nlohmann::json;

constexpr std::size_t most = 20;

/// A JSON text; discarded if it is malformed. The parser would take a NUL byte as the end.
json parsed(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return json(json::value_t::discarded);
  return json::parse(text, nullptr, false);
}

/// A list that JSON accepts has the same elements, and no other text has only valid elements.
void try_list(std::string_view input) {
  std::vector<std::string_view> elements;
  try {
    elements = detail::json_elements(input, most);
  } catch (const OptionError&) {
    const json whole = parsed(input);
    require(!whole.is_array() || whole.size() > most, "a valid list is accepted");
    return;
  }
  json list = json::array();
  for (const std::string_view element : elements) {
    require(element.empty() || (element.data() >= input.data() &&
                                element.data() + element.size() <= input.data() + input.size()),
            "an element is a part of the body");
    list.push_back(parsed(element));
  }
  const bool is_valid =
      std::none_of(list.begin(), list.end(), [](const json& each) { return each.is_discarded(); });
  const json whole = parsed(input);
  require(is_valid == whole.is_array(), "the elements are valid if and only if the list is");
  if (is_valid) require(list == whole, "the elements are those of the list");
}

void try_lines(std::string_view input) {
  const auto is_blank = [](std::string_view line) {
    return line.find_first_not_of(" \t\r\n") == std::string_view::npos;
  };
  try {
    const auto lines = detail::filled_lines(input, most);
    require(lines.size() <= most, "lines are counted");
    for (const std::string_view line : lines)
      require(!is_blank(line) && line.find('\n') == std::string_view::npos, "a line has text");
  } catch (const OptionError&) {
    require(std::count(input.begin(), input.end(), '\n') >= static_cast<std::ptrdiff_t>(most),
            "only too many lines are refused");
  }
}

void try_name(std::string_view input) {
  try {
    const std::string name = serve::parse_name(input);
    const json whole = parsed(input);
    require(whole.is_string() ? whole.get<std::string>() == name : whole.is_number_integer(),
            "a name is a string or a whole number");
  } catch (const OptionError&) {
  }
}

}  // namespace

void try_input(std::string_view input) {
  try_list(input);
  try_lines(input);
  try_name(input);
}

std::vector<std::string> seeds() {
  return {"[]",
          " [ ] ",
          R"([{"user": "a", "item": 1}, {"user": "b,]", "item": "\"}"}])",
          "[[1, [2]], {\"a\": {\"b\": []}}, -1.5e3, true, null]",
          "{\"user\": \"a\", \"item\": \"b\"}\n\r\n{\"user\": \"a\", \"item\": \"c\"}\n",
          "[1,]",
          "[\"\\u00e9\\ud83d\\ude00\"]",
          "12",
          "\"name\""};
}

}  // namespace refrain::fuzz
