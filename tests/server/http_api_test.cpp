/// The HTTP interface of a service, called without a network: answers, the log, users in memory,
/// deletion, filters, limits, bad input.

#include "refrain/server/http_api.hpp"

#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <future>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <thread>

#include "refrain/core/random.hpp"
#include "server/followers.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"

namespace http_api_test {
namespace {

using namespace refrain;
using namespace refrain::serve;
using nlohmann::json;
using server_test::FollowersService;

constexpr std::size_t shards = 3;

/// A service with its interface, called as the HTTP server calls it.
struct Api {
  explicit Api(EventLog* log = nullptr, HttpApiOptions options = {}, std::size_t users = 1'000'000)
      : service(shards, {.users = users, .history = 1'000}) {
    interface.emplace(service, log, options);
    routes = interface->routes();
  }

  HttpResponse call(const std::string& method, const std::string& target, std::string body = {},
                    std::string type = "application/json") const {
    HttpRequest request{.method = method,
                        .target = parse_http_target(target).value(),
                        .parameters = {},
                        .headers = {},
                        .content_type = std::move(type),
                        .body = std::move(body)};
    const HttpMatch match = routes.match(method, request.target.segments);
    // Without Catch2, whose checks belong to one thread.
    if (match.route == nullptr) throw std::logic_error("no route for " + target);
    request.parameters = match.parameters;
    std::promise<HttpResponse> response;
    match.route->handler(std::move(request), HttpRespond([&](HttpResponse given) {
                           response.set_value(std::move(given));
                         }));
    return response.get_future().get();
  }
  json good(const std::string& method, const std::string& target, std::string body = {},
            std::string type = "application/json") const {
    const HttpResponse response = call(method, target, std::move(body), std::move(type));
    INFO(method << ' ' << target << ' ' << response.body);
    REQUIRE(response.status < 300);
    return response.body.empty() ? json() : json::parse(response.body);
  }
  std::string refused(const std::string& method, const std::string& target, int status,
                      std::string body = {}) const {
    const HttpResponse response = call(method, target, std::move(body));
    INFO(method << ' ' << target << ' ' << response.body);
    CHECK(response.status == status);
    return json::parse(response.body).at("error").at("message");
  }
  std::vector<std::string> best(const std::string& user) const {
    const json answer =
        good("POST", "/v1/recommend",
             json{{"user", user}, {"task", "next"}, {"k", 50}, {"seen", "include"}}.dump());
    CHECK(answer.at("best").size() == server_test::follower_items);
    std::vector<std::string> items;
    for (const json& each : answer.at("best")) items.push_back(each.at("id"));
    return items;
  }

  FollowersService service;
  std::optional<HttpApi> interface;
  HttpRoutes routes;
};

/// While it exists, files cannot grow beyond a size, as on a full disk.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) : signals_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{std::min(bytes, before_.rlim_max), before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileLimit(const FileLimit&) = delete;
  FileLimit& operator=(const FileLimit&) = delete;
  ~FileLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, signals_);
  }

 private:
  void (*signals_)(int);
  rlimit before_{};
};

std::string event(const std::string& user, const std::string& item) {
  return json{{"user", user}, {"item", item}}.dump();
}

std::string user_name(std::int64_t i) { return "u" + std::to_string(i); }
std::string item_name(std::int64_t i) { return "i" + std::to_string(i); }

}  // namespace

TEST_CASE("http api: answers equal those of the service") {
  const Api api;
  FollowersService alone(1, {});
  const Service::Snapshot now = alone.snapshot();
  Random random(1);
  for (int step = 0; step < 2000; ++step) {
    const std::string user = user_name(random.below(9));
    if (random.below(3) > 0) {
      const std::string item = item_name(random.below(25));  // the model has 20 of them
      const json answer = api.good("POST", "/v1/events", event(user, item));
      const bool is_known = alone.observe(0, {.user = user, .item = item}, now);
      REQUIRE(answer == json{{"accepted", 1}, {"unknown", is_known ? 0 : 1}});
    } else {
      const std::string text = json{{"user", user}, {"task", "next"}, {"k", 4}}.dump();
      const Request request = std::get<Request>(parse_message(text));
      REQUIRE(api.call("POST", "/v1/recommend", text).body ==
              answer_text(request, alone.recommend(0, request, now)));
    }
  }
}

