/// Heads that are bound to the rows of a bank keep their values, and get the gradients of each head
/// alone.

#include <vector>

#include "refrain/nn/head_bank.hpp"
#include "refrain/nn/loss.hpp"
#include "support/catch.hpp"
#include "support/variables.hpp"

namespace {
namespace head_bank {

using namespace refrain;
using test::message_contains;
using test::random_tensor;
using test::same_bytes;

Linear head_of(std::int64_t classes, std::uint64_t seed, std::int64_t channels = 6) {
  Random random(seed);
  Linear head({.in = channels, .out = classes}, random);
  test::redraw(head, seed);
  return head;
}

}  // namespace head_bank
}  // namespace

TEST_CASE("head bank: bound heads get the gradients of their own loss", "[nn][bank]") {
  using namespace head_bank;
  HeadBank bank({.count = 4, .channels = 6, .classes = 5, .smoothing = 0.1});
  Linear first = head_of(2, 1), second = head_of(5, 2);
  const Tensor before = first.weight().value().clone();
  bank.bind(1, first);
  bank.bind(3, second);
  CHECK(same_bytes(first.weight().value(), before));
  const Tensor rows = Tensor::from<std::int32_t>({4}, {1, 1, 3, 3});
  const Tensor targets = Tensor::from<std::int32_t>({4}, {1, 0, 4, 2});
  Variable hidden(random_tensor<float>({4, 6}, 3), true);
  for (const bool moved : {false, true}) {
    INFO("after a step of the optimizer: " << moved);
    hidden.zero_grad();
    const BankLosses losses = bank.losses(hidden, rows, targets);
    backward(losses.sum);
    bank.pass_gradients();
    std::int64_t at = 0;
    for (Linear* const bound : {&first, &second}) {
      const Variable own(hidden.value().slice(2 * at, 2 * at + 2).clone(), true);
      const Variable weight(bound->weight().value().clone(), true);
      const Variable bias(bound->bias().value().clone(), true);
      const Variable loss =
          softmax_loss(own, weight, bias, targets.slice(2 * at, 2 * at + 2), {.smoothing = 0.1});
      backward(loss);
      CHECK(same_bytes(losses.losses.slice(at, at + 1).reshape({}), loss.value()));
      CHECK(same_bytes(bound->weight().gradient().dense(), weight.gradient().dense()));
      CHECK(same_bytes(bound->bias().gradient().dense(), bias.gradient().dense()));
      CHECK(
          same_bytes(hidden.gradient().dense().slice(2 * at, 2 * at + 2), own.gradient().dense()));
      for (const NamedParameter& named : bound->parameters()) {
        named.parameter->zero_grad();
        Random(7).fill_normal(named.parameter->value(), 0.5);
      }
      ++at;
    }
  }
}

TEST_CASE("head bank: a released head keeps its values and leaves its row free", "[nn][bank]") {
  using namespace head_bank;
  HeadBank bank({.count = 2, .channels = 6, .classes = 5});
  Linear first = head_of(5, 1), second = head_of(2, 2);
  const Tensor before = first.weight().value().clone(), other = second.bias().value().clone();
  bank.bind(1, first);
  bank.release(1);
  bank.bind(1, second);
  CHECK(same_bytes(first.weight().value(), before));
  CHECK(same_bytes(second.bias().value(), other));
  const Variable hidden(random_tensor<float>({1, 6}, 3));
  const auto losses = [&](std::int32_t target) {
    return bank.losses(hidden, Tensor::full({1}, 1, DType::i32),
                       Tensor::full({1}, target, DType::i32));
  };
  CHECK_NOTHROW(losses(1));
  CHECK_THROWS_MATCHES(losses(2), ShapeError, message_contains("is outside [0, 2)"));
  bank.release(1);
  CHECK(losses(0).sum.item() == 0);  // a free row has no head
}

TEST_CASE("head bank: heads that do not fit are refused", "[nn][bank][errors]") {
  using namespace head_bank;
  HeadBank bank({.count = 2, .channels = 6, .classes = 5});
  Linear fitting = head_of(5, 1), large = head_of(6, 1), wide = head_of(2, 1, 7);
  Random random(1);
  Linear without_bias({.in = 6, .out = 2, .bias = false}, random);
  CHECK_THROWS_MATCHES(bank.bind(1, large), ShapeError,
                       message_contains("6 channels with bias and at most 5 classes, got 6 and 6"));
  CHECK_THROWS_AS(bank.bind(1, wide), ShapeError);
  CHECK_THROWS_MATCHES(bank.bind(1, without_bias), ShapeError, message_contains("without bias"));
  CHECK_THROWS_MATCHES(bank.bind(0, fitting), OptionError, message_contains("a row >= 1"));
  CHECK_THROWS_AS(bank.bind(2, fitting), OptionError);
  CHECK_THROWS_AS(HeadBank({.count = 0, .channels = 6, .classes = 5}), OptionError);
}
