/// Full and sampled softmax losses on CUDA, emulated, against naive loops.

#include "kernels/loss/score_slice_rows.hpp"
#include "support/cases/loss.hpp"
#include "support/simt/emulated_backend.hpp"

using namespace refrain;
using namespace refrain::test;
namespace cuda = kernels::cuda;

namespace {

/// The memory of at most 40 rows of this many scores; rows are whole packs of 16 bytes.
template <class T>
std::int64_t slices_of_40(std::int64_t candidates) {
  return 40 * ((candidates * static_cast<std::int64_t>(sizeof(T)) + 15) / 16 * 16);
}

template <class T>
using Softmax = SoftmaxProblem<EmulatedBackend, T>;
template <class T>
using Sampled = SampledProblem<EmulatedBackend, T>;

}  // namespace

TEMPLATE_TEST_CASE(
    "cuda softmax_loss: loss and gradients equal the naive loops, bit-identical in every order",
    "[simt][loss]", float, double) {
  // Sizes of one; numbers of rows around those of a block (8, 16); odd numbers of items and
  // channels, and whole packs of 16 bytes; unaligned tensors; numbers of items around one round of
  // a warp (512) and of a block (4,096), half of these in f64.
  for (const SoftmaxCase& c :
       {SoftmaxCase{1, 1, 1}, SoftmaxCase{7, 3, 5, false, true},
        SoftmaxCase{16, 128, 16, true, false, 5}, SoftmaxCase{33, 129, 17, true, true},
        SoftmaxCase{9, 64, 132, false, false, 3}, SoftmaxCase{9, 65, 68, true, true, -1, 1},
        SoftmaxCase{3, 520, 8, false}, SoftmaxCase{3, 1030, 4}, SoftmaxCase{2, 4101, 1}}) {
    Softmax<TestType>(c).check(Choices::each);
  }
}

TEMPLATE_TEST_CASE(
    "cuda softmax_loss: with label smoothing loss and gradients equal the naive loops",
    "[simt][loss]", float, double) {
  // Rows of a warp and of a block, items that fill no pack, unaligned tensors, slices.
  for (SoftmaxCase c :
       {SoftmaxCase{1, 1, 1}, SoftmaxCase{7, 3, 5, false, true},
        SoftmaxCase{16, 128, 16, true, false, 5}, SoftmaxCase{9, 65, 68, true, true, -1, 1},
        SoftmaxCase{3, 1030, 4}, SoftmaxCase{2, 4101, 1}}) {
    c.smoothing = 0.1;
    Softmax<TestType>(c).check(Choices::each);
  }
  SoftmaxCase sliced{150, 130, 20, true, true, 9};
  sliced.smoothing = 0.75;
  const Softmax<TestType> problem(sliced);
  CHECK(same_bytes(problem.check(Choices::all, slices_of_40<TestType>(130)).array(0),
                   problem.check(Choices::all).array(0)));
}

TEST_CASE("cuda softmax_loss: enough rows for several parts of every sum", "[simt][loss]") {
  // 132 sums of 16 rows for dbias, in two launches.
  const Softmax<double> problem({2100, 3, 1, true, false, 1});
  problem.check(Choices::all);
}

TEMPLATE_TEST_CASE("cuda softmax_loss: several slices, some empty because of ignored rows",
                   "[simt][loss]", float, double) {
  // Slices of 38, 38, 38 and 36 rows. The counted rows fill some, and one partly; with two items
  // some slices are empty.
  for (const SoftmaxCase& c :
       {SoftmaxCase{150, 130, 20, true, true, 9}, SoftmaxCase{150, 2, 5, true, false, 1}}) {
    const Softmax<TestType> problem(c);
    const std::int64_t max_bytes = slices_of_40<TestType>(c.items);
    // The slices change neither a row's loss nor the order of rows.
    CHECK(same_bytes(problem.check(Choices::each, max_bytes).array(0),
                     problem.check(Choices::all).array(0)));
  }
}

TEST_CASE(
    "cuda softmax losses: candidates that are no whole packs are multiplied in two parts on tensor "
    "cores",
    "[simt][loss]") {
  const MathScope scope(MathMode::tf32);  // the emulated cuBLASLt multiplies exactly in every mode
  for (const std::int64_t items : {3, 64, 130, 131}) {
    const std::int64_t max_bytes = slices_of_40<float>(items);
    const Softmax<float> full({60, items, 20, true, false, 1});
    full.check(Choices::all, max_bytes);
    const Sampled<float> sampled({60, 30, items, 20, true, true, true, 7});
    sampled.check(Choices::all, max_bytes);
  }
}

