#include "serve/http.hpp"

#include <fmt/core.h>

#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <mutex>
#include <optional>
#include <thread>

#include "common/concat.hpp"
#include "common/standard_streams.hpp"
#include "refrain/server/event_log.hpp"
#include "refrain/server/http_api.hpp"
#include "refrain/server/http_server.hpp"
#include "refrain/train/interrupt.hpp"

namespace refrain::serve {
namespace {

using examples::concat;
using examples::say;

/// The first line of a file.
std::string token_in(const char* option, const std::string& path) {
  if (path.empty()) return {};
  std::ifstream file(path);
  std::string token;
  std::getline(file, token);
  if (token.empty())
    throw OptionError(
        concat(option, ": expected a token in the first line of '", path, "', got none"));
  return token;
}

/// Sets the address and port of ADDRESS:PORT or [ADDRESS]:PORT.
void set_address(const std::string& listen, HttpOptions& options) {
  options.address.clear();
  if (listen.empty()) return;
  const std::size_t colon = listen.rfind(':');
  const char* const end = listen.data() + listen.size();
  const char* const port = listen.data() + (colon == std::string::npos ? 0 : colon + 1);
  const auto number = std::from_chars(port, end, options.port);
  if (colon == std::string::npos || colon == 0 || number.ec != std::errc() || number.ptr != end)
    throw OptionError(
        concat("--listen: expected ADDRESS:PORT, such as 127.0.0.1:8080, got '", listen, "'"));
  options.address = listen.substr(0, colon);
  if (options.address.front() == '[' && options.address.back() == ']')
    options.address = options.address.substr(1, options.address.size() - 2);
}

/// Each connection needs a file descriptor, and the usual limit is as low as their number.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  constexpr rlim_t enough = 4096;
  limit.rlim_cur = std::max(limit.rlim_cur, std::min(limit.rlim_max, enough));
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

/// Writes one JSON line for each answer.
class AccessLog {
 public:
  explicit AccessLog(const std::string& path) : is_on_(!path.empty()) {
    if (path.empty() || path == "-") return;
    file_ = std::fopen(path.c_str(), "ae");
    if (file_ == nullptr) throw OptionError(concat("--access-log: cannot write '", path, "'"));
    std::setvbuf(file_, nullptr, _IOLBF, BUFSIZ);
  }
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;
  ~AccessLog() {
    if (file_ != nullptr) std::fclose(file_);
  }

  bool is_on() const noexcept { return is_on_; }

  void write(const HttpAccessRecord& record) {
    const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::system_clock::now().time_since_epoch());
    const std::string line = fmt::format(
        "{{\"time_ms\":{},\"method\":{},\"route\":{},\"status\":{},\"request_bytes\":{},"
        "\"response_bytes\":{},\"us\":{}}}\n",
        now.count(), json_quoted(record.method), json_quoted(record.pattern), record.status,
        record.request_bytes, record.response_bytes, record.microseconds);
    std::FILE* const out = file_ != nullptr ? file_ : stderr;
    std::fwrite(line.data(), 1, line.size(), out);
  }

 private:
  bool is_on_;
  std::FILE* file_ = nullptr;
};

}  // namespace

void serve_http(Service& service, const HttpArguments& arguments, const Titles* titles) {
  AccessLog access(arguments.access_log);
  raise_descriptor_limit();
  HttpOptions options;
  options.requests_in_flight = options.connections;
  set_address(arguments.listen, options);
  options.unix_socket = arguments.unix_socket;
  options.token = token_in("--token-file", arguments.token_file);
  options.admin_token = token_in("--admin-token-file", arguments.admin_token_file);
  if (access.is_on())
    options.on_access = [&](const HttpAccessRecord& record) { access.write(record); };
  options.on_error = [](std::string_view route, std::string_view what) {
    say("serve: {}{}{}\n", route, route.empty() ? "" : ": ",
        what.empty() ? "internal error of the HTTP server" : what);
  };
  std::optional<EventLog> log;
  if (!arguments.log.empty())
    log.emplace(arguments.log, EventLogOptions{.keep_events = arguments.keep_events,
                                               .history = 2 * arguments.history});
  HttpApi api(service, log ? &*log : nullptr,
              {.patches = arguments.patches,
               .titles = titles,
               .on_error = [](std::string_view what) { say("serve: {}\n", what); }});
  std::string tasks;
  for (const std::string& task : service.tasks()) tasks += (tasks.empty() ? "" : ", ") + task;
  say("serve: loaded: {}\n", tasks);
  if (log) {
    const EventLog::Counts counts = log->counts();
    say("serve: {}: {} users, {} items, {} events were ever written\n", arguments.log, counts.users,
        counts.items, counts.position);
  }
  // A server that outlives its terminal keeps running.
  std::signal(SIGHUP, SIG_IGN);
  const InterruptGuard guard;
  HttpServer server(std::move(options), api.routes());
  server.start();
  if (!arguments.listen.empty()) {
    const std::size_t colon = arguments.listen.rfind(':');
    say("serve: listening on http://{}:{}\n", arguments.listen.substr(0, colon), server.port());
  }
  if (!arguments.unix_socket.empty()) say("serve: listening on {}\n", arguments.unix_socket);
  while (!InterruptGuard::requested()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  constexpr std::chrono::seconds deadline(4);
  api.drain();
  std::this_thread::sleep_for(std::chrono::seconds(arguments.drain_delay));
  const int failed = server.drain(deadline);
  api.finish();
  say("serve: stopped by a signal{}\n",
      failed == 0 ? "" : concat("; ", failed, " requests were not answered in time"));
}

}  // namespace refrain::serve