TEST_CASE("http api: bodies of several messages") {
  const Api api;
  CHECK(api.good("POST", "/v1/events", "[]") == json{{"accepted", 0}, {"unknown", 0}});
  CHECK(api.good("POST", "/v1/events",
                 "[" + event("a", "i1") + " , " + event("b", "i2") + "," + event("a", "zz") +
                     "]") == json{{"accepted", 3}, {"unknown", 1}});
  CHECK(api.good("POST", "/v1/events", event("a", "i3") + "\n\n" + event("c", "i4") + "\r\n",
                 "application/x-ndjson") == json{{"accepted", 2}, {"unknown", 0}});
  CHECK(api.good("GET", "/v1/users/a").at("items") == json{"i1", "i3"});
  const json answers =
      api.good("POST", "/v1/recommend",
               R"([{"user": "a", "task": "next", "k": 1}, {"user": "a", "task": "absent"},)"
               R"( {"history": ["i4", "[,]"], "task": "next", "k": 2}])");
  REQUIRE(answers.size() == 3);
  CHECK(answers[0].at("best").size() == 1);
  CHECK(answers[1].at("error").at("message") == "unknown task 'absent'; loaded: next");
  CHECK(answers[2].at("unknown") == 1);
  CHECK(api.good("POST", "/v1/recommend", " [ ] ") == json::array());
}

TEST_CASE("http api: the log keeps events, and a new server continues with them") {
  const test::ScratchFolder folder;
  const std::string file = folder.path("log.sqlite");
  std::vector<std::vector<std::string>> before;
  std::int64_t position = 0;
  {
    EventLog log(file);
    const Api api(&log, {.fold_every = std::chrono::milliseconds(1)});
    Random random(2);
    for (int step = 0; step < 500; ++step) {
      const json answer =
          api.good("POST", "/v1/events?durable=1",
                   "[" + event(user_name(random.below(20)), item_name(random.below(25))) + "," +
                       event(user_name(random.below(20)), item_name(random.below(25))) + "]");
      REQUIRE(answer.at("accepted") == 2);
      REQUIRE(answer.at("position") > position);
      position = answer.at("position");
      REQUIRE(log.counts().position >= position);
    }
    CHECK(api.good("POST", "/v1/events?durable=1", "[]") ==
          json{{"accepted", 0}, {"unknown", 0}, {"position", position}});
    for (int user = 0; user < 20; ++user) before.push_back(api.best(user_name(user)));
  }
  EventLog log(file);
  CHECK(log.counts().position == position);
  const Api api(&log);
  for (int user = 0; user < 20; ++user)
    CHECK(api.best(user_name(user)) == before[static_cast<std::size_t>(user)]);
}

TEST_CASE("http api: users that leave memory come back from the log") {
  const test::ScratchFolder folder;
  EventLog log(folder.path("log.sqlite"));
  Api small(&log, {}, 2);
  const Api large;
  Random random(3);
  for (int step = 0; step < 3000; ++step) {
    const std::string user = user_name(random.below(40));
    const std::string text = event(user, item_name(random.below(20)));
    small.good("POST", "/v1/events", text);
    large.good("POST", "/v1/events", text);
    if (step % 5 == 0) {
      const std::string asked = user_name(random.below(40));
      REQUIRE(small.best(asked) == large.best(asked));
    }
  }
  // All events before a durable one of the same shard are in the log, so their users may leave.
  for (int user = 0; user < 40; ++user)
    small.good("POST", "/v1/events?durable=1", event(user_name(user), "i1"));
  for (int user = 0; user < 40; ++user) small.best(user_name(user));
  small.interface->finish();
  CHECK(small.service.users_in_memory() == shards);
  CHECK(log.counts().position == 3040);
}

TEST_CASE("service: a held user does not leave memory between the past and the event") {
  // A past that has an event at once, as when a transaction ends early.
  std::map<std::string, std::vector<std::string>> past;
  std::uint64_t settled = 0;
  FollowersService service(1, {.users = 1, .history = 100});
  service.set_past({.items = [&](const std::string& user, std::int64_t) { return past[user]; },
                    .settled = [&](std::size_t) { return settled; }});
  // The last user of the group stays in memory, so that its items are not read again below.
  const std::vector<serve::Event> sent{
      {.user = "a", .item = "i1"}, {.user = "b", .item = "i2"}, {.user = "a", .item = "i3"}};
  {
    const std::shared_ptr<void> hold = service.hold(0);
    std::vector<const serve::Event*> events;
    for (const serve::Event& each : sent) {
      service.fetch(0, each.user);
      past[each.user].push_back(each.item);
      ++settled;
      events.push_back(&each);
    }
    service.observe(0, events, service.snapshot());
  }
  CHECK(service.users_in_memory() == 1);
  for (const char* const user : {"a", "b"}) CHECK(service.items(0, user) == past[user]);
}

