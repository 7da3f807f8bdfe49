/// Cutting, splitting and batching of sequences.

#include <algorithm>
#include <numeric>
#include <set>
#include <vector>

#include "refrain/data/batches.hpp"
#include "refrain/data/splits.hpp"
#include "support/catch.hpp"
#include "support/ragged.hpp"

using namespace refrain;

namespace {

using test::Ids;
using test::ragged;

std::vector<Ids> lists(const RaggedIds& ids) {
  std::vector<Ids> rows;
  for (std::int64_t row = 0; row < ids.rows(); ++row)
    rows.emplace_back(ids[row].begin(), ids[row].end());
  return rows;
}

/// Rows of ids 10 r + 10, 10 r + 11, ...; row r has `lengths[r]` of them.
RaggedIds counting_rows(const std::vector<int>& lengths) {
  std::vector<Ids> rows;
  for (std::size_t r = 0; r < lengths.size(); ++r) {
    rows.emplace_back(static_cast<std::size_t>(lengths[r]));
    std::iota(rows.back().begin(), rows.back().end(), static_cast<std::int32_t>(10 * r + 10));
  }
  return ragged(rows);
}

Ids elements(const Tensor& tensor) {
  return {tensor.span<std::int32_t>().begin(), tensor.span<std::int32_t>().end()};
}

std::vector<std::int64_t> numbers(std::span<const std::int64_t> span) {
  return {span.begin(), span.end()};
}

const std::vector<std::int64_t> all_three{0, 1, 2};

}  // namespace

TEST_CASE("ragged_ids: rows have the appended items", "[data]") {
  const RaggedIds ids = ragged({{1, 2}, {}, {3}});
  CHECK(lists(ids) == std::vector<Ids>{{1, 2}, {}, {3}});
  CHECK(ids.total() == 3);
  CHECK_THROWS_AS(ids[3], OptionError);
  CHECK_THROWS_AS(ids[-1], OptionError);
}

TEST_CASE("cut: full pieces from the end, the oldest one may be shorter", "[data]") {
  const CutSequences pieces =
      cut(counting_rows({7, 3, 2, 1, 0, 6}), {.length = 3, .min_length = 2});
  CHECK(lists(pieces.rows) ==
        std::vector<Ids>{
            {11, 12, 13}, {14, 15, 16}, {20, 21, 22}, {30, 31}, {60, 61, 62}, {63, 64, 65}});
  CHECK(pieces.origin == std::vector<std::int64_t>{0, 0, 1, 2, 5, 5});
  CHECK(lists(cut(counting_rows({4}), {.length = 3}).rows) == std::vector<Ids>{{10}, {11, 12, 13}});
  CHECK_THROWS_AS(cut(counting_rows({4}), {.length = 0}), OptionError);
  CHECK_THROWS_AS(cut(counting_rows({4}), {.length = 3, .min_length = 4}), OptionError);
  CHECK_THROWS_AS(cut(counting_rows({4}), {.length = 3, .min_length = 0}), OptionError);
}

TEST_CASE("split_random: shares, each row once, the same for the same seed", "[data]") {
  const Split split = split_random(1000, {}, 7);
  CHECK(split.train.size() == 800);
  CHECK(split.valid.size() == 20);
  CHECK(split.test.size() == 180);
  std::set<std::int64_t> rows;
  for (const auto* part : {&split.train, &split.valid, &split.test}) {
    CHECK(std::is_sorted(part->begin(), part->end()));
    rows.insert(part->begin(), part->end());
  }
  CHECK(rows.size() == 1000);
  CHECK(*rows.rbegin() == 999);
  CHECK(split_random(1000, {}, 7).test == split.test);
  CHECK(split_random(1000, {}, 8).test != split.test);
  // Held-out rows are spread over all rows: their mean is near the middle (standard error about
  // 20).
  const double sum = std::accumulate(split.test.begin(), split.test.end(), 0.0);
  CHECK(std::abs(sum / 180 - 499.5) < 80);

  CHECK(split_random(1, {}, 1).train.size() == 1);
  CHECK(split_random(0, {}, 1).train.empty());
  CHECK(split_random(3, {.train = 0, .valid = 0.5, .test = 0.5}, 1).train.empty());
  CHECK_THROWS_AS(split_random(10, {.train = 0.5, .valid = 0.1, .test = 0.1}, 1), OptionError);
  CHECK_THROWS_AS(split_random(10, {.train = 1.2, .valid = -0.2, .test = 0}, 1), OptionError);
}

