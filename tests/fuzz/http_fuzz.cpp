/// Requests of the HTTP server: the parser of requests, targets, and the table of routes.

#include <algorithm>

#include "fuzz/program.hpp"
#include "refrain/server/http_routes.hpp"
#include "src/server/request_parser.hpp"
#include "src/utf8.hpp"

namespace refrain::fuzz {
namespace {

const HttpRoutes& routes() {
  static const HttpRoutes table = [] {
    HttpRoutes made;
    for (const char* pattern : {"/", "/v1/events", "/v1/users/{user}", "/v2/models/{task}/infer"})
      made.add({.method = "GET", .pattern = pattern, .handler = [](HttpRequest, HttpRespond) {}});
    return made;
  }();
  return table;
}

void expect_text(const std::string& text) {
  require(detail::is_utf8(text), "decoded texts are UTF-8");
  require(std::none_of(text.begin(), text.end(),
                       [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }),
          "decoded texts have no control characters");
}

void try_target(std::string_view text) {
  const std::optional<HttpTarget> target = parse_http_target(text);
  if (!target) return;
  for (const std::string& segment : target->segments) {
    expect_text(segment);
    require(segment != "." && segment != "..", "no segment leads out of its folder");
  }
  for (const auto& parameter : target->query) {
    expect_text(parameter.first);
    expect_text(parameter.second);
    require(std::count_if(target->query.begin(), target->query.end(),
                          [&](const auto& other) { return other.first == parameter.first; }) == 1,
            "no name occurs twice");
  }
  const HttpMatch match = routes().match("GET", target->segments);
  require((match.route == nullptr) == routes().match("POST", target->segments).allowed.empty(),
          "a path with a route allows its method");
  for (const auto& [name, value] : match.parameters)
    require(!value.empty(), "a parameter is not empty");
}

/// The requests before a malformed one, from bytes put in pieces of at most `piece` bytes.
std::string parsed(std::string_view bytes, std::size_t piece) {
  constexpr std::size_t header_bytes = 1000, body_bytes = 2000;
  static const std::vector<std::string> kept{"x-a"};
  detail::RequestParser parser(header_bytes, kept);
  std::string seen, waiting;
  while (!bytes.empty()) {
    waiting += bytes.substr(0, piece);
    bytes.remove_prefix(std::min(piece, bytes.size()));
    for (;;) {
      const bool in_header = parser.progress() == detail::RequestParser::Progress::header;
      const std::size_t consumed = parser.put(waiting);
      require(consumed <= waiting.size(), "no more bytes are consumed than were put");
      waiting.erase(0, consumed);
      const auto progress = parser.progress();
      if (progress == detail::RequestParser::Progress::failed) {
        require(parser.failure().status >= 400, "a failure has an error's status");
        return seen;
      }
      if (in_header && progress != detail::RequestParser::Progress::header)
        parser.limit_body(body_bytes);
      if (progress == detail::RequestParser::Progress::done) {
        const detail::RawRequest& request = parser.request();
        require(request.body.size() <= body_bytes, "no body exceeds the limit");
        require(!request.content_length || *request.content_length == request.body.size(),
                "a body has its length");
        try_target(request.target);
        seen += request.method + " " + request.target + " " + request.content_type + " " +
                request.authorization + " " + request.body + (parser.keeps_alive() ? "+" : "-");
        for (const auto& [name, value] : request.headers) seen += name + "=" + value;
        parser.restart();
      } else if (consumed == 0 || waiting.empty()) {
        break;
      }
      if (waiting.empty()) break;
    }
  }
  return seen;
}

}  // namespace

void try_input(std::string_view input) {
  Choices choices(input);
  const unsigned choice = choices.next();
  if (choice % 2 == 0) return try_target(choices.rest());
  const std::string whole = parsed(choices.rest(), 1 + choices.rest().size());
  const std::string pieces = parsed(choices.rest(), 1 + choice / 8);
  require(whole == pieces, "requests do not depend on how their bytes are cut");
}

std::vector<std::string> seeds() {
  std::vector<std::string> all;
  for (const char* target :
       {"/", "/v1/users/a%20b?x=1&y=%C3%A9+z", "http://host/v2/models/t/infer"})
    all.push_back(std::string("\0", 1) + target);
  for (const char* request :
       {"GET /v1/events HTTP/1.1\r\nHost: h\r\nX-A: b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain; a=b\r\nContent-Length: "
        "3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nA: "
        "b\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\nAuthorization: Bearer "
        "t\r\n\r\n"}) {
    all.push_back(std::string("\1") + request);
    all.push_back(std::string("\x79") + request);
  }
  return all;
}

}  // namespace refrain::fuzz
