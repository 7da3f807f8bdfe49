#pragma once
/// Parts of a command line that the example programs share.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <deque>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>

#include "common/options.hpp"
#include "refrain/core/error.hpp"
#include "refrain/core/parallel.hpp"

namespace refrain::examples {

/// Checks of options, which say what they expected.
CLI::Validator between(double least, double most);
CLI::Validator above_zero();
CLI::Validator not_negative();

inline void add_run_options(CLI::App& app, RunOptions& run) {
  app.add_option("--seed", run.seed, "Seed of every random choice")->capture_default_str();
  app.add_option("--threads", run.threads, "Threads; 0: one per core")
      ->check(between(0, 1024))
      ->capture_default_str();
  app.add_option("--device", run.device, "Where to compute")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  app.add_option("--log", run.log, "Append progress and figures to this file as JSON lines");
}

/// `prefix` tells the options of one training from those of another where both are present.
inline void add_training_options(CLI::App& app, TrainOptions& train, const std::string& prefix,
                                 const std::string& group) {
  const auto add = [&](const std::string& name, auto& value, const char* text) {
    return app.add_option("--" + prefix + name, value, text)->group(group)->capture_default_str();
  };
  add("epochs", train.epochs, "Largest number of epochs")->check(between(1, 1000000));
  const bool is_automatic = train.batch == 0;
  add("batch", train.batch,
      is_automatic ? "Sequences a step; 0: a tenth of the training examples, as 8, 16, 32 or 64"
                   : "Sequences a step")
      ->check(between(is_automatic ? 0 : 1, 1000000));
  add("learning-rate", train.learning_rate, "Of Adam")->check(above_zero());
  add("patience", train.patience,
      "Stop after this many epochs without improvement on the validation part")
      ->check(between(1, 1000000));
  add("clip", train.clip, "Largest gradient norm; 0: no clipping")->check(not_negative());
  add("l2", train.l2, "L2 of the head")->check(not_negative());
}

inline void add_recommend_options(CLI::App& app, RecommendOptions& recommend) {
  app.add_option("--user", recommend.users, "User ids of --data")->delimiter(',');
  app.add_option("--history", recommend.histories,
                 "A history as item ids: a,b,c (may be empty; may be given several times)")
      ->expected(0, 1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--count", recommend.count, "Recommendations a user")
      ->check(between(1, 1000000))
      ->capture_default_str();
  app.add_flag("--keep-seen", recommend.keep_seen, "Also recommend what the user has seen");
}

/// Parses the command line. Returns the exit code with which the program is to end now: 0 after
/// --help, 1 when the line cannot be read, which is then told on standard error in one line, with
/// what may have been meant; nothing when it is to go on.
std::optional<int> parse(CLI::App& app, const char* program, int argc, char** argv);

/// Reads the files of --config. What is no TOML, or not of the form [command] name = value, is told
/// with its line.
std::shared_ptr<CLI::Config> toml_reader();

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
  app.config_formatter(toml_reader());
  app.set_config("--config", "",
                 concat("Read options from this TOML file: one section a sub-command, [",
                        commands.front().name, "], with the long option names as keys"));
  app.allow_config_extras(
      CLI::config_extras_mode::error);  // a misspelt name is no wish for the default
  Outcome outcome = Outcome::done;
  std::deque<Options> options;
  for (const Command<Options>& command : commands) {
    CLI::App* own_app = app.add_subcommand(command.name, command.text);
    Options* own = &options.emplace_back();
    command.add(*own_app, *own);
    own_app->callback([&outcome, &command, own_app, own] {
      if (command.settle != nullptr) command.settle(*own_app, *own);
      set_threads(static_cast<int>(own->run.threads));
      outcome = command.run(*own);
    });
  }
  if (const std::optional<int> code = parse(app, program, argc, argv)) return *code;
  return static_cast<int>(outcome);
}

/// Runs the program and turns what it throws into one line on standard error and an exit code: 1
/// for what the user can mend, 2 for the rest.
template <class Run>
int guarded(const char* program, Run&& run) {
  try {
    return run();
  } catch (const Error& error) {
    fmt::print(stderr, "{}: {}\n", program, error.what());
    return 1;
  } catch (const OutOfMemory& error) {
    fmt::print(stderr, "{}: {}; a smaller --batch or --length needs less\n", program, error.what());
    return 1;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "{}: out of memory; a smaller --batch or --length needs less\n", program);
    return 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: unexpected: {}\n", program, error.what());
    return 2;
  }
}

}  // namespace refrain::examples
