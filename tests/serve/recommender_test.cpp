/// The Recommender: answers, errors, tasks loaded and unloaded during requests, serialized users,
/// concurrent threads.

#include <atomic>
#include <limits>
#include <thread>

#include "refrain/serve/recommender.hpp"
#include "refrain_models/peterrec_served.hpp"
#include "support/catch.hpp"

namespace {

using namespace refrain;
using models::NextItNet;
using models::PatchSet;
using models::PeterRecServed;
using Served = Recommender<PeterRecServed>;

constexpr std::int64_t item_count = 12;

Vocabulary vocabulary_of(std::int64_t count, bool specials) {
  std::vector<std::string> names;
  std::vector<std::int64_t> counts;
  for (std::int64_t i = 0; i < count; ++i) {
    names.push_back(detail::concat("i", i));
    counts.push_back(100 - i);
  }
  return Vocabulary(names, counts, {.min_count = 1, .specials = specials});
}

std::shared_ptr<const NextItNet> base_network(std::uint64_t seed = 1) {
  Random random(seed);
  auto base = std::make_shared<NextItNet>(
      NextItNet::Options{
          .items = item_count + special_ids, .channels = 8, .dilations = {1, 2}, .deviation = 0.4},
      random);
  base->freeze();
  return base;
}

PeterRecServed::Task task_on(const NextItNet& base, std::int64_t targets, std::uint64_t seed) {
  Random random(seed);
  return PeterRecServed::Task(std::make_shared<PatchSet>(
      base,
      PatchSet::Options{.patches = {.insertion = Insertion::serial, .start = PatchStart::random},
                        .head = {.targets = targets, .deviation = 0.4},
                        .tcl_id = tcl_id},
      random));
}

std::unique_ptr<Served> recommender(std::uint64_t seed = 1) {
  const auto base = base_network(seed);
  auto served = std::make_unique<Served>(PeterRecServed(base), vocabulary_of(item_count, true));
  served->load("base", PeterRecServed::Task(),
               {.targets = vocabulary_of(item_count, true), .leave_out = true});
  served->load("next", task_on(*base, 9, 2),
               {.targets = vocabulary_of(9, false), .leave_out = true});
  served->load("class", task_on(*base, 3, 3), {.targets = vocabulary_of(3, false)});
  return served;
}

std::vector<std::int32_t> ids_of(const Served& served, const std::vector<std::string>& names) {
  std::vector<std::int32_t> ids;
  for (const std::string& name : names) ids.push_back(served.id_of(name));
  return ids;
}

std::vector<std::string> names_of(const std::vector<Recommendation>& list) {
  std::vector<std::string> names;
  for (const Recommendation& line : list) names.push_back(line.item);
  return names;
}

bool same(const std::vector<Recommendation>& a, const std::vector<Recommendation>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Recommendation& x, const Recommendation& y) {
                      return x.item == y.item && std::abs(x.score - y.score) <= 1e-5F;
                    });
}

}  // namespace

TEST_CASE("recommender: highest score first, without special ids and seen items", "[serve]") {
  const auto served = recommender();
  const std::vector<std::int32_t> history = ids_of(*served, {"i3", "i0", "i7"});
  const PeterRecServed& model = served->model();
  for (const std::string task : {"base", "next"}) {
    const auto all = served->recommend(task, history, task == "base" ? item_count : 9);
    CHECK(all.size() == (task == "base" ? item_count - 3 : 6));
    for (std::size_t i = 1; i < all.size(); ++i) CHECK(all[i - 1].score >= all[i].score);
    for (const std::string& name : names_of(all))
      CHECK((name != "i3" && name != "i0" && name != "i7" && name[0] == 'i'));
    const auto two = served->recommend(task, history, 2);
    CHECK(same(two, {all.begin(), all.begin() + 2}));
  }
  // Classes with the same names as items stay.
  CHECK(served->recommend("class", history, 3).size() == 3);
  for (const std::int64_t more : {std::int64_t{4}, std::numeric_limits<std::int64_t>::max()}) {
    CHECK(same(served->recommend("class", history, more), served->recommend("class", history, 3)));
  }
  const Tensor scores = model.scores(PeterRecServed::Task(), history);
  CHECK(served->recommend("base", history, 1)[0].score ==
        scores.data<float>()[served->id_of(served->recommend("base", history, 1)[0].item)]);
}

