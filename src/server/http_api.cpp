#include "refrain/server/http_api.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "refrain/core/error.hpp"
#include "refrain/serve/work_queues.hpp"
#include "src/server/body_answers.hpp"
#include "src/server/json_elements.hpp"
#include "src/server/message_processor.hpp"
#include "src/server/openapi.hpp"
#include "src/server/patch_folder.hpp"

namespace refrain::serve {
namespace {

using refrain::detail::Admission;
using refrain::detail::concat;
using refrain::detail::EventsAnswer;
using refrain::detail::filled_lines;
using refrain::detail::is_json_list;
using refrain::detail::json_elements;
using refrain::detail::RequestsAnswer;

constexpr const char* ndjson = "application/x-ndjson";

HttpResponse bad_request(std::string_view reason) {
  return http_error(400, "invalid_request", reason);
}
HttpResponse too_many() {
  return refrain::detail::try_later(429, "too_many_requests",
                                    "too many messages are in progress; try again later");
}
HttpResponse unknown_user(const std::string& user) {
  return http_error(404, "unknown_user", concat("user '", user, "' has no events"));
}

/// The texts of the messages in a body: one object, a list, or one per line.
std::vector<std::string_view> message_texts(const HttpRequest& request, std::size_t most) {
  if (request.content_type == ndjson) return filled_lines(request.body, most);
  if (is_json_list(request.body)) return json_elements(request.body, most);
  return {request.body};
}

/// parse_message(), whose errors name the message if there are several.
Message parsed(const std::vector<std::string_view>& texts, std::size_t i) {
  try {
    return parse_message(texts[i]);
  } catch (const OptionError& error) {
    if (texts.size() == 1) throw;
    throw OptionError(concat("message ", i + 1, ": ", error.what()));
  }
}

std::string json_list(const std::vector<std::string>& texts) {
  std::string list = "[";
  for (const std::string& text : texts) {
    if (list.size() > 1) list += ',';
    list += json_quoted(text);
  }
  return list + "]";
}

/// Throws OptionError for an event that the log does not accept, and for a user whom the path
/// /v1/users/{user} cannot name.
void expect_valid(const Event& event) {
  EventLog::expect_valid({.user = event.user, .item = event.item, .time = event.time});
  const bool has_control = std::any_of(event.user.begin(), event.user.end(), [](char character) {
    const auto byte = static_cast<unsigned char>(character);
    return byte < 0x20 || byte == 0x7F;
  });
  if (has_control || event.user == "." || event.user == "..") {
    throw OptionError(concat(
        "\"user\": expected a name without control characters that is not '.' or '..', got '",
        event.user, "'"));
  }
}

}  // namespace

class HttpApi::Impl {
 public:
  Impl(Service& service, EventLog* log, const HttpApiOptions& options)
      : service_(service),
        log_(log),
        options_(checked(options)),
        events_(options.events),
        requests_(options.requests) {
    if (!options.patches.empty()) patches_.emplace(options.patches, options.patch_bytes);
    processor_.emplace(service, log, options, 2);  // threads of the two queues
    const auto run = [](std::size_t, std::vector<std::function<void()>>& tasks) {
      for (const auto& task : tasks) task();
    };
    user_tasks_.emplace(1, most_tasks, run);
    patch_tasks_.emplace(1, most_tasks, run);
  }
  ~Impl() { finish(); }

  void drain() { is_draining_ = true; }

  void finish() {
    drain();
    patch_tasks_->finish();
    user_tasks_->finish();
    processor_->finish();
  }

  HttpRoutes routes() {
    HttpRoutes routes;
    using Function = void (Impl::*)(HttpRequest&, const HttpRespond&);
    const auto add = [&](const char* method, const char* pattern, Function function,
                         HttpAccess access = HttpAccess::token, bool takes_lines = false) {
      HttpRoute route{.method = method,
                      .pattern = pattern,
                      .handler =
                          [this, function](HttpRequest request, const HttpRespond& respond) {
                            try {
                              (this->*function)(request, respond);
                            } catch (const OptionError& error) {
                              respond(bad_request(error.what()));
                            }
                          },
                      .access = access};
      if (takes_lines) route.content_types.emplace_back(ndjson);
      if (function == &Impl::put_filter) route.body_bytes = filter_bytes;
      routes.add(std::move(route));
    };
    add("POST", "/v1/events", &Impl::post_events, HttpAccess::token, true);
    add("POST", "/v1/recommend", &Impl::post_recommend);
    add("GET", "/v1/users/{user}", &Impl::get_user);
    add("DELETE", "/v1/users/{user}", &Impl::delete_user);
    add("GET", "/v1/tasks", &Impl::get_tasks);
    add("PUT", "/v1/tasks/{task}", &Impl::put_task, HttpAccess::admin);
    add("DELETE", "/v1/tasks/{task}", &Impl::delete_task, HttpAccess::admin);
    add("PUT", "/v1/filters/{filter}", &Impl::put_filter, HttpAccess::admin, true);
    add("DELETE", "/v1/filters/{filter}", &Impl::delete_filter, HttpAccess::admin);
    add("GET", "/health/live", &Impl::get_live, HttpAccess::open);
    add("GET", "/health/ready", &Impl::get_ready, HttpAccess::open);
    add("GET", "/openapi.json", &Impl::get_openapi, HttpAccess::open);
    return routes;
  }

