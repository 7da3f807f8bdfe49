/// A network with patches is a value with the functions of the network.

#include <type_traits>
#include <vector>

#include "refrain/train/model.hpp"
#include "refrain_models/cmnrec.hpp"
#include "refrain_models/peterrec.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/variables.hpp"

namespace {

using namespace refrain;
using models::NextItNet;
using models::PatchedNextItNet;
using models::PatchSet;
using test::random_ids;
using test::redraw;
using test::same_bytes;
using test::step_of;

constexpr std::int64_t item_count = 30, step_count = 12;

NextItNet network_of(std::vector<std::int64_t> dilations, Padding padding = Padding::causal) {
  Random random(1);
  NextItNet network(
      {.items = item_count, .channels = 16, .dilations = std::move(dilations), .padding = padding},
      random);
  redraw(network, 2);
  return network;
}

PatchSet patches_for(const NextItNet& base, Insertion insertion, bool two_per_block = true) {
  Random random(3);
  PatchSet patches(base,
                   {.patches = {.insertion = insertion,
                                .two_per_block = two_per_block,
                                .start = PatchStart::random},
                    .head = {.targets = 5},
                    .tcl_id = insertion == Insertion::none ? -1 : 1},
                   random);
  redraw(patches, 40);
  return patches;
}

Tensor row_of(const Tensor& ids, std::int64_t begin, std::int64_t end) {
  return ids.reshape({ids.numel()}).slice(begin, end).reshape({1, end - begin});
}

/// Every walk of a causal network against a single pass over all time steps, bit for bit.
template <class Network>
void check_walks(const Network& network) {
  const Tensor ids = random_ids(step_count, item_count, 7).reshape({1, step_count});
  const Tensor whole = network.hidden(ids).value();
  const std::vector<Variable> chosen = network.hidden_at(ids, {-1, 4, 0});
  CHECK(same_bytes(chosen[0].value().reshape({1, 1, 16}), step_of(whole, step_count - 1)));
  CHECK(same_bytes(chosen[1].value().reshape({1, 1, 16}), step_of(whole, 4)));
  CHECK(same_bytes(chosen[2].value().reshape({1, 1, 16}), step_of(whole, 0)));
  auto stream = network.start();
  for (std::int64_t t = 0; t < step_count; ++t) {
    INFO("time step " << t);
    const Tensor id = row_of(ids, t, t + 1);
    const Tensor expected = step_of(whole, t);
    CHECK(same_bytes(network.hidden_next(stream, id).value(), expected));
    auto copy = stream;
    network.advance(stream, id);
    CHECK(same_bytes(stream.last, expected));
    CHECK(same_bytes(network.hidden_next(copy, id).value(), expected));
    CHECK(same_bytes(network.start(row_of(ids, 0, t + 1)).last, expected));
  }
}

}  // namespace

static_assert(std::is_trivially_copyable_v<PatchedNextItNet>);
// The requirements of fit(), evaluate() and recommend().
static_assert(TrainableModel<NextItNet> && ScoringModel<NextItNet>);
static_assert(TrainableModel<models::CmnRec<Lstm>> && ScoringModel<models::CmnRec<Lstm>>);
static_assert(TrainableModel<models::RecurrentRec<Gru>> && ScoringModel<models::RecurrentRec<Gru>>);

TEST_CASE("peterrec: every way to compute time steps is bit-identical to a pass over all of them",
          "[model]") {
  const NextItNet base = network_of({1, 3});
  check_walks(base);
  for (const Insertion insertion : {Insertion::none, Insertion::serial, Insertion::parallel}) {
    for (const bool two_per_block : {true, false}) {
      INFO("insertion " << static_cast<int>(insertion) << ", two per block " << two_per_block);
      const PatchSet patches = patches_for(base, insertion, two_per_block);
      check_walks(base.with(patches));
    }
  }
}

