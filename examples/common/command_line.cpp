#include "common/command_line.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <regex>
#include <string_view>
#include <utility>
#include <vector>

namespace refrain::examples {
namespace {

/// Levenshtein's distance: letters to add, drop or change.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, changed}));
    }
  }
  return row.back();
}

/// " (did you mean X?)" for the name nearest to what was given, if one is near.
std::string suggestion(std::string_view given, const std::vector<std::string>& names) {
  const std::string* nearest = nullptr;
  std::size_t least = given.size() / 3 + 1;  // more typos than that are another word
  for (const std::string& name : names) {
    const bool begins = given.size() > 3 && name.starts_with(given);
    const std::size_t distance = begins ? 0 : edit_distance(given, name);
    if (distance < least) {
      least = distance;
      nearest = &name;
    }
  }
  return nearest == nullptr ? std::string() : " (did you mean " + *nearest + "?)";
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

/// What the parser did not expect, in the order of the command line; its own text is in another
/// order.
std::string unexpected(const CLI::App& app, const CLI::App& command,
                       const std::vector<std::string>& rest) {
  const auto option = std::find_if(rest.begin(), rest.end(),
                                   [](const std::string& text) { return text.starts_with("-"); });
  if (option == rest.end()) return concat("unexpected argument '", rest.front(), "'");
  const std::string name = option->substr(0, option->find('='));
  std::string others;
  for (const CLI::App* other : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (other->get_option_no_throw(name) != nullptr)
      others += (others.empty() ? "" : ", ") + other->get_name();
  }
  if (!others.empty())
    return concat(command.get_name(), " has no option ", name, ", which is one of ", others);
  return concat("unknown option ", name, suggestion(name, option_names(command)));
}

/// What a --config file says that no option means: "pretrain.chanels".
std::string unknown_in_config(const CLI::App& app, const std::string& name) {
  const std::size_t point = name.find('.');
  const std::string section = name.substr(0, point);
  const std::string key = name.substr(point + 1);
  const std::vector<const CLI::App*> commands =
      app.get_subcommands([&](const CLI::App* each) { return each->get_name() == section; });
  if (commands.empty())
    return concat("--config: unknown section [", section, "]",
                  suggestion(section, command_names(app)));
  return concat("--config: unknown name ", key, " in [", section, "]",
                suggestion(concat("--", key), option_names(*commands.front())));
}

/// The parser's own text in our words.
std::string reworded(const std::string& text) {
  static const std::regex conversion("Could not convert: (.*) = (.*)");
  static const std::regex missing("(.*): ([0-9]+) required .* missing");
  static const std::regex fewer("(.*): At least ([0-9]+) required but received ([0-9]+)");
  std::smatch found;
  if (std::regex_match(text, found, conversion))
    return concat(found[1].str(), ": cannot be read, got '", found[2].str(), "'");
  if (std::regex_match(text, found, fewer)) {
    return concat(found[1].str(), ": expected ", found[2].str(), " values, got ", found[3].str());
  }
  if (std::regex_match(text, found, missing)) {
    return concat(found[1].str(), ": expected ",
                  found[2] == "1" ? "a value" : concat(found[2].str(), " values"));
  }
  return text;
}

std::string usage_error(const CLI::App& app, const char* program, const CLI::ParseError& error) {
  constexpr std::string_view of_config = "INI was not able to parse ";
  const std::string_view text = error.what();
  if (text.starts_with(of_config))
    return unknown_in_config(app, std::string(text.substr(of_config.size())));
  const std::vector<std::string> rest = app.remaining(true);
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  if (chosen.empty() && !command_names(app).empty()) {
    const std::vector<std::string> names = command_names(app);
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
    const bool is_word = !rest.empty() && !rest.front().starts_with("-");
    return concat(is_word ? concat("unknown command '", rest.front(), "'",
                                   suggestion(rest.front(), names), "; expected ")
                          : "expected a command: ",
                  all);
  }
  const CLI::App& command = chosen.empty() ? app : *chosen.front();
  const std::string who = chosen.empty() ? program : concat(program, " ", command.get_name());
  // What is missing may be what was misspelt.
  const int code = error.get_exit_code();
  const bool is_unknown = code == static_cast<int>(CLI::ExitCodes::ExtrasError) ||
                          code == static_cast<int>(CLI::ExitCodes::RequiredError);
  if (is_unknown && !rest.empty()) {
    return concat(unexpected(app, command, rest), "; ", who, " --help lists the options");
  }
  return reworded(error.what());
}

/// A number that the check takes; what it says otherwise, "expected 1 to 4096, got 0".
template <class Accept>
CLI::Validator numbers(const std::string& expected, Accept&& accept) {
  return CLI::Validator(
      [expected, accept](std::string& text) {
        double value = 0;
        const bool is_number = CLI::detail::lexical_cast(text, value);
        return is_number && accept(value) ? std::string()
                                          : concat("expected ", expected, ", got ",
                                                   is_number ? text : concat("'", text, "'"));
      },
      expected);
}

}  // namespace

CLI::Validator between(double least, double most) {
  return numbers(fmt::format("{} to {}", least, most),
                 [=](double value) { return value >= least && value <= most; });
}
CLI::Validator above_zero() {
  return numbers("a number above 0",
                 [](double value) { return value > 0 && std::isfinite(value); });
}
CLI::Validator not_negative() {
  return numbers("a number from 0",
                 [](double value) { return value >= 0 && std::isfinite(value); });
}

std::optional<int> parse(CLI::App& app, const char* program, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {  // --help
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "{}: {}\n", program, usage_error(app, program, error));
    return 1;
  }
  return std::nullopt;
}

}  // namespace refrain::examples
