/// An outside program that uses the component server.

#include <chrono>
#include <cstdio>

#include <refrain/server/http_server.hpp>

int main() {
  refrain::HttpRoutes routes;
  routes.add({.method = "GET",
              .pattern = "/",
              .handler = [](refrain::HttpRequest, refrain::HttpRespond respond) { respond({}); }});
  refrain::HttpServer server({.port = 0}, std::move(routes));
  server.start();
  std::printf("listens: %s\n", server.port() != 0 ? "yes" : "no");
  return server.drain(std::chrono::seconds(5));
}
