/// The end of the HTTP server: drain() fails no request.

#include <future>

#include "echo_server.hpp"
#include "raw_client.hpp"
#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;
using namespace std::chrono_literals;

TEST_CASE("http drain: no request fails under load", "[server]") {
  for (int round = 0; round < 3; ++round) {
    EchoServer server;
    std::atomic<int> answered{0}, failed{0}, connected{0};
    std::vector<std::thread> clients;
    for (int i = 0; i < 8; ++i) {
      clients.emplace_back([&, i] {
        RawClient client(server->port());
        for (int n = 0;; ++n) {
          const bool sent =
              client.send(i % 2 == 0 ? http_post("/echo", "{}") : http_get("/users/u"));
          const RawAnswer answer = client.receive();
          if (!sent || answer.status != 200) {
            ++failed;
            return;
          }
          ++answered;
          if (n == 0) ++connected;
          if (answer.header("Connection") == "close") return;
          if (i == 7) std::this_thread::sleep_for(50ms);
        }
      });
    }
    CHECK(eventually([&] { return answered > 500 && connected == 8; }));
    const auto start = std::chrono::steady_clock::now();
    CHECK(server->drain(5s) == 0);
    CHECK(std::chrono::steady_clock::now() - start < 4s);
    for (std::thread& client : clients) client.join();
    CHECK(failed == 0);
    CHECK(server->connections() == 0);
    CHECK_FALSE(RawClient(server->port()).is_connected());
  }
}

TEST_CASE("http drain: requests in flight, waiting and pipelined are answered", "[server]") {
  EchoServer server;
  RawClient idle(server->port()), held(server->port()), piped(server->port());
  CHECK(idle.ask(http_get("/users/u")).status == 200);
  held.send(http_get("/held"));
  CHECK(eventually([&] { return server.held() == 1; }));
  piped.send(http_get("/held") + http_get("/users/a") + http_get("/users/b"));
  CHECK(eventually([&] { return server.held() == 2; }));
  std::future<int> drain = std::async(std::launch::async, [&] { return server->drain(10s); });
  CHECK(idle.is_closed_within(5s));
  CHECK(server.release() == 2);
  const RawAnswer answer = held.receive();
  CHECK(answer.body == "released");
  CHECK(answer.header("Connection") == "close");
  CHECK(piped.receive().header("Connection").empty());
  CHECK(piped.receive().body == "a");
  const RawAnswer last = piped.receive();
  CHECK(last.body == "b");
  CHECK(last.header("Connection") == "close");
  held.close();
  piped.close();
  CHECK(drain.get() == 0);
}

TEST_CASE("http drain: connections that wait to be accepted are served", "[server]") {
  HttpRoutes routes;
  std::atomic<bool> goes_on{false};
  routes.add(
      {.method = "GET", .pattern = "/block", .handler = [&](HttpRequest, HttpRespond respond) {
         while (!goes_on) std::this_thread::sleep_for(1ms);
         respond({.body = "unblocked"});
       }});
  routes.add({.method = "GET", .pattern = "/", .handler = [](HttpRequest, HttpRespond respond) {
                respond({.body = "ok"});
              }});
  HttpServer server({.port = 0, .threads = 1}, std::move(routes));
  server.start();
  RawClient blocked(server.port());
  blocked.send(http_get("/block"));
  CHECK(eventually([&] { return server.requests_in_flight() == 1; }));
  std::vector<RawClient> waiting;
  for (int i = 0; i < 50; ++i) {
    waiting.emplace_back(server.port());
    waiting.back().send(http_get("/"));
  }
  std::future<int> drain = std::async(std::launch::async, [&] { return server.drain(10s); });
  std::this_thread::sleep_for(50ms);
  goes_on = true;
  CHECK(blocked.receive().body == "unblocked");
  for (RawClient& each : waiting) CHECK(each.receive().body == "ok");
  blocked.close();
  waiting.clear();
  CHECK(drain.get() == 0);
}

TEST_CASE("http drain: the deadline ends what is left", "[server]") {
  EchoServer server;
  RawClient held(server->port()), started(server->port());
  held.send(http_get("/held"));
  started.send("GET /users/u HT");
  CHECK(eventually([&] { return server.held() == 1 && server->connections() == 2; }));
  const auto start = std::chrono::steady_clock::now();
  CHECK(server->drain(300ms) == 2);
  CHECK(std::chrono::steady_clock::now() - start < 2s);
  CHECK(held.is_closed_within(1s));
  CHECK(server->drain(1s) == 0);
  server->stop();
}

TEST_CASE("http drain: a server that was not started ends", "[server]") {
  HttpServer server({.port = 0}, {});
  RawClient waiting(server.port());
  CHECK(server.drain(10s) == 0);
  CHECK(waiting.is_closed_within(1s));
}
