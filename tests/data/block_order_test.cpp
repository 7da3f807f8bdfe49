/// The order of an epoch in blocks: a permutation, uniform, near in the file, the same everywhere.

#include <algorithm>
#include <numeric>
#include <thread>

#include "refrain/data/batches.hpp"
#include "refrain/data/block_order.hpp"
#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {
namespace block_order_test {

std::vector<std::int64_t> order_of(std::int64_t count, std::int64_t epoch, std::uint64_t seed = 1) {
  const BlockOrder order(count, seed);
  std::vector<std::int64_t> numbers;
  for (std::int64_t place = 0; place < count; ++place) numbers.push_back(order.at(epoch, place));
  return numbers;
}

bool is_permutation(std::vector<std::int64_t> numbers) {
  std::sort(numbers.begin(), numbers.end());
  std::vector<std::int64_t> expected(numbers.size());
  std::iota(expected.begin(), expected.end(), 0);
  return numbers == expected;
}

}  // namespace block_order_test
}  // namespace

using namespace block_order_test;

TEST_CASE("block order: a permutation for every count", "[data][sampler]") {
  for (std::int64_t count = 1; count <= 10'000; count += count < 300 ? 1 : 97) {
    INFO(count);
    REQUIRE(is_permutation(order_of(count, count % 3, 5)));
  }
  for (const std::int64_t count : {4'096, 8'191, 8'192, 8'193, 1'048'576, 1'048'577}) {
    INFO(count);
    REQUIRE(is_permutation(order_of(count, 0)));
  }
}

TEST_CASE("block order: every number is equally often at every place", "[data][sampler]") {
  // Rows and columns of the table have fixed sums, so that the sum below is chi-square with
  // (count - 1)^2 degrees of freedom times count / (count - 1). The bound is five deviations above
  // its mean.
  constexpr int epochs = 20'000;
  for (const std::int64_t count : {2, 3, 5, 8, 13, 17}) {
    INFO(count);
    const std::size_t n = static_cast<std::size_t>(count);
    std::vector<double> seen(n * n);
    for (int epoch = 0; epoch < epochs; ++epoch) {
      const std::vector<std::int64_t> numbers = order_of(count, epoch, 11);
      for (std::size_t place = 0; place < n; ++place)
        ++seen[place * n + static_cast<std::size_t>(numbers[place])];
    }
    const double expected = static_cast<double>(epochs) / static_cast<double>(count);
    double chi_square = 0;
    for (const double observed : seen)
      chi_square += (observed - expected) * (observed - expected) / expected;
    const double freedom = static_cast<double>((count - 1) * (count - 1));
    CHECK(chi_square * static_cast<double>(count - 1) / static_cast<double>(count) <
          freedom + 5 * std::sqrt(2 * freedom));
  }
}

TEST_CASE("block order: pairs of neighbours are independent of the order of the rows",
          "[data][sampler]") {
  // Among random orders the mean number of ascents (number at place + 1 is larger) is (n - 1) / 2,
  // with variance (n + 1) / 12, and one pair of places is expected to hold neighbours i, i + 1.
  constexpr std::int64_t count = 100'000;
  for (const std::int64_t epoch : {0, 1, 2}) {
    const std::vector<std::int64_t> numbers = order_of(count, epoch);
    std::int64_t ascents = 0;
    std::int64_t neighbours = 0;
    for (std::size_t i = 1; i < numbers.size(); ++i) {
      ascents += numbers[i] > numbers[i - 1] ? 1 : 0;
      neighbours += numbers[i] == numbers[i - 1] + 1 ? 1 : 0;
    }
    CHECK(std::abs(static_cast<double>(ascents) - (count - 1) / 2.0) <
          5 * std::sqrt((count + 1) / 12.0));
    CHECK(neighbours < 12);
  }
}

TEST_CASE("block order: seeds and epochs give different orders", "[data][sampler]") {
  CHECK(order_of(1'000, 0) == order_of(1'000, 0));
  CHECK(order_of(1'000, 0) != order_of(1'000, 1));
  CHECK(order_of(1'000, 0, 1) != order_of(1'000, 0, 2));
}

