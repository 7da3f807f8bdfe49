#include "src/server/connection.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <ctime>

#include "refrain/core/detail/concat.hpp"

namespace refrain::detail {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using namespace std::chrono_literals;

constexpr std::size_t buffer_bytes = 16 << 10;
constexpr auto time_between_checks = 100ms;
/// How long a connection that will close is read, so that the client can read the answer: closing a
/// socket with unread bytes makes the system drop what was sent.
constexpr auto linger_time = 1s;

/// Compares without telling by its duration where the texts differ.
bool equal_in_constant_time(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0u : 1u;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const char other = b.empty() ? '\0' : b[i % b.size()];
    difference |= static_cast<unsigned>(static_cast<unsigned char>(a[i] ^ other));
  }
  return difference == 0;
}

/// `lower` is in lower case.
bool equal_ignoring_case(std::string_view text, std::string_view lower) {
  return std::equal(text.begin(), text.end(), lower.begin(), lower.end(), [](char a, char b) {
    return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
  });
}

/// The token of "Authorization: Bearer token"; empty for other values.
std::string_view bearer_token(std::string_view value) {
  constexpr std::string_view scheme = "bearer ";
  if (!equal_ignoring_case(value.substr(0, scheme.size()), scheme)) return {};
  value.remove_prefix(scheme.size());
  value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
  return value;
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

/// True for a header that the server writes itself.
bool is_own_header(std::string_view name) {
  constexpr std::array<std::string_view, 5> own{"connection", "content-length", "content-type",
                                                "date", "transfer-encoding"};
  return std::any_of(own.begin(), own.end(),
                     [&](std::string_view each) { return equal_ignoring_case(name, each); });
}

/// An answer that can be written as it is.
bool is_valid(const HttpResponse& response) {
  if (response.status < 200 || response.status > 599 || has_control(response.content_type))
    return false;
  return std::all_of(response.headers.begin(), response.headers.end(), [](const auto& header) {
    return !header.first.empty() && header.first.find_first_of(": ") == std::string::npos &&
           !is_own_header(header.first) && !has_control(header.first) &&
           !has_control(header.second);
  });
}

bool has_no_body(int status) { return status == 204 || status == 304; }

}  // namespace

void HttpShared::remove_connection() {
  if (connections.fetch_sub(1) == 1) {
    const std::lock_guard lock(mutex);
    closed.notify_all();
  }
}

void HttpShared::report(std::string_view pattern, std::string_view what) const {
  if (options.on_error) options.on_error(pattern, what);
}

int Loop::close_all() {
  int unanswered = 0;
  const std::vector<std::shared_ptr<Connection>> all(connections.begin(), connections.end());
  for (const std::shared_ptr<Connection>& each : all) unanswered += each->close() ? 1 : 0;
  timer_.cancel();
  work.reset();
  return unanswered;
}

void Loop::finish() {
  {
    const std::lock_guard lock(mutex_);
    finished_ = true;
  }
  io.restart();
  io.poll();
}

void Loop::watch() {
  if (watches_ || connections.empty()) return;
  watches_ = true;
  timer_.expires_after(time_between_checks);
  timer_.async_wait([self = shared_from_this()](error_code) {
    self->watches_ = false;
    const Clock::time_point now = Clock::now();
    const std::vector<std::shared_ptr<Connection>> all(self->connections.begin(),
                                                       self->connections.end());
    for (const std::shared_ptr<Connection>& each : all) each->check(now);
    self->watch();
  });
}

const std::string& Loop::date() {
  const std::time_t now = std::time(nullptr);
  if (now != second_) {
    second_ = now;
    std::tm parts{};
    gmtime_r(&now, &parts);
    std::array<char, 64> text{};
    date_.assign(text.data(),
                 std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts));
  }
  return date_;
}

Connection::Connection(Socket socket, bool by_unix_socket, std::shared_ptr<Loop> loop,
                       std::shared_ptr<HttpShared> shared)
    : socket_(std::move(socket)),
      by_unix_socket_(by_unix_socket),
      loop_(std::move(loop)),
      shared_(std::move(shared)),
      options_(shared_->options),
      buffer_(std::max(buffer_bytes, options_.header_bytes + 1)),
      parser_(options_.header_bytes, options_.headers) {}

