#pragma once
/// Parts of a command line that the example programs share.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <concepts>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "common/choice.hpp"
#include "common/concat.hpp"
#include "common/options.hpp"
#include "refrain/core/error.hpp"
#include "refrain/core/parallel.hpp"

namespace refrain::examples {

/// Checks of options: each says what it expected and what it got.
CLI::Validator between(double least, double most);
CLI::Validator above_zero();
CLI::Validator not_negative();
CLI::Validator true_or_false();

/// A number of this type and no other: a whole one is decimal and fits the type.
template <class Number>
CLI::Validator number_of_type() {
  return CLI::Validator(
      [](std::string& text) {
        Number value{};
        errno = 0;
        const bool is_number = CLI::detail::lexical_cast(text, value);
        if constexpr (std::floating_point<Number>) {
          return is_number ? std::string() : concat("expected a number, got '", text, "'");
        } else {
          if (errno == ERANGE) return concat("expected a smaller whole number, got ", text);
          Number decimal{};
          const char* const end = text.data() + text.size();
          const bool is_decimal = std::from_chars(text.data(), end, decimal).ptr == end;
          if (is_number && is_decimal && decimal == value) return std::string();
          return concat("expected a whole number", std::signed_integral<Number> ? "" : " from 0",
                        ", got '", text, "'");
        }
      },
      "");
}

/// What a value consists of: itself, or the elements of a list.
template <class Value>
struct ElementOf {
  using type = Value;
};
template <class Element>
struct ElementOf<std::vector<Element>> {
  using type = Element;
};

template <NamedSetting Value>
CLI::Validator one_of() {
  const std::string names = choice_names<Value>();
  return CLI::Validator(
      [names](std::string& text) {
        return choice_of<Value>(text) ? std::string()
                                      : concat("expected one of ", names, ", got '", text, "'");
      },
      concat("{", names, "}"));
}

/// A list of names of an enum's values, separated by commas.
template <Chosen Element>
CLI::Option* add_choices(CLI::App& app, const std::string& name, std::vector<Element>& values,
                         const std::string& text) {
  std::string names;
  for (const Element value : values) names += concat(names.empty() ? "" : ",", name_of(value));
  const auto set = [&values](const std::vector<std::string>& given) {
    values.clear();
    for (const std::string& each : given) values.push_back(*choice_of<Element>(each));
  };
  return app.add_option_function<std::vector<std::string>>(name, set, text)
      ->check(one_of<Element>())
      ->delimiter(',')
      ->default_str(names);
}

/// An option of a command. By the type of its value it is a switch (whose value in a --config file
/// is true or false), a name or notation (common/choice.hpp), a number in `range`, a text, or a
/// list of these separated by commas. Its help shows the default.
template <class Value>
CLI::Option* add_value(CLI::App& app, const std::string& name, Value& value,
                       const std::string& text, const std::optional<CLI::Validator>& range = {}) {
  using Element = typename ElementOf<Value>::type;
  if constexpr (std::is_same_v<Value, bool>) {
    CLI::Option* const option = app.add_flag(name, value, text)->check(true_or_false());
    return value ? option->default_str("true") : option;
  } else if constexpr (NamedSetting<Value>) {
    const auto set = [&value](const std::string& given) { value = *choice_of<Value>(given); };
    return app.add_option_function<std::string>(name, set, text)
        ->check(one_of<Value>())
        ->default_str(name_of(value));
  } else if constexpr (Chosen<Element>) {
    return add_choices(app, name, value, text);
  } else {
    CLI::Option* const option = app.add_option(name, value, text);
    if (range) option->check(*range);
    if constexpr (std::is_arithmetic_v<Element>) option->check(number_of_type<Element>());
    if constexpr (!std::is_same_v<Value, Element>) option->delimiter(',');
    return value == Value() && !std::is_arithmetic_v<Value> ? option
                                                            : option->capture_default_str();
  }
}

/// The options of a command under one heading of its help.
class OptionGroup {
 public:
  OptionGroup(CLI::App& app, std::string title) : app_(app), title_(std::move(title)) {}

  template <class Value>
  CLI::Option* operator()(const std::string& name, Value& value, const std::string& text,
                          const std::optional<CLI::Validator>& range = {}) const {
    return add_value(app_, name, value, text, range)->group(title_);
  }

