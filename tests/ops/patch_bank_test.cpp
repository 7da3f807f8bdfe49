/// Banks of patches: sequences of many tasks in one batch have the bits that each task has alone,
/// forward and backward, at any number of threads.

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "refrain/autograd/gradcheck.hpp"
#include "refrain/nn/chosen_steps.hpp"
#include "refrain/ops/conv_norm.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/replace_rows.hpp"
#include "support/catch.hpp"
#include "support/variables.hpp"

namespace {
namespace patch_bank {

using namespace refrain;
using test::garbage;
using test::random_tensor;
using test::same_bytes;

/// A batch whose sequences belong to the patches of a bank.
struct Case {
  std::string name;
  std::vector<std::int32_t> rows;    ///< of the bank, one for each sequence
  std::vector<std::int32_t> widths;  ///< of the patches; empty: all have the widest
  std::int64_t patches, steps, channels, bottleneck;
};

const std::vector<Case> cases{
    {"one task", {2, 2, 2}, {}, 3, 7, 16, 16},
    {"each sequence its own", {1, 2, 3, 4, 5}, {}, 6, 5, 32, 8},
    {"tasks of several sizes, some rows without a patch", {0, 0, 1, 3, 3, 3, 4}, {}, 5, 9, 20, 5},
    {"patches of several widths", {0, 1, 1, 2, 3, 5}, {1, 4, 16, 3, 2, 7}, 6, 11, 24, 16},
    {"more rows than a block of sums", {0, 1, 1, 2}, {3, 17, 32}, 3, 700, 33, 32},
    {"only rows without a patch", {0, 0}, {}, 2, 4, 8, 3},
    {"one step", {1, 2, 2, 4, 4, 4, 7}, {}, 8, 1, 64, 16},
};

template <class T>
Variable leaf(const Shape& shape, std::uint64_t seed, double deviation = 0.5) {
  return Variable(random_tensor<T>(shape, seed, deviation), true);
}

/// Rows [begin, end) of the outermost axis as a leaf.
Variable part_of(const Variable& whole, std::int64_t begin, std::int64_t end) {
  return Variable(whole.value().slice(begin, end).clone(), true);
}

/// The parameters of a bank, and of its rows alone.
template <class T>
struct Bank {
  explicit Bank(const Case& c)
      : widths(c.widths),
        parameters{.down = leaf<T>({c.patches, c.channels, c.bottleneck}, 11),
                   .down_bias = leaf<T>({c.patches, c.bottleneck}, 12),
                   .up = leaf<T>({c.patches, c.bottleneck, c.channels}, 13),
                   .up_bias = leaf<T>({c.patches, c.channels}, 14),
                   .bank_rows = Tensor::from<std::int32_t>(
                       {static_cast<std::int64_t>(c.rows.size())}, c.rows)},
        gamma(leaf<T>({c.patches, c.channels}, 15, 1)),
        beta(leaf<T>({c.patches, c.channels}, 16, 1)) {
    if (!widths.empty())
      parameters.widths = Tensor::from<std::int32_t>({std::ssize(widths)}, widths);
  }

  std::int64_t width(std::int64_t row) const {
    return widths.empty() ? parameters.down.size(2) : widths[static_cast<std::size_t>(row)];
  }

  /// The patch of a row as parameters of its own, of its own width.
  PatchParameters alone(std::int64_t row) const {
    const std::int64_t channels = parameters.down.size(1), own = width(row);
    const auto part = [row](const Variable& bank, const Shape& shape) {
      const std::int64_t size = bank.value().numel() / bank.size(0);
      const Tensor elements = bank.value().slice(row, row + 1).reshape({size});
      return Variable(elements.slice(0, shape.numel()).reshape(shape).clone(), true);
    };
    return {.down = part(parameters.down, {channels, own}),
            .down_bias = part(parameters.down_bias, {own}),
            .up = part(parameters.up, {own, channels}),
            .up_bias = part(parameters.up_bias, {channels})};
  }

  Variable norm_alone(const Variable& bank, std::int64_t row) const {
    return Variable(bank.value().slice(row, row + 1).reshape({bank.size(1)}).clone(), true);
  }