TEST_CASE("block order: a window reads whole blocks and no others", "[data][sampler]") {
  constexpr std::int64_t window_places = BlockOrder::block * BlockOrder::window;
  constexpr std::int64_t count = 3 * window_places + 777;
  const std::vector<std::int64_t> numbers = order_of(count, 4);
  for (std::int64_t begin = 0; begin < count; begin += window_places) {
    const std::int64_t end = std::min(begin + window_places, count);
    std::vector<std::int64_t> of_block(static_cast<std::size_t>(count / BlockOrder::block + 1));
    for (std::int64_t place = begin; place < end; ++place)
      ++of_block[static_cast<std::size_t>(numbers[static_cast<std::size_t>(place)] /
                                          BlockOrder::block)];
    // The short last block shifts the others, so that a window may have parts of two more.
    const std::int64_t used = std::count_if(of_block.begin(), of_block.end(),
                                            [](std::int64_t number) { return number > 0; });
    CHECK(used <= (end - begin) / BlockOrder::block + 2);
  }
}

TEST_CASE("block order: batches are the same for every number of threads", "[data][sampler]") {
  constexpr std::int64_t count = 5'000;
  const BatchSampler::Options options{.batch_size = 64, .seed = 3, .shuffle = Shuffle::blocks};
  BatchSampler alone(count, options);
  std::vector<std::int64_t> expected;
  for (std::int64_t step = 0; step < alone.steps_per_epoch(); ++step) {
    const auto rows = alone.rows(2, step);
    expected.insert(expected.end(), rows.begin(), rows.end());
  }
  CHECK(is_permutation(expected));
  CHECK(expected == order_of(count, 2, 3));
  for (const std::int64_t threads : {2, 3, 5}) {
    // Each worker makes every threads-th batch with a sampler of its own, the last one first.
    std::vector<std::vector<std::int64_t>> made(static_cast<std::size_t>(alone.steps_per_epoch()));
    std::vector<std::thread> workers;
    for (std::int64_t worker = 0; worker < threads; ++worker) {
      workers.emplace_back([&, worker] {
        BatchSampler own(count, options);
        for (std::int64_t step = own.steps_per_epoch() - 1; step >= 0; --step) {
          if (step % threads != worker) continue;
          const auto rows = own.rows(2, step);
          made[static_cast<std::size_t>(step)].assign(rows.begin(), rows.end());
        }
      });
    }
    for (std::thread& worker : workers) worker.join();
    std::vector<std::int64_t> joined;
    for (const auto& rows : made) joined.insert(joined.end(), rows.begin(), rows.end());
    CHECK(joined == expected);
  }
}

TEST_CASE("block order: the rows of a part, and errors", "[data][sampler]") {
  BatchSampler part({30, 10, 20}, {.batch_size = 3, .seed = 1, .shuffle = Shuffle::blocks});
  const auto rows = part.rows(0, 0);
  std::vector<std::int64_t> sorted(rows.begin(), rows.end());
  std::sort(sorted.begin(), sorted.end());
  CHECK(sorted == std::vector<std::int64_t>{10, 20, 30});
  CHECK_THROWS_AS(BlockOrder(-1, 1), OptionError);
  CHECK_THROWS_AS(BlockOrder(max_rows + 1, 1), OptionError);
  CHECK_THROWS_AS(BlockOrder(3, 1).at(0, 3), OptionError);
  CHECK_THROWS_AS(BlockOrder(3, 1).at(0, -1), OptionError);
  CHECK_THROWS_AS(BlockOrder(3, 1).at(-1, 0), OptionError);
  CHECK_THROWS_AS(BlockOrder(0, 1).at(0, 0), OptionError);
  const std::int64_t last = BlockOrder(max_rows, 1).at(0, max_rows - 1);
  CHECK(last >= 0);
  CHECK(last < max_rows);
}