 private:
  CLI::App& app_;
  std::string title_;
};

/// Fields as options (see FieldWriter): "word_size" is --word-size.
class FieldOptions {
 public:
  FieldOptions(CLI::App& app, std::string title) : add_(app, std::move(title)) {}

  template <class Value>
  void operator()(const char* field, Value& value, const char* text, Between range) const {
    add_(option_of(field), value, text,
         between(static_cast<double>(range.least), static_cast<double>(range.most)));
  }
  template <class Value>
  void operator()(const char* field, Value& value, const char* text) const {
    add_(option_of(field), value, text);
  }
  void operator()(const char* field, double& share, const char* text) const {
    add_(option_of(field), share, text, between(1e-3, 1));
  }
  void operator()(const char* field, std::vector<double>& shares, const char* text) const {
    add_(option_of(field), shares, text)->expected(3);
  }

 private:
  static std::string option_of(std::string field) {
    std::replace(field.begin(), field.end(), '_', '-');
    return "--" + field;
  }

  OptionGroup add_;
};

void add_run_options(CLI::App& app, RunOptions& run);

/// --data and how it is read. `text`: the meaning of --data.
void add_log_options(CLI::App& app, LogOptions& log, const std::string& text);

/// --titles of a command that names items.
void add_titles(CLI::App& app, LogOptions& log);

/// --model, the file of a trained model, under further `names` (",--checkpoint").
void add_model_file(CLI::App& app, std::string& file, const std::string& names,
                    const std::string& text);

/// --log of a command that has figures.
void add_log_option(CLI::App& app, RunOptions& run);

/// `prefix` tells the options of one training from those of another where both are present.
void add_training_options(CLI::App& app, TrainOptions& train, const std::string& prefix,
                          const std::string& group);

/// --force of a command that trains a model and writes it.
void add_force_option(CLI::App& app, RunOptions& run);

/// --resume of a command that trains one model.
void add_resume_option(CLI::App& app, std::string& state_file);

void add_recommend_options(CLI::App& app, RecommendOptions& recommend);

/// Parses the command line. Returns an exit code when the program ends here: 0 after --help, 1
/// when the line cannot be read; standard error then has one line with the reason and what may have
/// been meant.
std::optional<int> parse(CLI::App& app, const char* program, int argc, char** argv);

/// Reads the files of --config: sections [command] with lines name = value. The errors of a file
/// that is no TOML, or that names what `program` does not have, say the line. `program` outlives
/// it.
std::shared_ptr<CLI::Config> toml_reader(const CLI::App& program);

/// A sub-command of a program.
template <class Options>
struct Command {
  const char* name;
  const char* text;
  void (*add)(CLI::App&, Options&);  ///< adds its options
  Outcome (*run)(const Options&);
  void (*settle)(const CLI::App&,
                 Options&) = nullptr;  ///< sets what depends on which options were given
};

/// Parses the command line and runs the sub-command that it names. Each has options of its own: a
/// --config file has sections of several sub-commands, and all of them are read, whichever runs.
template <class Options>
int run_command(const char* program, const char* text, std::span<const Command<Options>> commands,
                int argc, char** argv) {
  CLI::App app{text};
  app.require_subcommand(1);
  app.fallthrough();
  app.config_formatter(toml_reader(app));
  app.set_config("--config", "",
                 concat("Read options from this TOML file: one section a sub-command, [",
                        commands.front().name, "], with the long option names as keys"));
  app.allow_config_extras(
      CLI::config_extras_mode::error);  // a misspelt name must not leave the default in force
  Outcome outcome = Outcome::done;
  std::deque<Options> options;
  for (const Command<Options>& command : commands) {
    CLI::App* own_app = app.add_subcommand(command.name, command.text);
    Options* own = &options.emplace_back();
    command.add(*own_app, *own);
    own_app->callback([&app, &outcome, &command, own_app, own] {
      if (command.settle != nullptr) command.settle(*own_app, *own);
      if (app.count("--config") > 0) own->run.config = app["--config"]->as<std::string>();
      set_threads(static_cast<int>(own->run.threads));
      outcome = command.run(*own);
    });
  }
  if (const std::optional<int> code = parse(app, program, argc, argv)) return *code;
  return static_cast<int>(outcome);
}

/// Runs the program with open standard streams and turns what it throws into one line on standard
/// error and an exit code: 1 for what the user can mend, output that cannot be written among it; 2
/// for the rest.
int guarded(const char* program, const std::function<int()>& run);

}  // namespace refrain::examples
