/// Sharded item tables: arguments, and ranks that differ.

#include <functional>
#include <string>
#include <vector>

#include "distributed/sharded.hpp"
#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;
using namespace refrain::test::sharded;

TEST_CASE("sharded items: ranks that differ are refused", "[distributed][errors]") {
  const auto make = [](ShardedItemsOptions options, std::uint64_t seed) {
    on_ranks(2, [&](Communicator& communicator) {
      Random random(communicator.rank() == 1 ? seed : 1);
      ShardedItemsOptions first{.count = 100, .width = 4};
      ShardedItems(communicator, communicator.rank() == 1 ? options : first, random);
    });
  };
  CHECK_NOTHROW(make({.count = 100, .width = 4}, 1));
  CHECK_THROWS_MATCHES(make({.count = 101, .width = 4}, 1), CommunicationError,
                       message_contains("items: rank 1"));
  CHECK_THROWS_MATCHES(make({.count = 100, .width = 5}, 1), CommunicationError,
                       message_contains("width: rank 1"));
  CHECK_THROWS_MATCHES(make({.count = 100, .width = 4, .dtype = DType::f64}, 1), CommunicationError,
                       message_contains("dtype: rank 1"));
  CHECK_THROWS_MATCHES(make({.count = 100, .width = 4, .adam = {.learning_rate = 0.5}}, 1),
                       CommunicationError, message_contains("learning rate: rank 1"));
  CHECK_THROWS_MATCHES(make({.count = 100, .width = 4}, 2), CommunicationError,
                       message_contains("random stream of the items: rank 1"));

  const Tensor hidden = random_tensor<float>({3, 4}, 1), ids = random_ids(3, 100, 2);
  const auto call = [](const std::function<void(ShardedItems&, bool is_second)>& body) {
    on_ranks(2, [&](Communicator& communicator) {
      Random random(1);
      ShardedItems items(communicator, {.count = 100, .width = 4}, random);
      body(items, communicator.rank() == 1);
    });
  };
  CHECK_THROWS_MATCHES(call([&](ShardedItems& items, bool is_second) {
                         if (is_second) {
                           const NoGrad off;
                           items.look_up(ids);
                         } else {
                           items.look_up(ids);
                         }
                       }),
                       CommunicationError, message_contains("differ in whether gradients"));
  CHECK_THROWS_MATCHES(call([&](ShardedItems& items, bool is_second) {
                         softmax_loss(Variable(hidden), items, ids,
                                      {.smoothing = is_second ? 0.1 : 0.2});
                       }),
                       CommunicationError, message_contains("or in label smoothing"));
  CHECK_THROWS_MATCHES(
      call([&](ShardedItems& items, bool is_second) { top_k(hidden, items, is_second ? 2 : 3); }),
      CommunicationError, message_contains("differ in k or the first id"));
  CHECK_THROWS_MATCHES(call([&](ShardedItems& items, bool is_second) {
                         rank_targets(hidden, items, ids, is_second ? 1 : 0);
                       }),
                       CommunicationError, message_contains("differ in the first id"));
  CHECK_THROWS_MATCHES(call([&](ShardedItems& items, bool is_second) {
                         items.look_up(is_second ? Tensor::full({1}, 100, DType::i32) : ids);
                       }),
                       ShapeError, message_contains("look_up: ids[0] = 100 is outside [0, 100)"));
}

