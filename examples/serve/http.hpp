#pragma once
/// Serves over HTTP until a signal arrives.

#include <cstdint>
#include <string>

#include "refrain/serve/service.hpp"

namespace refrain::serve {

/// Options of `serve --listen`.
struct HttpArguments {
  std::string listen;            ///< ADDRESS:PORT; empty: none
  std::string unix_socket;       ///< path; empty: none
  std::string log;               ///< the event log; empty: none
  std::int64_t history = 0;      ///< newest items of a user that a model reads
  bool keep_events = false;      ///< keeps all events in the log, not only the newest of each user
  std::string token_file;        ///< a file with the token of clients
  std::string admin_token_file;  ///< a file with the token of administrators
  std::string patches;           ///< folder of patches that administrators may load
  std::int64_t drain_delay = 0;  ///< seconds between the signal and the end of listening
  std::string access_log;        ///< file of JSON lines, - for standard error; empty: none
};

/// Answers requests until SIGINT or SIGTERM, then answers those in progress and writes all events
/// to the log. Prints the address to standard error when it accepts connections. Throws Error.
void serve_http(Service& service, const HttpArguments& arguments, const Titles* titles);

}  // namespace refrain::serve