  std::vector<std::int32_t> widths;
  PatchParameters parameters;
  Variable gamma, beta;
};

/// True when the row of a row-sparse gradient begins with the bytes of `expected` and has zeros
/// after them.
template <class T>
bool row_equals(const Variable& bank, std::int32_t row, const Tensor& expected) {
  const RowSparse& sparse = bank.gradient().sparse();
  const std::vector<std::int32_t> rows = test::integers(sparse.rows);
  const auto found = std::find(rows.begin(), rows.end(), row);
  if (found == rows.end()) return false;
  const std::int64_t size = bank.value().numel() / bank.size(0);
  const T* const at = sparse.values.template data<T>() + (found - rows.begin()) * size;
  return std::memcmp(at, expected.raw(), expected.bytes()) == 0 &&
         std::all_of(at + expected.numel(), at + size, [](T value) { return value == T(0); });
}

/// The function of a batch under test: x, residual, the patches, gamma and beta.
using Function =
    std::function<Variable(const Variable& x, const Variable& residual, const PatchParameters&,
                           const Variable& gamma, const Variable& beta)>;

/// Compares the batch with its segments alone.
template <class T>
void check_segments(const Case& c, const Function& function, bool norms) {
  INFO(c.name);
  const std::int64_t batch = std::ssize(c.rows);
  const Bank<T> bank(c);
  const Variable x = leaf<T>({batch, c.steps, c.channels}, 1, 1);
  const Variable residual = leaf<T>({batch, c.steps, c.channels}, 2, 1);
  const Variable y = function(x, residual, bank.parameters, bank.gamma, bank.beta);
  const Tensor dy = random_tensor<T>(y.shape(), 3);
  backward(y, dy);
  for (std::int64_t begin = 0; begin < batch;) {
    const std::int32_t row = c.rows[static_cast<std::size_t>(begin)];
    std::int64_t end = begin;
    while (end < batch && c.rows[static_cast<std::size_t>(end)] == row) ++end;
    INFO("row " << row);
    const Variable own_x = part_of(x, begin, end), own_residual = part_of(residual, begin, end);
    const PatchParameters patch = row == 0 ? PatchParameters() : bank.alone(row);
    const Variable gamma = bank.norm_alone(bank.gamma, row), beta = bank.norm_alone(bank.beta, row);
    const Variable own_y = function(own_x, own_residual, patch, gamma, beta);
    CHECK(same_bytes(y.value().slice(begin, end), own_y.value()));
    backward(own_y, dy.slice(begin, end).clone());
    CHECK(same_bytes(x.gradient().dense().slice(begin, end), own_x.gradient().dense()));
    if (own_residual.gradient().defined()) {
      CHECK(same_bytes(residual.gradient().dense().slice(begin, end),
                       own_residual.gradient().dense()));
    }
    begin = end;
    if (row == 0) continue;
    const auto check = [&](const Variable& of_bank, const Variable& own) {
      CHECK(row_equals<T>(of_bank, row, own.gradient().dense()));
    };
    check(bank.parameters.down, patch.down);
    check(bank.parameters.down_bias, patch.down_bias);
    check(bank.parameters.up, patch.up);
    check(bank.parameters.up_bias, patch.up_bias);
    if (!norms) continue;
    check(bank.gamma, gamma);
    check(bank.beta, beta);
  }
}

}  // namespace patch_bank
}  // namespace

TEMPLATE_TEST_CASE("patch bank: a batch of many tasks equals each task alone", "[ops][bank]", float,
                   double) {
  using namespace patch_bank;
  using T = TestType;
  for (const int count : {1, 2, 3, 5}) {
    const test::ThreadCount scope(count);
    for (const Case& c : cases) {
      check_segments<T>(
          c,
          [](const Variable& x, const Variable&, const PatchParameters& patch, const Variable&,
             const Variable&) {
            return patch.down.defined() ? apply_patch(x, patch) : reshape(x, x.shape());
          },
          false);
    }
  }
}

