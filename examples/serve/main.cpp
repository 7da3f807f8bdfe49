// Serves recommendations: JSON lines of events and requests on standard input, answers on standard output.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>

#include "common/command_line.hpp"
#include "serve/server.hpp"
#include "serve/standard_input.hpp"
#include "serve/states_file.hpp"

namespace {

using namespace refrain::serve;

int run(int argc, char** argv) {
  CLI::App app{
      "Reads JSON lines on standard input and writes answers on standard output:\n"
      "  {\"user\": \"u1\", \"item\": \"i9\"}                          the user did this\n"
      "  {\"user\": \"u1\", \"task\": \"next\", \"k\": 10}               recommendations for the user\n"
      "  {\"history\": [\"i3\", \"i9\"], \"task\": \"next\", \"k\": 10}    recommendations after a history\n"
      "  {\"load\": \"next.patch.safetensors\"}, {\"unload\": \"next\"}  tasks come and go\n"
      "Tasks: \"base\" (the base's own next item) and those of the patches; \"next\" with a model of cmnrec."};
  ServiceOptions options;
  std::string states;
  bool measure = false;
  app.add_option("--base", options.base, "Base that peterrec pretrain wrote, or model that cmnrec train wrote")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--patch", options.patches, "Patch files of peterrec finetune")->delimiter(',')->check(CLI::ExistingFile);
  app.add_option("--states", states,
                 "Users' states: read at the start if the file is there, written when the input ends or a signal (SIGINT, "
                 "SIGTERM) stops the program");
  app.add_option("--threads", options.shards, "Threads that answer, each for users of its own")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--padding", options.padding_steps,
                 "Padding before every user's stream, as training puts it before short histories; 0: none")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  app.add_flag("--measure", measure, "Say on standard error how many events and requests a second, and how long they took");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  std::ios::sync_with_stdio(false);
  const std::unique_ptr<Service> service = open_service(options);
  if (!states.empty() && std::filesystem::exists(states)) {
    for (const auto& [user, bytes] : read_states(states)) {
      try {
        service->restore(shard_of(user, options.shards), user, bytes);
      } catch (const refrain::DataError& error) {
        throw refrain::DataError(states, 0, refrain::concat("user '", user, "': ", error.what()));
      }
    }
  }
  const refrain::InterruptGuard guard;
  StandardInput buffer;
  std::istream input(&buffer);
  const ServerReport report = serve(*service, options.shards, input, std::cout);
  if (!states.empty()) write_states(states, service->save());
  if (refrain::InterruptGuard::requested()) {
    fmt::print(stderr, "serve: stopped by a signal{}\n",
               states.empty() ? "" : refrain::concat("; users' states are in ", states));
  }
  if (measure) {
    const double messages = static_cast<double>(report.events.count() + report.requests.count());
    fmt::print(stderr, "{} lines, {} errors; {:.0f} messages/s over {:.2f} s on {} {}\n{}\n{}\n", report.lines, report.errors,
               messages / report.seconds, report.seconds, options.shards, options.shards == 1 ? "thread" : "threads",
               report.events.text("events"), report.requests.text("requests"));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return refrain::examples::guarded("serve", [&] { return run(argc, argv); });
}
