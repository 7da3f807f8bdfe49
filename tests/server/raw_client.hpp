#pragma once
/// A client of sockets, which can send malformed bytes.

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace refrain::test {

/// An answer as it was received; status 0: the connection was closed or nothing arrived in time.
struct RawAnswer {
  int status = 0;
  std::string head;  ///< status line and headers
  std::string body;

  /// The value of a header; empty when there is none.
  std::string header(std::string_view name) const {
    for (std::size_t at = head.find("\r\n"); at != std::string::npos; at = head.find("\r\n", at)) {
      at += 2;
      const std::size_t colon = head.find(':', at);
      if (colon == std::string::npos) break;
      if (std::string_view(head).substr(at, colon - at) != name) continue;
      return head.substr(colon + 2, head.find("\r\n", colon) - colon - 2);
    }
    return {};
  }
};

/// One connection to a server on this machine.
class RawClient {
 public:
  using Time = std::chrono::milliseconds;

  explicit RawClient(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connect(AF_INET, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  explicit RawClient(const std::string& unix_socket) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, unix_socket.c_str(), sizeof address.sun_path - 1);
    connect(AF_UNIX, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  RawClient(RawClient&& other) noexcept
      : socket_(std::exchange(other.socket_, -1)), received_(std::move(other.received_)) {}
  RawClient& operator=(RawClient&&) = delete;
  ~RawClient() { close(); }

  bool is_connected() const { return socket_ >= 0; }

  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }
  /// Closes so that the server gets a reset.
  void abort() {
    const linger at_once{1, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close();
  }
  void shutdown_write() { ::shutdown(socket_, SHUT_WR); }
  void set_receive_buffer(int bytes) {
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  }

  /// False when the server has closed the connection, or takes nothing for ten seconds.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      if (!wait(POLLOUT, Time(10'000))) return false;
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  /// The next answer; `without_body` after HEAD.
  RawAnswer receive(Time time = Time(10'000), bool without_body = false) {
    const auto end = std::chrono::steady_clock::now() + time;
    RawAnswer answer;
    std::size_t head_end = 0;
    while ((head_end = received_.find("\r\n\r\n")) == std::string::npos) {
      if (!receive_more(end)) return {};
    }
    answer.head = received_.substr(0, head_end + 2);
    received_.erase(0, head_end + 4);
    const std::string length = answer.header("Content-Length");
    const std::size_t bytes = without_body || length.empty() ? 0 : std::stoul(length);
    while (received_.size() < bytes) {
      if (!receive_more(end)) return {};
    }
    answer.body = received_.substr(0, bytes);
    received_.erase(0, bytes);
    answer.status = std::atoi(answer.head.c_str() + std::strlen("HTTP/1.1 "));
    return answer;
  }

  RawAnswer ask(std::string_view request, Time time = Time(10'000)) {
    send(request);
    return receive(time);
  }

  /// True when the server closes the connection in time, with nothing more to read.
  bool is_closed_within(Time time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (received_.empty()) {
      const auto left = std::chrono::duration_cast<Time>(end - std::chrono::steady_clock::now());
      if (left.count() <= 0 || !wait(POLLIN, left)) return false;
      char byte = 0;
      const ssize_t got = ::recv(socket_, &byte, 1, 0);
      if (got <= 0) return true;
      received_ += byte;
    }
    return false;
  }

 private:
  void connect(int family, const sockaddr* address, socklen_t size) {
    socket_ = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket_ < 0) throw std::runtime_error("no socket");
    if (::connect(socket_, address, size) != 0) close();
  }

  bool wait(short events, Time time) {
    if (socket_ < 0) return false;
    pollfd watched{socket_, events, 0};
    int ready = 0;
    do {
      ready = ::poll(&watched, 1, static_cast<int>(time.count()));
    } while (ready < 0 && errno == EINTR);
    return ready > 0;
  }

  bool receive_more(std::chrono::steady_clock::time_point end) {
    const auto left = std::chrono::duration_cast<Time>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0 || !wait(POLLIN, left)) return false;
    char bytes[16384];
    const ssize_t got = ::recv(socket_, bytes, sizeof bytes, 0);
    if (got <= 0) return false;
    received_.append(bytes, static_cast<std::size_t>(got));
    return true;
  }

  int socket_ = -1;
  std::string received_;
};

/// A request of HTTP/1.1 with these further header lines ("Name: value\r\n").
inline std::string http_get(std::string_view target, std::string_view headers = "") {
  std::string text = "GET ";
  return text.append(target).append(" HTTP/1.1\r\nHost: test\r\n").append(headers).append("\r\n");
}

/// A request with a body of JSON.
inline std::string http_post(std::string_view target, std::string_view body,
                             std::string_view headers = "") {
  std::string text = "POST ";
  text.append(target).append(" HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n");
  text.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n");
  return text.append(headers).append("\r\n").append(body);
}

}  // namespace refrain::test