 private:
  using Tasks = WorkQueues<std::function<void()>>;
  static constexpr std::size_t most_tasks = 64;  ///< that wait for one of the two threads
  static constexpr std::int64_t newest_items = 1'000;
  static constexpr std::size_t filter_bytes = 64U << 20U;  ///< the longest body of a filter
  static constexpr std::size_t filter_items = 4'000'000;

  static const HttpApiOptions& checked(const HttpApiOptions& options) {
    if (options.events_per_body < 1 || options.events_per_body > options.events ||
        options.requests_per_body < 1 || options.requests_per_body > options.requests ||
        options.items_per_body < 1 || options.k < 1 || options.history < 1) {
      throw OptionError(
          "HttpApi: expected positive limits, and not more messages in a body than in progress");
    }
    return options;
  }

  // ---- events and requests ----

  void post_events(HttpRequest& request, const HttpRespond& respond) {
    const std::optional<std::string_view> durable = request.query("durable");
    if (durable && *durable != "0" && *durable != "1")
      throw OptionError(concat("durable: expected 0 or 1, got '", *durable, "'"));
    if (durable == "1" && log_ == nullptr)
      throw OptionError("durable: the server has no log of events");
    std::vector<Event> events;
    const auto texts = message_texts(request, options_.events_per_body);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      Message message = parsed(texts, i);
      if (!std::holds_alternative<Event>(message))
        throw OptionError(
            concat("message ", i + 1, ": expected an event with \"user\" and \"item\""));
      events.push_back(std::get<Event>(std::move(message)));
      expect_valid(events.back());
    }
    if (events.empty()) {
      std::string body = "{\"accepted\":0,\"unknown\":0";
      if (durable == "1") body += concat(",\"position\":", log_->counts().position);
      return void(respond({.status = durable == "1" ? 200 : 202, .body = body + "}"}));
    }
    std::optional<Admission::Place> place = events_.enter(events.size());
    if (!place) return void(respond(too_many()));
    const auto answer =
        std::make_shared<EventsAnswer>(events.size(), durable == "1", *std::move(place), respond);
    for (Event& event : events) processor_->post(EventWork{std::move(event), answer});
  }