TEST_CASE("http api: a user that is erased is unknown, in memory and in the log") {
  const test::ScratchFolder folder;
  EventLog log(folder.path("log.sqlite"));
  for (EventLog* const used : {&log, static_cast<EventLog*>(nullptr)}) {
    const Api api(used);
    api.good("POST", "/v1/events", "[" + event("a", "i1") + "," + event("b", "i2") + "]");
    CHECK(api.call("DELETE", "/v1/users/a").status == 204);
    CHECK(api.refused("GET", "/v1/users/a", 404) == "user 'a' has no events");
    CHECK(api.refused("DELETE", "/v1/users/a", 404) == "user 'a' has no events");
    CHECK(api.good("POST", "/v1/recommend", R"({"user": "a", "task": "next"})").at("source") ==
          "popular");
    CHECK(api.good("GET", "/v1/users/b").at("items") == json{"i2"});
  }
}

TEST_CASE("http api: filters") {
  const Api api;
  CHECK(api.good("PUT", "/v1/filters/stock", R"(["i3", "i5", 7, "zz"])") ==
        json{{"filter", "stock"}, {"items", 4}, {"unknown", 2}});
  CHECK(api.refused("PUT", "/v1/filters/stock", 400, R"({"items": ["i3"]})") ==
        "expected a JSON list of items");
  const std::string request = R"({"history": ["i1"], "task": "next", "filter": "stock"})";
  CHECK(api.good("POST", "/v1/recommend", request).at("best").size() == 2);
  CHECK(api.good("PUT", "/v1/filters/stock", "\"i3\"\n", "application/x-ndjson").at("items") == 1);
  CHECK(api.good("POST", "/v1/recommend", request).at("best").size() == 1);
  CHECK(api.call("DELETE", "/v1/filters/stock").status == 204);
  CHECK(api.refused("DELETE", "/v1/filters/stock", 404).find("'stock'") != std::string::npos);
  CHECK(api.refused("POST", "/v1/recommend", 400, request).find("'stock'") != std::string::npos);
}

TEST_CASE("http api: tasks come from plain files of the folder") {
  const test::ScratchFolder folder;
  std::filesystem::create_directories(folder.path("patches/folder"));
  folder.write("patches/good", "third");
  folder.write("patches/large", std::string(200, 'x'));
  folder.write("outside", "third");
  std::filesystem::create_symlink(folder.path("outside"), folder.path("patches/link"));
  REQUIRE(::mkfifo(folder.path("patches/pipe").c_str(), 0600) == 0);
  const Api api(nullptr, {.patches = folder.path("patches"), .patch_bytes = 100});
  CHECK(api.good("PUT", "/v1/tasks/third", R"({"file": "good"})") == json{{"task", "third"}});
  CHECK(api.good("GET", "/v1/tasks").at("tasks") == json{"next", "third"});
  CHECK(api.good("POST", "/v1/recommend", R"({"history": ["i1"], "task": "third"})")
            .contains("best"));
  CHECK(api.refused("PUT", "/v1/tasks/other", 400, R"({"file": "good"})") ==
        "good: expected task 'other', got 'third'");
  CHECK(api.call("DELETE", "/v1/tasks/third").status == 204);
  CHECK(api.refused("DELETE", "/v1/tasks/third", 404) == "unknown task 'third'");
  for (const char* const name : {"link", "pipe", "folder", "large", "absent", "../outside", "..",
                                 ".", "", "patches/../good", "/etc/passwd", "good\\u0000"}) {
    INFO(name);
    api.refused("PUT", "/v1/tasks/third", 400, detail::concat(R"({"file": ")", name, "\"}"));
  }
  const Api without;
  CHECK(without.refused("PUT", "/v1/tasks/third", 403, R"({"file": "good"})") ==
        "the server has no folder of patches");
  CHECK_THROWS_AS(Api(nullptr, {.patches = folder.path("absent")}), OptionError);
}

/// Calls visit(object) for each object of a document.
template <class Visit>
void for_each_object(const json& value, Visit&& visit) {
  if (value.is_object()) visit(value);
  if (value.is_structured())
    for (const json& part : value) for_each_object(part, visit);
}

