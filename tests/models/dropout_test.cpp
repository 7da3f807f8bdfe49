/// Dropout as an option of the models.

#include <cmath>
#include <limits>

#include "refrain/autograd/gradcheck.hpp"
#include "refrain_models/cmnrec.hpp"
#include "refrain_models/peterrec.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/variables.hpp"

namespace refrain::test::of_dropout {
namespace {

using models::NextItNet;
using test::random_ids;
using test::redraw;
using test::same_bytes;

constexpr std::int64_t item_count = 12, batch_size = 3, step_count = 6;

SequenceBatch batch_of() {
  const auto ids = [](std::uint64_t seed) {
    return random_ids(batch_size * step_count, item_count, seed).reshape({batch_size, step_count});
  };
  return {ids(3), ids(4)};
}

template <class Network>
Network make(double dropout, Placement placement = {}) {
  Random random(1);
  if constexpr (std::is_same_v<Network, NextItNet>) {
    return Network({.items = item_count, .channels = 6, .dilations = {1, 2}, .dropout = dropout},
                   random, placement);
  } else if constexpr (requires { typename Network::Weights; }) {
    return Network({.items = item_count,
                    .embedding = 4,
                    .hidden = 6,
                    .words = 2,
                    .word_size = 3,
                    .layers = 2,
                    .attention = 3,
                    .chunks = 2,
                    .dropout = dropout},
                   random, placement);
  } else {
    return Network(
        {.items = item_count, .embedding = 4, .hidden = 6, .layers = 2, .dropout = dropout}, random,
        placement);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("models: dropout acts in training and is the identity in evaluation", "[model]",
                   NextItNet, models::RecurrentRec<Gru>, models::RecurrentRec<Lstm>,
                   models::CmnRec<Lstm>, models::CmnRec<Gru>) {
  auto plain = make<TestType>(0), dropping = make<TestType>(0.4);
  const double expected = plain.loss(batch_of()).item();
  const double first = dropping.loss(batch_of()).item();
  const double second = dropping.loss(batch_of()).item();
  CHECK(first != expected);
  CHECK(second != first);
  dropping.eval();
  CHECK(dropping.loss(batch_of()).item() == expected);
  CHECK(same_bytes(dropping.scores(batch_of().ids), plain.scores(batch_of().ids)));
}

TEMPLATE_TEST_CASE("models: gradients with dropout", "[model]", NextItNet,
                   models::RecurrentRec<Gru>, models::CmnRec<Lstm>) {
  auto network = make<TestType>(0.4, test::f64);
  redraw(network, 2);
  const auto loss = [&] {
    // The same masks at every call.
    std::uint64_t seed = 50;
    for (const NamedRandom& named : network.randoms()) *named.random = Random(seed++);
    return network.loss(batch_of());
  };
  CHECK(gradcheck(loss, test::leaves_of(network)).empty());
}

TEMPLATE_TEST_CASE("models: dropout adds a random stream only where it is an option", "[model]",
                   NextItNet, models::RecurrentRec<Gru>, models::CmnRec<Lstm>) {
  auto plain = make<TestType>(0), dropping = make<TestType>(0.4);
  CHECK(dropping.randoms().size() == plain.randoms().size() + 1);
}

TEMPLATE_TEST_CASE("models: a dropout below 0, or of 1 and more, is refused", "[model]", NextItNet,
                   models::RecurrentRec<Gru>, models::CmnRec<Lstm>) {
  for (const double dropout : {1.0, 1.5, -0.1, std::numeric_limits<double>::quiet_NaN()}) {
    CHECK_THROWS_MATCHES(make<TestType>(dropout), OptionError,
                         test::message_contains("expected 0 <= dropout < 1, got"));
  }
}

TEST_CASE("block: with dropout each element of the sum has the block's part, scaled, or not",
          "[nn]") {
  Random random(1);
  ConvBlock block({.channels = 8}, random, test::f64);
  redraw(block, 2);
  const Variable x = test::leaf({4, 10, 8}, 3);
  Dropout dropout({.keep = 0.5}, Random(5));
  const Variable y = block.with_dropout(x, dropout), whole = block(x);
  std::int64_t kept = 0, dropped = 0;
  for (std::int64_t i = 0; i < y.value().numel(); ++i) {
    const double from = x.value().data<double>()[i];
    const double part = whole.value().data<double>()[i] - from;
    const double got = y.value().data<double>()[i] - from;
    if (std::abs(part) < 1e-9) continue;  // relu
    if (got == 0) {
      ++dropped;
    } else {
      ++kept;
      CHECK(std::abs(got - 2 * part) < 1e-12);
    }
  }
  CHECK(kept > 30);
  CHECK(dropped > 30);
  dropout.eval();
  test::check_close<double>(block.with_dropout(x, dropout).value(), test::doubles(whole.value()),
                            test::tolerance::sum<double>);
}

TEST_CASE("peterrec: tasks on a base with dropout never drop in the base", "[model]") {
  auto plain = make<NextItNet>(0), dropping = make<NextItNet>(0.4);
  Random random(2), same(2);
  const models::PatchSet::Options options{.patches = {.bottleneck = 2}, .head = {.targets = 3}};
  models::PatchSet patches(plain, options, random), others(dropping, options, same);
  const Tensor ids = batch_of().ids;
  CHECK(dropping.is_training());
  CHECK(same_bytes(dropping.with(others).user(ids).value(), plain.with(patches).user(ids).value()));
}

}  // namespace refrain::test::of_dropout