  void post_recommend(HttpRequest& request, const HttpRespond& respond) {
    std::vector<Request> requests;
    std::int64_t items = 0;
    const auto texts = message_texts(request, options_.requests_per_body);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      Message message = parsed(texts, i);
      auto* const one = std::get_if<Request>(&message);
      if (one == nullptr)
        throw OptionError(concat(
            "message ", i + 1, ": expected a request with \"user\" or \"history\", and \"task\""));
      if (one->k > options_.k)
        throw OptionError(concat("\"k\": expected at most ", options_.k, ", got ", one->k));
      if (one->history.size() > options_.history) {
        throw OptionError(concat("\"history\": expected at most ", options_.history, " items, got ",
                                 one->history.size()));
      }
      items += std::max<std::int64_t>(one->k, 0) * std::ssize(one->tasks);
      if (items > options_.items_per_body) {
        throw OptionError(concat("\"k\": expected at most ", options_.items_per_body,
                                 " items over all requests and tasks of a body, got more"));
      }
      requests.push_back(std::move(*one));
    }
    if (requests.empty()) return void(respond({.body = "[]"}));
    std::optional<Admission::Place> place = requests_.enter(requests.size());
    if (!place) return void(respond(too_many()));
    const auto answer = std::make_shared<RequestsAnswer>(
        requests.size(), is_json_list(request.body), *std::move(place), respond);
    for (std::size_t i = 0; i < requests.size(); ++i)
      processor_->post(RequestWork{std::move(requests[i]), i, answer});
  }

  // ---- single users; they wait for the log on a thread of their own ----

  void get_user(HttpRequest& request, const HttpRespond& respond) {
    queue(*user_tasks_, respond, [this, user = std::string(request.parameter("user")), respond] {
      std::vector<std::string> items;
      if (log_ != nullptr) {
        processor_->settle(user);
        items = log_->history(user, newest_items).items;
      } else {
        processor_->on_shard(user, [&](std::size_t shard) { items = service_.items(shard, user); });
      }
      if (items.empty()) return void(respond(unknown_user(user)));
      respond(
          {.body = concat("{\"user\":", json_quoted(user), ",\"items\":", json_list(items), "}")});
    });
  }

  void delete_user(HttpRequest& request, const HttpRespond& respond) {
    queue(*user_tasks_, respond, [this, user = std::string(request.parameter("user")), respond] {
      bool existed = false;
      std::exception_ptr error;
      if (log_ != nullptr) {
        processor_->settle(user);
        try {
          existed = log_->erase(user);
        } catch (...) {
          error = std::current_exception();
        }
      }
      // After the log, which a request may have read meanwhile.
      processor_->on_shard(user,
                           [&](std::size_t shard) { existed |= processor_->forget(shard, user); });
      if (error != nullptr) std::rethrow_exception(error);
      existed ? respond({.status = 204}) : respond(unknown_user(user));
    });
  }

  // ---- tasks and filters ----

  void get_tasks(HttpRequest&, const HttpRespond& respond) {
    respond({.body = "{\"tasks\":" + json_list(service_.tasks()) + "}"});
  }

  void put_task(HttpRequest& request, const HttpRespond& respond) {
    if (!patches_)
      return void(respond(http_error(403, "no_patches", "the server has no folder of patches")));
    const std::string task(request.parameter("task"));
    queue(*patch_tasks_, respond, [this, task, name = parse_file(request.body), respond] {
      const refrain::detail::OpenFile file = patches_->open(name);
      try {
        service_.load(file.path(), task);
      } catch (const Error& error) {
        std::string reason = error.what();
        const std::string path = file.path();
        for (std::size_t at = 0; (at = reason.find(path, at)) != std::string::npos;)
          reason.replace(at, path.size(), name);
        throw OptionError(reason);
      }
      respond({.body = "{\"task\":" + json_quoted(task) + "}"});
    });
  }

  void delete_task(HttpRequest& request, const HttpRespond& respond) {
    const std::string task(request.parameter("task"));
    const std::vector<std::string> loaded = service_.tasks();
    if (std::find(loaded.begin(), loaded.end(), task) == loaded.end())
      return void(respond(http_error(404, "unknown_task", concat("unknown task '", task, "'"))));
    service_.unload(task);
    respond({.status = 204});
  }

  void put_filter(HttpRequest& request, const HttpRespond& respond) {
    queue(*patch_tasks_, respond,
          [this, name = std::string(request.parameter("filter")), body = std::move(request.body),
           has_lines = request.content_type == ndjson, respond] {
            if (!has_lines && !is_json_list(body))
              throw OptionError("expected a JSON list of items");
            const auto texts =
                has_lines ? filled_lines(body, filter_items) : json_elements(body, filter_items);
            std::vector<std::string> items;
            items.reserve(texts.size());
            for (const std::string_view text : texts) items.push_back(parse_name(text));
            const std::size_t count = items.size();
            const std::int64_t unknown = service_.set_filter(name, std::move(items));
            respond({.body = concat("{\"filter\":", json_quoted(name), ",\"items\":", count,
                                    ",\"unknown\":", unknown, "}")});
          });
  }

  void delete_filter(HttpRequest& request, const HttpRespond& respond) {
    queue(*patch_tasks_, respond, [this, name = std::string(request.parameter("filter")), respond] {
      try {
        service_.drop_filter(name);
      } catch (const OptionError& error) {
        return void(respond(http_error(404, "unknown_filter", error.what())));
      }
      respond({.status = 204});
    });
  }

  // ---- health and description ----

  void get_live(HttpRequest&, const HttpRespond& respond) {
    respond({.body = "{\"status\":\"ok\"}"});
  }

  void get_ready(HttpRequest& request, const HttpRespond& respond) {
    if (is_draining_) {
      respond(refrain::detail::unavailable("draining", "the server is ending"));
    } else if (processor_->is_failing()) {
      respond(refrain::detail::unavailable("not_written", "the log cannot be written"));
    } else {
      get_live(request, respond);
    }
  }

  void get_openapi(HttpRequest&, const HttpRespond& respond) {
    respond({.body = std::string(openapi)});
  }

  static void queue(Tasks& tasks, const HttpRespond& respond, std::function<void()> task) {
    std::function<void()> guarded = [respond, task = std::move(task)] {
      try {
        task();
      } catch (const OptionError& error) {
        respond(bad_request(error.what()));
      } catch (const std::exception& error) {
        respond(http_error(500, "failed", error.what()));
      }
    };
    if (!tasks.try_post(0, guarded)) respond(too_many());
  }

  Service& service_;
  EventLog* log_;
  HttpApiOptions options_;
  Admission events_;
  Admission requests_;
  std::atomic<bool> is_draining_ = false;
  std::optional<refrain::detail::PatchFolder> patches_;
  std::optional<MessageProcessor> processor_;
  std::optional<Tasks> user_tasks_;
  std::optional<Tasks> patch_tasks_;  ///< patches and filters; apart, as they may take long
};

HttpApi::HttpApi(Service& service, EventLog* log, const HttpApiOptions& options)
    : impl_(std::make_unique<Impl>(service, log, options)) {}
HttpApi::~HttpApi() = default;
HttpRoutes HttpApi::routes() { return impl_->routes(); }
void HttpApi::drain() { impl_->drain(); }
void HttpApi::finish() { impl_->finish(); }

}  // namespace refrain::serve