TEST_CASE("split_leave_last_out: the last item is tested, the one before validated", "[data]") {
  const LeaveLastOut split = split_leave_last_out(counting_rows({4, 2, 3, 0}));
  CHECK(lists(split.train) == std::vector<Ids>{{10, 11}, {20, 21}, {30}, {}});
  CHECK(lists(split.valid.rows) == std::vector<Ids>{{10, 11, 12}, {30, 31}});
  CHECK(lists(split.test.rows) == std::vector<Ids>{{10, 11, 12, 13}, {30, 31, 32}});
  CHECK(split.valid.origin == std::vector<std::int64_t>{0, 2});
  CHECK(split.test.origin == split.valid.origin);
}

TEST_CASE("batch_sampler: every row once per epoch, in an order determined by seed, epoch and step",
          "[data]") {
  std::vector<std::int64_t> given{3, 5, 8, 13, 21, 34, 55};
  BatchSampler sampler(given, {.batch_size = 3, .seed = 9});
  CHECK(sampler.steps_per_epoch() == 3);
  std::vector<std::vector<std::int64_t>> orders;
  for (std::int64_t epoch = 0; epoch < 4; ++epoch) {
    std::vector<std::int64_t> order;
    for (std::int64_t step = 0; step < 3; ++step) {
      const auto rows = numbers(sampler.rows(epoch, step));
      CHECK(rows.size() == (step == 2 ? 1u : 3u));
      order.insert(order.end(), rows.begin(), rows.end());
    }
    CHECK(std::is_permutation(order.begin(), order.end(), given.begin(), given.end()));
    orders.push_back(order);
  }
  CHECK(std::set<std::vector<std::int64_t>>(orders.begin(), orders.end()).size() == 4);

  BatchSampler resumed(given, {.batch_size = 3, .seed = 9});
  CHECK(numbers(resumed.rows(2, 1)) ==
        std::vector<std::int64_t>(orders[2].begin() + 3, orders[2].begin() + 6));
  Random a = sampler.random(2, 1);
  Random b = resumed.random(2, 1);
  Random other_step = resumed.random(2, 2);
  Random other_epoch = resumed.random(1, 1);
  const std::uint32_t bits = a.bits();
  CHECK(bits == b.bits());
  CHECK(bits != other_step.bits());
  CHECK(bits != other_epoch.bits());

  BatchSampler plain(5, {.batch_size = 2, .shuffle = Shuffle::none, .drop_last = true});
  CHECK(plain.steps_per_epoch() == 2);
  CHECK(numbers(plain.rows(7, 1)) == std::vector<std::int64_t>{2, 3});
  CHECK_THROWS_AS(plain.rows(0, 2), OptionError);
  CHECK_THROWS_AS(plain.rows(-1, 0), OptionError);
  CHECK_THROWS_AS(BatchSampler(5, {.batch_size = 0}), OptionError);
  CHECK_THROWS_AS(BatchSampler(-1, {.batch_size = 1}), OptionError);
  CHECK(BatchSampler(0, {.batch_size = 4}).steps_per_epoch() == 0);
}

