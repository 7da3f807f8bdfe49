#include <array>
#include <vector>

#include "refrain/autograd/gradcheck.hpp"
#include "refrain/kernels/run.hpp"
#include "refrain/kernels/steps.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/steps.hpp"
#include "support/catch.hpp"
#include "support/variables.hpp"

namespace {

using namespace refrain;
using test::garbage;
using test::leaf;
using test::random_tensor;
using test::weighted;

double element(const Tensor& x, std::int64_t i, std::int64_t j, std::int64_t k) {
  const std::int64_t place = (i * x.size(1) + j) * x.size(2) + k;
  return x.dtype() == DType::f32 ? static_cast<double>(x.data<float>()[place])
                                 : x.data<double>()[place];
}

}  // namespace

TEMPLATE_TEST_CASE("steps: kernels against naive loops", "[kernel]", float, double) {
  using T = TestType;
  for (const auto& [steps, batch, width] :
       {std::array<std::int64_t, 3>{1, 1, 1}, {7, 3, 5}, {13, 31, 17}, {6, 64, 65}}) {
    INFO(steps << " x " << batch << " x " << width);
    const Tensor x = random_tensor<T>({steps, batch, width}, 1);
    const std::vector<std::int64_t> ends =
        steps == 1 ? std::vector<std::int64_t>{1} : std::vector<std::int64_t>{1, 4, steps};
    const auto spans_count = static_cast<std::int64_t>(ends.size());
    const Tensor spans = random_tensor<T>({spans_count, batch, width}, 2);
    Tensor ids({spans_count}, DType::i32);
    for (std::size_t k = 0; k < ends.size(); ++k)
      ids.data<std::int32_t>()[k] = static_cast<std::int32_t>(ends[k]);
    const std::vector<Tensor> results = test::same_for_any_threads([&] {
      Tensor swapped = garbage<T>({batch, steps, width});
      Tensor added = garbage<T>({steps, batch, width});
      Tensor sums = garbage<T>({spans_count, batch, width});
      kernels::run(kernels::SwapAxes{.x = x, .y = swapped});
      kernels::run(kernels::AddSpans{.x = x, .spans = spans, .ends = ids, .y = added});
      kernels::run(kernels::SumSpans{.dy = x, .ends = ids, .dspans = sums});
      return std::vector<Tensor>{swapped, added, sums};
    });
    double worst = 0;
    for (std::int64_t b = 0; b < batch; ++b) {
      for (std::int64_t c = 0; c < width; ++c) {
        std::int64_t k = 0;
        double sum = 0;
        for (std::int64_t t = 0; t < steps; ++t) {
          worst = std::max(worst, std::abs(element(results[0], b, t, c) - element(x, t, b, c)));
          worst = std::max(worst, std::abs(element(results[1], t, b, c) - element(x, t, b, c) -
                                           element(spans, k, b, c)));
          sum += element(x, t, b, c);
          if (t + 1 == ends[static_cast<std::size_t>(k)]) {
            worst = std::max(worst, std::abs(element(results[2], k, b, c) - sum));
            sum = 0;
            ++k;
          }
        }
      }
    }
    CHECK(worst <= (sizeof(T) == 4 ? 2e-6 : 1e-14));
  }
}

TEST_CASE("gradcheck: operations on steps", "[ops][grad]") {
  const Variable x = leaf({5, 2, 3}, 1);
  const Variable spans = leaf({2, 2, 3}, 2);
  const std::vector<std::int64_t> ends{2, 5};
  CHECK(gradcheck([&] { return weighted(slice_steps(x, 1, 4)); }, {x}).empty());
  CHECK(gradcheck([&] { return weighted(one_step(x, -1)); }, {x}).empty());
  CHECK(gradcheck([&] { return weighted(swap_batch_time(x)); }, {x}).empty());
  CHECK(gradcheck([&] { return weighted(add_spans(x, spans, ends)); }, {x, spans}).empty());
  // Overlapping slices of a value, which may itself be the result of an operation.
  CHECK(gradcheck(
            [&] {
              const Variable y = multiply(x, x);
              const std::array<Variable, 4> pieces{slice_steps(y, 0, 3), spans,
                                                   slice_steps(y, 2, 5), spans};
              return weighted(concat_steps(pieces));
            },
            {x, spans})
            .empty());
}

TEST_CASE("steps: slices share elements and empty pieces are allowed", "[ops]") {
  const Variable x = leaf({4, 2, 3}, 1);
  CHECK(slice_steps(x, 1, 3).value().shares_storage_with(x.value()));
  CHECK(slice_steps(x, 2, 2).shape() == Shape{0, 2, 3});
  const std::array<Variable, 2> pieces{slice_steps(x, 2, 2), slice_steps(x, 0, 4)};
  CHECK(test::same_bytes(concat_steps(pieces).value(), x.value()));
  CHECK(test::integers(swap_batch_time(Tensor::from<std::int32_t>({2, 3}, {1, 2, 3, 4, 5, 6}))) ==
        std::vector<std::int32_t>{1, 4, 2, 5, 3, 6});
}

TEST_CASE("steps: invalid arguments are rejected", "[ops][errors]") {
  const Variable x = leaf({4, 2, 3}, 1);
  const Variable spans = leaf({2, 2, 3}, 2);
  CHECK_THROWS_AS(slice_steps(x, 3, 5), ShapeError);
  CHECK_THROWS_AS(one_step(x, 4), ShapeError);
  CHECK_THROWS_AS(one_step(x, -5), ShapeError);
  CHECK_THROWS_AS(concat_steps({}), ShapeError);
  CHECK_THROWS_AS(concat_steps(std::array<Variable, 2>{x, leaf({4, 2, 2}, 3)}), ShapeError);
  CHECK_THROWS_AS(swap_batch_time(leaf({4, 2}, 3)), ShapeError);
  CHECK_THROWS_AS(add_spans(x, spans, std::vector<std::int64_t>{2, 3}), ShapeError);
  CHECK_THROWS_AS(add_spans(x, spans, std::vector<std::int64_t>{4, 4}), ShapeError);
  CHECK_THROWS_AS(add_spans(x, spans, std::vector<std::int64_t>{4}), ShapeError);
}
