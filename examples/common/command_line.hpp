#pragma once
/// Parts of a command line that the example programs share.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <concepts>
#include <deque>
#include <exception>
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
#include "common/processes.hpp"
#include "refrain/core/error.hpp"

namespace refrain::examples {

/// Validators of option values; errors read "expected ..., got ...".
CLI::Validator between(double least, double most);
CLI::Validator above_zero();
CLI::Validator not_negative();
CLI::Validator from_zero_below_one();
CLI::Validator true_or_false();

/// Accepts only numbers of this type: a whole number must be decimal and fit the type.
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
          return concat("expected a whole number", std::signed_integral<Number> ? "" : " >= 0",
                        ", got '", text, "'");
        }
      },
      "");
}

/// The type of a value, or of the elements if the value is a list.
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

/// Adds an option whose value is a list of an enum's names, separated by commas.
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

/// Adds an option to a command. The type of `value` determines its form: a switch (true or false in
/// a --config file), a name or notation (common/choice.hpp), a number in `range`, a string, or a
/// list of these separated by commas. The help shows the default.
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

/// Adds options to a command under one heading of its help.
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

/// Adds fields (see FieldWriter) as options: the field "word_size" becomes --word-size.
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

/// Adds --data and the options of its reader. `text`: the help of --data.
void add_log_options(CLI::App& app, LogOptions& log, const std::string& text);

/// Adds the options of `prepare`: --data, the options of its reader, --out and --memory.
void add_prepare_options(CLI::App& app, LogOptions& log, PrepareOptions& prepare);

/// Adds --titles, for commands that print items.
void add_titles(CLI::App& app, LogOptions& log);

/// Adds --model, the file of a trained model, with additional `names` (",--checkpoint").
void add_model_file(CLI::App& app, std::string& file, const std::string& names,
                    const std::string& text);

/// Adds --log, for commands that compute figures.
void add_log_option(CLI::App& app, RunOptions& run);

/// Adds --ranks, for commands that rank test examples.
void add_ranks_option(CLI::App& app, RunOptions& run);

/// Adds the options of a training. `prefix` distinguishes the trainings of a command that has two.
void add_training_options(CLI::App& app, TrainOptions& train, const std::string& prefix,
                          const std::string& group);

/// Adds --search and its options, for commands that train one model.
void add_search_options(CLI::App& app, SearchOptions& search, bool has_dropout);
/// Throws OptionError for options that contradict --search or lack it.
void settle_search(const CLI::App& app, const SearchOptions& search);

/// Adds --from, for commands that train one model.
void add_from_option(CLI::App& app, WarmStart& warm);
/// Records which options were given.
void settle_from(const CLI::App& app, WarmStart& warm);

/// Adds --force, for commands that write a trained model.
void add_force_option(CLI::App& app, RunOptions& run);

/// Adds --deadline, for commands that several processes run together.
void add_deadline_option(CLI::App& app, RunOptions& run);

/// Adds --resume, for commands that train one model.
void add_resume_option(CLI::App& app, std::string& state_file);

void add_recommend_options(CLI::App& app, RecommendOptions& recommend);
/// Sets the output format of --all. Throws OptionError for options that contradict --all or lack
/// it.
void settle_recommend(const CLI::App& app, RecommendOptions& recommend);

/// Parses the command line. Returns the text of --help when it is given. Throws OptionError for an
/// invalid command line, with the reason and a suggestion.
std::optional<std::string> parse(CLI::App& app, const char* program, int argc, char** argv);

/// A reader of --config files: sections [command] with lines name = value. Errors about invalid
/// TOML and about unknown commands and options include the line number. `program` must outlive the
/// reader.
std::shared_ptr<CLI::Config> toml_reader(const CLI::App& program);

/// A sub-command of a program.
template <class Options>
struct Command {
  const char* name;
  const char* text;
  void (*add)(CLI::App&, Options&);  ///< adds its options
  Outcome (*run)(const Options&);
  void (*settle)(const CLI::App&,
                 Options&) = nullptr;  ///< sets values that depend on which options were given
  Launch launch = Launch::one;
};

/// Parses the command line and runs its sub-command. Each sub-command has its own Options, because
/// the sections of all sub-commands in a --config file are read. `transports`: as for
/// run_launched(). Throws as parse(), expect_launch() and the command do.
template <class Options>
int run_command(const char* program, const char* text, std::span<const Command<Options>> commands,
                int argc, char** argv, const Transports& transports) {
  CLI::App app{text};
  app.require_subcommand(1);
  app.fallthrough();
  app.config_formatter(toml_reader(app));
  app.set_config("--config", "",
                 concat("Read options from this TOML file: one section per sub-command, such as [",
                        commands.front().name, "], with the long option names as keys"));
  app.allow_config_extras(
      CLI::config_extras_mode::error);  // a misspelt name must not leave the default in force
  std::function<Outcome(Processes&)> run;
  Launch launch = Launch::together;  // for errors of a command line without a command
  std::chrono::seconds deadline(RunOptions().deadline);
  std::deque<Options> options;
  for (const Command<Options>& command : commands) {
    CLI::App* own_app = app.add_subcommand(command.name, command.text);
    Options* own = &options.emplace_back();
    command.add(*own_app, *own);
    own_app->callback([&, own_app, own] {
      deadline = std::chrono::seconds(own->run.deadline);
      run = [&app, &command, own_app, own](Processes& processes) {
        expect_launch(processes, command.launch);
        if (command.settle != nullptr) command.settle(*own_app, *own);
        if (app.count("--config") > 0) own->run.config = app["--config"]->as<std::string>();
        own->run.processes = &processes;
        if (!processes.is_first()) {
          own->run.log.clear();
          own->run.ranks.clear();
        }
        processes.use_threads(own->run.threads);
        processes.use_device(own->run.device);
        return command.run(*own);
      };
    });
  }
  try {
    if (const std::optional<std::string> help = parse(app, program, argc, argv)) {
      run = [help](Processes&) {
        fmt::print("{}", *help);
        return Outcome::done;
      };
    }
  } catch (...) {
    run = [error = std::current_exception()](Processes&) -> Outcome {
      std::rethrow_exception(error);
    };
  }
  for (const Command<Options>& command : commands) {
    if (app.got_subcommand(command.name)) launch = command.launch;
  }
  return run_launched(program, launch, transports, deadline,
                      [&](Processes& processes) { return static_cast<int>(run(processes)); });
}

/// Runs the program with open standard streams. Converts an exception to one line on standard error
/// and an exit code: 1 for errors that the user can correct, including output that cannot be
/// written, and 2 for all others.
int guarded(const char* program, const std::function<int()>& run);

}  // namespace refrain::examples
