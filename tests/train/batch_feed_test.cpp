/// Transfer of batches to a device; on the CPU the transfer buffers work in the same way.

#include "refrain/train/batch_feed.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

struct WeightedBatch {
  Tensor ids;
  Tensor weights;  ///< undefined in some batches

  template <class Function>
  void visit(Function&& function) {
    function(ids);
    function(weights);
  }
};

WeightedBatch make_batch(std::int64_t number) {
  const std::int64_t rows = number % 5 == 4 ? 3 : 8;  // the last batch of an epoch is shorter
  const std::uint64_t seed = static_cast<std::uint64_t>(number);
  return {random_ids(rows, 100, seed),
          number % 3 == 0 ? Tensor() : random_tensor<double>({rows, 2}, seed)};
}

}  // namespace

TEST_CASE("batch feed: batches are returned unchanged and in order", "[train]") {
  for (const bool staged : {false, true}) {
    BatchFeed<WeightedBatch> feed(Device::cpu, staged);
    CHECK(feed.is_empty());
    feed.push(make_batch(0));
    for (std::int64_t number = 0; number < 20; ++number) {
      const WeightedBatch got = feed.pop();
      const WeightedBatch expected = make_batch(number);
      CHECK(got.weights.defined() == expected.weights.defined());
      feed.push(make_batch(number + 1));  // does not change the batch in use
      CHECK(same_bytes(got.ids, expected.ids));
      if (got.weights.defined()) CHECK(same_bytes(got.weights, expected.weights));
    }
  }
}

TEST_CASE("batch feed: staged batches keep their addresses while shapes repeat", "[train]") {
  BatchFeed<WeightedBatch> feed(Device::cpu, true);
  std::vector<const void*> addresses;
  for (std::int64_t number = 0; number < 6; ++number) {
    WeightedBatch batch{random_ids(8, 100, static_cast<std::uint64_t>(number)), {}};
    feed.push(batch);
    CHECK_FALSE(feed.is_empty());
    batch.ids.fill(-1);  // the feed has its own copy
    const WeightedBatch got = feed.pop();
    CHECK(same_bytes(got.ids, random_ids(8, 100, static_cast<std::uint64_t>(number))));
    addresses.push_back(got.ids.raw());
  }
  CHECK(addresses[0] != addresses[1]);
  for (std::size_t i = 2; i < addresses.size(); ++i) CHECK(addresses[i] == addresses[i - 2]);
}

TEST_CASE("batch feed: one batch at a time", "[train]") {
  BatchFeed<WeightedBatch> feed(Device::cpu);
  CHECK_THROWS_AS(feed.pop(), Error);
  feed.push(make_batch(0));
  CHECK_THROWS_AS(feed.push(make_batch(1)), Error);
  CHECK_NOTHROW(feed.pop());
  CHECK_THROWS_AS(feed.pop(), Error);
}