TEST_CASE("http api: the OpenAPI document describes the routes and limits") {
  const Api api;
  const json document = api.good("GET", "/openapi.json");
  std::vector<std::string> described, routed;
  for (const auto& [path, operations] : document.at("paths").items()) {
    for (const auto& [method, operation] : operations.items())
      if (method != "parameters") described.push_back(method + ' ' + path);
  }
  for (const HttpRoute& route : api.routes.list()) {
    std::string method = route.method;
    for (char& letter : method) letter = static_cast<char>(letter + ('a' - 'A'));
    routed.push_back(method + ' ' + route.pattern);
    const json& operation = document.at("paths").at(route.pattern).at(method);
    CHECK(operation.contains("security") == (route.access == HttpAccess::open));
    if (operation.contains("requestBody")) {
      for (const auto& [type, schema] : operation.at("requestBody").at("content").items())
        CHECK(std::count(route.content_types.begin(), route.content_types.end(), type) == 1);
    }
  }
  std::sort(described.begin(), described.end());
  std::sort(routed.begin(), routed.end());
  CHECK(described == routed);
  for_each_object(document, [&](const json& object) {
    if (!object.contains("$ref")) return;
    const std::string target = object.at("$ref").get<std::string>().substr(1);
    CHECK(document.contains(json::json_pointer(target)));
  });
  const HttpApiOptions limits;
  const json& schemas = document.at("components").at("schemas");
  CHECK(schemas.at("Request").at("properties").at("k").at("maximum") == limits.k);
  CHECK(schemas.at("Request").at("properties").at("history").at("maxItems") == limits.history);
  const auto most = [&](const char* path) {
    return document.at("paths")
        .at(path)
        .at("post")
        .at("requestBody")
        .at("content")
        .at("application/json")
        .at("schema")
        .at("oneOf")
        .at(1)
        .at("maxItems");
  };
  CHECK(most("/v1/events") == limits.events_per_body);
  CHECK(most("/v1/recommend") == limits.requests_per_body);
}

TEST_CASE("http api: bad input is answered by the reason") {
  const Api api(
      nullptr,
      {.events_per_body = 3, .requests_per_body = 2, .items_per_body = 30, .k = 20, .history = 2});
  const auto reason = [&](const std::string& path, const std::string& body) {
    return api.refused("POST", path, 400, body);
  };
  const std::string request = R"({"user": "a", "task": "next"})";
  CHECK(reason("/v1/recommend", event("a", "i1")) ==
        "message 1: expected a request with \"user\" or \"history\", and \"task\"");
  CHECK(reason("/v1/recommend", R"({"load": "x"})") ==
        "message 1: expected a request with \"user\" or \"history\", and \"task\"");
  CHECK(reason("/v1/events", request) == "message 1: expected an event with \"user\" and \"item\"");
  CHECK(reason("/v1/recommend", R"({"user": "a", "task": "next", "k": 21})") ==
        "\"k\": expected at most 20, got 21");
  CHECK(reason("/v1/recommend", R"({"history": ["a", "b", "c"], "task": "next"})") ==
        "\"history\": expected at most 2 items, got 3");
  CHECK(reason("/v1/recommend", "[" + request + "," + request + "," + request + "]") ==
        "expected at most 2 messages or items in one body, got more");
  CHECK(reason("/v1/events", "[" + event("a", "i1") + ",7]") ==
        "message 2: expected a JSON object, got number");
  CHECK(reason("/v1/events", "[" + event("a", "i1") + ",]").starts_with("message 2: "));
  for (const char* const body :
       {"", "[", "]", "[[]", "[1]]", "[\"]", "[{]", "{\"user\":", "\xff"}) {
    INFO(body);
    reason("/v1/events", body);
  }
  CHECK(reason("/v1/recommend", R"([{"user": "a", "task": "next", "k": 20},)"
                                R"( {"user": "a", "tasks": ["next", "base"], "k": 6}])") ==
        "\"k\": expected at most 30 items over all requests and tasks of a body, got more");
  for (const char* const user : {".", "..", "a\nb", "\x7f"}) {
    INFO(user);
    CHECK(reason("/v1/events", event(user, "i1")).starts_with("\"user\": expected a name"));
  }
  reason("/v1/events", event(std::string(1025, 'u'), "i1"));
  CHECK(reason("/v1/events?durable=1", event("a", "i1")) ==
        "durable: the server has no log of events");
  CHECK(reason("/v1/events?durable=yes", event("a", "i1")) ==
        "durable: expected 0 or 1, got 'yes'");
  CHECK_THROWS_AS(Api(nullptr, {.events = 0}), OptionError);
}

