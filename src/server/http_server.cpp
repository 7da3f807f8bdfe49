#include "refrain/server/http_server.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <future>
#include <list>
#include <thread>

#include "refrain/core/error.hpp"
#include "src/server/connection.hpp"

namespace refrain {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using detail::Connection;
using detail::HttpShared;
using detail::Loop;
using detail::Socket;
using Generic = asio::generic::stream_protocol;
using namespace std::chrono_literals;

/// Connections above the limit that get the answer 503 at the same time; further ones are closed.
constexpr int refused_at_once = 128;

void expect_token(const char* name, const std::string& token) {
  const bool visible =
      std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7F; });
  if (!token.empty() && (token.size() < 16 || !visible))
    throw OptionError(
        detail::concat("HttpServer: ", name, ": expected at least 16 visible ASCII characters"));
}

void expect_valid(const HttpOptions& options) {
  const auto at_least_one = [](const char* name, std::int64_t value) {
    if (value < 1)
      throw OptionError(detail::concat("HttpServer: ", name, ": expected at least 1, got ", value));
  };
  at_least_one("threads", options.threads);
  at_least_one("connections", options.connections);
  at_least_one("requests_in_flight", options.requests_in_flight);
  at_least_one("retry_after", options.retry_after);
  at_least_one("header_time", options.header_time.count());
  at_least_one("body_time", options.body_time.count());
  at_least_one("idle_time", options.idle_time.count());
  at_least_one("answer_time", options.answer_time.count());
  at_least_one("write_time", options.write_time.count());
  at_least_one("drain_idle", options.drain_idle.count());
  if (options.header_bytes < 128 || options.header_bytes > (1 << 20))
    throw OptionError(detail::concat("HttpServer: header_bytes: expected 128 to 1048576, got ",
                                     options.header_bytes));
  expect_token("token", options.token);
  expect_token("admin_token", options.admin_token);
  if (!options.token.empty() && options.token == options.admin_token)
    throw OptionError("HttpServer: expected different values of token and admin_token");
  for (const std::string& name : options.headers) {
    const bool lower = std::none_of(name.begin(), name.end(),
                                    [](char c) { return (c >= 'A' && c <= 'Z') || c <= ' '; });
    if (name.empty() || !lower || name == "authorization")
      throw OptionError(detail::concat(
          "HttpServer: headers: expected names in lower case, not authorization, got '", name,
          "'"));
  }
  if (options.address.empty() && options.unix_socket.empty())
    throw OptionError("HttpServer: expected an address or a Unix socket");
}

asio::ip::tcp::endpoint tcp_endpoint(const HttpOptions& options) {
  error_code ec;
  const asio::ip::address address = asio::ip::make_address(options.address, ec);
  if (ec)
    throw OptionError(detail::concat("HttpServer: address: expected a numeric address, got '",
                                     options.address, "'"));
  if (!address.is_loopback() && options.token.empty())
    throw OptionError(detail::concat("HttpServer: address ", options.address,
                                     " can be reached from other machines: expected a token"));
  return {address, options.port};
}

/// Removes a socket that no process serves. Throws OptionError for another file and for a socket
/// that is served.
void remove_stale_socket(const std::string& path) {
  struct stat file {};
  if (::lstat(path.c_str(), &file) != 0) return;
  const auto fail = [&](const char* reason) {
    throw OptionError(detail::concat("HttpServer: unix_socket ", path, ": ", reason));
  };
  if (!S_ISSOCK(file.st_mode)) fail("the file exists and is no socket");
  asio::io_context io;
  asio::local::stream_protocol::socket probe(io);
  error_code ec;
  probe.connect(asio::local::stream_protocol::endpoint(path), ec);
  if (!ec) fail("another process serves it");
  if (ec != asio::error::connection_refused) fail(ec.message().c_str());
  ::unlink(path.c_str());
}

}  // namespace

class HttpServer::Server {
 public:
  Server(HttpOptions options, HttpRoutes routes) : shared_(std::make_shared<HttpShared>()) {
    expect_valid(options);
    shared_->options = std::move(options);
    shared_->routes = std::move(routes);
    for (int i = 0; i < shared_->options.threads; ++i) loops_.push_back(std::make_shared<Loop>());
    if (!shared_->options.address.empty()) listen_tcp();
    if (!shared_->options.unix_socket.empty()) listen_unix();
  }

