/// An outside program that uses the component server.

#include <cstdio>

#include <refrain/server/http.hpp>

int main() {
  const auto target = refrain::parse_http_target("/v1/users/a%20b?k=5");
  std::printf("%s\n", target->segments.at(2).c_str());
}