TEST_CASE("http api: bodies beyond those in progress are refused as a whole") {
  const test::ScratchFolder folder;
  EventLog log(folder.path("log.sqlite"));
  Api api(&log, {.events = 2, .events_per_body = 2});
  // The events of a body are in progress until their transaction, which waits for others.
  const std::string body = "[" + event("a", "i1") + "," + event("b", "i2") + "]";
  std::atomic<int> accepted = 0, refused = 0;
  const HttpMatch match = api.routes.match("POST", std::vector<std::string>{"v1", "events"});
  for (int i = 0; i < 200; ++i) {
    match.route->handler(
        {.method = "POST",
         .target = {},
         .parameters = {},
         .headers = {},
         .content_type = "application/json",
         .body = body},
        HttpRespond([&](const HttpResponse& response) {
          ++(response.status == 202 ? accepted : refused);
          if (response.status != 202 &&
              (response.status != 429 || response.headers != HttpFields{{"Retry-After", "1"}}))
            accepted = -1'000;
        }));
  }
  api.interface->finish();
  CHECK(accepted > 0);
  CHECK(refused > 0);
  CHECK(accepted + refused == 200);
  CHECK(log.counts().position == 2 * accepted);
}

TEST_CASE("http api: events that a full disk refuses are not in the state") {
  const test::ScratchFolder folder;
  EventLog log(folder.path("log.sqlite"));
  std::vector<std::string> reports;
  Api api(&log, {.on_error = [&](std::string_view what) { reports.emplace_back(what); }});
  CHECK(api.call("GET", "/health/ready").status == 200);
  api.good("POST", "/v1/events?durable=1", event("a", "i1"));
  std::vector<std::string> kept{"i1"};
  int refused = 0;
  {
    const FileLimit limit(150'000);
    for (int step = 0; step < 2000 && refused < 3; ++step) {
      const std::string item = item_name(step % 20);
      const HttpResponse response = api.call("POST", "/v1/events?durable=1", event("a", item));
      if (response.status == 200) {
        kept.push_back(item);
      } else {
        ++refused;
        REQUIRE(response.status == 503);
        CHECK(json::parse(response.body).at("error").at("code") == "not_written");
      }
    }
  }
  CHECK(refused == 3);
  // While the log cannot be written, events that would not wait for it do.
  {
    const FileLimit limit(1);
    CHECK(api.call("POST", "/v1/events", event("a", "i7")).status == 503);
    CHECK(api.refused("GET", "/health/ready", 503) == "the log cannot be written");
  }
  // Without an event, the server finds out that there is space again.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (api.call("GET", "/health/ready").status != 200) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  api.good("POST", "/v1/events?durable=1", event("a", "i2"));
  kept.push_back("i2");
  CHECK(api.call("GET", "/health/ready").status == 200);
  const std::size_t newest = std::min<std::size_t>(kept.size(), 1'000);
  CHECK(
      api.good("GET", "/v1/users/a").at("items") ==
      json(std::vector<std::string>(kept.end() - static_cast<std::ptrdiff_t>(newest), kept.end())));
  const std::vector<std::string> best = api.best("a");
  api.interface->drain();
  CHECK(api.refused("GET", "/health/ready", 503) == "the server is ending");
  api.interface->finish();
  REQUIRE(reports.size() == 2);
  CHECK(reports[0].starts_with("the log cannot be written: "));
  CHECK(reports[1] == "the log is written again");
  const Api again(&log);
  CHECK(again.best("a") == best);
}

TEST_CASE("http api: answers to many clients at once equal those to one") {
  const test::ScratchFolder folder;
  EventLog log(folder.path("log.sqlite"));
  Api api(&log, {}, 3);
  std::vector<std::thread> clients;
  std::atomic<int> failed = 0;
  for (int client = 0; client < 6; ++client) {
    clients.emplace_back([&, client] {
      Random random(static_cast<std::uint64_t>(client));
      FollowersService alone(1, {});
      const Service::Snapshot now = alone.snapshot();
      for (int step = 0; step < 200; ++step) {
        const std::string user = user_name(client * 10 + random.below(10));
        if (step % 4 == 0) {
          const std::string text =
              json{{"user", user}, {"task", "next"}, {"seen", "include"}}.dump();
          Request request = std::get<Request>(parse_message(text));
          const std::string expected = answer_text(request, alone.recommend(0, request, now));
          if (api.call("POST", "/v1/recommend", text).body != expected) ++failed;
        } else {
          const std::string item = item_name(random.below(20));
          alone.observe(0, {.user = user, .item = item}, now);
          const char* const path = step % 4 == 1 ? "/v1/events?durable=1" : "/v1/events";
          if (api.call("POST", path, event(user, item)).status >= 300) ++failed;
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  api.interface->finish();
  CHECK(failed == 0);
  CHECK(log.counts().position == 6 * 150);
}

}  // namespace http_api_test
