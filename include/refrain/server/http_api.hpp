#pragma once
/// The HTTP interface of a service. Programs that include this header link refrain::server.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "refrain/core/export.hpp"
#include "refrain/data/readers.hpp"
#include "refrain/serve/service.hpp"
#include "refrain/server/committer.hpp"
#include "refrain/server/event_log.hpp"
#include "refrain/server/http_routes.hpp"

namespace refrain::serve {

struct HttpApiOptions {
  std::size_t events = 100'000;           ///< the most in progress; further bodies get 429
  std::size_t events_per_body = 10'000;   ///< at most `events`
  std::size_t requests = 10'000;          ///< the most in progress; further bodies get 429
  std::size_t requests_per_body = 256;    ///< at most `requests`
  std::int64_t items_per_body = 20'000;   ///< the largest sum of k times tasks over the requests
  std::int64_t k = 1'000;                 ///< the largest k of a request
  std::size_t history = 10'000;           ///< the longest history of a request
  std::string patches = {};               ///< folder of patch files for PUT /v1/tasks; empty: none
  std::int64_t patch_bytes = 1LL << 30U;  ///< the largest patch file
  std::chrono::milliseconds fold_every{60'000};  ///< adds events to the histories of the log
  const Titles* titles = nullptr;                ///< adds titles to answers; outlives the interface
  /// Called on any thread when the log cannot be written, when it can be written again, and with
  /// other errors of the server; exceptions are ignored.
  std::function<void(std::string_view what)> on_error{};
};

/// Answers HTTP requests by a Service, with an EventLog if there is one.
///
///   POST   /v1/events          {"user","item","timestamp"?}, a list of them or one per line
///   POST   /v1/recommend       a request as on standard input, or a list of requests
///   GET    /v1/users/{user}    the newest items
///   DELETE /v1/users/{user}    erases the user
///   GET    /v1/tasks           names of the loaded tasks
///   PUT    /v1/tasks/{task}    {"file": NAME}: loads a file of the folder of patches   (admin)
///   DELETE /v1/tasks/{task}                                                            (admin)
///   PUT    /v1/filters/{filter}  items as a list or one per line; replaces the filter  (admin)
///   DELETE /v1/filters/{filter}                                                        (admin)
///   GET    /health/live, /health/ready
///   GET    /openapi.json       a description of these routes in OpenAPI 3.0
///
/// Each user belongs to one thread, which processes the user's messages in the order in which they
/// came. A body is admitted as a whole, or refused as a whole with 429.
///
/// An event is handed to the log before it changes the user's state. While the log cannot be
/// written, every event waits for its transaction and is answered by 503, and so is /health/ready.
/// Events that were answered by 202 before the first such transaction ended are lost. An event that
/// the log has refused is removed from the state of its user.
class REFRAIN_API HttpApi {
 public:
  /// `service` and `log` outlive the interface; `log` may be null. Throws OptionError for an option
  /// out of range and a folder of patches that cannot be opened.
  HttpApi(Service& service, EventLog* log, const HttpApiOptions& options);
  /// finish().
  ~HttpApi();
  HttpApi(const HttpApi&) = delete;
  HttpApi& operator=(const HttpApi&) = delete;

  /// The routes, whose handlers use this object.
  HttpRoutes routes();

  /// From this call on /health/ready is 503. A proxy that asks regularly then sends no further
  /// requests.
  void drain();

  /// Processes what waits, and writes it to the log. No request may come afterwards.
  void finish();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace refrain::serve
