/// The largest elements of rows against a full sort, and the same bytes for any number of threads.

#include <limits>

#include "refrain/kernels/run.hpp"
#include "refrain/kernels/top_k.hpp"
#include "row_sizes.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

template <class T>
std::vector<Tensor> top_k(const Tensor& scores, std::int64_t k) {
  Tensor values = garbage<T>({scores.size(0), k});
  Tensor indices = Tensor::full({scores.size(0), k}, -9, DType::i32);
  kernels::run<kernels::TopK>({.scores = scores.view(),
                               .values = values.mutable_view(),
                               .indices = indices.mutable_view()});
  return {values, indices};
}

template <class T>
void check_top_k(const Tensor& scores, std::int64_t k) {
  const std::int64_t rows = scores.size(0), length = scores.size(1);
  INFO(rows << " rows of " << length << ", k " << k);
  const auto got = same_for_any_threads([&] { return top_k<T>(scores, k); });
  const auto all = doubles(scores);
  std::vector<double> values;
  std::vector<std::int32_t> indices;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::vector<double> one(all.begin() + row * length, all.begin() + (row + 1) * length);
    const auto order = naive::ranking(one);
    for (std::int64_t j = 0; j < k; ++j) {
      indices.push_back(order[naive::at(j)]);
      values.push_back(one[naive::at(order[naive::at(j)])]);
    }
  }
  CHECK(integers(got[1]) == indices);
  check_close<T>(got[0], values, tolerance::exact);
}

}  // namespace

TEMPLATE_TEST_CASE("top_k: equals a full sort", "[kernel][top_k]", float, double) {
  using T = TestType;
  // The last two are long rows, which are cut into segments; 65537 leaves a segment of one score.
  const RowSize cases[] = {{0, 5},    {1, 1},     {3, 7},     {2, 64},
                           {5, 1009}, {200, 300}, {2, 65537}, {1, 200003}};
  for (const auto [rows, length] : cases) {
    for (const std::int64_t k : {std::int64_t{1}, std::int64_t{5}, std::int64_t{100}, length}) {
      if (k > length || (k == length && length > 2000)) continue;
      check_top_k<T>(random_tensor<T>({rows, length}, 10), k);
      Tensor ties = random_tensor<T>({rows, length}, 11);  // few distinct scores
      for (T& score : ties.template span<T>()) score = std::round(score);
      check_top_k<T>(ties, k);
      Tensor rising({rows, length}, dtype_of<T>);  // the worst case for a threshold
      for (std::int64_t i = 0; i < rising.numel(); ++i) rising.data<T>()[i] = static_cast<T>(i);
      check_top_k<T>(rising, k);
    }
  }
}

TEMPLATE_TEST_CASE("top_k: rows whose best scores are equal, tiny, huge or few", "[kernel][top_k]",
                   float, double) {
  using T = TestType;
  using Limits = std::numeric_limits<T>;
  constexpr std::int64_t length = 1000;  // long enough for a threshold from maxima of groups
  for (const T score :
       {T(0), -T(0), Limits::denorm_min(), -Limits::min(), T(3), Limits::max(), -Limits::max()}) {
    for (const std::int64_t k : {1, 2, 20, 64, 65}) {
      INFO("score " << score << ", k " << k);
      check_top_k<T>(Tensor::full({2, length}, static_cast<double>(score), dtype_of<T>), k);
      Tensor few = Tensor::full({1, length}, -static_cast<double>(Limits::infinity()), dtype_of<T>);
      for (const std::int64_t i : {7, 128 + 7, 500, 999}) few.data<T>()[i] = score;
      check_top_k<T>(few, k);
    }
  }
}

TEMPLATE_TEST_CASE("top_k: NaN ranks last, infinities in their places", "[kernel][top_k]", float,
                   double) {
  using T = TestType;
  const T nan = std::numeric_limits<T>::quiet_NaN(), infinity = std::numeric_limits<T>::infinity();
  check_top_k<T>(
      Tensor::from<T>({2, 5}, {nan, 1, -infinity, nan, infinity, nan, nan, nan, nan, nan}), 5);
  check_top_k<T>(
      Tensor::from<T>({2, 5}, {nan, 1, -infinity, nan, infinity, nan, nan, nan, nan, nan}), 3);
  for (const std::int64_t length : {500, 1000, 70000}) {
    Tensor scores = Tensor::full({2, length}, nan, dtype_of<T>);
    for (const std::int64_t i : {std::int64_t{3}, length - 1}) scores.data<T>()[i] = -infinity;
    scores.data<T>()[length / 2] = 1;
    for (const std::int64_t k : {1, 2, 4, 70}) check_top_k<T>(scores, k);
  }
}
