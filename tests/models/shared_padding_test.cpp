/// Recurrent networks that compute the padding before short rows once.

#include "refrain/nn/shared_padding.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "refrain/autograd/gradcheck.hpp"
#include "refrain/data/batches.hpp"
#include "refrain_models/cmnrec.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/variables.hpp"

namespace refrain::test::of_shared_padding {
namespace {

constexpr std::int64_t item_count = 11;

/// Rows of these numbers of items in `steps` time steps; the last padding predicts the first item.
SequenceBatch batch_of(const std::vector<std::int64_t>& lengths, std::int64_t steps,
                       std::uint64_t seed = 5) {
  RaggedIds rows;
  Random random(seed);
  for (const std::int64_t length : lengths) {
    for (std::int64_t i = 0; i < length; ++i)
      rows.add(static_cast<std::int32_t>(special_ids + random.below(item_count - special_ids)));
    rows.end_row();
  }
  std::vector<std::int64_t> all(lengths.size());
  std::iota(all.begin(), all.end(), 0);
  return next_item_batch(rows, all, steps + 1);
}

std::vector<std::int64_t> every_step(std::int64_t steps) {
  std::vector<std::int64_t> borders(static_cast<std::size_t>(steps));
  std::iota(borders.begin(), borders.end(), 0);
  return borders;
}

std::optional<SharedPadding> shared_of(const SequenceBatch& batch) {
  return SharedPadding::of(batch.ids, batch.targets, padding_id, every_step(batch.ids.size(1)));
}

template <class Controller, std::int64_t layers, bool tied>
struct Plain {
  using Network = models::RecurrentRec<Controller>;
  static Network make(double dropout = 0, Placement placement = f64, std::int64_t hidden = 5) {
    Random random(1);
    return Network({.items = item_count,
                    .embedding = 4,
                    .hidden = hidden,
                    .layers = layers,
                    .tied = tied,
                    .dropout = dropout},
                   random, placement);
  }
};

/// chunks = 0: SRMN.
template <class Controller, std::int64_t chunks, ChunkOrder order>
struct Chunked {
  using Network = models::CmnRec<Controller>;
  static Network make(double dropout = 0, Placement placement = f64, std::int64_t hidden = 5) {
    Random random(1);
    return Network({.items = item_count,
                    .embedding = 4,
                    .hidden = hidden,
                    .words = 3,
                    .word_size = hidden - 1,
                    .attention = chunks > 0 ? hidden - 2 : 0,
                    .order = order,
                    .chunks = chunks,
                    .tied = chunks > 0,
                    .dropout = dropout},
                   random, placement);
  }
};

Tensor row_of(const Tensor& ids, std::int64_t row) { return ids.slice(row, row + 1); }

/// Gradients of all parameters, dense.
std::vector<Tensor> gradients_of(Module& network) {
  std::vector<Tensor> all;
  for (const NamedParameter& named : network.parameters())
    all.push_back(named.parameter->gradient().to_dense(named.parameter->shape()).clone());
  return all;
}

}  // namespace

#define REFRAIN_NETWORKS_OF_PADDED_ROWS                                            \
  (Plain<Gru, 1, false>), (Plain<Gru, 2, true>), (Plain<Lstm, 2, false>),          \
      (Chunked<Lstm, 0, ChunkOrder::paper>), (Chunked<Gru, 5, ChunkOrder::paper>), \
      (Chunked<Lstm, 5, ChunkOrder::reference_code>)

TEMPLATE_TEST_CASE("shared padding: loss and gradients are those of the rows one by one", "[model]",
                   REFRAIN_NETWORKS_OF_PADDED_ROWS) {
  const std::vector<std::int64_t> lengths =
      GENERATE(std::vector<std::int64_t>{3, 1, 8, 2, 31, 5, 4, 3},
               std::vector<std::int64_t>{2, 3, 4, 2, 3, 6});
  const SequenceBatch batch = batch_of(lengths, 30);
  REQUIRE(shared_of(batch));
  auto network = TestType::make();
  redraw(network, 2);
  // A batch of one row has nothing to share.
  Variable sum;
  for (std::int64_t row = 0; row < batch.ids.size(0); ++row) {
    const SequenceBatch one{row_of(batch.ids, row), row_of(batch.targets, row)};
    REQUIRE_FALSE(shared_of(one));
    if (one.counted() == 0) continue;
    const Variable part = scale(network.loss(one), static_cast<double>(one.counted()));
    sum = sum.defined() ? sum + part : part;
  }
  const Variable expected = scale(sum, 1.0 / static_cast<double>(batch.counted()));
  backward(expected);
  const std::vector<Tensor> expected_gradients = gradients_of(network);
  network.zero_grad();
  const Variable loss = network.loss(batch);
  backward(loss);
  CHECK(loss.item() == Approx(expected.item()).epsilon(1e-12));
  const std::vector<Tensor> gradients = gradients_of(network);
  REQUIRE(gradients.size() == expected_gradients.size());
  for (std::size_t i = 0; i < gradients.size(); ++i)
    check_close<double>(gradients[i].template span<double>(), doubles(expected_gradients[i]),
                        {1e-11, 1e-13});
}

TEMPLATE_TEST_CASE("shared padding: gradients are those of finite differences", "[model]",
                   REFRAIN_NETWORKS_OF_PADDED_ROWS) {
  const SequenceBatch batch = batch_of({2, 3, 2, 1, 9}, 8);
  REQUIRE(shared_of(batch));
  auto network = TestType::make();
  redraw(network, 2);
  CHECK(gradcheck([&] { return network.loss(batch); }, leaves_of(network)).empty());
}

TEMPLATE_TEST_CASE("shared padding: same bits at any number of threads, with dropout", "[model]",
                   REFRAIN_NETWORKS_OF_PADDED_ROWS) {
  const SequenceBatch batch = batch_of({3, 1, 8, 2, 31, 5, 4, 3}, 30);
  same_for_any_threads([&] {
    auto network = TestType::make(0.3);
    network.train();
    backward(network.loss(batch));
    return gradients_of(network);
  });
}

TEMPLATE_TEST_CASE("shared padding: scores have the bits of batches without", "[model]",
                   REFRAIN_NETWORKS_OF_PADDED_ROWS) {
  const auto [placement, hidden] =
      GENERATE(std::pair{f64, 5}, std::pair{Placement{}, 5}, std::pair{Placement{}, 48});
  auto network = TestType::make(0, placement, hidden);
  redraw(network, 2);
  network.eval();
  std::vector<std::int64_t> lengths{30, 0};
  for (std::int64_t row = 0; row < 38; ++row) lengths.push_back(1 + row * 7 % 9);
  const Tensor ids = batch_of(lengths, 30).ids;
  const auto borders = every_step(30);
  REQUIRE(SharedPadding::for_scores(ids, padding_id, borders));
  const Tensor scores = network.scores(ids);
  for (std::int64_t row = 0; row < ids.size(0); ++row) {
    // Eight equal rows: no product has few rows, and nothing is shared.
    Tensor same({8, 30}, DType::i32);
    for (std::int64_t copy = 0; copy < 8; ++copy)
      same.slice(copy, copy + 1).copy_from(row_of(ids, row));
    INFO("row " << row);
    CHECK(same_bytes(row_of(network.scores(same), 0), row_of(scores, row)));
  }
}

TEST_CASE("shared padding: entries are the time steps from the first target on", "[model]") {
  const std::int64_t steps = 40;
  const SequenceBatch batch = batch_of({3, 1, 8, 2, 31, 5, 4, 3, 0}, steps);
  const auto shared = shared_of(batch);
  REQUIRE(shared);
  CHECK(shared->entries() < batch.ids.numel() / 2);
  const auto counted = [](const Tensor& targets) {
    auto ids = integers(targets);
    std::erase(ids, padding_id);
    std::sort(ids.begin(), ids.end());
    return ids;
  };
  CHECK(counted(shared->arranged(batch.targets)) == counted(batch.targets));
  CHECK(counted(shared->arranged(batch.ids)) == counted(batch.ids));
  std::int64_t begin = 0, first = 0, rows = 1;
  for (const SharedPadding::Segment& segment : shared->segments()) {
    CHECK(segment.begin == begin);
    CHECK(segment.first == first);
    CHECK(segment.end > segment.begin);
    CHECK((segment.begin == 0 || segment.joining > 0));
    rows += segment.joining;
    CHECK(segment.rows == (segment.padding_rows > 0 ? rows : rows - 1));
    begin = segment.end;
    first += segment.steps() * segment.rows;
  }
  CHECK(begin == steps);
  CHECK(first == shared->entries());
  CHECK(shared->segments().back().rows == batch.ids.size(0));
}

TEST_CASE("shared padding: rows join at the given borders only", "[model]") {
  const SequenceBatch batch = batch_of({3, 1, 8, 2, 31, 5, 4, 3}, 40);
  const std::vector<std::int64_t> borders{7, 20, 33, 36, 40};
  const auto shared = SharedPadding::of(batch.ids, batch.targets, padding_id, borders);
  REQUIRE(shared);
  for (const SharedPadding::Segment& segment : shared->segments())
    CHECK((segment.begin == 0 || std::count(borders.begin(), borders.end(), segment.begin) == 1));
}

TEST_CASE("shared padding: not where it does not pay", "[model]") {
  CHECK_FALSE(shared_of(batch_of({41, 39, 41}, 40)));
  CHECK_FALSE(shared_of(batch_of({3}, 40)));
  const SequenceBatch batch = batch_of({3, 1, 2, 2, 4}, 40);
  CHECK(shared_of(batch));
  CHECK_FALSE(SharedPadding::of(batch.ids, batch.targets, padding_id, {}));
  CHECK_FALSE(SharedPadding::of(batch.ids, batch.targets, -1, every_step(40)));
}

TEST_CASE("shared padding: refuses other shapes and types", "[model]") {
  const SequenceBatch batch = batch_of({3, 1, 2}, 10);
  CHECK_THROWS_AS(SharedPadding::of(batch.ids, batch.ids.slice(0, 2), padding_id, {}), ShapeError);
  CHECK_THROWS_AS(SharedPadding::of(batch.ids.reshape({30}), batch.targets, padding_id, {}),
                  ShapeError);
  CHECK_THROWS_AS(
      SharedPadding::of(Tensor::zeros({3, 10}, DType::f32), batch.targets, padding_id, {}),
      DTypeError);
}

}  // namespace refrain::test::of_shared_padding
