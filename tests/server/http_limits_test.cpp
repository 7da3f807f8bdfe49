/// Limits of the HTTP server: sizes, times, connections, requests in flight.

#include <sys/resource.h>

#include "echo_server.hpp"
#include "raw_client.hpp"
#include "support/catch.hpp"
#include "support/simt/sanitizers.hpp"
#include "support/skip.hpp"

using namespace refrain;
using namespace refrain::test;
using namespace std::chrono_literals;

namespace http_limits_test {

using Clock = std::chrono::steady_clock;

/// Seconds that the call takes.
template <class Call>
double seconds_of(Call&& call) {
  const auto start = Clock::now();
  call();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Lets the process open this many descriptors; false where the system does not permit it.
bool allow_descriptors(rlim_t count) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= count) return true;
  limit.rlim_cur = std::min(count, limit.rlim_max);
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= count;
}

}  // namespace http_limits_test

TEST_CASE("http limits: the header", "[server]") {
  EchoServer server({.header_bytes = 1024});
  const auto with_header_of = [](std::size_t bytes) {
    const std::size_t rest = http_get("/users/u", "X-Fill: \r\n").size();
    return http_get("/users/u", "X-Fill: " + std::string(bytes - rest, 'x') + "\r\n");
  };
  CHECK(RawClient(server->port()).ask(with_header_of(1024)).status == 200);
  for (const std::string& request :
       {with_header_of(1025), with_header_of(100'000), http_get("/" + std::string(2'000, 'a')),
        std::string(5'000, 'G'), "GET /users/u HTTP/1.1\r\nHost: test\r\n" + [] {
          std::string lines;
          for (int i = 0; i < 200; ++i) lines += "A: b\r\n";
          return lines;
        }()}) {
    RawClient client(server->port());
    const RawAnswer answer = client.ask(request);
    CHECK(answer.status == 431);
    CHECK(answer.header("Connection") == "close");
    CHECK(client.is_closed_within(5s));
  }
  // The same when the lines arrive one by one.
  RawClient client(server->port());
  client.send("GET /users/u HTTP/1.1\r\nHost: test\r\n");
  bool open = true;
  for (int i = 0; i < 300 && open; ++i) open = client.send("A: b\r\n");
  CHECK(client.receive().status == 431);
  // Extensions and trailers of chunks.
  const std::string chunked =
      "POST /text HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
  CHECK(RawClient(server->port()).ask(chunked + "1;" + std::string(40'000, 'x')).status >= 400);
  std::string trailers;
  for (int i = 0; i < 4'000; ++i) trailers += "A: b\r\n";
  CHECK(RawClient(server->port()).ask(chunked + "0\r\n" + trailers).status == 431);
}

TEST_CASE("http limits: the body", "[server]") {
  EchoServer server({.body_bytes = 10'000});
  RawClient client(server->port());
  CHECK(client.ask(http_post("/echo", std::string(10'000, 'x'))).body.size() == 10'000);
  const RawAnswer answer = client.ask(http_post("/echo", std::string(10'001, 'x')));
  CHECK(answer.status == 413);
  CHECK(answer.header("Connection") == "close");
  CHECK(client.is_closed_within(5s));
  // Before the body has arrived, also for a length beyond 64 bits of bytes.
  const std::string head =
      "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n";
  CHECK(
      RawClient(server->port()).ask(head + "Content-Length: 18446744073709551615\r\n\r\n").status ==
      413);
  CHECK(
      RawClient(server->port()).ask(head + "Content-Length: 18446744073709551616\r\n\r\n").status ==
      400);
  CHECK(RawClient(server->port())
            .ask(head + "Content-Length: 10001\r\nExpect: 100-continue\r\n\r\n")
            .status == 413);
  const std::string chunk = "1000\r\n" + std::string(4096, 'x') + "\r\n";
  const std::string chunked = head + "Transfer-Encoding: chunked\r\n\r\n";
  CHECK(RawClient(server->port()).ask(chunked + chunk + chunk + "0\r\n\r\n").status == 200);
  CHECK(RawClient(server->port()).ask(chunked + chunk + chunk + chunk).status == 413);
  CHECK(RawClient(server->port()).ask(chunked + "FFFFFFFFFFFFFFFF\r\nx").status == 413);
  CHECK(RawClient(server->port()).ask(chunked + "1FFFFFFFFFFFFFFFF\r\nx").status == 400);
  // A route with a limit of its own.
  std::string put = http_post("/long", std::string(100'000, 'x'));
  put.replace(0, 4, "PUT");
  CHECK(RawClient(server->port()).ask(put).body.size() == 100'000);
}

TEST_CASE("http limits: slow clients", "[server]") {
  using http_limits_test::seconds_of;
  EchoServer server({.header_time = 300ms, .body_time = 600ms, .idle_time = 900ms});
  RawClient silent(server->port()), header(server->port()), body(server->port()),
      idle(server->port());
  CHECK(idle.ask(http_get("/users/u")).status == 200);
  header.send("GET /users/u HTTP/1.1\r\nHo");
  body.send(http_post("/echo", "{}").substr(0, http_post("/echo", "{}").size() - 1));
  const double header_seconds = seconds_of([&] { CHECK(header.receive().status == 408); });
  CHECK(header_seconds > 0.25);
  CHECK(header_seconds < 2);
  CHECK(silent.is_closed_within(2s));
  // One byte at a time does not extend the time.
  RawClient drip(server->port());
  const double drip_seconds = seconds_of([&] {
    int status = 0;
    for (const char c : http_get("/users/" + std::string(100, 'u'))) {
      if (status == 0 && drip.send({&c, 1})) status = drip.receive(20ms).status;
    }
    CHECK(status == 408);
  });
  CHECK(drip_seconds < 4);
  CHECK(body.receive().status == 408);
  CHECK(idle.is_closed_within(3s));
  CHECK(eventually([&] { return server->connections() == 0; }));
  // Requests that arrive in time keep a connection open beyond its idle time.
  RawClient busy(server->port());
  for (int i = 0; i < 8; ++i) {
    std::this_thread::sleep_for(150ms);
    CHECK(busy.ask(http_get("/users/u")).status == 200);
  }
}

TEST_CASE("http limits: clients that do not read", "[server]") {
  EchoServer server({.write_time = 500ms});
  RawClient reader(server->port());
  CHECK(reader.ask(http_get("/big/2000000"), 30s).body.size() == 2'000'000);
  RawClient client(server->port());
  client.set_receive_buffer(4096);
  client.send(http_get("/big/50000000"));
  CHECK(eventually([&] { return server->connections() == 1; }));
  CHECK(reader.ask(http_get("/users/u")).status == 200);
}

TEST_CASE("http limits: a handler that takes too long", "[server]") {
  EchoServer server({.answer_time = 200ms});
  RawClient client(server->port());
  const RawAnswer late = client.ask(http_get("/held"));
  CHECK(late.status == 503);
  CHECK(late.header("Retry-After") == "1");
  CHECK(client.ask(http_get("/users/u")).body == "u");
  client.send(http_get("/held"));
  CHECK(eventually([&] { return server.held() == 2; }));
  CHECK(server.release() == 2);  // the first answer is ignored
  CHECK(client.receive().body == "released");
  CHECK(client.ask(http_get("/users/v")).body == "v");
}

TEST_CASE("http limits: requests in flight", "[server]") {
  EchoServer server({.requests_in_flight = 3, .retry_after = 7});
  std::vector<RawClient> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back(server->port());
    clients.back().send(http_get("/held"));
  }
  CHECK(eventually([&] { return server.held() == 3; }));
  RawClient client(server->port());
  const RawAnswer busy = client.ask(http_post("/echo", "{}"));
  CHECK(busy.status == 429);
  CHECK(busy.header("Retry-After") == "7");
  CHECK(client.ask(http_get("/nothing")).status == 404);
  server.release();
  for (RawClient& each : clients) CHECK(each.receive().body == "released");
  CHECK(client.ask(http_post("/echo", "{}")).status == 200);
}

TEST_CASE("http limits: connections", "[server]") {
  EchoServer server({.connections = 5});
  std::vector<RawClient> clients;
  for (int i = 0; i < 5; ++i) {
    clients.emplace_back(server->port());
    CHECK(clients.back().ask(http_get("/users/u")).status == 200);
  }
  RawClient refused(server->port());
  refused.send(http_get("/users/u"));
  const RawAnswer answer = refused.receive();
  CHECK(answer.status == 503);
  CHECK(answer.header("Retry-After") == "1");
  CHECK(answer.header("Connection") == "close");
  CHECK(refused.is_closed_within(5s));
  for (RawClient& each : clients) CHECK(each.ask(http_get("/users/u")).status == 200);
  clients.clear();
  CHECK(eventually(
      [&] { return RawClient(server->port()).ask(http_get("/users/u")).status == 200; }));
}

TEST_CASE("http limits: connections wait for file descriptors", "[server]") {
#if defined(REFRAIN_ASAN)
  REFRAIN_SKIP("the sanitizers open a pipe to examine an object, which needs descriptors");
#else
  EchoServer server;
  CHECK(RawClient(server->port()).ask(http_get("/users/u")).status == 200);
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit lower = before;
  lower.rlim_cur = std::min<rlim_t>(before.rlim_cur, 256);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &lower) == 0);
  std::vector<int> taken;
  for (int copy = ::dup(0); copy >= 0; copy = ::dup(0)) taken.push_back(copy);
  ::close(taken.back());
  taken.pop_back();
  {
    RawClient client(server->port());  // has the last descriptor
    client.send(http_get("/users/u"));
    CHECK(eventually([&] { return !server.errors().empty(); }));
    for (const int copy : taken) ::close(copy);
    CHECK(client.receive().body == "u");
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
  CHECK_THAT(server.errors().front(), contains("cannot accept connections"));
#endif
}

TEST_CASE("http limits: a thousand connections at once", "[server]") {
  if (!http_limits_test::allow_descriptors(2'300))
    REFRAIN_SKIP("fewer than 2,300 file descriptors are permitted");
  EchoServer server;
  std::vector<RawClient> clients;
  for (int i = 0; i < 1'000; ++i) clients.emplace_back(server->port());
  int answered = 0;
  for (int round = 0; round < 2; ++round) {
    for (std::size_t i = 0; i < clients.size(); ++i)
      clients[i].send(http_get("/users/" + std::to_string(i)));
    for (std::size_t i = 0; i < clients.size(); ++i)
      answered += clients[i].receive().body == std::to_string(i) ? 1 : 0;
  }
  CHECK(answered == 2'000);
  CHECK(server->connections() == 1'000);
  // Beyond the limit clients are refused, and the others are not disturbed.
  int refused = 0;
  std::vector<RawClient> more;
  for (int i = 0; i < 60; ++i) more.emplace_back(server->port());
  for (RawClient& each : more) refused += each.ask(http_get("/users/u")).status == 503 ? 1 : 0;
  CHECK(refused == 36);
  CHECK(clients[0].ask(http_get("/users/u")).status == 200);
}
