/// The service of the serve program: sources of answers, selected items, several tasks, events of
/// unknown items, and filters that change while requests are answered.

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "refrain/serve/service.hpp"
#include "support/catch.hpp"

namespace refrain::test::of_services {
namespace {

using serve::Fallback;
using serve::Request;
using serve::Service;
using serve::Source;
using serve::TaskAnswer;
using Names = std::vector<std::string>;

Vocabulary vocabulary_of(const std::string& prefix, std::int64_t count, bool specials) {
  Names names;
  std::vector<std::int64_t> counts;
  for (std::int64_t i = 0; i < count; ++i) {
    names.push_back(detail::concat(prefix, i));
    counts.push_back(100 - i);
  }
  return Vocabulary(names, counts, {.min_count = 1, .specials = specials});
}

/// The score of target t is t times the number of items.
struct Steps {
  struct Task {
    std::int32_t targets = 0;
    bool has_streams = true;
    std::string identity() const { return "steps"; }
  };
  using Stream = std::int64_t;

  std::string identity() const { return "steps"; }
  bool is_incremental(const Task& task) const { return task.has_streams; }
  Stream start(const Task&, std::span<const std::int32_t> items) const { return std::ssize(items); }
  void advance(const Task&, Stream& count, std::int32_t) const { ++count; }
  Tensor scores(const Task& task, const Stream& count) const {
    Tensor scores({1, task.targets}, DType::f32);
    for (std::int32_t id = 0; id < task.targets; ++id)
      scores.data<float>()[id] = static_cast<float>(id * count);
    return scores;
  }
  Tensor scores(const Task& task, std::span<const std::int32_t> items) const {
    return scores(task, start(task, items));
  }
  void visit(const Task&, const Stream& count, StateWriter& part) const { part(count); }
  void visit(const Task&, Stream& count, StateReader& part) const { part(count); }
};

constexpr std::int64_t item_count = 20;

/// Tasks "base" (the items), "classes" (c0, c1) and "whole", the items without streams.
class StepsService final : public serve::ModelService<Steps> {
 public:
  explicit StepsService(std::size_t shards = 1)
      : ModelService(Steps{}, vocabulary_of("i", item_count, true), shards) {
    add("base", vocabulary_of("i", item_count, true), true, true);
    add("whole", vocabulary_of("i", item_count, true), false, true);
    add("classes", vocabulary_of("c", 2, false), true, false);
  }
  void add(const std::string& name, Vocabulary targets, bool has_streams, bool leave_out) {
    const std::int32_t ids = targets.size();
    recommender().load(name, {ids, has_streams},
                       {.targets = std::move(targets), .leave_out = leave_out});
  }
  /// Loads items 0 to 29: ten that the model does not know.
  std::string load(const std::string& file, std::string_view) override {
    add(file, vocabulary_of("i", 30, false), true, false);
    return file;
  }
};

void see(Service& service, const std::string& user, const Names& items) {
  for (const std::string& item : items) CHECK(service.observe(0, {user, item}, service.snapshot()));
}

std::vector<TaskAnswer> ask(Service& service, const std::string& text) {
  return service.recommend(0, std::get<Request>(serve::parse_message(text)), service.snapshot());
}

Names ids(const TaskAnswer& answer) {
  Names ids;
  for (const Recommendation& each : answer.best) ids.push_back(each.item);
  return ids;
}

}  // namespace

TEST_CASE("service: the source of an answer is the state, a pass, or the frequencies", "[serve]") {
  StepsService service;
  see(service, "u", {"i3", "i19"});
  const auto by = [&](const std::string& text) { return ask(service, text).at(0).source; };
  CHECK(by(R"({"user": "u", "task": "base"})") == Source::state);
  CHECK(by(R"({"user": "u", "task": "whole"})") == Source::pass);
  CHECK(by(R"({"history": ["i3", "i19"], "task": "base"})") == Source::pass);
  for (const char* text : {R"({"user": "nobody", "task": "base", "k": 3})",
                           R"({"history": ["new"], "task": "base", "k": 3})",
                           R"({"history": [], "task": "base", "k": 3})"}) {
    const TaskAnswer answer = ask(service, text).at(0);
    CHECK(answer.source == Source::popular);
    CHECK(ids(answer) == Names{"i0", "i1", "i2"});
  }
  CHECK_THROWS_WITH(ask(service, R"({"user": "nobody", "task": "base", "fallback": "none"})"),
                    "user 'nobody' has no events");
  CHECK_THROWS_WITH(ask(service, R"({"history": ["new"], "task": "base", "fallback": "none"})"),
                    "the model knows no item of the history");
  CHECK_THROWS_WITH(ask(service, R"({"user": "nobody", "task": "x"})"),
                    "unknown task 'x'; loaded: base, classes, whole");
  CHECK(ids(ask(service, R"({"user": "u", "task": "next", "k": 2})").at(0)) == Names{"i18", "i17"});
}

TEST_CASE("service: events of unknown items change no user and create none", "[serve]") {
  StepsService service;
  see(service, "u", {"i3"});
  const auto users = [&] {
    std::vector<std::pair<std::string, std::string>> saved;
    service.save(
        [&](const std::string& user, std::string_view bytes) { saved.emplace_back(user, bytes); });
    return saved;
  };
  const auto before = users();
  CHECK(before.size() == 1);
  for (const char* item : {"new", "[PAD]", "[UNK]"}) {
    CHECK_FALSE(service.observe(0, {"u", item}, service.snapshot()));
    CHECK_FALSE(service.observe(0, {"v", item}, service.snapshot()));
  }
  CHECK(users() == before);
  CHECK(ask(service, R"({"user": "v", "task": "base"})").at(0).source == Source::popular);
}

TEST_CASE("service: a request selects items by names", "[serve]") {
  StepsService service;
  see(service, "u", {"i19", "i17"});
  const auto answer = [&](const std::string& keys) {
    return ask(service, R"({"user": "u", "task": "base", "k": 3, )" + keys + "}").at(0);
  };
  CHECK(ids(answer(R"("exclude": ["i18", "new"])")) == Names{"i16", "i15", "i14"});
  CHECK(answer(R"("exclude": ["i18", "new", "[PAD]"])").unknown == 2);
  CHECK(ids(answer(R"("allow": ["i1", "i19", "new", "i2"])")) == Names{"i2", "i1"});
  CHECK(answer(R"("allow": ["i1", "i19", "new", "i2"], "exclude": ["more"])").unknown == 2);
  CHECK(answer(R"("allow": [])").best.empty());
  CHECK(answer(R"("allow": ["i19"])").best.empty());
  CHECK(ids(answer(R"("allow": ["i19", "i2"], "seen": "include")")) == Names{"i19", "i2"});
  CHECK(ids(answer(R"("seen": "include")")) == Names{"i19", "i18", "i17"});
  CHECK(ids(ask(service, R"({"user": "x", "task": "base", "exclude": ["i0"], "k": 2})").at(0)) ==
        Names{"i1", "i2"});

  CHECK_THROWS_WITH(answer(R"("filter": "stock")"), "unknown filter 'stock'; set: none");
  CHECK(service.set_filter("stock", {"i19", "i5", "i6", "i7", "i25"}) == 1);
  CHECK(service.set_filter("here", {"i5", "i7", "i8"}) == 0);
  CHECK(ids(answer(R"("filter": "stock")")) == Names{"i7", "i6", "i5"});
  CHECK(answer(R"("filter": "stock")").unknown == 0);
  CHECK(ids(answer(R"("filter": ["stock", "here"])")) == Names{"i7", "i5"});
  CHECK(ids(answer(R"("filter": ["stock", "here"], "allow": ["i5", "i6"])")) == Names{"i5"});
  CHECK(ids(answer(R"("filter": ["stock", "here"], "exclude": ["i5", "i6"])")) == Names{"i7"});
  CHECK_THROWS_WITH(answer(R"("filter": ["stock", "there"])"),
                    "unknown filter 'there'; set: here, stock");
  // Classes are no items, so none of them is in a filter of items.
  CHECK(ask(service, R"({"user": "u", "task": "classes", "filter": "stock"})").at(0).best.empty());
  // A task that knows more items than the model finds them in the filter.
  service.load("more", {});
  CHECK(ids(ask(service, R"({"user": "u", "task": "more", "filter": "stock", "k": 2})").at(0)) ==
        Names{"i25", "i19"});
}

TEST_CASE("service: filters are replaced as a whole, and a snapshot keeps those before",
          "[serve]") {
  StepsService service;
  see(service, "u", {"i19"});
  const auto request = std::get<Request>(
      serve::parse_message(R"({"user": "u", "task": "base", "filter": "f", "k": 5})"));
  const auto of = [&](const Service::Snapshot& now) {
    return ids(service.recommend(0, request, now).at(0));
  };
  service.set_filter("f", {"i1", "i2"});
  const Service::Snapshot first = service.snapshot();
  service.set_filter("f", {"i3"});
  const Service::Snapshot second = service.snapshot();
  service.drop_filter("f");
  CHECK(of(first) == Names{"i2", "i1"});
  CHECK(of(second) == Names{"i3"});
  CHECK_THROWS_WITH(of(service.snapshot()), "unknown filter 'f'; set: none");
  CHECK_THROWS_WITH(service.drop_filter("f"), "unknown filter 'f'; set: none");
  // A task that is loaded again has other targets under the same name.
  service.set_filter("f", {"i25", "i2"});
  CHECK(of(service.snapshot()) == Names{"i2"});
  service.load("base", {});
  CHECK(of(service.snapshot()) == Names{"i25", "i2"});
}

TEST_CASE("service: one request is answered by several tasks", "[serve]") {
  StepsService service;
  see(service, "u", {"i19"});
  const auto answers =
      ask(service,
          R"({"user": "u", "tasks": ["classes", "whole", "next"], "k": 1, "exclude": ["c1"]})");
  REQUIRE(answers.size() == 3);
  CHECK(ids(answers[0]) == Names{"c0"});
  CHECK(ids(answers[1]) == Names{"i18"});
  CHECK(ids(answers[2]) == Names{"i18"});
  CHECK(answers[0].source == Source::state);
  CHECK(answers[1].source == Source::pass);
  CHECK(answers[0].unknown == 0);
  CHECK(answers[1].unknown == 1);
  CHECK_THROWS_WITH(ask(service, R"({"user": "u", "tasks": ["classes", "x"]})"),
                    contains("unknown task 'x'"));
}

TEST_CASE("service: threads get whole filters while they are replaced", "[serve][threads]") {
  constexpr std::size_t shards = 3;
  StepsService service(shards);
  service.set_filter("f", {"i1", "i2"});
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (std::size_t shard = 0; shard < shards; ++shard) {
    threads.emplace_back([&, shard] {
      Request request{.user = "u", .tasks = {"base"}, .filters = {"f"}};
      service.observe(shard, {"u", "i19"}, service.snapshot());
      for (int round = 0; round < 300; ++round) {
        request.tasks = {round % 2 == 0 ? "base" : "whole"};
        const Names got = ids(service.recommend(shard, request, service.snapshot()).at(0));
        if (got != Names{"i2", "i1"} && got != Names{"i5", "i4", "i3"}) ++wrong;
      }
    });
  }
  for (int round = 0; round < 200; ++round) {
    service.set_filter("f", round % 2 == 0 ? Names{"i3", "i4", "i5"} : Names{"i1", "i2"});
    service.set_filter(detail::concat("g", round % 5), {"i1"});
    if (round % 5 == 4) service.drop_filter("g4");
    if (round % 20 == 0) service.load("other", {});
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

}  // namespace refrain::test::of_services