TEST_CASE("peterrec: only patches change what a network computes", "[model]") {
  for (const Padding padding : {Padding::causal, Padding::same}) {
    const NextItNet base = network_of({1, 2}, padding);
    const Tensor ids = random_ids(2 * step_count, item_count, 7).reshape({2, step_count});
    const Tensor hidden = base.hidden(ids).value();
    const PatchSet none = patches_for(base, Insertion::none);
    CHECK(same_bytes(base.with(none).hidden(ids).value(), hidden));
    const PatchSet some = patches_for(base, Insertion::serial);
    CHECK_FALSE(same_bytes(base.with(some).hidden(ids).value(), hidden));
  }
}

TEST_CASE("peterrec: [TCL] has the task's vector, every other id the base's", "[model]") {
  const NextItNet base = network_of({1});
  PatchSet patches = patches_for(base, Insertion::serial);
  const Tensor ids = Tensor::from<std::int32_t>({1, 3}, {5, 1, 7});
  const Tensor vectors = base.embed(ids).value(), patched = base.with(patches).embed(ids).value();
  CHECK(same_bytes(step_of(patched, 0), step_of(vectors, 0)));
  CHECK(same_bytes(step_of(patched, 1), patches.parameter("tcl").value().reshape({1, 1, 16})));
  CHECK_FALSE(same_bytes(step_of(patched, 1), step_of(vectors, 1)));
  CHECK(same_bytes(step_of(patched, 2), step_of(vectors, 2)));
}

TEST_CASE("peterrec: patches of another number of blocks are refused", "[model]") {
  const NextItNet base = network_of({1, 2}), longer = network_of({1, 2, 1});
  const PatchSet patches = patches_for(base, Insertion::serial);
  const PatchSet single = patches_for(base, Insertion::parallel, false);
  CHECK_THROWS_AS(longer.with(patches), ShapeError);
  CHECK_THROWS_AS(longer.with(single), ShapeError);
  CHECK_NOTHROW(base.with(patches));
  CHECK_NOTHROW(longer.with(patches_for(base, Insertion::none)));
}

TEST_CASE("peterrec: streams refuse unknown ids and non-causal networks", "[model]") {
  const NextItNet base = network_of({1});
  CHECK_THROWS_AS(base.start(Tensor({1, 0}, DType::i32)), ShapeError);
  CHECK_THROWS_AS(base.start(random_ids(4, item_count, 7).reshape({2, 2})), ShapeError);
  CHECK_THROWS_AS(network_of({1}, Padding::same).start(), OptionError);
}

TEST_CASE("models: the loss of a batch is that of its ids and targets", "[model]") {
  SequenceBatch batch{random_ids(3 * step_count, item_count, 7).reshape({3, step_count}),
                      random_ids(3 * step_count, item_count, 8).reshape({3, step_count})};
  batch.targets.data<std::int32_t>()[0] = padding_id;
  NextItNet network = network_of({1, 2});
  CHECK(network.loss(batch).item() == network.loss(batch.ids, batch.targets, padding_id).item());
  Random random(4);
  models::RecurrentRec<Gru> recurrent({.items = item_count, .embedding = 8, .hidden = 8}, random);
  CHECK(recurrent.loss(batch).item() ==
        recurrent.loss(batch.ids, batch.targets, padding_id).item());
  for (const std::int64_t chunks : {0, 3, 40}) {
    models::CmnRec<Lstm> chunked({.items = item_count,
                                  .embedding = 8,
                                  .hidden = 8,
                                  .words = 3,
                                  .word_size = 4,
                                  .attention = 4,
                                  .chunks = chunks},
                                 random);
    const ChunkSchedule schedule =
        chunks == 3 ? ChunkSchedule::tsc(step_count, 3) : ChunkSchedule::every_step(step_count);
    CHECK(chunked.schedule(step_count) == schedule);
    CHECK(chunked.loss(batch).item() ==
          chunked.loss(batch.ids, batch.targets, schedule, padding_id).item());
    CHECK(same_bytes(chunked.scores(batch.ids), chunked.scores(batch.ids, schedule)));
  }
}
