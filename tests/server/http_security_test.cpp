/// Addresses, tokens, and the Unix socket of the HTTP server.

#include <sys/stat.h>

#include "echo_server.hpp"
#include "raw_client.hpp"
#include "refrain/core/error.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"

using namespace refrain;
using namespace refrain::test;

namespace http_security_test {

const std::string token = "a-token-of-many-letters";
const std::string admin_token = "another-token-of-letters";

std::string bearer(const std::string& value) { return "Authorization: Bearer " + value + "\r\n"; }

}  // namespace http_security_test

TEST_CASE("http security: addresses that other machines reach need a token", "[server]") {
  using http_security_test::token;
  const auto made = [](HttpOptions options) {
    options.port = 0;
    HttpServer server(std::move(options), {});
    return server.port() != 0;
  };
  CHECK(made({}));
  CHECK(made({.address = "127.0.0.2"}));
  CHECK_THROWS_MATCHES(made({.address = "0.0.0.0"}), OptionError,
                       message_contains("0.0.0.0 can be reached from other machines"));
  CHECK_THROWS_AS(made({.address = "::"}), OptionError);
  CHECK_THROWS_AS(made({.address = "::ffff:0.0.0.0"}), OptionError);
  CHECK_THROWS_AS(made({.address = "0.0.0.0", .admin_token = token}), OptionError);
  CHECK(made({.address = "0.0.0.0", .token = token}));
  CHECK_THROWS_MATCHES(made({.address = "localhost"}), OptionError,
                       message_contains("expected a numeric address, got 'localhost'"));
  CHECK_THROWS_AS(made({.address = ""}), OptionError);
  CHECK_THROWS_AS(made({.token = "short"}), OptionError);
  CHECK_THROWS_AS(made({.token = "a token of many letters"}), OptionError);
  CHECK_THROWS_AS(made({.token = token, .admin_token = token}), OptionError);
  CHECK_THROWS_AS(made({.headers = {"X-User"}}), OptionError);
  CHECK_THROWS_AS(made({.headers = {"authorization"}}), OptionError);
  CHECK_THROWS_AS(made({.threads = 0}), OptionError);
  CHECK_THROWS_AS(made({.header_bytes = 10}), OptionError);
  CHECK_THROWS_AS(made({.connections = 0}), OptionError);
  CHECK_THROWS_AS(made({.idle_time = std::chrono::milliseconds(0)}), OptionError);
  HttpServer first({.port = 0}, {});
  CHECK_THROWS_MATCHES(HttpServer({.port = first.port()}, {}), Error,
                       message_contains("cannot bind 127.0.0.1 port"));
}

TEST_CASE("http security: tokens", "[server]") {
  using namespace http_security_test;
  EchoServer server({.token = token, .admin_token = admin_token});
  RawClient client(server->port());
  const RawAnswer without = client.ask(http_get("/users/u"));
  CHECK(without.status == 401);
  CHECK(without.header("WWW-Authenticate") == "Bearer");
  CHECK(client.ask(http_post("/echo", "{}")).status == 401);
  CHECK(client.ask(http_get("/users/u", bearer(token))).status == 200);
  CHECK(client.ask(http_get("/users/u", "authorization: bearer  " + token + "\r\n")).status == 200);
  CHECK(client.ask(http_get("/users/u", bearer(admin_token))).status == 200);
  for (const std::string& wrong : {std::string(), token.substr(1), token + "x", token + " x",
                                   token + token, std::string(token.size(), 'x')}) {
    CAPTURE(wrong);
    CHECK(client.ask(http_get("/users/u", bearer(wrong))).status == 401);
  }
  CHECK(client.ask(http_get("/users/u", "Authorization: Basic " + token + "\r\n")).status == 401);
  CHECK(client.ask(http_get("/users/u", "Authorization: " + token + "\r\n")).status == 401);
  CHECK(client.ask(http_get("/health")).status == 200);
  CHECK(client.ask(http_get("/nothing")).status == 404);
  CHECK(client.ask(http_get("/admin")).status == 401);
  CHECK(client.ask(http_get("/admin", bearer(token))).status == 401);
  CHECK(client.ask(http_get("/admin", bearer(admin_token))).status == 200);
  for (const std::string& line : server.log()) CHECK(line.find(token) == std::string::npos);
}

TEST_CASE("http security: administration without a token needs the Unix socket", "[server]") {
  using namespace http_security_test;
  const ScratchFolder folder;
  const std::string path = folder.path("socket");
  EchoServer server({.unix_socket = path});
  RawClient client(server->port());
  CHECK(client.ask(http_get("/users/u")).status == 200);
  CHECK(client.ask(http_get("/admin")).status == 403);
  CHECK(client.ask(http_get("/admin", bearer(""))).status == 403);
  RawClient local(path);
  CHECK(local.ask(http_get("/admin")).status == 200);
  CHECK(local.ask(http_post("/echo", "{}")).body == "{}");
  struct stat file {};
  REQUIRE(::stat(path.c_str(), &file) == 0);
  CHECK((file.st_mode & 0777) == 0600);
}

TEST_CASE("http security: files at the path of the Unix socket", "[server]") {
  const ScratchFolder folder;
  const std::string path = folder.path("socket");
  const HttpOptions only_unix{.address = "", .unix_socket = path};
  {
    HttpServer server(only_unix, {});
    CHECK(server.port() == 0);
    server.start();
    CHECK_THROWS_MATCHES(HttpServer(only_unix, {}), OptionError,
                         message_contains("another process serves it"));
    CHECK(RawClient(path).ask(http_get("/x")).status == 404);
  }
  struct stat file {};
  CHECK(::lstat(path.c_str(), &file) != 0);
  {  // as a killed process leaves it
    const int killed = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    REQUIRE(::bind(killed, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    ::close(killed);
    HttpServer server(only_unix, {});
    server.start();
    CHECK(RawClient(path).ask(http_get("/x")).status == 404);
  }
  folder.write("socket", "data");
  CHECK_THROWS_MATCHES(HttpServer(only_unix, {}), OptionError,
                       message_contains("the file exists and is no socket"));
  CHECK(read_file(path) == "data");
  CHECK_THROWS_AS(HttpServer({.address = "", .unix_socket = std::string(200, 'x')}, {}),
                  OptionError);
}