void Connection::start() {
  set_deadline(shared_->draining ? std::min(options_.drain_idle, options_.header_time)
                                 : options_.header_time);
  loop_->connections.insert(shared_from_this());
  loop_->watch();
  read();
}

void Connection::refuse() {
  loop_->connections.insert(shared_from_this());
  loop_->watch();
  began_ = Clock::now();
  HttpResponse busy = http_error(503, "connections", "the server has too many connections");
  busy.headers.emplace_back("Retry-After", std::to_string(options_.retry_after));
  answer(std::move(busy), false);
}

bool Connection::close() {
  if (phase_ == Phase::closed) return false;
  const bool had_request = has_begun_ && phase_ != Phase::linger;
  phase_ = Phase::closed;
  ++number_;
  error_code ignored;
  socket_.close(ignored);
  loop_->connections.erase(shared_from_this());
  shared_->remove_connection();
  return had_request;
}

void Connection::drain(Clock::time_point until) {
  if (phase_ == Phase::header && !has_begun_) deadline_ = std::min(deadline_, until);
}

void Connection::check(Clock::time_point now) {
  if (now < deadline_) return;
  switch (phase_) {
    case Phase::header:
      if (has_begun_) {
        answer(http_error(408, "timeout", "the header did not arrive in time"), false);
      } else {
        error_code ignored;
        if (socket_.available(ignored) == 0) close();  // otherwise on_read() follows
      }
      break;
    case Phase::body:
      if (is_continuing_) {
        close();
        break;
      }
      answer(http_error(408, "timeout", "the body did not arrive in time"), false);
      break;
    case Phase::handler: {
      HttpResponse late = http_error(503, "timeout", "the answer took too long");
      late.headers.emplace_back("Retry-After", std::to_string(options_.retry_after));
      answer(std::move(late), parser_.keeps_alive());
      break;
    }
    case Phase::write:
    case Phase::linger:
      close();
      break;
    case Phase::closed:
      break;
  }
}

// ---- reading ----

void Connection::read() {
  if (is_reading_) return;
  if (begin_ == end_) begin_ = end_ = 0;
  if (end_ == buffer_.size()) {
    std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_), buffer_.end(),
              buffer_.begin());
    end_ -= begin_;
    begin_ = 0;
  }
  is_reading_ = true;
  socket_.async_read_some(asio::buffer(buffer_.data() + end_, buffer_.size() - end_),
                          [self = shared_from_this()](error_code ec, std::size_t bytes) {
                            self->is_reading_ = false;
                            self->on_read(bytes, static_cast<bool>(ec));
                          });
}

void Connection::on_read(std::size_t bytes, bool failed) {
  switch (phase_) {
    case Phase::header:
    case Phase::body:
      if (failed) {
        close();
      } else {
        end_ += bytes;
        parse();
      }
      break;
    case Phase::linger:
      if (failed) {
        close();
      } else {
        begin_ = end_ = 0;
        read();
      }
      break;
    case Phase::handler:  // a read that began before the time for the request had passed
    case Phase::write:
      begin_ = end_ = 0;
      break;
    case Phase::closed:
      break;
  }
}

void Connection::parse() {
  for (;;) {
    if (begin_ == end_) return read();
    if (!has_begun_) {
      has_begun_ = true;
      began_ = Clock::now();
      deadline_ = began_ + options_.header_time;
    }
    const std::size_t consumed = parser_.put(input());
    begin_ += consumed;
    const RequestParser::Progress progress = parser_.progress();
    if (progress == RequestParser::Progress::failed) return answer(parser_.failure(), false);
    if (phase_ == Phase::header && progress != RequestParser::Progress::header) {
      phase_ = Phase::body;
      if (!on_header()) return;
    }
    if (progress == RequestParser::Progress::done) return on_request();
    if (consumed == 0) {
      if (end_ - begin_ == buffer_.size())  // a chunk's extensions or trailers
        return answer(http_error(431, "header_too_large", "a chunk's header is too large"), false);
      return read();
    }
  }
}

