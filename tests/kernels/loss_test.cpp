/// Full and sampled softmax losses and their gradients against naive loops.

#include "support/cases/loss.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("softmax_loss: loss and gradients equal the naive loops", "[kernel][loss][grad]",
                   float, double) {
  // One item; one row; widths around a vector and a tile; more rows than a block of 128; more items
  // than a slice of 192.
  for (SoftmaxCase c :
       {SoftmaxCase{1, 1, 1}, SoftmaxCase{7, 1, 3}, SoftmaxCase{1, 7, 5}, SoftmaxCase{8, 8, 8},
        SoftmaxCase{9, 31, 33}, SoftmaxCase{17, 32, 16}, SoftmaxCase{5, 33, 31},
        SoftmaxCase{127, 191, 4}, SoftmaxCase{128, 192, 5}, SoftmaxCase{129, 193, 6},
        SoftmaxCase{300, 401, 3}, SoftmaxCase{15, 1000, 7}}) {
    for (const bool with_bias : {false, true}) {
      for (const bool relu : {false, true}) {
        c.with_bias = with_bias;
        c.relu = relu;
        SoftmaxProblem<CpuBackend, TestType>(c).check(Choices::every);
      }
    }
    SoftmaxProblem<CpuBackend, TestType> ignoring(c);
    ignoring.c.ignored = ignoring.targets.data()[0];
    ignoring.check(Choices::every);
  }
}

TEMPLATE_TEST_CASE("softmax_loss: with label smoothing loss and gradients equal the naive loops",
                   "[kernel][loss][grad]", float, double) {
  for (SoftmaxCase c : {SoftmaxCase{1, 1, 1}, SoftmaxCase{1, 7, 5}, SoftmaxCase{17, 32, 16},
                        SoftmaxCase{5, 33, 31}, SoftmaxCase{129, 193, 6}, SoftmaxCase{300, 401, 3},
                        SoftmaxCase{15, 1000, 7, false, true}, SoftmaxCase{3, 192 * 64 + 5, 2}}) {
    for (const double smoothing : {0.1, 0.75}) {
      c.smoothing = smoothing;
      SoftmaxProblem<CpuBackend, TestType> problem(c);
      problem.check(Choices::every);
      problem.c.ignored = problem.targets.data()[0];
      problem.check(Choices::all);
    }
  }
}

TEMPLATE_TEST_CASE("softmax_loss: enough items for larger slices", "[kernel][loss][grad]", float,
                   double) {
  SoftmaxProblem<CpuBackend, TestType>({3, 192 * 64 + 5, 2}).check(Choices::every);
}

TEMPLATE_TEST_CASE("softmax_loss: without counted rows loss and gradients are zero",
                   "[kernel][loss]", float, double) {
  SoftmaxProblem<CpuBackend, TestType> none({5, 11, 3, true, false, 4});
  std::fill_n(none.targets.data(), 5, 4);
  none.check(Choices::every);
  SoftmaxProblem<CpuBackend, TestType>({0, 11, 3}).check(Choices::every);
}

TEMPLATE_TEST_CASE("softmax_loss: large scores neither overflow nor vanish", "[kernel][loss]",
                   float, double) {
  for (const double smoothing : {0.0, 0.2}) check_large_scores<CpuBackend, TestType>(smoothing);
}

TEMPLATE_TEST_CASE("sampled_softmax_loss: loss and gradients equal the naive loops",
                   "[kernel][loss][grad]", float, double) {
  for (SampledCase c :
       {SampledCase{1, 1, 1, 1}, SampledCase{7, 5, 1, 3}, SampledCase{9, 40, 0, 8},
        SampledCase{8, 31, 7, 33}, SampledCase{17, 32, 8, 16}, SampledCase{5, 500, 9, 31},
        SampledCase{128, 50, 33, 4}, SampledCase{129, 17, 31, 5}, SampledCase{150, 60, 400, 3}}) {
    for (unsigned options = 0; options < 8; ++options) {
      c.with_bias = (options & 1) != 0;
      c.corrected = (options & 2) != 0;
      c.remove_hits = (options & 4) != 0;
      SampledProblem<CpuBackend, TestType>(c).check(Choices::every);
    }
    SampledProblem<CpuBackend, TestType> ignoring(c);
    ignoring.c.ignored = ignoring.targets.data()[0];
    ignoring.check(Choices::every);
  }
}

TEMPLATE_TEST_CASE("sampled_softmax_loss: every candidate is a hit, and scores far below zero",
                   "[kernel][loss][grad]", float, double) {
  for (const std::int64_t samples : {5, 0}) {
    SampledProblem<CpuBackend, TestType> hits(
        {.rows = 4, .items = 6, .samples = samples, .channels = 3, .deviation = 20});
    std::fill_n(hits.targets.data(), 4, 2);
    std::fill_n(hits.negatives.data(), samples, 2);
    hits.check(Choices::every);
    check_nothing_but_hits<CpuBackend, TestType>(samples);
  }
}

TEMPLATE_TEST_CASE("sampled_softmax_loss: without counted rows loss and gradients are zero",
                   "[kernel][loss]", float, double) {
  SampledProblem<CpuBackend, TestType> none({5, 11, 7, 3, true, true, true, 4});
  std::fill_n(none.targets.data(), 5, 4);
  none.check(Choices::every);
}
