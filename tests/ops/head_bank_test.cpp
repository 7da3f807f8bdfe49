/// The losses of the heads of many tasks as an operation: on the CPU the bits of softmax_loss() of
/// each head alone, and its gradient.

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "refrain/autograd/gradcheck.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/softmax_loss_of_bank.hpp"
#include "support/catch.hpp"
#include "support/variables.hpp"

namespace {
namespace head_bank_op {

using namespace refrain;
using test::message_contains;
using test::random_tensor;
using test::same_bytes;

constexpr std::int64_t channels = 20, widest = 300;
const std::vector<std::int32_t> classes{0, 2, 1, 300, 17, 0, 5};

/// Heads of several sizes; the first has more rows than softmax_loss() computes at a time, one has
/// more classes than a slice, one row has no head, and one has no classes.
std::vector<std::int32_t> rows_of_batch() {
  std::vector<std::int32_t> rows(130, 1);
  rows.insert(rows.begin(), 0);
  rows.insert(rows.end(), {2, 3, 3, 4, 4, 4, 5, 6});
  return rows;
}

Tensor ids_of(const std::vector<std::int32_t>& ids) {
  return Tensor::from<std::int32_t>({std::ssize(ids)}, ids);
}

template <class T>
Variable leaf(const Shape& shape, std::uint64_t seed) {
  return Variable(random_tensor<T>(shape, seed, 0.5), true);
}

std::vector<std::int32_t> targets_of(const std::vector<std::int32_t>& rows) {
  Random random(5);
  std::vector<std::int32_t> targets;
  for (const std::int32_t row : rows) {
    const std::int64_t count = std::max(1, classes[static_cast<std::size_t>(row)]);
    targets.push_back(static_cast<std::int32_t>(random.below(count)));
  }
  return targets;
}

/// The first elements of a row, as a leaf.
Variable part_of(const Variable& bank, std::int64_t row, const Shape& shape) {
  const std::int64_t size = bank.value().numel() / bank.size(0);
  const Tensor elements = bank.value().slice(row, row + 1).reshape({size});
  return Variable(elements.slice(0, shape.numel()).reshape(shape).clone(), true);
}

/// True when the index-th row of a row-sparse gradient begins with the bytes of `expected` and has
/// zeros after them.
template <class T>
bool row_equals(const Variable& bank, std::int64_t index, const Tensor& expected) {
  const std::int64_t size = bank.value().numel() / bank.size(0);
  const T* const at = bank.gradient().sparse().values.template data<T>() + index * size;
  return std::memcmp(at, expected.raw(), expected.bytes()) == 0 &&
         std::all_of(at + expected.numel(), at + size, [](T value) { return value == T(0); });
}

template <class T>
void check_bits(double smoothing, bool weighted) {
  const std::vector<std::int32_t> rows = rows_of_batch(), targets = targets_of(rows);
  const Variable hidden = leaf<T>({std::ssize(rows), channels}, 1);
  const std::int64_t count = std::ssize(classes);
  const HeadParameters heads{leaf<T>({count, widest, channels}, 2), leaf<T>({count, widest}, 3),
                             ids_of(rows), ids_of(classes)};
  const Tensor weights = weighted ? random_tensor<T>({count}, 4) : Tensor();
  const BankLosses all = softmax_loss_of_bank(hidden, heads, ids_of(targets), weights, smoothing);
  backward(all.sum);
  CHECK(test::integers(heads.weight.gradient().sparse().rows) ==
        std::vector<std::int32_t>{1, 2, 3, 4, 5, 6});
  std::int64_t index = -1;
  for (std::int64_t begin = 0; begin < std::ssize(rows);) {
    const std::int32_t row = rows[static_cast<std::size_t>(begin)];
    std::int64_t end = begin;
    while (end < std::ssize(rows) && rows[static_cast<std::size_t>(end)] == row) ++end;
    const std::int64_t first = std::exchange(begin, end);
    const Tensor dhidden = hidden.gradient().dense().slice(first, end);
    if (row > 0) ++index;
    INFO("row " << row);
    const std::int64_t own_classes = classes[static_cast<std::size_t>(row)];
    if (own_classes == 0) {
      CHECK(same_bytes(dhidden, Tensor::zeros(dhidden.shape(), dhidden.dtype())));
      if (row > 0) CHECK(all.losses.slice(index, index + 1).item() == 0);
      continue;
    }
    const Variable own(hidden.value().slice(first, end).clone(), true);
    const Variable weight = part_of(heads.weight, row, {own_classes, channels});
    const Variable bias = part_of(heads.bias, row, {own_classes});
    Variable loss = softmax_loss(own, weight, bias, ids_of(targets).slice(first, end),
                                 {.smoothing = smoothing});
    if (weighted) loss = multiply(loss, Variable(weights.slice(row, row + 1).reshape({}).clone()));
    backward(loss);
    CHECK(same_bytes(all.losses.slice(index, index + 1).reshape({}), loss.value()));
    CHECK(same_bytes(dhidden, own.gradient().dense()));
    CHECK(row_equals<T>(heads.weight, index, weight.gradient().dense()));
    CHECK(row_equals<T>(heads.bias, index, bias.gradient().dense()));
  }
}

}  // namespace head_bank_op
}  // namespace