TEMPLATE_TEST_CASE(
    "cuda softmax_loss: ignored rows may have any values, and without counted rows all results are "
    "zero",
    "[simt][loss]", float, double) {
  Softmax<TestType> some({9, 7, 12, true, false, 2});
  for (std::int64_t row = 0; row < 9; ++row) {
    some.targets.data()[row] = row % 3 == 0 ? 2 : 3;
    for (std::int64_t c = 0; row % 3 == 0 && c < 12; ++c) {
      some.hidden.data()[row * 12 + c] = std::numeric_limits<TestType>::max();
    }
  }
  some.check(Choices::each);
  some.c.smoothing = 0.1;
  some.check(Choices::each);

  Softmax<TestType> none({9, 7, 12, true, false, 2});
  std::fill_n(none.targets.data(), 9, 2);
  REQUIRE(none.expected().loss == 0);
  none.check(Choices::each);
  none.c.smoothing = 0.1;
  none.check(Choices::each);
  Softmax<TestType>({0, 7, 12}).check(Choices::each);
}

TEMPLATE_TEST_CASE("cuda softmax_loss: large scores neither overflow nor vanish", "[simt][loss]",
                   float, double) {
  for (const double smoothing : {0.0, 0.2})
    check_large_scores<EmulatedBackend, TestType>(smoothing);
}

TEMPLATE_TEST_CASE(
    "cuda sampled_softmax_loss: loss and gradients equal the naive loops, bit-identical in every "
    "order",
    "[simt][loss]", float, double) {
  for (const SampledCase& c :
       {SampledCase{1, 1, 1, 1, true, true, false}, SampledCase{7, 5, 1, 3},
        SampledCase{9, 40, 0, 8}, SampledCase{33, 31, 66, 33, false, false, true, 4},
        SampledCase{17, 31, 129, 132, true, false, false, 4},
        SampledCase{17, 32, 8, 68, false, true, true},
        SampledCase{5, 500, 9, 12, true, true, true, -1, 1}, SampledCase{3, 700, 600, 4},
        SampledCase{2, 300, 1030, 3}}) {
    Sampled<TestType>(c).check(Choices::each);
  }
}

TEMPLATE_TEST_CASE("cuda sampled_softmax_loss: several slices", "[simt][loss]", float, double) {
  const Sampled<TestType> problem({100, 30, 70, 20, true, true, true, 7});
  const std::int64_t max_bytes = slices_of_40<TestType>(70);
  CHECK(same_bytes(problem.check(Choices::all, max_bytes).array(0),
                   problem.check(Choices::all).array(0)));
}

TEMPLATE_TEST_CASE("cuda sampled_softmax_loss: every candidate is a hit, and scores far below zero",
                   "[simt][loss]", float, double) {
  check_nothing_but_hits<EmulatedBackend, TestType>(70);
}

TEMPLATE_TEST_CASE("cuda sampled_softmax_loss: without counted rows loss and gradients are zero",
                   "[simt][loss]", float, double) {
  Sampled<TestType> none({5, 11, 7, 3, true, true, true, 4});
  std::fill_n(none.targets.data(), 5, 4);
  REQUIRE(none.expected().loss == 0);
  none.check(Choices::each);
  Sampled<TestType>({0, 11, 7, 3}).check(Choices::each);
}

TEST_CASE("cuda softmax losses: slices are within their limits", "[simt][loss]") {
  constexpr std::int64_t max_bytes = kernels::SoftmaxLoss{}.max_score_bytes;
  const std::int64_t many = 1'024'000;
  const auto rows_of = [&](std::int64_t items) {
    return cuda::score_slice_rows(many, max_bytes, items * 4);
  };
  for (const std::int64_t items : {1, 100, 1'000, 10'000, 100'000, 700'000}) {
    INFO(items << " items");
    CHECK(rows_of(items) % 128 == 0);
    CHECK(rows_of(items) * items * 4 <= max_bytes);
  }
  CHECK(rows_of(100'000) == 896);    // 384 MiB would be 1,006 rows
  CHECK(rows_of(1'000'000) == 100);  // 384 MiB
  CHECK(rows_of(10'000'000) == 16);  // 640 MB
  CHECK(cuda::score_slice_rows(0, max_bytes, 4) == 0);
  CHECK(cuda::score_slice_rows(5, max_bytes, 4) == 5);
  // Slices of 5,120 and 4,880 instead of 6,656 and 3,344.
  CHECK(cuda::score_slice_rows(10'000, max_bytes, 60'000) == 5'120);
}
