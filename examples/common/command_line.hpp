#pragma once
/// Parts of a command line that the example programs share.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
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

/// An option with a value or a list of values, whose numbers are in `range`.
template <class Value>
CLI::Option* add_value(CLI::App& app, const std::string& name, Value& value,
                       const std::string& text, const std::optional<CLI::Validator>& range = {}) {
  using Element = typename ElementOf<Value>::type;
  CLI::Option* const option = app.add_option(name, value, text);
  if (range) option->check(*range);
  if constexpr (std::is_arithmetic_v<Element>) option->check(number_of_type<Element>());
  return option;
}

/// An option without a value; in a --config file its value is true or false.
inline CLI::Option* add_switch(CLI::App& app, const std::string& name, bool& value,
                               const std::string& text) {
  return app.add_flag(name, value, text)->check(true_or_false());
}

inline void add_run_options(CLI::App& app, RunOptions& run) {
  add_value(app, "--seed", run.seed, "Seed of every random choice")->capture_default_str();
  add_value(app, "--threads", run.threads, "Threads; 0: one per core", between(0, 1024))
      ->capture_default_str();
  app.add_option("--device", run.device, "Where to compute")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
}

/// Of commands that have figures to log.
inline void add_log_option(CLI::App& app, RunOptions& run) {
  app.add_option("--log", run.log, "Append progress and figures to this file as JSON lines");
}

/// `prefix` tells the options of one training from those of another where both are present.
inline void add_training_options(CLI::App& app, TrainOptions& train, const std::string& prefix,
                                 const std::string& group) {
  const auto add = [&](const std::string& name, auto& value, const char* text,
                       const CLI::Validator& range) {
    add_value(app, "--" + prefix + name, value, text, range)->group(group)->capture_default_str();
  };
  add("epochs", train.epochs, "Largest number of epochs", between(1, 1000000));
  const bool is_automatic = train.batch == 0;
  add("batch", train.batch,
      is_automatic ? "Sequences a step; 0: a tenth of the training examples, as 8, 16, 32 or 64"
                   : "Sequences a step",
      between(is_automatic ? 0 : 1, 1000000));
  add("learning-rate", train.learning_rate, "Of Adam", above_zero());
  add("patience", train.patience,
      "Stop after this many epochs without improvement on the validation part",
      between(1, 1000000));
  add("clip", train.clip, "Largest gradient norm; 0: no clipping", not_negative());
  add("l2", train.l2, "L2 of the head", not_negative());
}

/// Of commands that train and write what they learned.
inline void add_force_option(CLI::App& app, RunOptions& run) {
  add_switch(app, "--force", run.force, "Write the result even if it is worse than a guess");
}

inline void add_recommend_options(CLI::App& app, RecommendOptions& recommend) {
  app.add_option("--user", recommend.users, "User ids of --data")->delimiter(',');
  app.add_option("--history", recommend.histories,
                 "A history as item ids, parted by commas or blanks: a,b,c (may be empty; may be "
                 "given several times)")
      ->expected(0, 1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_value(app, "--count", recommend.count, "Recommendations a user", between(1, 1000000))
      ->capture_default_str();
  add_switch(app, "--keep-seen", recommend.keep_seen, "Also recommend what the user has seen");
}

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