bool Connection::on_header() {
  set_deadline(options_.body_time);
  const RawRequest& raw = parser_.request();
  is_head_ = raw.method == "HEAD";
  is_refused_ = refused_by_header(refusal_);
  const std::size_t limit =
      route_ != nullptr && route_->body_bytes > 0 ? route_->body_bytes : options_.body_bytes;
  parser_.limit_body(limit);
  if (raw.content_length.value_or(0) > limit) {
    answer(parser_.too_large(), false);
    return false;
  }
  if (!raw.has_body) return true;
  if (is_refused_) {
    if (raw.expects_continue) {
      answer(std::move(refusal_), false);
      return false;
    }
    parser_.discard_body();
  } else if (raw.expects_continue && begin_ == end_) {
    continue_body();
    return false;
  }
  return true;
}

void Connection::continue_body() {
  is_continuing_ = true;
  static constexpr std::string_view line = "HTTP/1.1 100 Continue\r\n\r\n";
  asio::async_write(socket_, asio::buffer(line),
                    [self = shared_from_this()](error_code ec, std::size_t) {
                      self->is_continuing_ = false;
                      if (self->phase_ == Phase::closed) return;
                      if (ec) {
                        self->close();
                      } else {
                        self->read();
                      }
                    });
}

bool Connection::refused_by_header(HttpResponse& refusal) {
  RawRequest& raw = parser_.request();
  std::optional<HttpTarget> target = parse_http_target(raw.target);
  if (!target) {
    refusal = http_error(400, "target", "malformed path or query");
    return true;
  }
  HttpMatch match = shared_->routes.match(raw.method, target->segments);
  route_ = match.route;
  if (route_ == nullptr) {
    if (match.allowed.empty()) {
      refusal = http_error(404, "not_found", "no such path");
    } else {
      refusal = http_error(405, "method", concat("expected one of ", match.allowed));
      refusal.headers.emplace_back("Allow", std::move(match.allowed));
    }
    return true;
  }
  if (!may_use(*route_, refusal)) return true;
  const std::vector<std::string>& types = route_->content_types;
  if (raw.has_body && !types.empty() &&
      std::find(types.begin(), types.end(), raw.content_type) == types.end()) {
    std::string expected;
    for (const std::string& each : types) expected += (expected.empty() ? "" : ", ") + each;
    refusal = http_error(415, "content_type", concat("expected a body of type ", expected));
    return true;
  }
  request_.target = std::move(*target);
  request_.parameters = std::move(match.parameters);
  return false;
}

bool Connection::may_use(const HttpRoute& route, HttpResponse& refusal) {
  const std::string_view sent = bearer_token(parser_.request().authorization);
  const auto is = [&](const std::string& token) {
    return !token.empty() && equal_in_constant_time(sent, token);
  };
  request_.is_admin = by_unix_socket_ || is(options_.admin_token);
  if (route.access == HttpAccess::open || request_.is_admin) return true;
  if (route.access == HttpAccess::token && (options_.token.empty() || is(options_.token)))
    return true;
  if (route.access == HttpAccess::admin && options_.admin_token.empty()) {
    refusal = http_error(403, "forbidden",
                         "this route is for administrators: expected a request to the Unix socket, "
                         "because this server has no administrator token");
    return false;
  }
  refusal = http_error(401, "unauthorized", "expected Authorization: Bearer with a valid token");
  refusal.headers.emplace_back("WWW-Authenticate", "Bearer");
  return false;
}

void Connection::on_request() {
  request_bytes_ = parser_.request().body.size();
  if (is_refused_) return answer(std::move(refusal_), parser_.keeps_alive());
  if (shared_->in_flight.fetch_add(1) >= options_.requests_in_flight) {
    shared_->in_flight.fetch_sub(1);
    HttpResponse busy = http_error(429, "busy", "the server has too many requests");
    busy.headers.emplace_back("Retry-After", std::to_string(options_.retry_after));
    return answer(std::move(busy), parser_.keeps_alive());
  }
  call_handler();
}

// ---- answering ----

