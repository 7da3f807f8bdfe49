/// WorkQueues, shard_of and the map of recently used values.

#include "refrain/serve/work_queues.hpp"

#include <atomic>
#include <future>
#include <map>
#include <mutex>
#include <thread>

#include "refrain/core/random.hpp"
#include "refrain/serve/recently_used.hpp"
#include "support/catch.hpp"

namespace work_queues_test {
namespace {

using namespace refrain;

struct Numbered {
  std::size_t poster;
  std::int64_t number;
};

TEST_CASE("work queues process each poster's work once and in order") {
  constexpr std::size_t posters = 4, shards = 3;
  constexpr std::int64_t count = 5000;
  std::vector<std::vector<std::int64_t>> seen(posters * shards);
  std::atomic<std::size_t> largest = 0;
  {
    WorkQueues<Numbered> queues(shards, 16, [&](std::size_t shard, std::vector<Numbered>& work) {
      largest = std::max(largest.load(), work.size());
      for (const Numbered& each : work) seen[each.poster * shards + shard].push_back(each.number);
    });
    std::vector<std::thread> threads;
    for (std::size_t poster = 0; poster < posters; ++poster) {
      threads.emplace_back([&, poster] {
        for (std::int64_t i = 0; i < count; ++i)
          queues.post(static_cast<std::size_t>(i) % shards, {poster, i});
      });
    }
    for (std::thread& thread : threads) thread.join();
  }  // the destructor processes what waits
  for (std::size_t poster = 0; poster < posters; ++poster) {
    std::int64_t total = 0;
    for (std::size_t shard = 0; shard < shards; ++shard) {
      const auto& numbers = seen[poster * shards + shard];
      total += static_cast<std::int64_t>(numbers.size());
      for (std::size_t i = 0; i < numbers.size(); ++i)
        REQUIRE(numbers[i] == static_cast<std::int64_t>(i * shards + shard));
    }
    CHECK(total == count);
  }
  CHECK(largest <= 16);
}

TEST_CASE("a full work queue refuses work and passes what waited at once") {
  std::promise<void> started, released;
  std::vector<std::vector<int>> batches;
  WorkQueues<int> queues(1, 3, [&](std::size_t, std::vector<int>& work) {
    batches.push_back(work);
    if (batches.size() > 1) return;
    started.set_value();
    released.get_future().wait();
  });
  queues.post(0, 1);
  started.get_future().wait();
  for (int number : {2, 3, 4}) CHECK(queues.try_post(0, number));
  int refused = 5;
  CHECK_FALSE(queues.try_post(0, refused));
  CHECK(refused == 5);
  released.set_value();
  queues.finish();
  CHECK(batches == std::vector<std::vector<int>>{{1}, {2, 3, 4}});
}

TEST_CASE("work queues refuse no shards and no capacity") {
  const auto nothing = [](std::size_t, std::vector<int>&) {};
  CHECK_THROWS_AS(WorkQueues<int>(0, 1, nothing), OptionError);
  CHECK_THROWS_AS(WorkQueues<int>(1, 0, nothing), OptionError);
}

TEST_CASE("the shard of a user is the same on every machine") {
  // XXH64 with seed 0: "" has EF46DB3751D8E999, "abc" has 44BC2CF5AD770999.
  CHECK(shard_of("", 1000) == 0xEF46DB3751D8E999U % 1000);
  CHECK(shard_of("abc", 1000) == 0x44BC2CF5AD770999U % 1000);
  std::vector<int> users(7);
  for (int i = 0; i < 7000; ++i) ++users[shard_of(detail::concat("user", i), 7)];
  for (int count : users) {
    CHECK(count > 850);
    CHECK(count < 1150);
  }
}

TEST_CASE("recently used values equal a model that sorts by the time of use") {
  Random random(3);
  constexpr std::size_t capacity = 5;
  detail::RecentlyUsed<std::int64_t> values(capacity);
  std::map<std::string, std::pair<std::int64_t, std::int64_t>> model;  // time of use, value
  for (std::int64_t time = 0; time < 20000; ++time) {
    const std::string name = detail::concat("u", random.below(9));
    switch (random.below(3)) {
      case 0: {
        const auto* found = values.find(name);
        REQUIRE((found != nullptr) == model.contains(name));
        if (found == nullptr) break;
        REQUIRE(*found == model[name].second);
        model[name].first = time;
        break;
      }
      case 1: {
        REQUIRE(values.insert(name, time) == time);
        model[name] = {time, time};
        if (model.size() > capacity) {
          model.erase(std::min_element(
              model.begin(), model.end(),
              [](const auto& a, const auto& b) { return a.second.first < b.second.first; }));
        }
        break;
      }
      default:
        REQUIRE(values.erase(name) == (model.erase(name) > 0));
    }
    REQUIRE(values.size() == model.size());
  }
  std::int64_t previous = 20000;
  values.for_each([&](const std::string& name, std::int64_t) {
    CHECK(model.at(name).first < previous);
    previous = model.at(name).first;
  });
}

TEST_CASE("recently used values that may not leave stay") {
  int settled = 0;
  detail::RecentlyUsed<int> values(2, [&](int value) { return value <= settled; });
  for (int i : {1, 2, 3, 4}) values.insert(std::to_string(i), i);
  CHECK(values.size() == 4);
  settled = 1;
  CHECK(values.find("4") != nullptr);
  CHECK(values.size() == 3);
  CHECK(values.find("1") == nullptr);
  settled = 4;
  {
    const detail::RecentlyUsed<int>::Hold hold(values);
    CHECK(*values.find("2") == 2);
    CHECK(values.size() == 3);
  }
  CHECK(values.size() == 2);
  CHECK(values.find("3") == nullptr);
  CHECK_THROWS_AS(detail::RecentlyUsed<int>(0), OptionError);
}

}  // namespace
}  // namespace work_queues_test
