/// Bytes that are no requests of HTTP, and requests that servers and proxies read differently.

#include <random>

#include "echo_server.hpp"
#include "raw_client.hpp"
#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;
using namespace std::chrono_literals;

TEST_CASE("http malformed: requests that could be smuggled are refused", "[server]") {
  EchoServer server;
  const std::string start = "POST /text HTTP/1.1\r\nHost: test\r\n";
  const std::string hidden = "GET /users/hidden HTTP/1.1\r\nHost: test\r\n\r\n";
  const std::string chunks = "0\r\n\r\n" + hidden;
  for (const std::string& headers :
       std::vector<std::string>{"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                                "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                                "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
                                "Content-Length: 5\r\nContent-Length: 5\r\n",
                                "Content-Length: 5\r\nContent-Length: 6\r\n",
                                "Content-Length: 5, 5\r\n",
                                "Content-Length: +5\r\n",
                                "Content-Length: -5\r\n",
                                "Content-Length: 0x5\r\n",
                                "Content-Length: 5 5\r\n",
                                "Content-Length: 5a\r\n",
                                "Content-Length:\r\n",
                                "Content-Length : 5\r\n",
                                " Content-Length: 5\r\n",
                                "Transfer-Encoding: xchunked\r\n",
                                "Transfer-Encoding: gzip, chunked\r\n",
                                "Transfer-Encoding: chunked, identity\r\n",
                                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                                "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
                                "Transfer-Encoding: identity\r\n",
                                "Transfer-Encoding : chunked\r\n",
                                "Transfer-Encoding:\vchunked\r\n",
                                "Transfer-Encoding: \"chunked\"\r\n",
                                "X: y\nTransfer-Encoding: chunked\r\n",
                                "X: y\rTransfer-Encoding: chunked\r\n",
                                "Host: other\r\n",
                                "Content-Type: text/plain\r\nContent-Type: application/json\r\n",
                                "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"}) {
    CAPTURE(headers);
    RawClient client(server->port());
    const RawAnswer answer = client.ask(start + headers + "\r\n" + chunks);
    CHECK(answer.status == 400);
    CHECK(answer.header("Connection") == "close");
    CHECK(client.is_closed_within(5s));
  }
  // HTTP/1.0 has no chunks.
  CHECK(RawClient(server->port())
            .ask("POST /text HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
            .status == 400);
  for (const char* body : {"5\nabcde\r\n0\r\n\r\n", "5\r\nabcdefg\r\n0\r\n\r\n", "-1\r\n\r\n",
                           "0x1\r\na\r\n0\r\n\r\n", "g\r\n", "1 \ra", "\r\n\r\n"}) {
    CAPTURE(body);
    RawClient client(server->port());
    client.send(start + "Transfer-Encoding: chunked\r\n\r\n" + body);
    client.shutdown_write();
    const int status = client.receive().status;
    CHECK((status == 400 || status == 0));
  }
  CHECK(RawClient(server->port())
            .ask(start + "Transfer-Encoding: CHUNKED\r\n\r\n2\r\nab\r\n0\r\n\r\n")
            .body == "ab");
}

TEST_CASE("http malformed: request lines and headers", "[server]") {
  EchoServer server;
  for (const std::string& request : std::vector<std::string>{
           "GET /users/u HTTP/1.1\r\n\r\n",  // no Host
           "GET  /users/u HTTP/1.1\r\nHost: test\r\n\r\n", "GET /users/u\r\nHost: test\r\n\r\n",
           " GET /users/u HTTP/1.1\r\nHost: test\r\n\r\n",
           "G@T /users/u HTTP/1.1\r\nHost: test\r\n\r\n",
           "GET /users/u HTTP/1.1\r\nHost: test\r\nno colon\r\n\r\n",
           "GET /users/u HTTP/1.1\r\nHost: test\r\n: empty\r\n\r\n",
           "GET /users/u HTTP/1.1\r\nHost: test\r\nX: a" + std::string(1, '\0') + "b\r\n\r\n",
           "GET /users/u HTTP/1.1\r\nHost: test\r\nX: a\x01\r\n\r\n",
           "GET /users/caf\xC3\xA9 HTTP/1.1\r\nHost: test\r\n\r\n",
           "GET users/u HTTP/1.1\r\nHost: test\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n",
           "CONNECT test:80 HTTP/1.1\r\nHost: test\r\n\r\n",
           "\x16\x03\x01\x02" + std::string("\0\1\0\r\n\r\n", 7)}) {  // TLS
    CAPTURE(request);
    CHECK(RawClient(server->port()).ask(request).status == 400);
  }
  for (const char* version : {" HTTX/1.1\r\n", "  HTTP/1.1\r\n", " HTTP/1.1\n", " HTTP/1.2\r\n"}) {
    CAPTURE(version);
    const std::string request = std::string("GET /users/u") + version + "Host: test\r\n\r\n";
    CHECK(RawClient(server->port()).ask(request).status == 505);
  }
}

TEST_CASE("http malformed: random and damaged requests", "[server]") {
  EchoServer server({.header_time = 200ms, .body_time = 200ms});
  std::mt19937 random(7);
  const auto below = [&](std::size_t limit) {
    return static_cast<std::size_t>(random() % static_cast<unsigned>(limit));
  };
  const std::vector<std::string> valid{
      http_get("/users/a%20b?x=1&y=2", "X-A: b\r\nConnection: keep-alive\r\n"),
      http_post("/echo", "{\"user\":\"u\",\"item\":\"i\"}"),
      http_post("/echo", "{}", "Expect: 100-continue\r\n"),
      "POST /text HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n"};
  const std::vector<std::string> parts{"\r\n",
                                       "\r\n\r\n",
                                       "\n",
                                       ":",
                                       " ",
                                       "%00",
                                       "%",
                                       "..",
                                       "/",
                                       "?",
                                       "Transfer-Encoding: chunked\r\n",
                                       "Content-Length: 3\r\n",
                                       "0\r\n\r\n",
                                       "HTTP/1.1",
                                       std::string(1, '\0'),
                                       "\xFF"};
  const auto end = std::chrono::steady_clock::now() + 3s;
  int tried = 0, healthy = 0, asked = 0;
  while (std::chrono::steady_clock::now() < end) {
    std::string bytes;
    if (below(4) == 0) {
      for (std::size_t i = below(400); i > 0; --i) bytes += static_cast<char>(random());
    } else {
      for (std::size_t i = 1 + below(3); i > 0; --i) bytes += valid[below(valid.size())];
      for (std::size_t i = 1 + below(4); i > 0 && !bytes.empty(); --i) {
        const std::size_t at = below(bytes.size());
        switch (below(4)) {
          case 0:
            bytes[at] = static_cast<char>(random());
            break;
          case 1:
            bytes.insert(at, parts[below(parts.size())]);
            break;
          case 2:
            bytes.erase(at, 1 + below(20));
            break;
          default:
            bytes.resize(at + 1);
            break;
        }
      }
    }
    RawClient client(server->port());
    for (std::string_view rest = bytes; !rest.empty();) {
      const std::size_t size = below(3) == 0 ? rest.size() : std::min(rest.size(), 1 + below(60));
      if (!client.send(rest.substr(0, size))) break;
      rest.remove_prefix(size);
    }
    ++tried;
    if (below(2) == 0) {
      client.shutdown_write();
      RawAnswer answer = client.receive(1s);
      CHECK((answer.status == 0 || (answer.status >= 100 && answer.status < 600)));
    }
    if (tried % 50 == 0) {
      ++asked;
      healthy += RawClient(server->port()).ask(http_get("/users/u")).body == "u" ? 1 : 0;
    }
  }
  CHECK(tried > 100);
  CHECK(healthy == asked);
  CHECK(server.errors().empty());
  CHECK(eventually([&] { return server->connections() == 0; }));
}
