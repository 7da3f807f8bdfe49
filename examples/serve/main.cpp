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
#include "refrain/core/text.hpp"
#include "serve/http.hpp"
#include "serve/open_service.hpp"
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
      service.restore(refrain::shard_of(user, shards), user, bytes);
    } catch (const refrain::DataError& error) {
      throw refrain::DataError(
          states, 0,
          refrain::examples::concat(
              "user '", user, "': ", error.what(),
              "; states require the base and the --padding of the run that wrote them: use these, "
              "or another --states file and replay the past events"));
    }
  });
}

struct Arguments {
  ServiceOptions service;
  std::string titles;
  std::string states;
  bool has_states = false;
  bool measure = false;
  HttpArguments http;
  std::size_t users_in_memory = 0;

  bool is_http() const { return !http.listen.empty() || !http.unix_socket.empty(); }
};

/// Adds the options of the HTTP server.
void add_http_options(CLI::App& app, Arguments& arguments) {
  using refrain::examples::add_value;
  using refrain::examples::between;
  HttpArguments& http = arguments.http;
  constexpr const char* group = "HTTP";
  add_value(app, "--listen", http.listen,
            "Answer HTTP requests at ADDRESS:PORT, such as 127.0.0.1:8080, in place of standard "
            "input; port 0 is a free one, which is printed")
      ->group(group);
  add_value(app, "--unix-socket", http.unix_socket,
            "Answer HTTP requests at this Unix socket, which administrators use without a token")
      ->group(group);
  add_value(app, "--log", http.log,
            "SQLite file to which events are written within milliseconds; created if absent")
      ->group(group);
  add_value(app, "--keep-events", http.keep_events,
            "Keep all events in the log, not only the newest of each user")
      ->group(group);
  arguments.users_in_memory = refrain::serve::ServiceMemory().users;
  add_value(app, "--users-in-memory", arguments.users_in_memory,
            "Number of users in memory; others are read from the log when they are needed, or "
            "forgotten without a log",
            between(1, 1e9))
      ->group(group);
  http.history = refrain::serve::ServiceMemory().history;
  add_value(app, "--history", http.history,
            "Number of newest items of a user that a model reads and that count as seen",
            between(1000, 1e6))
      ->group(group);
  add_value(app, "--token-file", http.token_file,
            "File with the token that clients send (Authorization: Bearer TOKEN); required for "
            "addresses other than loopback ones")
      ->group(group);
  add_value(app, "--admin-token-file", http.admin_token_file,
            "File with the token of administrators, who load tasks and set filters")
      ->group(group);
  add_value(app, "--patches", http.patches,
            "Folder of patch files that administrators may load by their names",
            CLI::ExistingDirectory)
      ->group(group);
  add_value(app, "--drain-delay", http.drain_delay,
            "Seconds after a signal in which /health/ready is 503 and requests are still answered",
            between(0, 3600))
      ->group(group);
  add_value(app, "--access-log", http.access_log,
            "File to which a JSON line is appended for each request; - for standard error")
      ->group(group);
}

/// Throws OptionError for options that do not go together.
void expect_fitting(const Arguments& arguments, const CLI::App& app) {
  const bool is_http = arguments.is_http();
  for (const char* const option :
       {"--log", "--keep-events", "--users-in-memory", "--history", "--token-file",
        "--admin-token-file", "--patches", "--drain-delay", "--access-log"}) {
    if (!is_http && app.count(option) > 0)
      throw refrain::OptionError(refrain::examples::concat(
          option, ": expected with --listen or --unix-socket, got neither"));
  }
  for (const char* const option : {"--states", "--measure"}) {
    if (is_http && app.count(option) > 0)
      throw refrain::OptionError(
          refrain::examples::concat(option, ": expected without --listen and --unix-socket"));
  }
}

/// Parses the command line. Returns the exit code if the program must end.
std::optional<std::string> parse(int argc, char** argv, Arguments& arguments) {
  CLI::App app{
      "Reads JSON lines on standard input and writes answers on standard output:\n"
      "  {\"user\": \"u1\", \"item\": \"i9\"}                          an event\n"
      "  {\"user\": \"u1\", \"task\": \"next\", \"k\": 10}               request for a user\n"
      "  {\"history\": [\"i3\", \"i9\"], \"task\": \"next\", \"k\": 10}    request after a "
      "history\n"
      "  {\"load\": \"next.patch.safetensors\"}, {\"unload\": \"next\"}  loads, unloads a task\n"
      "  {\"filter\": \"in_stock\", \"items\": [\"i3\", \"i9\"]}          sets a filter\n"
      "  {\"drop_filter\": \"in_stock\"}                             removes a filter\n"
      "A request may have \"tasks\": [\"next\", ...] in place of \"task\", and more keys:\n"
      "  \"exclude\": [items], \"allow\": [items], \"filter\": one filter or a list of filters\n"
      "  \"seen\": \"exclude\" or \"include\" items of the history; default: as the task does\n"
      "  \"fallback\": \"popular\" (default) or \"none\", if no event is known\n"
      "Tasks: \"next\" (the next item) and those of the patches; with a patch for \"next\" the "
      "base's own next item is \"base\"."};
  using refrain::examples::add_value;
  using refrain::examples::between;
  add_value(app, "--model,--base", arguments.service.model,
            "Base written by peterrec pretrain, or model written by cmnrec train",
            CLI::ExistingFile)
      ->required();
  add_value(app, "--patch", arguments.service.patches, "Patch files written by peterrec finetune",
            CLI::ExistingFile);
  add_value(app, "--titles", arguments.titles,
            "File of item titles, which answers then contain: movies.csv, movies.dat or u.item",
            CLI::ExistingFile);
  add_value(
      app, "--states", arguments.states,
      "File of users' states: read at the start if it exists, written when the input ends or a "
      "signal (SIGINT, SIGTERM) stops the program; FILE.lock locks it");
  add_value(app, "--threads", arguments.service.shards,
            "Number of threads that answer; each user belongs to one of them", between(1, 1024));
  app.add_option("--padding", arguments.service.padding_steps,
                 "Number of paddings before every user's stream, as before short histories in "
                 "training; default: the training length of each task")
      ->check(between(0, 100000));
  add_value(app, "--measure", arguments.measure,
            "Print throughput and latencies of events and requests to standard error");
  add_http_options(app, arguments);
  const std::optional<std::string> help = refrain::examples::parse(app, "serve", argc, argv);
  arguments.has_states = app.count("--states") > 0;
  if (!help) expect_fitting(arguments, app);
  return help;
}

