#include "common/command_line.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <sstream>
#include <string_view>
#include <vector>

#include "common/concat.hpp"
#include "common/failure.hpp"
#include "common/standard_streams.hpp"
#include "common/suggestion.hpp"

namespace refrain::examples {
namespace {

/// Describes the first unexpected option, or the first unexpected argument if there is no such
/// option.
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
    return concat(command.get_name(), " has no option ", name, ", an option of ", others);
  return concat("unknown option ", name, suggestion(name, option_names(command)));
}

std::string unknown_command(const CLI::App& app, const std::vector<std::string>& rest) {
  const std::vector<std::string> names = command_names(app);
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  const bool is_word = !rest.empty() && !rest.front().starts_with("-");
  return concat(is_word ? concat("unknown command '", rest.front(), "'",
                                 suggestion(rest.front(), names), "; expected ")
                        : "expected a command: ",
                all);
}

/// Reports the option with too few or too many values. The parser accepts any next argument as a
/// value, so only the last argument can be an option without a value.
std::string wrong_count(const CLI::App& command, const std::string& last_argument) {
  const auto values = [](int count) {
    return count == 1 ? std::string("a value") : concat(count, " values");
  };
  for (const CLI::Option* option : command.get_options()) {
    const int got = static_cast<int>(option->count());
    const int min = option->get_items_expected_min(), max = option->get_items_expected_max();
    const bool is_switch = max == 0;
    if (got == 0 || is_switch || (got >= min && got <= max)) continue;
    return concat(option->get_name(), ": expected ",
                  got < min  ? values(min)
                  : max == 1 ? "one value"
                             : values(max),
                  ", got ", got);
  }
  return last_argument + ": expected a value";
}

std::string usage_error(const CLI::App& app, const char* program, const std::string& last_argument,
                        const CLI::Error& error) {
  if (dynamic_cast<const CLI::ConfigError*>(&error) != nullptr) return error.what();
  const std::vector<std::string> rest = app.remaining(true);
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  if (chosen.empty() && !command_names(app).empty()) return unknown_command(app, rest);
  const CLI::App& command = chosen.empty() ? app : *chosen.front();
  // A missing option may have been misspelt.
  const bool is_extra = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
  const bool is_missing = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
  if ((is_extra || is_missing) && !rest.empty()) {
    return concat(unexpected(app, command, rest), "; ",
                  chosen.empty() ? program : concat(program, " ", command.get_name()),
                  " --help lists the options");
  }
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr)
    return wrong_count(command, last_argument);
  if (dynamic_cast<const CLI::FileError*>(&error) != nullptr && app.get_config_ptr() != nullptr) {
    return concat("--config: expected a readable file, got ",
                  app.get_config_ptr()->as<std::string>());
  }
  return error.what();
}

/// Validates a number by `accept`; errors read "expected 1 to 4096, got 0".
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
  return numbers("a number >= 0", [](double value) { return value >= 0 && std::isfinite(value); });
}

CLI::Validator from_zero_below_one() {
  return numbers("a number from 0 and below 1",
                 [](double value) { return value >= 0 && value < 1; });
}

CLI::Validator true_or_false() {
  return CLI::Validator(
      [](std::string& text) {
        try {
          (void)CLI::detail::to_flag_value(text);
          return std::string();
        } catch (const std::invalid_argument&) {
          return concat("expected true or false, got '", text, "'");
        }
      },
      "");
}

std::optional<std::string> parse(CLI::App& app, const char* program, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) {
      const std::string last_argument = argc > 0 ? argv[argc - 1] : program;
      throw OptionError(usage_error(app, program, last_argument, error));
    }
    std::ostringstream help;
    app.exit(error, help, help);
    return help.str();
  }
}

int guarded(const char* program, const std::function<int()>& run) {
  open_standard_streams();
  int code = 0;
  int output_error = 0;
  try {
    code = run();
  } catch (...) {
    const Failure failure = current_failure();
    if (!failure.text.empty()) say("{}: {}\n", program, failure.text);
    code = failure.code;
    output_error = failure.output_error;
  }
  return finish_output(program, output_error) || code != 0 ? code : 1;
}

}  // namespace refrain::examples