TEMPLATE_TEST_CASE("patch bank: half a block of many tasks equals each task alone", "[ops][bank]",
                   float, double) {
  using namespace patch_bank;
  using T = TestType;
  for (const int count : {1, 2, 3, 5}) {
    const test::ThreadCount scope(count);
    for (const Case& c : cases) {
      const Variable weight(random_tensor<T>({3, c.channels, c.channels}, 4, 0.3));
      const Variable bias(random_tensor<T>({c.channels}, 5));
      for (const Insertion insertion : {Insertion::serial, Insertion::parallel}) {
        for (const Padding padding : {Padding::causal, Padding::same}) {
          INFO(count << " threads, insertion " << static_cast<int>(insertion));
          const auto half = [&](const Variable& x, const Variable& residual,
                                const PatchParameters& patch, const Variable& gamma,
                                const Variable& beta) {
            const Insertion own = patch.down.defined() ? insertion : Insertion::none;
            return conv_norm(x, weight, bias, gamma, beta, residual, patch,
                             {.dilation = 2, .padding = padding, .insertion = own});
          };
          check_segments<T>(c, half, true);
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("patch bank: half a block at chosen steps equals each task alone", "[ops][bank]",
                   float, double) {
  using namespace patch_bank;
  using T = TestType;
  for (const int count : {1, 2, 3, 5}) {
    const test::ThreadCount scope(count);
    for (const Case& c : cases) {
      const Variable weight(random_tensor<T>({3, c.channels, c.channels}, 4, 0.3));
      const Variable bias(random_tensor<T>({c.channels}, 5));
      for (const Insertion insertion : {Insertion::serial, Insertion::parallel}) {
        for (const std::vector<std::int64_t>& chosen :
             std::vector<std::vector<std::int64_t>>{{-1}, {0, -1}}) {
          INFO(count << " threads, insertion " << static_cast<int>(insertion));
          const ConvSteps steps(StepSet(chosen, c.steps), 3, 2, Padding::causal);
          const auto half = [&](const Variable& x, const Variable& residual,
                                const PatchParameters& patch, const Variable& gamma,
                                const Variable& beta) {
            const Insertion own = patch.down.defined() ? insertion : Insertion::none;
            Tensor residual_at({steps.own_at.numel()}, DType::i32);
            std::int32_t at = 0;
            for (std::int32_t& step : residual_at.span<std::int32_t>()) step = at++;
            return conv_norm_at_steps(x, weight, bias, gamma, beta, residual, patch,
                                      {steps.taps_at, steps.own_at, residual_at},
                                      {.dilation = 2, .insertion = own});
          };
          check_segments<T>(c, half, true);
        }
      }
    }
  }
}

TEST_CASE("patch bank: gradients equal differences", "[ops][bank][grad]") {
  using namespace patch_bank;
  for (const bool has_zero : {false, true}) {
    const Case c{"", {has_zero ? 0 : 1, 2, 2, 3}, {1, 3, 2, 1}, 4, 3, 4, 3};
    const Bank<double> bank(c);
    const Variable x = leaf<double>({4, c.steps, c.channels}, 1, 1);
    const Variable weight(random_tensor<double>({2, c.channels, c.channels}, 4));
    const Variable bias(random_tensor<double>({c.channels}, 5));
    const PatchParameters& patch = bank.parameters;
    std::vector<Variable> leaves{x, patch.down, patch.down_bias, patch.up, patch.up_bias};
    const auto alone = [&] { return test::weighted(apply_patch(x, patch)); };
    CHECK(gradcheck(alone, leaves) == "");
    // Row 0 of a bank is constant: it has no gradient.
    if (!has_zero) leaves.insert(leaves.end(), {bank.gamma, bank.beta});
    for (const Insertion insertion : {Insertion::serial, Insertion::parallel}) {
      const auto run = [&] {
        return test::weighted(conv_norm(x, weight, bias, bank.gamma, bank.beta, x, patch,
                                        {.insertion = insertion, .epsilon = 1e-2}));
      };
      CHECK(gradcheck(run, leaves) == "");
    }
  }
}

TEST_CASE("replace_rows: each sequence reads its row of a bank", "[ops][bank][grad]") {
  using namespace patch_bank;
  const std::int64_t steps = 3, channels = 5;
  const std::vector<std::int32_t> rows{0, 1, 1, 3};
  const Tensor ids = Tensor::from<std::int32_t>({4, steps}, {7, 2, 7, 7, 7, 1, 0, 0, 7, 4, 7, 5});
  const Variable x = leaf<double>({4, steps, channels}, 1), bank = leaf<double>({4, channels}, 2);
  const Tensor of_sequence = Tensor::from<std::int32_t>({4}, rows);
  const Variable y = replace_rows(x, ids, 7, bank, of_sequence);
  for (std::int64_t i = 0; i < 4 * steps; ++i) {
    const bool replaced = ids.data<std::int32_t>()[i] == 7;
    const double* const from = replaced ? bank.value().data<double>() +
                                              rows[static_cast<std::size_t>(i / steps)] * channels
                                        : x.value().data<double>() + i * channels;
    CHECK(std::equal(from, from + channels, y.value().data<double>() + i * channels));
  }
  const Variable without_zero = leaf<double>({4, channels}, 3);
  const auto run = [&] {
    return test::weighted(
        replace_rows(x, ids, 7, without_zero, Tensor::from<std::int32_t>({4}, {1, 2, 2, 3})));
  };
  CHECK(gradcheck(run, {x, without_zero}) == "");
  backward(y, random_tensor<double>(y.shape(), 4));
  CHECK(test::integers(bank.gradient().sparse().rows) == std::vector<std::int32_t>{1, 3});
  CHECK_THROWS_AS(replace_rows(x, ids, 7, bank, Tensor::from<std::int32_t>({4}, {0, 2, 1, 3})),
                  ShapeError);
  CHECK_THROWS_AS(replace_rows(x, ids, 7, leaf<double>({4, 6}, 2), of_sequence), ShapeError);
}

TEST_CASE("patch bank: rows and widths that do not fit are refused", "[ops][bank][errors]") {
  using namespace patch_bank;
  using test::message_contains;
  const Case c{"", {0, 1, 1, 3}, {2, 3, 2, 1}, 4, 3, 4, 3};
  const Bank<float> bank(c);
  const Variable x = leaf<float>({4, c.steps, c.channels}, 1);
  const auto with = [&](std::vector<std::int32_t> rows, std::vector<std::int32_t> widths) {
    PatchParameters patch = bank.parameters;
    patch.bank_rows = Tensor::from<std::int32_t>({std::ssize(rows)}, rows);
    patch.widths = Tensor::from<std::int32_t>({std::ssize(widths)}, widths);
    return apply_patch(x, patch);
  };
  const std::vector<std::int32_t> widths{1, 3, 2, 1};
  CHECK_NOTHROW(with({0, 1, 1, 3}, widths));
  CHECK_THROWS_MATCHES(with({0, 1, 0, 3}, widths), ShapeError,
                       message_contains("ascending patch.bank_rows from 0 to 3, got 0 after 1"));
  CHECK_THROWS_AS(with({0, 1, 1, 4}, widths), ShapeError);
  CHECK_THROWS_AS(with({-1, 1, 1, 3}, widths), ShapeError);
  CHECK_THROWS_MATCHES(with({0, 1, 1}, widths), ShapeError,
                       message_contains("patch.bank_rows [4]"));
  CHECK_THROWS_MATCHES(with({0, 1, 1, 3}, {1, 3, 2}), ShapeError,
                       message_contains("patch.widths [4]"));
  CHECK_THROWS_MATCHES(with({0, 1, 1, 3}, {1, 4, 2, 1}), ShapeError,
                       message_contains("patch.widths from 1 to 3, got 4"));
  PatchParameters patch = bank.parameters;
  patch.bank_rows = random_tensor<float>({4}, 1);
  CHECK_THROWS_AS(apply_patch(x, patch), DTypeError);
  patch = bank.parameters;
  patch.up_bias = part_of(patch.up_bias, 0, 3);
  CHECK_THROWS_MATCHES(apply_patch(x, patch), ShapeError, message_contains("patch.up_bias"));
}