TEST_CASE("recommender: probabilities are the softmax over the items that may be recommended",
          "[serve]") {
  const auto served = recommender();
  const std::vector<std::int32_t> history = ids_of(*served, {"i3", "i0", "i7"});
  for (const Recommendation& line : served->recommend("class", history, 3))
    CHECK_FALSE(line.probability.has_value());
  const auto base = base_network();
  served->load("class", task_on(*base, 3, 3),
               {.targets = vocabulary_of(3, false), .probabilities = true});
  served->load("next", task_on(*base, 9, 2),
               {.targets = vocabulary_of(9, false), .leave_out = true, .probabilities = true});
  for (const auto& [task, count] : {std::pair<std::string, std::size_t>{"class", 3}, {"next", 6}}) {
    const auto all = served->recommend(task, history, 9);
    REQUIRE(all.size() == count);
    double total = 0;
    for (const Recommendation& line : all) {
      double sum = 0;
      for (const Recommendation& other : all)
        sum += std::exp(static_cast<double>(other.score) - line.score);
      CHECK(*line.probability == Approx(1 / sum).epsilon(1e-5));
      total += *line.probability;
    }
    CHECK(total == Approx(1).epsilon(1e-5));
    CHECK(*served->recommend(task, history, 1)[0].probability == *all[0].probability);
  }
}

TEST_CASE("recommender: messages give the reason for a request that cannot be answered",
          "[serve]") {
  const auto served = recommender();
  const std::vector<std::int32_t> history = ids_of(*served, {"i3"});
  CHECK_THROWS_WITH(served->recommend("other", history, 1),
                    "unknown task 'other'; loaded: base, class, next");
  CHECK_THROWS_WITH(served->recommend("next", std::vector<std::int32_t>{}, 1),
                    "task 'next': the history is empty");
  CHECK_THROWS_WITH(served->recommend("next", history, 0),
                    "task 'next': expected k of at least 1, got 0");
  for (const std::int32_t id :
       {-1, padding_id, tcl_id, unknown_id, special_ids + static_cast<std::int32_t>(item_count)}) {
    CHECK_THROWS_AS(served->recommend("next", std::vector<std::int32_t>{id}, 1), OptionError);
    Served::User user;
    CHECK_THROWS_AS(served->observe(user, id), OptionError);
    CHECK(user.items().empty());
  }
  CHECK_THROWS_WITH(served->id_of("i99"), "unknown item 'i99'");
  CHECK_THROWS_WITH(served->id_of("[TCL]"), "unknown item '[TCL]'");
  Served::User user;
  CHECK_THROWS_AS(served->follow(user, "other"), OptionError);
  CHECK_THROWS_AS(served->recommend("next", user, 1), OptionError);
}

TEST_CASE("recommender: a tracked user gets the recommendations of their history", "[serve]") {
  const auto served = recommender();
  Served::User followed;
  Served::User plain;
  std::vector<std::int32_t> history;
  for (int t = 0; t < 40; ++t) {
    if (t == 3) CHECK(served->follow(followed, "next"));
    if (t == 7) CHECK(served->follow(followed, "class"));
    history.push_back(served->id_of(detail::concat("i", (t * 5 + t / 7) % item_count)));
    served->observe(followed, history.back());
    served->observe(plain, history.back());
    for (const std::string task : {"base", "next", "class"}) {
      const auto expected = served->recommend(task, history, 3);
      CHECK(same(served->recommend(task, followed, 3), expected));
      CHECK(same(served->recommend(task, plain, 3), expected));
    }
  }
}

TEST_CASE("recommender: requests do not change a user's bytes, events do", "[serve]") {
  const auto served = recommender();
  Served::User user;
  served->observe(user, served->id_of("i1"));
  served->follow(user, "next");
  served->follow(user, "base");
  const std::string before = served->save(user);
  served->recommend("next", user, 3);
  served->recommend("base", user, 3);
  served->recommend("class", user, 3);
  served->follow(user, "next");
  CHECK(served->save(user) == before);
  Served::User copy = user;
  served->observe(copy, served->id_of("i2"));
  CHECK(served->save(user) == before);
  CHECK(served->save(copy) != before);
}

