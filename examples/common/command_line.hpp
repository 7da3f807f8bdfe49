#pragma once
/// Parts of a command line that the example programs share.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "common/options.hpp"
#include "refrain/core/error.hpp"

namespace refrain::examples {

inline void add_run_options(CLI::App& app, RunOptions& run) {
  app.add_option("--seed", run.seed, "Seed of every random choice")->capture_default_str();
  app.add_option("--threads", run.threads, "Threads; 0: one per core")->check(CLI::Range(0, 1024))->capture_default_str();
  app.add_option("--device", run.device, "Where to compute")->check(CLI::IsMember({"cpu", "cuda"}))->capture_default_str();
  app.add_option("--log", run.log, "Write progress and figures to this file as JSON lines");
}

/// `prefix` tells the options of one training from those of another where both are present.
inline void add_training_options(CLI::App& app, TrainOptions& train, const std::string& prefix, const std::string& group) {
  const auto add = [&](const std::string& name, auto& value, const char* text) {
    return app.add_option("--" + prefix + name, value, text)->group(group)->capture_default_str();
  };
  add("epochs", train.epochs, "Largest number of epochs")->check(CLI::Range(1, 1000000));
  add("batch", train.batch, "Sequences a step")->check(CLI::Range(1, 1000000));
  add("learning-rate", train.learning_rate, "Of Adam")->check(CLI::PositiveNumber);
  add("patience", train.patience, "Stop after this many epochs without improvement on the validation part")
      ->check(CLI::Range(1, 1000000));
  add("clip", train.clip, "Largest gradient norm; 0: no clipping")->check(CLI::NonNegativeNumber);
  add("l2", train.l2, "L2 of the head")->check(CLI::NonNegativeNumber);
}

/// Runs the program and turns what it throws into one line on standard error and an exit code: 1 for what the user can mend, 2 for
/// the rest.
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