TEMPLATE_TEST_CASE("head bank: each head has the bits of its softmax loss alone", "[ops][bank]",
                   float, double) {
  using namespace head_bank_op;
  for (const int count : {1, 2, 3, 5, 8}) {  // more threads than heads, too
    INFO(count << " threads");
    const test::ThreadCount scope(count);
    for (const double smoothing : {0.0, 0.1}) {
      check_bits<TestType>(smoothing, false);
      check_bits<TestType>(smoothing, true);
    }
  }
}

TEST_CASE("head bank: gradients equal differences", "[ops][bank][grad]") {
  using namespace head_bank_op;
  const Variable hidden = leaf<double>({6, 4}, 1);
  const HeadParameters heads{leaf<double>({4, 5, 4}, 2), leaf<double>({4, 5}, 3),
                             ids_of({0, 1, 1, 2, 3, 3}), ids_of({0, 3, 1, 5})};
  const Tensor targets = ids_of({9, 0, 2, 0, 4, 1});
  const Tensor weights = random_tensor<double>({4}, 4);
  for (const double smoothing : {0.0, 0.2}) {
    const auto run = [&] {
      const BankLosses all = softmax_loss_of_bank(hidden, heads, targets, weights, smoothing);
      return multiply(all.sum, Variable(Tensor::full({}, 1.7, DType::f64)));
    };
    CHECK(gradcheck(run, {hidden, heads.weight, heads.bias}) == "");
  }
}

TEST_CASE("head bank: arguments that do not fit are refused", "[ops][bank][errors]") {
  using namespace head_bank_op;
  const Variable hidden = leaf<float>({3, 4}, 1);
  const HeadParameters heads{leaf<float>({3, 5, 4}, 2), leaf<float>({3, 5}, 3), ids_of({1, 1, 2}),
                             ids_of({0, 2, 5})};
  const auto run = [&](const HeadParameters& of, const std::vector<std::int32_t>& targets,
                       const Tensor& weights = {}, double smoothing = 0) {
    return softmax_loss_of_bank(hidden, of, ids_of(targets), weights, smoothing);
  };
  CHECK_NOTHROW(run(heads, {0, 1, 4}));
  CHECK_THROWS_MATCHES(run(heads, {0, 2, 4}), ShapeError,
                       message_contains("targets[1] = 2 is outside [0, 2), the classes of row 1"));
  CHECK_THROWS_MATCHES(run(heads, {0, 1, -1}), ShapeError, message_contains("targets[2] = -1"));
  CHECK_THROWS_MATCHES(run(heads, {0, 1}), ShapeError, message_contains("targets"));
  HeadParameters other = heads;
  other.classes = ids_of({0, 2, 6});
  CHECK_THROWS_MATCHES(run(other, {0, 1, 4}), ShapeError,
                       message_contains("heads.classes from 0 to 5, got 6"));
  other.classes = ids_of({0, 2});
  CHECK_THROWS_MATCHES(run(other, {0, 1, 4}), ShapeError, message_contains("heads.classes [3]"));
  other = heads;
  other.bank_rows = ids_of({1, 1, 3});
  CHECK_THROWS_MATCHES(run(other, {0, 1, 4}), ShapeError,
                       message_contains("ascending heads.bank_rows from 0 to 2, got 3 after 1"));
  other.bank_rows = ids_of({2, 1, 1});
  CHECK_THROWS_AS(run(other, {0, 1, 1}), ShapeError);
  other = heads;
  other.bias = leaf<float>({3, 4}, 3);
  CHECK_THROWS_MATCHES(run(other, {0, 1, 4}), ShapeError, message_contains("heads.bias"));
  other.bias = leaf<double>({3, 5}, 3);
  CHECK_THROWS_AS(run(other, {0, 1, 4}), DTypeError);
  CHECK_THROWS_MATCHES(run(heads, {0, 1, 4}, random_tensor<float>({2}, 1)), ShapeError,
                       message_contains("weights"));
  CHECK_THROWS_AS(run(heads, {0, 1, 4}, random_tensor<double>({3}, 1)), DTypeError);
  for (const double smoothing : {-0.1, 1.0, std::numeric_limits<double>::quiet_NaN()}) {
    CHECK_THROWS_MATCHES(run(heads, {0, 1, 4}, {}, smoothing), OptionError,
                         message_contains("softmax_loss_of_bank: smoothing"));
  }
}