void Connection::call_handler() {
  RawRequest& raw = parser_.request();
  request_.method = std::move(raw.method);
  request_.headers = std::move(raw.headers);
  request_.content_type = std::move(raw.content_type);
  request_.body = std::move(raw.body);
  request_.by_unix_socket = by_unix_socket_;
  phase_ = Phase::handler;
  set_deadline(options_.answer_time);
  const HttpRespond respond([self = shared_from_this(), number = number_](HttpResponse response) {
    self->shared_->in_flight.fetch_sub(1);
    self->deliver(number, std::move(response));
  });
  const HttpRoute& route = *route_;
  try {
    route.handler(std::move(request_), respond);
  } catch (const std::exception& error) {
    shared_->report(route.pattern, error.what());
    respond(http_error(500, "internal", "the server failed"));
  } catch (...) {
    shared_->report(route.pattern, "unknown exception");
    respond(http_error(500, "internal", "the server failed"));
  }
}

void Connection::deliver(std::uint64_t number, HttpResponse response) {
  const auto take = [self = shared_from_this(), number](HttpResponse given) {
    if (self->phase_ == Phase::handler && self->number_ == number)
      self->answer(std::move(given), self->parser_.keeps_alive());
  };
  if (loop_->io.get_executor().running_in_this_thread()) {
    take(std::move(response));
  } else {
    loop_->post([take, response = std::move(response)]() mutable { take(std::move(response)); });
  }
}

void Connection::answer(HttpResponse response, bool keeps_alive) {
  ++number_;
  if (!is_valid(response)) {
    shared_->report(route_ != nullptr ? std::string_view(route_->pattern) : "",
                    concat("answer ", response.status, ": malformed status or header"));
    response = http_error(500, "internal", "the server failed");
  }
  response_ = std::move(response);
  closes_ = !keeps_alive;
  if (shared_->draining && begin_ == end_) {  // what the client has already sent is answered, too
    error_code ignored;
    closes_ = closes_ || socket_.available(ignored) == 0;
  }

  const bool has_body = !has_no_body(response_.status);
  head_ = concat("HTTP/1.1 ", response_.status, " ", reason_of(response_.status),
                 "\r\nDate: ", loop_->date(), "\r\n");
  if (has_body) {
    if (!response_.content_type.empty())
      head_ += concat("Content-Type: ", response_.content_type, "\r\n");
    head_ += concat("Content-Length: ", response_.body.size(), "\r\n");
  }
  for (const auto& [name, value] : response_.headers) head_ += concat(name, ": ", value, "\r\n");
  if (closes_) {
    head_ += "Connection: close\r\n";
  } else if (parser_.is_http10()) {
    head_ += "Connection: keep-alive\r\n";
  }
  head_ += "\r\n";
  if (!has_body || is_head_) response_.body.clear();

  phase_ = Phase::write;
  set_deadline(options_.write_time);
  const std::array<asio::const_buffer, 2> parts{asio::buffer(head_), asio::buffer(response_.body)};
  asio::async_write(socket_, parts, [self = shared_from_this()](error_code ec, std::size_t) {
    self->on_written(static_cast<bool>(ec));
  });
}

void Connection::on_written(bool failed) {
  if (phase_ == Phase::closed) return;
  if (options_.on_access) {
    const auto time = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - began_);
    const bool has_route = route_ != nullptr;
    options_.on_access({.method = has_route ? std::string_view(route_->method) : "",
                        .pattern = has_route ? std::string_view(route_->pattern) : "",
                        .status = response_.status,
                        .request_bytes = request_bytes_,
                        .response_bytes = response_.body.size(),
                        .microseconds = time.count(),
                        .by_unix_socket = by_unix_socket_});
  }
  if (failed) {
    close();
    return;
  }
  if (closes_) return linger();
  phase_ = Phase::header;
  has_begun_ = false;
  request_ = {};
  response_ = {};
  route_ = nullptr;
  is_head_ = is_refused_ = false;
  request_bytes_ = 0;
  parser_.restart();
  set_deadline(options_.idle_time);
  if (shared_->draining) drain(Clock::now() + options_.drain_idle);
  parse();
}

void Connection::linger() {
  phase_ = Phase::linger;
  set_deadline(linger_time);
  error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  begin_ = end_ = 0;
  read();
}

}  // namespace refrain::detail
