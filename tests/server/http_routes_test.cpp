/// The table of routes: patterns, parameters, methods of a path.

#include "refrain/server/http_routes.hpp"
#include "refrain/core/error.hpp"
#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;

namespace http_routes_test {

void nothing(HttpRequest, HttpRespond) {}

HttpRoutes table() {
  HttpRoutes routes;
  for (const auto& [method, pattern] :
       std::vector<std::pair<const char*, const char*>>{{"GET", "/"},
                                                        {"POST", "/v1/events"},
                                                        {"GET", "/v1/users/{user}"},
                                                        {"DELETE", "/v1/users/{user}"},
                                                        {"POST", "/v1/users/all"},
                                                        {"GET", "/v2/{a}/x/{b}"}})
    routes.add({.method = method, .pattern = pattern, .handler = nothing});
  return routes;
}

std::string pattern_of(const HttpRoutes& routes, std::string_view method,
                       std::vector<std::string> segments) {
  const HttpMatch match = routes.match(method, segments);
  return match.route == nullptr ? "none, allowed: " + match.allowed : match.route->pattern;
}

}  // namespace http_routes_test

TEST_CASE("http routes: method and path choose a route", "[server]") {
  using namespace http_routes_test;
  const HttpRoutes routes = table();
  CHECK(routes.list().size() == 6);
  CHECK(pattern_of(routes, "GET", {}) == "/");
  CHECK(pattern_of(routes, "HEAD", {}) == "/");
  CHECK(pattern_of(routes, "POST", {"v1", "events"}) == "/v1/events");
  CHECK(pattern_of(routes, "GET", {"v1", "users", "a/b"}) == "/v1/users/{user}");
  CHECK(pattern_of(routes, "GET", {"v1", "users", "all"}) == "/v1/users/{user}");
  CHECK(pattern_of(routes, "POST", {"v1", "users", "all"}) == "/v1/users/all");
  CHECK(pattern_of(routes, "GET", {"v1", "users", ""}) == "none, allowed: ");
  CHECK(pattern_of(routes, "GET", {"v1", "users"}) == "none, allowed: ");
  CHECK(pattern_of(routes, "GET", {"v1", "events"}) == "none, allowed: POST");
  CHECK(pattern_of(routes, "PUT", {"v1", "users", "all"}) ==
        "none, allowed: GET, HEAD, DELETE, POST");
  CHECK(pattern_of(routes, "get", {}) == "none, allowed: GET, HEAD");
  const std::vector<std::string> segments{"v2", "1", "x", "2"};
  CHECK(routes.match("GET", segments).parameters == HttpFields{{"a", "1"}, {"b", "2"}});
}

TEST_CASE("http routes: malformed and ambiguous patterns are refused", "[server]") {
  using namespace http_routes_test;
  HttpRoutes routes = table();
  const auto add = [&](const char* method, const char* pattern) {
    routes.add({.method = method, .pattern = pattern, .handler = nothing});
  };
  for (const char* pattern : {"", "a", "/a/", "//", "/a b", "/%20", "/{}", "/{a", "/{A}", "/a{b}",
                              "/{a}/{a}", "/..", "/a?b"}) {
    CAPTURE(pattern);
    CHECK_THROWS_AS(add("GET", pattern), OptionError);
  }
  CHECK_THROWS_AS(add("get", "/x"), OptionError);
  CHECK_THROWS_AS(add("HEAD", "/x"), OptionError);
  CHECK_THROWS_AS(routes.add({.method = "GET", .pattern = "/x", .handler = nullptr}), OptionError);
  CHECK_THROWS_MATCHES(add("GET", "/v1/users/all"), OptionError,
                       message_contains("shares a path with /v1/users/{user}"));
  CHECK_THROWS_AS(add("GET", "/v2/{c}/{d}/y"), OptionError);
  CHECK(routes.list().size() == 6);
}
