#pragma once
/// Requests and answers of an HTTP server. Programs that include this header link refrain::server.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "refrain/core/export.hpp"

namespace refrain {

/// Names and values in the order in which they were sent.
using HttpFields = std::vector<std::pair<std::string, std::string>>;

/// The path and the query of a request.
struct HttpTarget {
  std::vector<std::string> segments;  ///< of the path, decoded: /v1/users/a%2Fb: v1, users, a/b
  HttpFields query;                   ///< parameters, decoded; no name occurs twice
};

/// Parses the target of a request line, /path?name=value&..., also with http://authority before it.
///
/// Percent-encoded bytes are decoded in each segment, name and value; + is a space in the query
/// only. The path "/" has no segments; "/a/" has the segments "a" and "". nullopt for a target that
/// does not begin with /; for bytes other than visible ASCII; for #, a malformed escape, a decoded
/// text that is not UTF-8 or has control characters, a segment "." or "..", and a repeated name.
REFRAIN_API std::optional<HttpTarget> parse_http_target(std::string_view target);

/// Decodes percent-encoded bytes; with `plus_is_space` also +. nullopt for a malformed escape.
REFRAIN_API std::optional<std::string> percent_decoded(std::string_view text,
                                                       bool plus_is_space = false);

/// A request as a handler receives it.
struct HttpRequest {
  std::string method;  ///< as sent: GET, POST, ...; HEAD is answered by the handler of GET
  HttpTarget target;
  HttpFields parameters;     ///< of the route's pattern: /v1/users/{user}: user
  HttpFields headers;        ///< those of HttpOptions::headers that were sent; names in lower case
  std::string content_type;  ///< lower case, without its parameters; empty when there is none
  std::string body;
  bool by_unix_socket = false;
  bool is_admin = false;  ///< sent with the token of administrators or by the Unix socket

  /// The value of a parameter of the pattern; empty when there is none.
  REFRAIN_API std::string_view parameter(std::string_view name) const;
  /// The value of a query parameter; nullopt when it was not sent.
  REFRAIN_API std::optional<std::string_view> query(std::string_view name) const;
  /// The value of a header, named in lower case; nullopt when it was not sent or is not kept.
  REFRAIN_API std::optional<std::string_view> header(std::string_view name) const;
};

/// An answer. The server adds Connection, Content-Length and Date; an answer that has one of these
/// headers, Content-Type or Transfer-Encoding among its own, or a line break in one, becomes 500.
struct HttpResponse {
  int status = 200;  ///< 200 to 599; 204 and 304 have no body
  std::string content_type = "application/json";
  std::string body = {};
  HttpFields headers = {};  ///< further ones
};

/// The answer {"error":{"code":code,"message":message}}.
REFRAIN_API HttpResponse http_error(int status, std::string_view code, std::string_view message);

/// The text in quotes as JSON. Bytes that are not UTF-8 become U+FFFD.
REFRAIN_API std::string json_quoted(std::string_view text);

/// Takes the answer to one request, once, at any time, from any thread. When the last copy is
/// destroyed without an answer, the answer is 500.
class REFRAIN_API HttpRespond {
 public:
  using Deliver = std::function<void(HttpResponse)>;

  /// `deliver` is called once, on the thread that answers or destroys; it must not throw.
  explicit HttpRespond(Deliver deliver);

  /// Gives the answer; false when one was given before, and this one is ignored.
  bool operator()(HttpResponse response) const;

 private:
  struct Once;
  std::shared_ptr<Once> once_;
};

/// Answers a request at once or later. It may throw before it answers: the answer is then 500.
using HttpHandler = std::function<void(HttpRequest, HttpRespond)>;

}  // namespace refrain