  ~Server() { stop(); }

  std::uint16_t port() const noexcept { return port_; }
  const HttpShared& shared() const noexcept { return *shared_; }

  void start() {
    if (!threads_.empty() || is_stopped_) return;
    for (Listener& listener : listeners_) accept_next(listener);
    for (const std::shared_ptr<Loop>& loop : loops_)
      threads_.emplace_back([this, loop] { run(*loop); });
  }

  int drain(std::chrono::milliseconds deadline) {
    if (!threads_.empty() && !is_stopped_) {
      const auto end = detail::Clock::now() + deadline;
      shared_->draining = true;
      const auto until = detail::Clock::now() + shared_->options.drain_idle;
      std::promise<void> accepted;
      loops_[0]->post([&] {
        close_listeners(true);
        loops_[0]->post([&] {  // after what was accepted before
          for (const std::shared_ptr<Loop>& loop : loops_) {
            loop->post([loop, until] {
              for (const std::shared_ptr<Connection>& each : loop->connections) each->drain(until);
            });
          }
          accepted.set_value();
        });
      });
      accepted.get_future().wait();
      std::unique_lock lock(shared_->mutex);
      shared_->closed.wait_until(lock, end, [&] { return shared_->connections == 0; });
    }
    return stop();
  }

  int stop() {
    if (is_stopped_) return 0;
    is_stopped_ = true;
    std::atomic<int> unanswered{0};
    if (threads_.empty()) {
      close_listeners(false);
    } else {
      loops_[0]->post([&] {
        close_listeners(false);
        for (const std::shared_ptr<Loop>& loop : loops_)
          loop->post([loop, &unanswered] { unanswered += loop->close_all(); });
      });
    }
    for (std::thread& thread : threads_) thread.join();
    for (const std::shared_ptr<Loop>& loop : loops_) loop->finish();
    return unanswered;
  }

 private:
  struct Listener {
    Listener(asio::io_context& io, bool for_unix) : acceptor(io), is_unix(for_unix), pause(io) {}
    asio::basic_socket_acceptor<Generic> acceptor;
    const bool is_unix;
    asio::steady_timer pause;
  };

  /// Binds; `before_listening` is called between, when no client can connect yet.
  template <class Work>
  Listener& listen(const Generic::endpoint& endpoint, bool is_unix, const std::string& name,
                   Work&& before_listening) {
    Listener& listener = listeners_.emplace_back(loops_[0]->io, is_unix);
    error_code ec;
    const auto expect = [&](const char* what) {
      if (ec)
        throw Error(detail::concat("HttpServer: cannot ", what, " ", name, ": ", ec.message()));
    };
    listener.acceptor.open(endpoint.protocol(), ec);
    expect("open a socket for");
    if (!is_unix) listener.acceptor.set_option(asio::socket_base::reuse_address(true), ec);
    listener.acceptor.bind(endpoint, ec);
    expect("bind");
    before_listening();
    listener.acceptor.listen(asio::socket_base::max_listen_connections, ec);
    expect("listen on");
    return listener;
  }

  void listen_tcp() {
    const HttpOptions& options = shared_->options;
    const asio::ip::tcp::endpoint endpoint = tcp_endpoint(options);
    const Generic::endpoint generic(endpoint);
    const Listener& listener =
        listen(generic, false, detail::concat(options.address, " port ", options.port), [] {});
    const Generic::endpoint bound = listener.acceptor.local_endpoint();
    asio::ip::tcp::endpoint local;
    std::copy_n(reinterpret_cast<const char*>(bound.data()),
                std::min(bound.size(), local.capacity()), reinterpret_cast<char*>(local.data()));
    port_ = local.port();
  }

  void listen_unix() {
    const std::string& path = shared_->options.unix_socket;
    asio::local::stream_protocol::endpoint endpoint;
    try {
      endpoint = asio::local::stream_protocol::endpoint(path);
    } catch (const boost::system::system_error&) {
      throw OptionError(detail::concat("HttpServer: unix_socket ", path, ": the path is too long"));
    }
    remove_stale_socket(path);
    listen(Generic::endpoint(endpoint), true, path, [&] {
      if (::chmod(path.c_str(), S_IRUSR | S_IWUSR) != 0)
        throw Error(detail::concat("HttpServer: cannot set the mode of ", path));
      ::lstat(path.c_str(), &unix_file_);
    });
  }