TEST_CASE(
    "recommender: tasks are loaded and unloaded, streams of an old one are not used for a new one",
    "[serve]") {
  const auto served = recommender();
  CHECK(served->tasks() == std::vector<std::string>{"base", "class", "next"});
  Served::User user;
  for (const char* item : {"i1", "i5", "i2"}) served->observe(user, served->id_of(item));
  served->follow(user, "next");
  const auto old = served->recommend("next", user, 5);
  CHECK(served->unload("next"));
  CHECK_FALSE(served->unload("next"));
  CHECK_THROWS_AS(served->recommend("next", user, 5), OptionError);
  served->load("next", task_on(served->model().base(), 9, 77),
               {.targets = vocabulary_of(9, false), .leave_out = true});
  const std::vector<std::int32_t> history(user.items().begin(), user.items().end());
  const auto fresh = served->recommend("next", history, 5);
  CHECK_FALSE(same(fresh, old));
  CHECK(same(served->recommend("next", user, 5), fresh));
  served->follow(user, "next");
  CHECK(same(served->recommend("next", user, 5), fresh));
}

TEST_CASE("recommender: the answers of a snapshot do not change when tasks are loaded and unloaded",
          "[serve]") {
  const auto served = recommender();
  const std::vector<std::int32_t> history = ids_of(*served, {"i2", "i7"});
  Served::User user;
  served->follow(user, "next");
  for (const std::int32_t item : history) served->observe(user, item);
  const Served::Tasks before = served->snapshot();
  const auto expected = served->recommend("next", history, 4);
  served->unload("class");
  served->load("next", task_on(*base_network(), 9, 7), {.targets = vocabulary_of(9, false)});
  CHECK_FALSE(same(served->recommend("next", history, 4), expected));
  CHECK(same(served->recommend(before, "next", history, 4), expected));
  CHECK(served->recommend(before, "class", history, 3).size() == 3);
  CHECK_THROWS_WITH(served->recommend("class", history, 3), test::contains("unknown task 'class'"));
  // The stream belongs to the earlier tasks, and an event under them keeps it valid.
  served->observe(before, user, history[0]);
  CHECK(served->follow(before, user, "next"));
  CHECK(same(served->recommend(before, "next", user, 4),
             served->recommend(before, "next", ids_of(*served, {"i2", "i7", "i2"}), 4)));
}

TEST_CASE("recommender: without a known item the most frequent targets come first", "[serve]") {
  const auto served = recommender();
  const auto tasks = served->snapshot();
  CHECK(names_of(served->most_frequent(tasks, "base", 3)) ==
        std::vector<std::string>{"i0", "i1", "i2"});
  CHECK(served->most_frequent(tasks, "next", 1).front().score == Approx(std::log(100.5)));
  CHECK_THROWS_AS(served->most_frequent(tasks, "other", 3), OptionError);
  CHECK_THROWS_AS(served->most_frequent(tasks, "base", 0), OptionError);
}

TEST_CASE("recommender: a user read from bytes continues as the saved user", "[serve]") {
  const auto served = recommender();
  Served::User user;
  served->follow(user, "next");
  served->follow(user, "base");
  for (int t = 0; t < 30; ++t) {
    served->observe(user, served->id_of(detail::concat("i", t * 7 % item_count)));
    const std::string bytes = served->save(user);
    Served::User read = served->restore(bytes);
    CHECK(served->save(read) == bytes);
    served->observe(read, served->id_of("i4"));
    Served::User original = user;
    served->observe(original, served->id_of("i4"));
    CHECK(served->save(read) == served->save(original));
  }
}

