/// Answers of the HTTP server to complete requests.

#include "echo_server.hpp"
#include "raw_client.hpp"
#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("http server: requests and answers", "[server]") {
  EchoServer server({.headers = {"x-request-id"}});
  RawClient client(server->port());
  const RawAnswer echo = client.ask(http_post("/echo", "{\"a\":1}"));
  CHECK(echo.status == 200);
  CHECK(echo.body == "{\"a\":1}");
  CHECK(echo.header("Content-Type") == "application/json");
  CHECK(echo.header("Connection").empty());
  CHECK(echo.header("Date").size() == 29);
  CHECK(client.ask(http_get("/query?a=1&b=x+y")).body == "a=1,b=x y");
  CHECK(client.ask(http_get("/users/a%2Fb%20c", "X-Request-Id: 17\r\nX-Other: 2\r\n")).body ==
        "a/b c|x-request-id=17");
  CHECK(client.ask("GET http://test/users/x HTTP/1.1\r\nHost: test\r\n\r\n").body == "x");
  const RawAnswer deleted = client.ask("DELETE /users/u HTTP/1.1\r\nHost: test\r\n\r\n");
  CHECK(deleted.status == 204);
  CHECK(deleted.header("Content-Length").empty());
  // HEAD has the header of GET; the next answer follows at once.
  client.send("HEAD /users/abc HTTP/1.1\r\nHost: test\r\n\r\n");
  const RawAnswer head = client.receive(std::chrono::seconds(10), true);
  CHECK(head.status == 200);
  CHECK(head.header("Content-Length") == "3");
  CHECK(client.ask(http_get("/users/abc")).body == "abc");
  CHECK(server->connections() == 1);
}

