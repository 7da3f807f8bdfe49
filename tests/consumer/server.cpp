/// An outside program that serves a model of its own over HTTP.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <refrain/serve/service.hpp>
#include <refrain/server/http_api.hpp>
#include <refrain/server/http_server.hpp>

namespace {

using namespace refrain;

/// The item after the newest one.
struct Successor {
  struct Task {
    std::string identity() const { return "next"; }
  };
  using Stream = std::int64_t;  // the newest item

  std::int32_t items = 0;

  std::string identity() const { return "successor"; }
  bool is_incremental(const Task&) const { return true; }
  Stream start(const Task&, std::span<const std::int32_t> history) const {
    return history.empty() ? 0 : history.back();
  }
  void advance(const Task&, Stream& newest, std::int32_t item) const { newest = item; }
  Tensor scores(const Task&, const Stream& newest) const {
    Tensor scores = Tensor::zeros({1, items}, DType::f32);
    scores.span<float>()[static_cast<std::size_t>((newest + 1) % items)] = 1;
    return scores;
  }
  Tensor scores(const Task& task, std::span<const std::int32_t> history) const {
    return scores(task, start(task, history));
  }
  void visit(const Task&, const Stream& newest, StateWriter& part) const { part(newest); }
  void visit(const Task&, Stream& newest, StateReader& part) const { part(newest); }
};

class SuccessorService final : public serve::ModelService<Successor> {
 public:
  explicit SuccessorService(const Vocabulary& items)
      : ModelService(Successor{items.size()}, items, 2) {
    recommender().load("next", {}, {.targets = items});
  }
  std::string load(const std::string&, std::string_view) override {
    throw OptionError("this model has one task");
  }
};

}  // namespace

int main() {
  const std::vector<std::string> names{"tea", "milk", "sugar"};
  SuccessorService service(
      Vocabulary(names, std::vector<std::int64_t>{3, 2, 1}, {.min_count = 1, .specials = false}));
  serve::HttpApi api(service, nullptr, {});
  HttpRoutes routes = api.routes();
  HttpServer server({.port = 0}, routes);
  server.start();

  // One request without the network.
  HttpRequest request{};
  request.method = "POST";
  request.content_type = "application/json";
  request.body = R"({"history": ["milk"], "task": "next", "k": 1})";
  std::string answer;
  const HttpMatch match = routes.match("POST", std::vector<std::string>{"v1", "recommend"});
  match.route->handler(std::move(request), HttpRespond([&](HttpResponse response) {
                         answer = std::move(response.body);
                       }));
  const bool is_drained = server.drain(std::chrono::seconds(5)) == 0;
  api.finish();
  const bool is_right = answer.find("\"sugar\"") != std::string::npos;
  std::printf("serves: %s\n",
              server.port() != 0 && is_drained && is_right ? "yes" : answer.c_str());
  return is_right ? 0 : 1;
}
