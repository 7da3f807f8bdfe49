#pragma once
/// A server whose handlers answer in each of the ways that a handler can.

#include <atomic>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "refrain/server/http_server.hpp"

namespace refrain::test {

/// POST /echo           the body
/// POST /text           the same for bodies of any type
/// GET /query           the query's name=value, separated by commas
/// GET /users/{user}    the user and the headers that the server keeps; DELETE: 204
/// GET /big/{bytes}     a body of that size
/// GET /throw, /throw-late, /drop, /held, /split, /own-length
///                      throws; answers and throws; drops its respond; keeps it until release();
///                      has a line break in a header; has a length of its own
/// GET /later           answers "later" on another thread after 20 ms
/// GET /health (open), GET /admin (admin)
class EchoServer {
 public:
  explicit EchoServer(HttpOptions options = {}) : server_(with_log(std::move(options)), routes()) {
    server_.start();
  }
  ~EchoServer() {
    release();
    server_.stop();
    for (std::thread& thread : threads_) thread.join();
  }

  HttpServer& operator*() { return server_; }
  HttpServer* operator->() { return &server_; }

  /// Answers the requests of /held. Returns how many answers were taken.
  int release() {
    std::vector<HttpRespond> held;
    {
      const std::lock_guard lock(mutex_);
      held.swap(held_);
    }
    int taken = 0;
    for (const HttpRespond& respond : held) taken += respond({.body = "released"}) ? 1 : 0;
    return taken;
  }
  std::size_t held() {
    const std::lock_guard lock(mutex_);
    return held_.size();
  }
  /// Lines "METHOD PATTERN STATUS" of the access log.
  std::vector<std::string> log() {
    const std::lock_guard lock(mutex_);
    return log_;
  }
  std::vector<std::string> errors() {
    const std::lock_guard lock(mutex_);
    return errors_;
  }

 private:
  HttpOptions with_log(HttpOptions options) {
    options.port = 0;
    options.on_access = [this](const HttpAccessRecord& record) {
      const std::lock_guard lock(mutex_);
      log_.push_back(std::string(record.method) + " " + std::string(record.pattern) + " " +
                     std::to_string(record.status));
    };
    options.on_error = [this](std::string_view pattern, std::string_view what) {
      const std::lock_guard lock(mutex_);
      errors_.push_back(std::string(pattern) + ": " + std::string(what));
    };
    return options;
  }

  HttpRoutes routes() {
    HttpRoutes table;
    const auto echo = [](HttpRequest request, HttpRespond respond) {
      respond({.content_type = request.content_type, .body = std::move(request.body)});
    };
    table.add({.method = "POST", .pattern = "/echo", .handler = echo});
    table.add({.method = "POST", .pattern = "/text", .handler = echo, .content_types = {}});
    table.add({.method = "PUT", .pattern = "/long", .handler = echo, .body_bytes = 100'000});
    const auto get = [&](const char* pattern, HttpHandler handler,
                         HttpAccess access = HttpAccess::token) {
      table.add(
          {.method = "GET", .pattern = pattern, .handler = std::move(handler), .access = access});
    };
    get("/query", [](HttpRequest request, HttpRespond respond) {
      std::string text;
      for (const auto& [name, value] : request.target.query)
        text += (text.empty() ? "" : ",") + name + "=" + value;
      respond({.content_type = "text/plain", .body = text});
    });
    get("/users/{user}", [](HttpRequest request, HttpRespond respond) {
      std::string text(request.parameter("user"));
      for (const auto& [name, value] : request.headers) text += "|" + name + "=" + value;
      respond({.content_type = "text/plain", .body = text});
    });
    table.add({.method = "DELETE",
               .pattern = "/users/{user}",
               .handler = [](HttpRequest, HttpRespond respond) {
                 respond({.status = 204, .body = "dropped"});
               }});
    get("/big/{bytes}", [](HttpRequest request, HttpRespond respond) {
      respond({.body = std::string(std::stoul(std::string(request.parameter("bytes"))), 'x')});
    });
    get("/throw", [](HttpRequest, HttpRespond) { throw std::runtime_error("secret reason"); });
    get("/throw-late", [](HttpRequest, HttpRespond respond) {
      respond({.body = "answered"});
      throw std::runtime_error("after the answer");
    });
    get("/drop", [](HttpRequest, HttpRespond) {});
    get("/held", [this](HttpRequest, HttpRespond respond) {
      const std::lock_guard lock(mutex_);
      held_.push_back(std::move(respond));
    });
    get("/split", [](HttpRequest, HttpRespond respond) {
      respond({.body = "", .headers = {{"X-A", "a\r\nX-B: b"}}});
    });
    get("/own-length", [](HttpRequest, HttpRespond respond) {
      respond({.body = "abc", .headers = {{"Content-length", "0"}}});
    });
    get("/later", [this](HttpRequest, HttpRespond respond) {
      const std::lock_guard lock(mutex_);
      threads_.emplace_back([respond = std::move(respond)] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        respond({.body = "later"});
      });
    });
    const auto ok = [](HttpRequest, HttpRespond respond) { respond({.body = "ok"}); };
    get("/health", ok, HttpAccess::open);
    get("/admin", ok, HttpAccess::admin);
    return table;
  }

  std::mutex mutex_;
  std::vector<HttpRespond> held_;
  std::vector<std::thread> threads_;
  std::vector<std::string> log_, errors_;
  HttpServer server_;
};

/// Waits until the condition holds, at most ten seconds.
template <class Condition>
bool eventually(Condition&& condition) {
  for (int i = 0; i < 1'000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return condition();
}

}  // namespace refrain::test
