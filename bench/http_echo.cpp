/// HTTP requests per second of an echo handler, over loopback: POST with 66 bytes of JSON, which
/// the handler does not parse, on connections that stay open.
///
/// Usage: http_echo [connections] [seconds] [server threads]       (64 5 1)
/// The client is a process of its own with one thread, which sends the next request of a connection
/// when the answer to the last has arrived. CPU times are of the server's process and of the
/// client's, user and system.

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "refrain/server/http_server.hpp"

namespace {

using Clock = std::chrono::steady_clock;

struct Figures {
  double seconds = 0, cpu_seconds = 0, p50 = 0, p99 = 0;
  std::int64_t requests = 0;
};

double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

/// A closed loop over all connections for this long.
Figures run_client(std::uint16_t port, int connections, double seconds) {
  const std::string body = R"({"user":"user-0012345","item":"item-000678","timestamp":170000000})";
  const std::string request =
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Content-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body;
  const int events = epoll_create1(0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::vector<Clock::time_point> sent;
  const auto send_request = [&](int socket) {
    sent[static_cast<std::size_t>(socket)] = Clock::now();
    if (::send(socket, request.data(), request.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(request.size()))
      fail("send");
  };
  for (int i = 0; i < connections; ++i) {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      fail("connect");
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = socket;
    epoll_ctl(events, EPOLL_CTL_ADD, socket, &event);
    sent.resize(std::max(sent.size(), static_cast<std::size_t>(socket) + 1));
    send_request(socket);
  }
  std::vector<double> microseconds;
  const Clock::time_point start = Clock::now();
  Clock::time_point now = start;
  std::vector<epoll_event> ready(256);
  char answer[4096];
  while (now - start < std::chrono::duration<double>(seconds)) {
    const int count = epoll_wait(events, ready.data(), static_cast<int>(ready.size()), 1000);
    for (int i = 0; i < count; ++i) {
      const int socket = ready[static_cast<std::size_t>(i)].data.fd;
      const ssize_t got = ::recv(socket, answer, sizeof answer, 0);
      // An answer is smaller than a segment, so it arrives whole.
      if (got <= 0 || !std::string_view(answer, static_cast<std::size_t>(got)).ends_with(body))
        fail("recv");
      now = Clock::now();
      microseconds.push_back(
          std::chrono::duration<double, std::micro>(now - sent[static_cast<std::size_t>(socket)])
              .count());
      send_request(socket);
    }
  }
  std::sort(microseconds.begin(), microseconds.end());
  return {.seconds = std::chrono::duration<double>(now - start).count(),
          .cpu_seconds = cpu_seconds(),
          .p50 = microseconds[microseconds.size() / 2],
          .p99 = microseconds[microseconds.size() * 99 / 100],
          .requests = static_cast<std::int64_t>(microseconds.size())};
}

}  // namespace

int main(int argc, char** argv) {
  const int connections = argc > 1 ? std::atoi(argv[1]) : 64;
  const double seconds = argc > 2 ? std::atof(argv[2]) : 5;
  const int threads = argc > 3 ? std::atoi(argv[3]) : 1;

  refrain::HttpRoutes routes;
  routes.add({.method = "POST",
              .pattern = "/echo",
              .handler = [](refrain::HttpRequest request, refrain::HttpRespond respond) {
                respond({.body = std::move(request.body)});
              }});
  refrain::HttpServer server({.port = 0, .threads = threads}, std::move(routes));
  int channel[2];
  if (pipe(channel) != 0) fail("pipe");
  const pid_t client = fork();  // before the server has threads
  if (client == 0) {
    const Figures figures = run_client(server.port(), connections, seconds);
    _exit(write(channel[1], &figures, sizeof figures) == sizeof figures ? 0 : 1);
  }
  server.start();
  const double before = cpu_seconds();
  Figures figures;
  close(channel[1]);
  const bool complete = read(channel[0], &figures, sizeof figures) == sizeof figures;
  const double used = cpu_seconds() - before;
  waitpid(client, nullptr, 0);
  server.stop();
  if (!complete) return 1;
  const double count = static_cast<double>(figures.requests);
  std::printf(
      "%d connections, %d server threads: %.0f requests/s; CPU a request: server %.1f us, "
      "client %.1f us; p50 %.0f us, p99 %.0f us\n",
      connections, threads, count / figures.seconds, used * 1e6 / count,
      figures.cpu_seconds * 1e6 / count, figures.p50, figures.p99);
  return 0;
}
