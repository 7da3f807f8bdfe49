#pragma once
/// The table of an HTTP server's routes.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "refrain/server/http.hpp"

namespace refrain {

/// Who may use a route. The Unix socket may use all.
enum class HttpAccess {
  open,   ///< everybody, also without a token
  token,  ///< requests with one of the tokens; everybody when the server has no token
  admin,  ///< requests with the token of administrators
};

/// One method of one path.
struct HttpRoute {
  std::string method;  ///< GET also answers HEAD
  std::string
      pattern;  ///< /v1/users/{user}: a segment in braces is a parameter, which is not empty
  HttpHandler handler;
  HttpAccess access = HttpAccess::token;
  /// Media types of bodies; a body of another type or of none is answered with 415. Browsers send
  /// none of application/... to a server that does not permit it.
  std::vector<std::string> content_types = {"application/json"};
  std::size_t body_bytes = 0;  ///< the longest body; 0: HttpOptions::body_bytes
};

/// What the table has for a request.
struct HttpMatch {
  const HttpRoute* route = nullptr;  ///< nullptr: none
  HttpFields parameters;
  std::string allowed;  ///< methods of the path, "GET, HEAD, POST"; empty: no such path
};

/// Routes of a server, at most one for a request.
class REFRAIN_API HttpRoutes {
 public:
  /// Adds a route. Throws OptionError for a malformed method or pattern, a route without a handler,
  /// and a pattern that shares a path with another of the same method.
  void add(HttpRoute route);

  /// The routes in the order in which they were added.
  std::span<const HttpRoute> list() const noexcept { return routes_; }

  /// The route of a request with this method and these decoded segments. The match is valid until
  /// the next add().
  HttpMatch match(std::string_view method, std::span<const std::string> segments) const;

 private:
  std::vector<HttpRoute> routes_;
  std::vector<std::vector<std::string>> patterns_;  ///< the segments of each route
};

}  // namespace refrain
