/// Targets of requests: paths, queries, percent-encoded bytes.

#include "refrain/server/http.hpp"
#include "support/catch.hpp"

using namespace refrain;

namespace http_target_test {

std::vector<std::string> segments(std::string_view target) {
  const std::optional<HttpTarget> parsed = parse_http_target(target);
  return parsed ? parsed->segments : std::vector<std::string>{"(refused)"};
}

HttpFields query(std::string_view target) {
  const std::optional<HttpTarget> parsed = parse_http_target(target);
  return parsed ? parsed->query : HttpFields{{"(refused)", ""}};
}

}  // namespace http_target_test

TEST_CASE("http target: a path is split before it is decoded", "[server]") {
  using http_target_test::segments;
  using List = std::vector<std::string>;
  CHECK(segments("/") == List{});
  CHECK(segments("/v1/events") == List{"v1", "events"});
  CHECK(segments("/v1/users/a%2Fb%20c") == List{"v1", "users", "a/b c"});
  CHECK(segments("/v1/users/a+b") == List{"v1", "users", "a+b"});
  CHECK(segments("/v1/users/caf%C3%A9") == List{"v1", "users", "caf\xC3\xA9"});
  CHECK(segments("/a/") == List{"a", ""});
  CHECK(segments("//a") == List{"", "a"});
  CHECK(segments("/...") == List{"..."});
  CHECK(segments("http://host:8080/a?b=c") == List{"a"});
  CHECK(segments("http://host") == List{});
}

TEST_CASE("http target: malformed targets are refused", "[server]") {
  for (const std::string_view target : {"",
                                        "a",
                                        "*",
                                        "host:443",
                                        "?a=b",
                                        "http://",
                                        "http:///a",
                                        "http://host?a=b",
                                        "ftp://host/a",
                                        "/a b",
                                        "/a#b",
                                        "/caf\xC3\xA9",
                                        "/%",
                                        "/%4",
                                        "/%4g",
                                        "/%g4",
                                        "/%00",
                                        "/a%0Ab",
                                        "/%7F",
                                        "/%FF",
                                        "/%C0%AF",
                                        "/%ED%A0%80",
                                        "/.",
                                        "/..",
                                        "/a/../b",
                                        "/%2e%2E/b",
                                        "/a/%2e",
                                        "/a?x=%",
                                        "/a?x=%00",
                                        "/a?%FF=1",
                                        "/a?x=1&x=2",
                                        "/a?x=1&%78=2"}) {
    CAPTURE(target);
    CHECK_FALSE(parse_http_target(target).has_value());
  }
  CHECK_FALSE(parse_http_target(std::string_view("/a\0b", 4)).has_value());
}

TEST_CASE("http target: parameters of a query", "[server]") {
  using http_target_test::query;
  CHECK(query("/a") == HttpFields{});
  CHECK(query("/a?") == HttpFields{});
  CHECK(query("/a?&&") == HttpFields{});
  CHECK(query("/a?durable=1&k=10") == HttpFields{{"durable", "1"}, {"k", "10"}});
  CHECK(query("/a?flag") == HttpFields{{"flag", ""}});
  CHECK(query("/a?x=a+b%2Bc&y==") == HttpFields{{"x", "a b+c"}, {"y", "="}});
  CHECK(query("/a?x=%26%3D?/") == HttpFields{{"x", "&=?/"}});
}

TEST_CASE("http: an answer is taken once and a dropped one is 500", "[server]") {
  std::vector<int> statuses;
  const auto deliver = [&](HttpResponse response) { statuses.push_back(response.status); };
  {
    const HttpRespond respond(deliver);
    const HttpRespond copy = respond;
    CHECK(respond({.status = 201}));
    CHECK_FALSE(copy({.status = 202}));
  }
  CHECK(statuses == std::vector<int>{201});
  { const HttpRespond dropped(deliver); }
  CHECK(statuses == std::vector<int>{201, 500});
}

TEST_CASE("http: error bodies are JSON", "[server]") {
  const HttpResponse error = http_error(404, "not_found", "no \"x\"\n\x01\\ \xFF caf\xC3\xA9");
  CHECK(error.status == 404);
  CHECK(error.content_type == "application/json");
  CHECK(error.body ==
        "{\"error\":{\"code\":\"not_found\",\"message\":\"no \\\"x\\\"\\u000a\\u0001\\\\ "
        "\xEF\xBF\xBD caf\xC3\xA9\"}}\n");
}