TEST_CASE(
    "recommender: bytes of another model and damaged bytes are refused, those of another task "
    "omitted",
    "[serve]") {
  const auto served = recommender();
  Served::User user;
  served->follow(user, "next");
  for (const char* item : {"i1", "i5"}) served->observe(user, served->id_of(item));
  const std::string bytes = served->save(user);
  const auto other = recommender(9);
  CHECK_THROWS_AS(other->restore(bytes), DataError);
  CHECK_THROWS_WITH(other->restore(bytes), test::contains("belongs to another model"));
  for (std::size_t size = 0; size < bytes.size(); ++size)
    CHECK_THROWS_AS(served->restore(bytes.substr(0, size)), DataError);
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    CHECK_THROWS_AS(served->restore(damaged), DataError);
  }
  served->load("next", task_on(served->model().base(), 9, 78),
               {.targets = vocabulary_of(9, false), .leave_out = true});
  const Served::User read = served->restore(bytes);
  CHECK(read.items().size() == 2);
  CHECK(same(served->recommend("next", read, 4),
             served->recommend("next", ids_of(*served, {"i1", "i5"}), 4)));
}

TEST_CASE("recommender: forged bytes are refused", "[serve]") {
  const auto served = recommender();
  const auto header = [&] {
    StateWriter writer;
    writer(std::string_view("refrain user 1"));
    writer(std::string_view(served->model().identity()));
    return writer;
  };
  StateWriter foreign = header();
  foreign(std::span<const std::int32_t>(std::vector<std::int32_t>{99}));
  foreign(std::int64_t{0});
  CHECK_THROWS_WITH(served->restore(std::move(foreign).finish()),
                    test::contains("expected ids of items"));
  StateWriter many = header();
  many(std::int64_t{1} << 60);  // number of items
  CHECK_THROWS_WITH(served->restore(std::move(many).finish()), test::contains("ends early"));
  StateWriter misfit = header();
  misfit(std::span<const std::int32_t>());
  misfit(std::int64_t{1});
  misfit(std::string_view("base"));
  misfit(std::string_view(PeterRecServed::Task().identity()));
  StateWriter parts;
  parts(Tensor::zeros({2, 9}, DType::f32));
  misfit(std::string_view(parts.bytes()));
  CHECK_THROWS_WITH(served->restore(std::move(misfit).finish()),
                    test::contains("expected a tensor [2, 8]"));
}

TEST_CASE("recommender: many threads get the answers of one while tasks are loaded and unloaded",
          "[serve][threads]") {
  const auto served = recommender();
  constexpr int users = 6, events = 40;
  const auto item = [&](int user, int t) {
    return served->id_of(detail::concat("i", (user * 3 + t * (1 + user % 4)) % item_count));
  };
  std::vector<std::vector<Recommendation>> expected;
  for (int u = 0; u < users; ++u) {
    Served::User user;
    for (int t = 0; t < events; ++t) served->observe(user, item(u, t));
    expected.push_back(served->recommend("next", user, 5));
  }
  const std::vector<std::int32_t> asked = ids_of(*served, {"i3", "i8", "i1"});
  const auto known = served->recommend("base", asked, 4);

  std::atomic<int> wrong = 0;
  std::atomic<int> refused = 0;
  std::atomic<int> answered = 0;
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int u = 0; u < users; ++u) {
    threads.emplace_back([&, u] {
      Served::User user;
      served->follow(user, "next");
      for (int t = 0; t < events; ++t) {
        served->observe(user, item(u, t));
        if (!same(served->recommend("base", asked, 4), known)) ++wrong;
        try {  // this task is unloaded and loaded again meanwhile
          served->follow(user, "class");
          if (served->recommend("class", user, 3).size() != 3) ++wrong;
          ++answered;
        } catch (const OptionError&) {
          ++refused;
        }
      }
      if (!same(served->recommend("next", served->restore(served->save(user)), 5),
                expected[static_cast<std::size_t>(u)]))
        ++wrong;
    });
  }
  std::thread changer([&] {
    for (std::uint64_t round = 0; !stop; ++round) {
      served->load("class", task_on(served->model().base(), 3, 100 + round),
                   {.targets = vocabulary_of(3, false)});
      std::this_thread::yield();
      served->unload("class");
    }
  });
  for (std::thread& thread : threads) thread.join();
  stop = true;
  changer.join();
  CHECK(wrong == 0);
  CHECK(answered + refused == users * events);
}