TEST_CASE("batch_sampler: the slices of a batch are its rows in order, with own random numbers",
          "[data]") {
  for (const std::int64_t batch_size : {1, 5, 8, 11}) {
    BatchSampler sampler(11, {.batch_size = batch_size, .seed = 9});
    for (std::int64_t step = 0; step < sampler.steps_per_epoch(); ++step) {
      const std::vector<std::int64_t> whole = numbers(sampler.rows(1, step));
      CHECK(numbers(sampler.rows(1, step, {0, 1})) == whole);
      for (const std::int64_t count : {2, 3, 8, 16}) {
        std::vector<std::int64_t> joined;
        for (std::int64_t index = 0; index < count; ++index) {
          const auto rows = numbers(sampler.rows(1, step, {index, count}));
          joined.insert(joined.end(), rows.begin(), rows.end());
          const auto size = std::ssize(whole);
          CHECK(std::ssize(joined) == size * (index + 1) / count);
        }
        CHECK(joined == whole);
      }
    }
  }
  BatchSampler sampler(4, {.batch_size = 4, .seed = 9});
  const auto bits = [&](BatchSlice slice) { return sampler.random(0, 0, slice).bits(); };
  CHECK(bits({}) == sampler.random(0, 0).bits());
  CHECK(bits({1, 2}) == bits({1, 4}));
  CHECK(std::set<std::uint32_t>{bits({}), bits({0, 2}), bits({1, 2}), bits({2, 4})}.size() == 4);
  CHECK_THROWS_AS(sampler.rows(0, 0, {2, 2}), OptionError);
  CHECK_THROWS_AS(sampler.rows(0, 0, {-1, 2}), OptionError);
  CHECK_THROWS_AS(sampler.rows(0, 0, {0, 0}), OptionError);
}

TEST_CASE("batches: the targets that count, of whole batches and of slices", "[data]") {
  NextItemBatches batches(counting_rows({7, 3, 2, 5}), {.length = 4, .batch_size = 16});
  // The first item of a short piece is the target of the padding before it.
  CHECK(batches(0, 0).counted() == (4 + 2) + 3 + 2 + 4);
  std::int64_t sum = 0;
  for (std::int64_t index = 0; index < 3; ++index) sum += batches(0, 0, {index, 3}).counted();
  CHECK(sum == batches(0, 0).counted());
  CHECK(SequenceBatch().counted() == 0);
  CHECK(counted_ids(Tensor::from<std::int32_t>({3}, {0, 5, 0})) == 1);
}

TEST_CASE("batches: rows are right-aligned, newest items kept", "[data]") {
  const RaggedIds rows = counting_rows({2, 5, 0});
  const Tensor padded = padded_batch(rows, all_three, 3);
  CHECK(padded.shape() == Shape{3, 3});
  CHECK(elements(padded) == Ids{0, 10, 11, 22, 23, 24, 0, 0, 0});
  CHECK_THROWS_AS(padded_batch(rows, all_three, 0), OptionError);
  const std::vector<std::int64_t> beyond{3};
  CHECK_THROWS_AS(padded_batch(rows, beyond, 3), OptionError);
}

TEST_CASE("batches: next-item targets are the inputs shifted by one step", "[data]") {
  const SequenceBatch batch = next_item_batch(counting_rows({2, 5, 0}), all_three, 4);
  CHECK(batch.ids.shape() == Shape{3, 3});
  CHECK(elements(batch.ids) == Ids{0, 0, 10, 21, 22, 23, 0, 0, 0});
  CHECK(elements(batch.targets) == Ids{0, 10, 11, 22, 23, 24, 0, 0, 0});
  const std::vector<std::int64_t> first{0};
  const SequenceBatch unknown = next_item_batch(ragged({{7, 3, 8}}), first, 3);
  CHECK(elements(unknown.ids) == Ids{7, 3});
  CHECK(elements(unknown.targets) == Ids{0, 8});
  CHECK_THROWS_AS(next_item_batch(counting_rows({2}), first, 1), OptionError);
}

