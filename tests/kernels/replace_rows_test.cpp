#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "refrain/autograd/gradcheck.hpp"
#include "refrain/core/random.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/replace_rows.hpp"
#include "support/cases/rows.hpp"

namespace {

using namespace refrain;
using namespace refrain::test;

struct ReplaceRowsCase {
  Tensor x;
  Tensor ids;
  Tensor row;
};

ReplaceRowsCase make_case(std::int64_t batch, std::int64_t steps, std::int64_t channels,
                          std::uint64_t seed) {
  Random random(seed);
  ReplaceRowsCase made{Tensor({batch, steps, channels}, DType::f64),
                       Tensor({batch, steps}, DType::i32), Tensor({1, channels}, DType::f64)};
  random.fill_normal(made.x);
  random.fill_normal(made.row);
  for (std::int32_t& id : made.ids.span<std::int32_t>())
    id = static_cast<std::int32_t>(random.below(3));
  return made;
}

}  // namespace

TEMPLATE_TEST_CASE("replace_rows: forward equals the naive loop", "[kernel][replace_rows]", float,
                   double) {
  for_rows(std::array<RowCase, 4>{{{1, 1}, {6, 5}, {21, 64}, {527, 33}}},
           check_replace_rows<CpuBackend, TestType>);
}

TEST_CASE("replace_rows: gradient matches finite differences", "[kernel][replace_rows][grad]") {
  const ReplaceRowsCase c = make_case(2, 5, 3, 11);
  const Variable x(c.x, true);
  const Variable row(c.row, true);
  Tensor weights(c.x.shape(), DType::f64);
  Random(5).fill_normal(weights);
  const auto function = [&] { return dot(replace_rows(x, c.ids, 1, row), Variable(weights)); };
  CHECK(gradcheck(function, {x, row}) == "");
}

TEST_CASE(
    "replace_rows: an id that does not occur gives the row a gradient of zero and leaves x as it "
    "is",
    "[kernel][replace_rows]") {
  const ReplaceRowsCase c = make_case(2, 4, 3, 12);
  const Variable row(c.row, true);
  const Variable y = replace_rows(Variable(c.x), c.ids, 9, row);
  CHECK(std::ranges::equal(y.value().span<double>(), c.x.span<double>()));
  backward(sum(y));
  CHECK(std::ranges::all_of(row.grad().span<double>(), [](double value) { return value == 0; }));
}

TEST_CASE("replace_rows: invalid arguments are rejected", "[kernel][replace_rows]") {
  const ReplaceRowsCase c = make_case(2, 4, 3, 13);
  const Variable x(c.x);
  CHECK_THROWS_AS(replace_rows(x, c.ids, 1, Variable(Tensor::zeros({1, 4}, DType::f64))),
                  ShapeError);
  CHECK_THROWS_AS(replace_rows(x, Tensor::zeros({2, 3}, DType::i32), 1, Variable(c.row)),
                  ShapeError);
  CHECK_THROWS_AS(replace_rows(x, c.ids.to(DType::i64), 1, Variable(c.row)), DTypeError);
  CHECK_THROWS_AS(replace_rows(x, c.ids, 1, Variable(c.row.to(DType::f32))), DTypeError);
}
