#include <vector>

#include "refrain/nn/chunk_schedule.hpp"
#include "support/catch.hpp"

namespace {

using refrain::ChunkSchedule;
using refrain::OptionError;

std::vector<std::int64_t> steps(const ChunkSchedule& schedule) {
  return {schedule.chunk_steps().begin(), schedule.chunk_steps().end()};
}

using Steps = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("chunk schedule: the published examples", "[nn]") {
  CHECK(steps(ChunkSchedule::pec(20, 4)) == Steps{5, 10, 15, 20});
  CHECK(steps(ChunkSchedule::tsc(20, 4)) == Steps{8, 14, 18, 20});
  CHECK(steps(ChunkSchedule::exc(20, 4)) == Steps{17, 18, 19, 20});
  CHECK(steps(ChunkSchedule::tsc(50, 9)) == Steps{14, 22, 29, 35, 40, 44, 47, 49, 50});
  CHECK(steps(ChunkSchedule::pec(22, 4)) == Steps{7, 12, 17, 22});
  CHECK(steps(ChunkSchedule::every_step(3)) == Steps{1, 2, 3});
  CHECK(ChunkSchedule::tsc(10, 6) == ChunkSchedule::pec(10, 6));
}

TEST_CASE("chunk schedule: m increasing steps within 1..T that end at T", "[nn]") {
  for (std::int64_t length = 1; length <= 60; ++length) {
    for (std::int64_t chunks = 1; chunks <= length; ++chunks) {
      for (const ChunkSchedule& schedule :
           {ChunkSchedule::pec(length, chunks), ChunkSchedule::tsc(length, chunks),
            ChunkSchedule::exc(length, chunks)}) {
        INFO(schedule);
        REQUIRE(schedule.chunks() == chunks);
        REQUIRE(schedule.is_closed());
        // of() checks the rest.
        REQUIRE(ChunkSchedule::of(steps(schedule), length) == schedule);
      }
    }
  }
}

TEST_CASE("chunk schedule: a stream keeps its period across pieces", "[nn]") {
  CHECK(steps(ChunkSchedule::every(4, 10)) == Steps{4, 8});
  CHECK(steps(ChunkSchedule::of({2, 5, 9}, 9).part(2, 7)) == Steps{3});
  CHECK(ChunkSchedule::of({2, 5, 9}, 9).part(5, 9) == ChunkSchedule::of({4}, 4));
  CHECK(steps(ChunkSchedule::every_step(9).part(4, 4)).empty());
  CHECK_THROWS_AS(ChunkSchedule::every_step(9).part(4, 10), OptionError);
  CHECK_THROWS_AS(ChunkSchedule::every_step(9).part(4, 3), OptionError);
  CHECK_FALSE(ChunkSchedule::every(4, 10).is_closed());
  CHECK(steps(ChunkSchedule::every(4, 10).closed()) == Steps{4, 8, 10});
  CHECK(steps(ChunkSchedule::every(4, 8).closed()) == Steps{4, 8});
  for (std::int64_t cut = 0; cut <= 10; ++cut) {
    Steps joined = steps(ChunkSchedule::every(4, cut));
    for (const std::int64_t step : steps(ChunkSchedule::every(4, 10 - cut, cut)))
      joined.push_back(cut + step);
    CHECK(joined == Steps{4, 8});
  }
}

TEST_CASE("chunk schedule: invalid schedules are refused", "[nn][errors]") {
  CHECK_THROWS_AS(ChunkSchedule::pec(4, 5), OptionError);
  CHECK_THROWS_AS(ChunkSchedule::tsc(4, 0), OptionError);
  CHECK_THROWS_AS(ChunkSchedule::exc(0, 0), OptionError);
  CHECK_THROWS_AS(ChunkSchedule::every(0, 5), OptionError);
  CHECK_THROWS_AS(ChunkSchedule::of({}, 5), OptionError);
  CHECK_THROWS_AS(ChunkSchedule::of({3, 3, 5}, 5), OptionError);
  CHECK_THROWS_AS(ChunkSchedule::of({4, 3, 5}, 5), OptionError);
  CHECK_THROWS_AS(ChunkSchedule::of({0, 5}, 5), OptionError);
  CHECK_THROWS_AS(ChunkSchedule::of({2, 6}, 5), OptionError);
  CHECK_THROWS_AS(ChunkSchedule::of({2, 4}, 5), OptionError);
}

TEST_CASE("chunk schedule: text", "[nn]") {
  CHECK(ChunkSchedule::tsc(20, 4).text() == "TSC, 4 chunks of 20 steps: 8 14 18 20");
  CHECK(ChunkSchedule::every_step(100).text() ==
        "every step, 100 chunks of 100 steps: 1 2 3 4 5 6 7 8 9 10 ... 100");
  CHECK(ChunkSchedule::of({7}, 7).text() == "list, 1 chunk of 7 steps: 7");
}
