/// The largest elements of rows against a full sort, bit-identical for any number of threads.

#include <limits>

#include "support/cases/rows.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

template <class T>
using Scores = GuardedArray<T, Device::cpu>;

/// A matrix in which all scores are equal.
template <class T>
Scores<T> equal_scores(std::int64_t rows, std::int64_t length, T score) {
  return Scores<T>({rows, length}, std::vector<T>(naive::at(rows * length), score));
}

}  // namespace

TEMPLATE_TEST_CASE("top_k: equals a full sort", "[kernel][top_k]", float, double) {
  using T = TestType;
  // The last two cases are long rows, which are split into segments; the last segment of 65,537 has
  // one score.
  const RowCase cases[] = {{0, 5},    {1, 1},     {3, 7},     {2, 64},
                           {5, 1009}, {200, 300}, {2, 65537}, {1, 200003}};
  for (const auto& [rows, length, offset] : cases) {
    for (const std::int64_t k : {std::int64_t{1}, std::int64_t{5}, std::int64_t{100}, length}) {
      if (k > length || (k == length && length > 2000)) continue;
      check_top_k<CpuBackend, T>(random_array<T, Device::cpu>({rows, length}, 10), k);
      auto ties = random_array<T, Device::cpu>({rows, length}, 11);  // few distinct scores
      for (std::int64_t i = 0; i < rows * length; ++i) ties.data()[i] = std::round(ties.data()[i]);
      check_top_k<CpuBackend, T>(ties, k);
      Scores<T> rising({rows, length});  // the worst case for a threshold
      for (std::int64_t i = 0; i < rows * length; ++i) rising.data()[i] = static_cast<T>(i);
      check_top_k<CpuBackend, T>(rising, k);
    }
  }
}

TEMPLATE_TEST_CASE("top_k: equal, tiny, huge or few largest scores", "[kernel][top_k]", float,
                   double) {
  using T = TestType;
  using Limits = std::numeric_limits<T>;
  constexpr std::int64_t length = 1000;  // long enough for a threshold from maxima of groups
  for (const T score :
       {T(0), -T(0), Limits::denorm_min(), -Limits::min(), T(3), Limits::max(), -Limits::max()}) {
    for (const std::int64_t k : {1, 2, 20, 64, 65}) {
      INFO("score " << score << ", k " << k);
      check_top_k<CpuBackend, T>(equal_scores<T>(2, length, score), k);
      auto few = equal_scores<T>(1, length, -Limits::infinity());
      for (const std::int64_t i : {7, 128 + 7, 500, 999}) few.data()[i] = score;
      check_top_k<CpuBackend, T>(few, k);
    }
  }
}

TEMPLATE_TEST_CASE("top_k: NaN ranks last, infinities first and last of the numbers",
                   "[kernel][top_k]", float, double) {
  using T = TestType;
  const T nan = std::numeric_limits<T>::quiet_NaN(), infinity = std::numeric_limits<T>::infinity();
  check_top_k<CpuBackend, T>(
      Scores<T>({2, 5}, {nan, 1, -infinity, nan, infinity, nan, nan, nan, nan, nan}), 5);
  check_top_k<CpuBackend, T>(
      Scores<T>({2, 5}, {nan, 1, -infinity, nan, infinity, nan, nan, nan, nan, nan}), 3);
  for (const std::int64_t length : {500, 1000, 70000}) {
    auto scores = equal_scores<T>(2, length, nan);
    for (const std::int64_t i : {std::int64_t{3}, length - 1}) scores.data()[i] = -infinity;
    scores.data()[length / 2] = 1;
    for (const std::int64_t k : {1, 2, 4, 70}) check_top_k<CpuBackend, T>(scores, k);
  }
}