/// Checks the states file before the server starts, and locks it.
std::unique_ptr<StatesLock> lock_states(const Arguments& arguments) {
  if (!arguments.has_states) return nullptr;
  refrain::examples::CommandFiles files{
      .read = refrain::examples::named_files("--patch", arguments.service.patches),
      .replaced = {{"--states", arguments.states}},
      .appended = {}};
  files.read.push_back({"--model", arguments.service.model});
  files.read.push_back({"--titles", arguments.titles});
  refrain::examples::expect_files(files);
  auto lock = std::make_unique<StatesLock>(arguments.states);
  if (!lock->is_held())
    say("warning: {}: the file system has no locks; do not use it in another serve process\n",
        arguments.states);
  return lock;
}

void report_end(const StandardOutput& answers, const ServerReport& report,
                const Arguments& arguments) {
  if (report.unknown_items > 0) {
    say("serve: {} of items that the model does not know; their items are not stored\n",
        refrain::counted(report.unknown_items, "event"));
  }
  const std::string kept = arguments.has_states ? "; users' states are in " + arguments.states : "";
  if (answers.error() != 0) {
    say("serve: answers cannot be written: {}{}\n", std::strerror(answers.error()), kept);
  } else if (answers.is_abandoned()) {
    say("serve: stopped by a signal; the last answers were not read and are lost{}\n", kept);
  } else if (refrain::InterruptGuard::requested()) {
    say("serve: stopped by a signal{}\n", kept);
  }
}

void report_measurement(const ServerReport& report, std::size_t shards) {
  const double messages = static_cast<double>(report.events.count() + report.requests.count());
  say("{} lines, {} errors, {} unknown items; {:.0f} messages/s over {:.2f} s on {}\n",
      report.lines, report.errors, report.unknown_items, messages / report.seconds, report.seconds,
      refrain::counted(static_cast<std::int64_t>(shards), "thread"));
  say(summary("events", report.events) + summary("requests", report.requests));
}

int run(int argc, char** argv) {
  Arguments arguments;
  if (const std::optional<std::string> help = parse(argc, argv, arguments)) {
    fmt::print("{}", *help);
    return 0;
  }
  // Without SIGPIPE, a closed pipe is a write error, and users' states are still saved.
  std::signal(SIGPIPE, SIG_IGN);
  const bool is_http = arguments.is_http();
  if (is_http)
    arguments.service.memory = {.users = arguments.users_in_memory,
                                .history = arguments.http.history};
  const std::unique_ptr<StatesLock> lock = lock_states(arguments);
  const std::unique_ptr<Service> service = open_service(arguments.service);
  const std::size_t shards = arguments.service.shards;
  std::optional<refrain::Titles> titles;
  if (!arguments.titles.empty()) titles = refrain::read_titles(arguments.titles);
  if (is_http) {
#ifdef REFRAIN_PROGRAMS_WITH_SERVER
    serve_http(*service, arguments.http, titles ? &*titles : nullptr);
    return 0;
#else
    throw refrain::OptionError(
        "--listen, --unix-socket: this program was built without Boost or SQLite");
#endif
  }
  if (lock && std::filesystem::exists(arguments.states))
    read_users(arguments.states, *service, shards);
  const refrain::InterruptGuard guard;
  StandardInput lines;
  std::istream input(&lines);
  StandardOutput answers;
  std::ostream output(&answers);
  const ServerReport report = serve(
      *service,
      {.shards = shards, .keep_times = arguments.measure, .titles = titles ? &*titles : nullptr},
      input, output);
  if (lock) write_states(arguments.states, *service);
  report_end(answers, report, arguments);
  if (arguments.measure) report_measurement(report, shards);
  return answers.error() == 0 && !answers.is_abandoned() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  return refrain::examples::guarded("serve", [&] { return run(argc, argv); });
}