  void accept_next(Listener& listener) {
    const std::shared_ptr<Loop> loop = next_loop();
    listener.acceptor.async_accept(loop->io, [this, &listener, loop](error_code ec, Socket socket) {
      if (ec == asio::error::operation_aborted || !listener.acceptor.is_open()) {
        if (!ec) admit(std::move(socket), listener.is_unix, loop);
        return;
      }
      if (ec && ec != asio::error::connection_aborted) {
        // No descriptors: connections wait until some are closed.
        shared_->report("", detail::concat("cannot accept connections: ", ec.message()));
        listener.pause.expires_after(100ms);
        listener.pause.async_wait([this, &listener](error_code cancelled) {
          if (!cancelled) accept_next(listener);
        });
        return;
      }
      if (!ec) admit(std::move(socket), listener.is_unix, loop);
      accept_next(listener);
    });
  }

  void admit(Socket socket, bool is_unix, const std::shared_ptr<Loop>& loop) {
    const int others = shared_->connections.fetch_add(1);
    const int limit = shared_->options.connections;
    if (is_stopped_ || others >= limit + refused_at_once) {
      error_code ignored;
      socket.close(ignored);
      shared_->remove_connection();
      return;
    }
    error_code ignored;
    if (!is_unix) socket.set_option(asio::ip::tcp::no_delay(true), ignored);
    const bool refused = others >= limit;
    auto connection = std::make_shared<Connection>(std::move(socket), is_unix, loop, shared_);
    loop->post([connection = std::move(connection), refused] {
      if (refused) {
        connection->refuse();
      } else {
        connection->start();
      }
    });
  }

  /// Closes the listening sockets, and before, on request, accepts what has arrived.
  void close_listeners(bool accepts_waiting) {
    for (Listener& listener : listeners_) {
      error_code ec;
      listener.pause.cancel();
      if (!listener.acceptor.is_open()) continue;
      listener.acceptor.non_blocking(true, ec);
      while (accepts_waiting && !ec) {
        const std::shared_ptr<Loop> loop = next_loop();
        Socket socket(loop->io);
        listener.acceptor.accept(socket, ec);
        if (!ec) admit(std::move(socket), listener.is_unix, loop);
      }
      listener.acceptor.close(ec);
      if (listener.is_unix) remove_unix_socket();
    }
  }

  /// Removes the file of the Unix socket, unless another process has replaced it.
  void remove_unix_socket() {
    const std::string& path = shared_->options.unix_socket;
    struct stat file {};
    if (::lstat(path.c_str(), &file) == 0 && file.st_dev == unix_file_.st_dev &&
        file.st_ino == unix_file_.st_ino)
      ::unlink(path.c_str());
  }

  std::shared_ptr<Loop> next_loop() { return loops_[turn_++ % loops_.size()]; }

  void run(Loop& loop) {
    for (;;) {
      try {
        loop.io.run();
        return;
      } catch (const std::exception& error) {  // the connection ends at its deadline
        shared_->report("", error.what());
      }
    }
  }

  const std::shared_ptr<HttpShared> shared_;
  std::vector<std::shared_ptr<Loop>> loops_;
  std::list<Listener> listeners_;
  std::vector<std::thread> threads_;
  std::size_t turn_ = 0;
  std::uint16_t port_ = 0;
  struct stat unix_file_ {};
  std::atomic<bool> is_stopped_{false};
};

HttpServer::HttpServer(HttpOptions options, HttpRoutes routes)
    : server_(std::make_unique<Server>(std::move(options), std::move(routes))) {}
HttpServer::~HttpServer() = default;

std::uint16_t HttpServer::port() const noexcept { return server_->port(); }
void HttpServer::start() { server_->start(); }
int HttpServer::drain(std::chrono::milliseconds deadline) { return server_->drain(deadline); }
void HttpServer::stop() { server_->stop(); }
int HttpServer::connections() const noexcept { return server_->shared().connections; }
int HttpServer::requests_in_flight() const noexcept { return server_->shared().in_flight; }

}  // namespace refrain
