#pragma once
/// A bounded HTTP/1.1 server.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "refrain/server/http_routes.hpp"

namespace refrain {

/// One answer, for an access log. It has neither the path nor the body of the request, which may
/// identify users.
struct HttpAccessRecord {
  std::string_view method;   ///< of the route; empty for a request that has none
  std::string_view pattern;  ///< of the route, /v1/users/{user}; empty for a request that has none
  int status = 0;
  std::size_t request_bytes = 0;   ///< of the body; 0 when it was not read
  std::size_t response_bytes = 0;  ///< of the body
  std::int64_t microseconds = 0;   ///< from the first byte of the request to the end of the answer
  bool by_unix_socket = false;
};

struct HttpOptions {
  std::string address = "127.0.0.1";      ///< numeric, IPv4 or IPv6; empty: only the Unix socket
  std::uint16_t port = 8080;              ///< 0: any free port
  std::string unix_socket = {};           ///< path; empty: none
  std::string token = {};                 ///< of at least 16 visible ASCII characters; empty: none
  std::string admin_token = {};           ///< likewise, different from `token`
  std::vector<std::string> headers = {};  ///< that handlers read, lower case; not authorization
  int threads = 2;                        ///< for input and output; handlers are called on them

  std::size_t header_bytes = 8 << 10;  ///< request line and headers; more: 431
  std::size_t body_bytes = 1 << 20;    ///< more: 413
  int connections = 1024;              ///< more are answered with 503 and closed
  int requests_in_flight = 512;        ///< requests whose handlers have not answered; more: 429
  int retry_after = 1;                 ///< seconds, in answers 429 and 503

  std::chrono::milliseconds header_time{5000};   ///< from a request's first byte, and from the
                                                 ///< start of a connection; longer: 408
  std::chrono::milliseconds body_time{10000};    ///< from the end of the header; longer: 408
  std::chrono::milliseconds idle_time{60000};    ///< between requests; longer: closed
  std::chrono::milliseconds answer_time{30000};  ///< of a handler; longer: 503
  std::chrono::milliseconds write_time{10000};   ///< of an answer; longer: closed
  std::chrono::milliseconds drain_idle{500};     ///< how long drain() waits for further requests

  /// Called after each answer, on a thread of the server. The functions must not throw.
  std::function<void(const HttpAccessRecord&)> on_access = {};
  /// Called with the pattern of the route and the text of an exception that a handler threw, and
  /// with "" for errors of the server itself.
  std::function<void(std::string_view pattern, std::string_view what)> on_error = {};
};

/// Answers HTTP/1.1 and HTTP/1.0, with connections that stay open, pipelined requests in their
/// order, one at a time, and bodies with a length or in chunks. All times are checked ten times a
/// second.
///
/// A request without a route is answered with 404 or, with Allow, 405; a body of another type with
/// 415; a wrong or missing token with 401; a route for administrators without their token with 403
/// when the server has none; a malformed request with 400. Error bodies are those of http_error().
/// HEAD is answered without the body. Bodies of requests that are refused are read up to the limit
/// and dropped, so that the connection stays usable, unless the client expects 100 (Continue).
///
/// drain(), stop() and the destructor are called by one thread, which is not one of a handler.
///
/// The program needs a file descriptor for each connection (RLIMIT_NOFILE); when there are none,
/// new connections wait.
class REFRAIN_API HttpServer {
 public:
  /// Binds the sockets and listens; connections wait until start(). A Unix socket gets the mode
  /// 0600 and replaces a socket that no process serves.
  ///
  /// Throws OptionError for a value outside its range, for an address other than a loopback one
  /// without a token, and for a path of the Unix socket that is no socket or is served; Error when
  /// the system refuses an address.
  HttpServer(HttpOptions options, HttpRoutes routes);
  /// Calls stop().
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// The TCP port; 0 without an address.
  std::uint16_t port() const noexcept;

  /// Starts the threads.
  void start();

  /// Ends the server without failing requests, and returns when all connections are closed: accepts
  /// connections that have arrived and no others, answers requests, closes connections that send
  /// none for drain_idle and, with "Connection: close", those that do. At the deadline it closes
  /// the remaining ones. Returns how many of those had an unanswered request.
  int drain(std::chrono::milliseconds deadline);

  /// Closes all connections, and joins the threads. Answers given later are ignored.
  void stop();

  /// Connections at this moment.
  int connections() const noexcept;
  /// Requests at this moment whose handlers have not answered.
  int requests_in_flight() const noexcept;

 private:
  class Server;
  std::unique_ptr<Server> server_;
};

}  // namespace refrain
