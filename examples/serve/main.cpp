// Serves recommendations: reads events and requests as JSON lines from standard input, and writes
// answers to standard output.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <istream>
#include <memory>
#include <optional>
#include <ostream>
#include <string>

#include "common/command_line.hpp"
#include "common/concat.hpp"
#include "common/output_files.hpp"
#include "common/standard_streams.hpp"
#include "serve/server.hpp"
#include "serve/standard_input.hpp"
#include "serve/standard_output.hpp"
#include "serve/states_file.hpp"

namespace {

using namespace refrain::serve;
using refrain::examples::say;

std::string summary(const char* what, const Latency& latency) {
  if (latency.count() == 0) return fmt::format("{}: none\n", what);
  return fmt::format("{}: {}, p50 {:.1f} us, p99 {:.1f} us, largest {:.1f} us\n", what,
                     latency.count(), latency.percentile_us(50), latency.percentile_us(99),
                     latency.largest_us());
}

void read_users(const std::string& states, Service& service, std::size_t shards) {
  read_states(states, [&](const std::string& user, std::string_view bytes) {
    try {
      service.restore(shard_of(user, shards), user, bytes);
    } catch (const refrain::DataError& error) {
      throw refrain::DataError(
          states, 0,
          refrain::examples::concat(
              "user '", user, "': ", error.what(),
              "; states require the base and the --padding of the run that wrote them: give "
              "these, or another --states file and the past events again"));
    }
  });
}

int run(int argc, char** argv) {
  CLI::App app{
      "Reads JSON lines on standard input and writes answers on standard output:\n"
      "  {\"user\": \"u1\", \"item\": \"i9\"}                          an event\n"
      "  {\"user\": \"u1\", \"task\": \"next\", \"k\": 10}               request for a user\n"
      "  {\"history\": [\"i3\", \"i9\"], \"task\": \"next\", \"k\": 10}    request after a "
      "history\n"
      "  {\"load\": \"next.patch.safetensors\"}, {\"unload\": \"next\"}  loads, unloads a task\n"
      "Tasks: \"next\" (the next item) and those of the patches; with a patch for \"next\" the "
      "base's own next item is \"base\"."};
  ServiceOptions options;
  std::string states;
  bool measure = false;
  using refrain::examples::add_value;
  using refrain::examples::between;
  add_value(app, "--model,--base", options.model,
            "Base written by peterrec pretrain, or model written by cmnrec train",
            CLI::ExistingFile)
      ->required();
  add_value(app, "--patch", options.patches, "Patch files written by peterrec finetune",
            CLI::ExistingFile);
  add_value(
      app, "--states", states,
      "File of users' states: read at the start if it exists, written when the input ends or a "
      "signal (SIGINT, SIGTERM) stops the program; FILE.lock locks it");
  add_value(app, "--threads", options.shards,
            "Threads that answer; each user belongs to one of them", between(1, 1024));
  app.add_option(
         "--padding", options.padding_steps,
         "Padding before every user's stream, as before short histories in training; 0: none; "
         "default: the length of each task's training")
      ->check(between(0, 100000));
  add_value(app, "--measure", measure,
            "Print throughput and latencies of events and requests to standard error");
  if (const std::optional<int> code = refrain::examples::parse(app, "serve", argc, argv))
    return *code;
  // A closed pipe is then a write error, and users' states are saved.
  std::signal(SIGPIPE, SIG_IGN);
  std::optional<StatesLock> lock;
  if (app.count("--states") > 0) {
    // Checks the states file before the server starts, not when it ends.
    refrain::examples::CommandFiles files{
        .read = refrain::examples::named_files("--patch", options.patches),
        .replaced = {{"--states", states}},
        .appended = {}};
    files.read.push_back({"--model", options.model});
    refrain::examples::expect_files(files);
    lock.emplace(states);
    if (!lock->is_held())
      say("warning: {}: the file system has no locks; do not use it in another serve process\n",
          states);
  }
  const std::unique_ptr<Service> service = open_service(options);
  if (lock && std::filesystem::exists(states)) read_users(states, *service, options.shards);
  const refrain::InterruptGuard guard;
  StandardInput lines;
  std::istream input(&lines);
  StandardOutput answers;
  std::ostream output(&answers);
  const ServerReport report =
      serve(*service, {.shards = options.shards, .keep_times = measure}, input, output);
  if (lock) write_states(states, *service);
  const std::string kept = lock ? "; users' states are in " + states : "";
  if (answers.error() != 0) {
    say("serve: answers cannot be written: {}{}\n", std::strerror(answers.error()), kept);
  } else if (answers.is_abandoned()) {
    say("serve: stopped by a signal; the last answers were not read and are lost{}\n", kept);
  } else if (refrain::InterruptGuard::requested()) {
    say("serve: stopped by a signal{}\n", kept);
  }
  if (measure) {
    const double messages = static_cast<double>(report.events.count() + report.requests.count());
    say("{} lines, {} errors; {:.0f} messages/s over {:.2f} s on {} {}\n", report.lines,
        report.errors, messages / report.seconds, report.seconds, options.shards,
        options.shards == 1 ? "thread" : "threads");
    say(summary("events", report.events) + summary("requests", report.requests));
  }
  return answers.error() == 0 && !answers.is_abandoned() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  return refrain::examples::guarded("serve", [&] { return run(argc, argv); });
}
