#include "refrain/server/http_routes.hpp"

#include <algorithm>

#include "refrain/core/error.hpp"

namespace refrain {
namespace {

bool is_parameter(std::string_view segment) { return segment.starts_with('{'); }

std::string_view parameter_name(std::string_view segment) {
  return segment.substr(1, segment.size() - 2);
}

bool all_of(std::string_view text, std::string_view allowed) {
  return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

constexpr std::string_view lower = "abcdefghijklmnopqrstuvwxyz_";
constexpr std::string_view plain =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";

/// The segments of a pattern. Throws OptionError.
std::vector<std::string> segments_of(const HttpRoute& route) {
  const auto fail = [&](std::string_view reason) {
    throw OptionError(
        detail::concat("HttpRoutes: ", route.method, " ", route.pattern, ": ", reason));
  };
  if (!all_of(route.method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") || route.method == "HEAD")
    fail("expected a method in capitals, not HEAD, which GET answers");
  if (!route.handler) fail("expected a handler");
  std::vector<std::string> segments;
  if (route.pattern == "/") return segments;
  std::string_view rest = route.pattern;
  std::vector<std::string_view> names;
  while (!rest.empty()) {
    if (!rest.starts_with('/')) fail("expected a path that begins with /");
    rest.remove_prefix(1);
    const std::string_view segment = rest.substr(0, rest.find('/'));
    rest.remove_prefix(segment.size());
    if (is_parameter(segment)) {
      const std::string_view name = segment.ends_with('}') ? parameter_name(segment) : "";
      if (!all_of(name, lower))
        fail("expected parameters like {name}, of the letters a to z and _");
      if (std::find(names.begin(), names.end(), name) != names.end())
        fail("expected different names of parameters");
      names.push_back(name);
    } else if (!all_of(segment, plain) || segment == "." || segment == "..") {
      fail("expected segments of letters, digits and -._~");
    }
    segments.emplace_back(segment);
  }
  if (segments.empty()) fail("expected a path");
  return segments;
}

/// True when a path exists that both patterns match.
bool overlap(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const std::string& x, const std::string& y) {
                      return is_parameter(x) || is_parameter(y) || x == y;
                    });
}

bool matches(const std::vector<std::string>& pattern, std::span<const std::string> segments) {
  return std::equal(pattern.begin(), pattern.end(), segments.begin(), segments.end(),
                    [](const std::string& part, const std::string& segment) {
                      return is_parameter(part) ? !segment.empty() : part == segment;
                    });
}

}  // namespace

void HttpRoutes::add(HttpRoute route) {
  std::vector<std::string> segments = segments_of(route);
  for (std::size_t i = 0; i < routes_.size(); ++i) {
    if (routes_[i].method == route.method && overlap(patterns_[i], segments))
      throw OptionError(detail::concat("HttpRoutes: ", route.method, " ", route.pattern,
                                       ": shares a path with ", routes_[i].pattern));
  }
  routes_.push_back(std::move(route));
  patterns_.push_back(std::move(segments));
}

HttpMatch HttpRoutes::match(std::string_view method, std::span<const std::string> segments) const {
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  HttpMatch match;
  for (std::size_t i = 0; i < routes_.size(); ++i) {
    if (routes_[i].method != wanted || !matches(patterns_[i], segments)) continue;
    match.route = &routes_[i];
    for (std::size_t s = 0; s < segments.size(); ++s) {
      if (is_parameter(patterns_[i][s]))
        match.parameters.emplace_back(parameter_name(patterns_[i][s]), segments[s]);
    }
    return match;
  }
  for (std::size_t i = 0; i < routes_.size(); ++i) {
    if (!matches(patterns_[i], segments)) continue;
    if (!match.allowed.empty()) match.allowed += ", ";
    match.allowed += routes_[i].method == "GET" ? "GET, HEAD" : routes_[i].method;
  }
  return match;
}

}  // namespace refrain