TEST_CASE("batches: masks hide items at the requested rate and are the only targets", "[data]") {
  const std::int64_t rows = 400;
  const std::int64_t length = 25;
  const RaggedIds sequences = counting_rows(std::vector<int>(static_cast<std::size_t>(rows), 20));
  std::vector<std::int64_t> all(static_cast<std::size_t>(rows));
  std::iota(all.begin(), all.end(), 0);
  Random random(3);
  const SequenceBatch batch = masked_batch(sequences, all, length, 0.3, random);
  const Ids original = elements(padded_batch(sequences, all, length));
  const Ids ids = elements(batch.ids);
  const Ids targets = elements(batch.targets);
  std::int64_t masked = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] == mask_id) {
      ++masked;
      REQUIRE(targets[i] == original[i]);
      REQUIRE(original[i] != padding_id);
    } else {
      REQUIRE(targets[i] == padding_id);
      REQUIRE(ids[i] == original[i]);
    }
  }
  // 8000 Bernoulli draws with p = 0.3: standard deviation 41.
  CHECK(std::abs(static_cast<double>(masked) - 2400) < 5 * 41);
  Random again(3);
  CHECK(elements(masked_batch(sequences, all, length, 0.3, again).ids) == ids);
}

TEST_CASE(
    "batches: every row has at least one mask, also at a tiny rate, and all positions are equally "
    "likely",
    "[data]") {
  const std::int64_t rows = 3000;
  const RaggedIds sequences = counting_rows(std::vector<int>(static_cast<std::size_t>(rows), 3));
  std::vector<std::int64_t> all(static_cast<std::size_t>(rows));
  std::iota(all.begin(), all.end(), 0);
  Random random(4);
  const Ids ids = elements(masked_batch(sequences, all, 4, 1e-12, random).ids);
  std::vector<int> at(4, 0);
  for (std::size_t b = 0; b < static_cast<std::size_t>(rows); ++b) {
    REQUIRE(std::count(ids.begin() + static_cast<std::ptrdiff_t>(4 * b),
                       ids.begin() + static_cast<std::ptrdiff_t>(4 * b + 4), mask_id) == 1);
    for (std::size_t t = 0; t < 4; ++t) at[t] += ids[4 * b + t] == mask_id ? 1 : 0;
  }
  CHECK(at[0] == 0);
  for (std::size_t t = 1; t < 4; ++t) CHECK(std::abs(at[t] - 1000) < 5 * 26);
  const std::vector<std::int64_t> first{0};
  CHECK(elements(masked_batch(ragged({{}}), first, 2, 0.5, random).ids) == Ids{0, 0});
  CHECK(elements(masked_batch(ragged({{3, 9}}), first, 2, 1.0, random).ids) == Ids{3, 2});
  CHECK_THROWS_AS(masked_batch(sequences, all, 4, 0.0, random), OptionError);
  CHECK_THROWS_AS(masked_batch(sequences, all, 4, 1.5, random), OptionError);
}

TEST_CASE("batches: fine-tuning reads [TCL] at the end, or at both ends", "[data]") {
  const RaggedIds rows = counting_rows({2, 5, 0});
  CHECK(elements(tcl_batch(rows, all_three, 3, TclPlacement::end)) ==
        Ids{0, 10, 11, 1, 22, 23, 24, 1, 0, 0, 0, 1});
  const Tensor both = tcl_batch(rows, all_three, 3, TclPlacement::both);
  CHECK(both.shape() == Shape{3, 5});
  CHECK(elements(both) == Ids{1, 0, 10, 11, 1, 1, 22, 23, 24, 1, 1, 0, 0, 0, 1});

  const TransferExamples examples = transfer_examples(ragged({{7, 8}, {}, {9}}));
  CHECK(examples.source == std::vector<std::int64_t>{0, 0, 2});
  CHECK(examples.target == Ids{7, 8, 9});
  const std::vector<std::int64_t> last{2};
  CHECK(transfer_examples(ragged({{7, 8}, {}, {9}}), last).target == Ids{9});
  const std::vector<std::int64_t> some{2, 1};
  const TransferBatch batch = transfer_batch(rows, examples, some, 2, TclPlacement::end);
  CHECK(elements(batch.ids) == Ids{0, 0, 1, 10, 11, 1});
  CHECK(elements(batch.targets) == Ids{9, 8});
  const std::vector<std::int64_t> beyond{3};
  CHECK_THROWS_AS(transfer_batch(rows, examples, beyond, 2, TclPlacement::end), OptionError);
}