TEST_CASE("sharded items: arguments are checked", "[distributed][errors]") {
  const std::unique_ptr<Communicator> communicator = alone();
  Random random(1);
  const auto make = [&](ShardedItemsOptions options) {
    ShardedItems(*communicator, options, random);
  };
  CHECK_THROWS_MATCHES(make({.count = 0, .width = 4}), OptionError,
                       message_contains("expected rows from 1 to 2147483647, got 0"));
  CHECK_THROWS_MATCHES(make({.count = 5, .width = 0}), OptionError,
                       message_contains("expected a width of at least 1, got 0"));
  CHECK_THROWS_MATCHES(make({.count = 5, .width = 4, .dtype = DType::i32}), DTypeError,
                       message_contains("expected f32 or f64, got i32"));
  CHECK_THROWS_AS(make({.count = 5, .width = 4, .adam = {.beta1 = 1}}), OptionError);

  ShardedItems items(*communicator, {.count = 100, .width = 4}, random);
  const Variable hidden(random_tensor<float>({3, 4}, 1), true);
  const Tensor ids = random_ids(3, 100, 2);
  const auto targets = [](std::int32_t id) { return Tensor::full({3}, id, DType::i32); };
  CHECK_THROWS_MATCHES(items.look_up(targets(-1)), ShapeError,
                       message_contains("ids[0] = -1 is outside [0, 100)"));
  CHECK_THROWS_AS(items.look_up(Tensor::zeros({3}, DType::i64)), DTypeError);
  CHECK_THROWS_AS(items.look_up(Tensor()), ShapeError);
  CHECK_THROWS_MATCHES(softmax_loss(hidden, items, targets(100)), ShapeError,
                       message_contains("targets[0] = 100 is outside [0, 100)"));
  CHECK_THROWS_AS(softmax_loss(hidden, items, random_ids(2, 100, 2)), ShapeError);
  CHECK_THROWS_MATCHES(softmax_loss(Variable(random_tensor<float>({3, 5}, 1)), items, ids),
                       ShapeError, message_contains("expected hidden of [3, 4], got [3, 5]"));
  CHECK_THROWS_MATCHES(softmax_loss(Variable(random_tensor<double>({3, 4}, 1)), items, ids),
                       DTypeError, message_contains("expected hidden of f32"));
  CHECK_THROWS_AS(softmax_loss(Variable(), items, ids), ShapeError);
  CHECK_THROWS_AS(softmax_loss(hidden, items, ids, {.smoothing = 1}), OptionError);
  const std::vector<Variable> two{hidden, hidden};
  CHECK_THROWS_MATCHES(softmax_loss(two, items, std::span(&ids, 1)), OptionError,
                       message_contains("expected targets of 2 slices"));
  const Candidates candidates{.ids = targets(100), .log_q_true = {}, .log_q_negative = {}};
  CHECK_THROWS_MATCHES(sampled_softmax_loss(hidden, items, ids, candidates), ShapeError,
                       message_contains("candidates.ids[0] = 100 is outside [0, 100)"));
  CHECK_THROWS_MATCHES(sampled_softmax_loss(std::span(&hidden, 1), items, std::span(&ids, 1), {}),
                       OptionError, message_contains("expected candidates of 1 slices, got 0"));
  CHECK_THROWS_AS(items.clip_gradients(0), OptionError);
  CHECK_THROWS_AS(items.clip_gradients(1, -1), OptionError);
  CHECK_THROWS_AS(top_k(hidden.value(), items, 0), ShapeError);
  CHECK_THROWS_MATCHES(top_k(hidden.value(), items, 98, 3), ShapeError,
                       message_contains("expected 1 <= k <= 97, got 98"));
  CHECK_THROWS_AS(top_k(hidden.value(), items, 5, 100), OptionError);
  CHECK_THROWS_AS(top_k(Tensor::zeros({4}, DType::f32), items, 5), ShapeError);
  CHECK_THROWS_MATCHES(rank_targets(hidden.value(), items, targets(2), 3), OptionError,
                       message_contains("expected targets from the first id 3 on, got 2"));
  CHECK_THROWS_AS(rank_targets(hidden.value(), items, random_ids(2, 100, 1)), ShapeError);
  CHECK_THROWS_AS(
      items.assign(Tensor::zeros({100, 3}, DType::f32), Tensor::zeros({100}, DType::f32)),
      ShapeError);
  CHECK_THROWS_AS(
      items.assign(Tensor::zeros({100, 4}, DType::f64), Tensor::zeros({100}, DType::f32)),
      DTypeError);
}
