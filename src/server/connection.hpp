#pragma once
/// The connections of an HTTP server.

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "refrain/server/http_server.hpp"
#include "src/server/request_parser.hpp"

namespace refrain::detail {

using Clock = std::chrono::steady_clock;
using Socket = boost::asio::generic::stream_protocol::socket;

class Connection;

/// What all connections of a server share.
struct HttpShared {
  HttpOptions options;
  HttpRoutes routes;
  std::atomic<int> connections{0};
  std::atomic<int> in_flight{0};
  std::atomic<bool> draining{false};
  std::mutex mutex;
  std::condition_variable closed;  ///< notified when the last connection closes

  void remove_connection();
  void report(std::string_view pattern, std::string_view what) const;
};

/// One thread's events and connections. All members of its connections are used on that thread.
class Loop : public std::enable_shared_from_this<Loop> {
 public:
  boost::asio::io_context io{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{io.get_executor()};
  std::unordered_set<std::shared_ptr<Connection>> connections;

  /// Runs function() on the thread of the loop; not at all after finish().
  template <class Work>
  void post(Work&& function);
  /// Closes the connections, so that run() returns. Returns how many had an unanswered request.
  int close_all();
  /// Drops what is posted later; to be called when the thread has ended.
  void finish();

  /// Checks the deadlines of all connections while there are any.
  void watch();

  /// The value of the header Date.
  const std::string& date();

 private:
  std::mutex mutex_;
  bool finished_ = false;
  bool watches_ = false;
  boost::asio::steady_timer timer_{io};
  std::int64_t second_ = 0;
  std::string date_;
};

/// One connection: reads a request, has it answered, writes the answer, and so on.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Socket socket, bool by_unix_socket, std::shared_ptr<Loop> loop,
             std::shared_ptr<HttpShared> shared);

  void start();
  /// Answers 503 without reading a request, and closes.
  void refuse();
  /// Acts on a deadline that has passed.
  void check(Clock::time_point now);
  /// Shortens the wait for the next request.
  void drain(Clock::time_point until);
  /// Closes at once. True when a request was not answered.
  bool close();

 private:
  enum class Phase { header, body, handler, write, linger, closed };

  void read();
  void on_read(std::size_t bytes, bool failed);
  void parse();
  /// False when parsing does not go on at once.
  bool on_header();
  void on_request();
  /// Sets route_. True when the request is refused by its header.
  bool refused_by_header(HttpResponse& refusal);
  bool may_use(const HttpRoute& route, HttpResponse& refusal);
  void continue_body();
  void call_handler();
  void deliver(std::uint64_t number, HttpResponse response);
  void answer(HttpResponse response, bool keeps_alive);
  void on_written(bool failed);
  void linger();

  std::string_view input() const { return {buffer_.data() + begin_, end_ - begin_}; }
  void set_deadline(std::chrono::milliseconds after) { deadline_ = Clock::now() + after; }

  Socket socket_;
  const bool by_unix_socket_;
  const std::shared_ptr<Loop> loop_;
  const std::shared_ptr<HttpShared> shared_;
  const HttpOptions& options_;
  Phase phase_ = Phase::header;
  Clock::time_point deadline_{};

  std::vector<char> buffer_;  ///< bytes [begin_, end_) are read and not parsed
  std::size_t begin_ = 0, end_ = 0;
  bool is_reading_ = false;
  RequestParser parser_;

  // The request.
  bool has_begun_ = false;  ///< its first byte has arrived
  Clock::time_point began_{};
  std::uint64_t number_ = 0;  ///< counts answers, so that a late one is ignored
  HttpRequest request_;
  const HttpRoute* route_ = nullptr;
  bool is_head_ = false;
  HttpResponse refusal_;
  bool is_refused_ = false;
  bool is_continuing_ = false;  ///< "100 Continue" is being written

  // The answer.
  std::string head_;
  HttpResponse response_;
  std::size_t request_bytes_ = 0;
  bool closes_ = false;  ///< after the answer
};

template <class Work>
void Loop::post(Work&& function) {
  const std::lock_guard lock(mutex_);
  if (!finished_) boost::asio::post(io, std::forward<Work>(function));
}

}  // namespace refrain::detail
