/// Networks with one item table for input and output.

#include <algorithm>
#include <cmath>
#include <string>

#include "refrain/autograd/gradcheck.hpp"
#include "refrain/data/batches.hpp"
#include "refrain/ops/matmul.hpp"
#include "refrain/train/checkpoint.hpp"
#include "refrain/train/optimizer.hpp"
#include "refrain_models/cmnrec.hpp"
#include "refrain_models/peterrec.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/scratch.hpp"
#include "support/variables.hpp"

namespace refrain::test::of_tied_tables {
namespace {

using models::NextItNet;
using test::f64;
using test::random_ids;
using test::redraw;
using test::same_bytes;

constexpr std::int64_t item_count = 12, batch_size = 2, step_count = 5;

Tensor ids_of(std::uint64_t seed) {
  return random_ids(batch_size * step_count, item_count, seed).reshape({batch_size, step_count});
}

Candidates candidates_of(std::uint64_t seed) {
  return {.ids = random_ids(6, item_count, seed), .log_q_true = {}, .log_q_negative = {}};
}

/// NextItNet with its full loss, or with its sampled one.
struct Convolution {
  using Network = NextItNet;
  static Network make(bool tied, Placement placement, bool sampled = false) {
    Random random(1);
    return Network(
        {.items = item_count, .channels = 6, .dilations = {1, 2}, .relu = !sampled, .tied = tied},
        random, placement);
  }
  static Variable loss(Network& network) { return network.loss(ids_of(3), ids_of(4)); }
  static Variable sampled_loss(Network& network) {
    return network.sampled_loss(ids_of(3), ids_of(4), candidates_of(5));
  }
  static constexpr bool is_projected = false;
};

/// GRU4Rec and LSTM4Rec.
template <class Controller, std::int64_t hidden>
struct Recurrent {
  using Network = models::RecurrentRec<Controller>;
  static Network make(bool tied, Placement placement, bool = false) {
    Random random(1);
    return Network({.items = item_count, .embedding = 4, .hidden = hidden, .tied = tied}, random,
                   placement);
  }
  static Variable loss(Network& network) { return network.loss(ids_of(3), ids_of(4)); }
  static Variable sampled_loss(Network& network) {
    return network.sampled_loss(ids_of(3), swap_batch_time(ids_of(4)), candidates_of(5));
  }
  static constexpr bool is_projected = hidden != 4;
};

/// CmnRec; no attention: SRMN.
template <class Controller, std::int64_t attention>
struct Chunked {
  using Network = models::CmnRec<Controller>;
  static ChunkSchedule schedule() {
    return attention == 0 ? ChunkSchedule::every_step(step_count)
                          : ChunkSchedule::tsc(step_count, 2);
  }
  static Network make(bool tied, Placement placement, bool = false) {
    Random random(1);
    return Network({.items = item_count,
                    .embedding = 4,
                    .hidden = 6,
                    .words = 2,
                    .word_size = 3,
                    .attention = attention,
                    .chunks = 2,
                    .tied = tied},
                   random, placement);
  }
  static Variable loss(Network& network) { return network.loss(ids_of(3), ids_of(4), schedule()); }
  static Variable sampled_loss(Network& network) {
    return network.sampled_loss(ids_of(3), swap_batch_time(ids_of(4)), candidates_of(5),
                                schedule());
  }
  static constexpr bool is_projected = true;
};

bool has_parameter(const Module& module, const std::string& name) {
  const auto all = module.parameters();
  return std::any_of(all.begin(), all.end(), [&](const auto& each) { return each.name == name; });
}

}  // namespace

#define REFRAIN_TIED_MODELS \
  Convolution, (Recurrent<Gru, 4>), (Recurrent<Lstm, 6>), (Chunked<Lstm, 3>), (Chunked<Gru, 0>)

TEMPLATE_TEST_CASE("tied tables: the gradient of the table is the sum of both uses", "[model]",
                   REFRAIN_TIED_MODELS) {
  for (const bool sampled : {false, true}) {
    INFO("sampled " << sampled);
    auto network = TestType::make(true, f64, sampled);
    redraw(network, 2);
    const auto loss = [&] {
      return sampled ? TestType::sampled_loss(network) : TestType::loss(network);
    };
    CHECK(gradcheck(loss, test::leaves_of(network)).empty());
    // Row-sparse where both uses are.
    CHECK(network.parameter("embedding.weight").gradient().is_sparse() == sampled);
  }
}

TEMPLATE_TEST_CASE("tied tables: one table is named, and a projection where widths differ",
                   "[model]", REFRAIN_TIED_MODELS) {
  const auto tied = TestType::make(true, {}), untied = TestType::make(false, {});
  CHECK(has_parameter(untied, "head.weight"));
  CHECK_FALSE(has_parameter(tied, "head.weight"));
  CHECK(has_parameter(tied, "head.bias"));
  CHECK(has_parameter(tied, "out.weight") == TestType::is_projected);
  CHECK(tied.parameter_count() < untied.parameter_count());
}

TEMPLATE_TEST_CASE("tied tables: both ends read the same rows after training steps", "[model]",
                   REFRAIN_TIED_MODELS) {
  auto network = TestType::make(true, {});
  redraw(network, 2);
  const Tensor before = network.parameter("embedding.weight").value().clone();
  Adam adam(network, {.learning_rate = 0.1});
  for (int step = 0; step < 3; ++step) {
    adam.zero_grad();
    backward(TestType::loss(network));
    adam.step();
  }
  network.eval();
  CHECK_FALSE(same_bytes(network.parameter("embedding.weight").value(), before));
  // A row that no history contains is read by the output end: only its score changes.
  const Tensor ids = ids_of(3), scores = network.scores(ids).clone();
  const auto used = test::integers(ids);
  std::int64_t unused = 0;
  while (std::find(used.begin(), used.end(), unused) != used.end()) ++unused;
  REQUIRE(unused < item_count);
  network.parameter("embedding.weight").value().slice(unused, unused + 1).fill(0);
  const Tensor changed = network.scores(ids);
  const float bias = network.parameter("head.bias").value().template data<float>()[unused];
  for (std::int64_t b = 0; b < batch_size; ++b) {
    for (std::int64_t i = 0; i < item_count; ++i) {
      const float expected = scores.template data<float>()[b * item_count + i];
      const float got = changed.template data<float>()[b * item_count + i];
      CHECK(got == (i == unused ? bias : expected));
    }
  }
}

TEMPLATE_TEST_CASE("tied tables: a file holds the table once and restores the network", "[model]",
                   REFRAIN_TIED_MODELS) {
  const test::ScratchFolder folder;
  auto network = TestType::make(true, {});
  redraw(network, 2);
  save_model(folder.path("model"), network, {});
  auto restored = TestType::make(true, {.fill = Fill::deferred});
  load_model(read_checkpoint(folder.path("model")), restored);
  CHECK(same_bytes(restored.scores(ids_of(3)), network.scores(ids_of(3))));
}

TEST_CASE("tied tables: patches learn on a frozen base, whose table gets no gradient", "[model]") {
  NextItNet base = Convolution::make(true, {});
  base.freeze();
  Random random(2);
  models::PatchSet patches(
      base, {.patches = {.bottleneck = 2}, .head = {.targets = 3}, .tcl_id = tcl_id}, random);
  const Tensor targets = random_ids(batch_size, 3, 6);
  backward(base.with(patches).loss(ids_of(3), targets));
  CHECK_FALSE(base.parameter("embedding.weight").gradient().defined());
  CHECK_FALSE(base.parameter("head.bias").gradient().defined());
  CHECK(patches.parameter("tcl").gradient().defined());
}

}  // namespace refrain::test::of_tied_tables