TEST_CASE("http server: requests without a route", "[server]") {
  EchoServer server;
  RawClient client(server->port());
  const RawAnswer missing = client.ask(http_get("/nothing"));
  CHECK(missing.status == 404);
  CHECK(missing.body == "{\"error\":{\"code\":\"not_found\",\"message\":\"no such path\"}}\n");
  const RawAnswer method = client.ask("PATCH /users/u HTTP/1.1\r\nHost: test\r\n\r\n");
  CHECK(method.status == 405);
  CHECK(method.header("Allow") == "GET, HEAD, DELETE");
  CHECK(client.ask("BREW /nothing HTTP/1.1\r\nHost: test\r\n\r\n").status == 404);
  for (const char* target : {"/a/../users/u", "/users/%2e%2e", "/users/%00", "/users/%zz",
                             "/users/%", "/users/%FF", "/query?a=1&a=2"}) {
    CAPTURE(target);
    CHECK(client.ask(http_get(target)).status == 400);
  }
  // The body of a refused request is read, so that the connection stays usable.
  CHECK(client.ask(http_post("/nothing", std::string(100'000, 'x'))).status == 404);
  const RawAnswer type = client.ask(
      "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Type: text/plain"
      "\r\nContent-Length: 2\r\n\r\nab");
  CHECK(type.status == 415);
  CHECK_THAT(type.body, contains("expected a body of type application/json"));
  CHECK(client.ask("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nab").status ==
        415);
  const char* const utf8 =
      "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n"
      "Content-Type: Application/JSON ; charset=utf-8\r\n\r\nab";
  CHECK(client.ask(utf8).status == 200);
  CHECK(client.ask("POST /text HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nab").body ==
        "ab");
  CHECK(eventually([&] { return !server.log().empty(); }));
  CHECK(server.log().front() == "  404");
}

TEST_CASE("http server: bodies in chunks, and 100 Continue", "[server]") {
  EchoServer server;
  RawClient client(server->port());
  const std::string head =
      "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n";
  const std::string chunks = "3;name=\"v\"\r\nabc\r\n5\r\ndefgh\r\n0\r\nHost: trailer\r\n\r\n";
  CHECK(client.ask(head + "\r\n" + chunks).body == "abcdefgh");
  for (const char c : head + "\r\n" + chunks) client.send({&c, 1});
  CHECK(client.receive().body == "abcdefgh");
  for (const char c : head + "\r\n0\r\n\r\n") client.send({&c, 1});
  CHECK(client.receive().status == 200);
  CHECK(client.ask(head + "Expect: 100-continue\r\n\r\n").status == 100);
  CHECK(client.ask("1\r\nx\r\n0\r\n\r\n").body == "x");
  // A body that does not wait needs no 100.
  CHECK(client.ask(http_post("/echo", "{}", "Expect: 100-continue\r\n")).status == 200);
  // A refused request gets its answer before the body, and the connection ends.
  const RawAnswer refused = client.ask(
      "POST /nothing HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  CHECK(refused.status == 404);
  CHECK(refused.header("Connection") == "close");
  CHECK(client.is_closed_within(std::chrono::seconds(5)));
}

TEST_CASE("http server: pipelined requests are answered in their order", "[server]") {
  EchoServer server;
  RawClient client(server->port());
  std::string requests;
  for (int i = 0; i < 200; ++i) {
    requests += i % 50 == 7 ? http_get("/later") : http_get("/users/" + std::to_string(i));
    requests += http_post("/echo", "[" + std::to_string(i) + "]");
  }
  std::thread sender([&] { client.send(requests); });
  for (int i = 0; i < 200; ++i) {
    const std::string first = client.receive().body;
    if (first != (i % 50 == 7 ? "later" : std::to_string(i)))
      CHECK(first == "request " + std::to_string(i));
    const std::string second = client.receive().body;
    if (second != "[" + std::to_string(i) + "]") CHECK(second == "body " + std::to_string(i));
  }
  sender.join();
}

TEST_CASE("http server: versions and connections that end", "[server]") {
  EchoServer server;
  const auto second = std::chrono::seconds(1);
  {
    RawClient client(server->port());
    const RawAnswer answer = client.ask("GET /users/u HTTP/1.0\r\n\r\n");
    CHECK(answer.status == 200);
    CHECK(answer.header("Connection") == "close");
    CHECK(client.is_closed_within(second));
  }
  {
    RawClient client(server->port());
    const char* const request = "GET /users/u HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    CHECK(client.ask(request).header("Connection") == "keep-alive");
    CHECK(client.ask(request).status == 200);
  }
  {
    RawClient client(server->port());
    CHECK(client.ask(http_get("/users/u", "Connection: close\r\n")).status == 200);
    CHECK(client.is_closed_within(second));
  }
  {  // a client that has sent everything
    RawClient client(server->port());
    client.send(http_get("/later") + http_get("/users/u"));
    client.shutdown_write();
    CHECK(client.receive().body == "later");
    CHECK(client.receive().body == "u");
    CHECK(client.is_closed_within(second));
  }
  {
    RawClient client(server->port());
    client.send("GET /users/u HT");
    client.shutdown_write();
    CHECK(client.is_closed_within(second));
  }
  CHECK(RawClient(server->port()).ask("GET / HTTP/2.0\r\nHost: test\r\n\r\n").status == 505);
  CHECK(eventually([&] { return server->connections() == 0; }));
}

TEST_CASE("http server: handlers that fail or answer late", "[server]") {
  EchoServer server;
  RawClient client(server->port());
  const RawAnswer thrown = client.ask(http_get("/throw"));
  CHECK(thrown.status == 500);
  CHECK(thrown.body.find("secret") == std::string::npos);
  CHECK(server.errors() == std::vector<std::string>{"/throw: secret reason"});
  CHECK(client.ask(http_get("/throw-late")).body == "answered");
  CHECK(client.ask(http_get("/drop")).status == 500);
  CHECK(client.ask(http_get("/later")).body == "later");
  const RawAnswer split = client.ask(http_get("/split"));
  CHECK(split.status == 500);
  CHECK(split.head.find("X-B") == std::string::npos);
  CHECK(client.ask(http_get("/own-length")).status == 500);
  CHECK(server->requests_in_flight() == 0);
  CHECK(client.ask(http_get("/users/u")).status == 200);
  // A line is written after its answer.
  CHECK(eventually([&] { return server.log().size() == 7; }));
  CHECK(server.log() == std::vector<std::string>{"GET /throw 500", "GET /throw-late 200",
                                                 "GET /drop 500", "GET /later 200",
                                                 "GET /split 500", "GET /own-length 500",
                                                 "GET /users/{user} 200"});
}

TEST_CASE("http server: a client that leaves while its request is in flight", "[server]") {
  EchoServer server;
  std::vector<RawClient> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back(server->port());
    clients.back().send(http_get("/held"));
  }
  CHECK(eventually([&] { return server.held() == 4; }));
  CHECK(server->requests_in_flight() == 4);
  clients[0].abort();
  clients[1].close();
  clients[2].shutdown_write();
  CHECK(server.release() == 4);
  CHECK(clients[2].receive().body == "released");
  CHECK(clients[3].receive().body == "released");
  CHECK(server->requests_in_flight() == 0);
  clients.clear();
  CHECK(eventually([&] { return server->connections() == 0; }));
}

TEST_CASE("http server: answers after the server has ended are ignored", "[server]") {
  std::unique_ptr<HttpRespond> kept;
  {
    HttpRoutes routes;
    routes.add({.method = "GET", .pattern = "/", .handler = [&](HttpRequest, HttpRespond respond) {
                  kept = std::make_unique<HttpRespond>(std::move(respond));
                }});
    HttpServer server({.port = 0}, std::move(routes));
    server.start();
    RawClient client(server.port());
    client.send(http_get("/"));
    CHECK(eventually([&] { return server.requests_in_flight() == 1; }));
    server.stop();
    CHECK(client.is_closed_within(std::chrono::seconds(5)));
    CHECK_FALSE(RawClient(server.port()).is_connected());
  }
  CHECK((*kept)({.status = 200}));
}
