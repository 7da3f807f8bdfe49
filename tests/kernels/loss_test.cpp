/// Full and sampled softmax losses and their gradients against naive loops.

#include <cstdint>
#include <vector>

#include "refrain/kernels/loss.hpp"
#include "refrain/kernels/run.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive_loss.hpp"
#include "support/tensors.hpp"

namespace {

using namespace refrain;
using test::doubles;
using test::garbage;
using test::integers;
using test::random_ids;
using test::random_tensor;
using test::naive::Values;
namespace tolerance = test::tolerance;

struct SoftmaxCase {
  std::int64_t rows, channels, items;
  bool with_bias = true;
  bool relu = false;
  std::int64_t ignored = -1;
};

template <class T>
void check_softmax(const SoftmaxCase& c, const Tensor& targets, double deviation = 1) {
  INFO("P " << c.rows << " C " << c.channels << " V " << c.items << " bias " << c.with_bias
            << " relu " << c.relu << " ignored " << c.ignored);
  const Tensor hidden = random_tensor<T>({c.rows, c.channels}, 1, deviation);
  const Tensor weight = random_tensor<T>({c.items, c.channels}, 2, deviation);
  const Tensor bias = random_tensor<T>({c.items}, 3, deviation);
  const test::naive::SoftmaxLoss expected = test::naive::softmax_loss(
      doubles(hidden), doubles(weight), c.with_bias ? doubles(bias) : Values(), integers(targets),
      static_cast<std::size_t>(c.channels), static_cast<std::int32_t>(c.ignored), c.relu);
  for (unsigned choice = 0; choice < 8; ++choice) {
    INFO("choice of gradients " << choice);
    Tensor loss = garbage<T>({});
    Tensor dhidden = garbage<T>(hidden.shape());
    Tensor dweight = garbage<T>(weight.shape());
    Tensor dbias = garbage<T>(bias.shape());
    const auto out = [&](unsigned bit, Tensor& tensor) {
      return (choice & bit) != 0 ? tensor.mutable_view() : MutableView();
    };
    kernels::run<kernels::SoftmaxLoss>({.hidden = hidden.view(),
                                        .weight = weight.view(),
                                        .bias = c.with_bias ? bias.view() : View(),
                                        .targets = targets.view(),
                                        .loss = loss.mutable_view(),
                                        .dhidden = out(1, dhidden),
                                        .dweight = out(2, dweight),
                                        .dbias = out(4, dbias),
                                        .ignored = c.ignored,
                                        .relu = c.relu});
    test::check_close<T>(loss, {expected.loss}, tolerance::sum<T>);
    if ((choice & 1) != 0) test::check_close<T>(dhidden, expected.dhidden, tolerance::sum<T>);
    if ((choice & 2) != 0) test::check_close<T>(dweight, expected.dweight, tolerance::sum<T>);
    if ((choice & 4) != 0) test::check_close<T>(dbias, expected.dbias, tolerance::sum<T>);
  }
}

struct SampledCase {
  std::int64_t rows, channels, items, samples;
  bool with_bias = true;
  bool corrected = true;
  bool remove_hits = true;
  std::int64_t ignored = -1;
};

template <class T>
void check_sampled(const SampledCase& c, const Tensor& targets, const Tensor& negatives,
                   double deviation = 1) {
  INFO("P " << c.rows << " C " << c.channels << " V " << c.items << " S " << c.samples << " bias "
            << c.with_bias << " corrected " << c.corrected << " remove_hits " << c.remove_hits
            << " ignored " << c.ignored);
  const Tensor hidden = random_tensor<T>({c.rows, c.channels}, 1, deviation);
  const Tensor weight = random_tensor<T>({c.items, c.channels}, 2, deviation);
  const Tensor bias = random_tensor<T>({c.items}, 3);
  const Tensor log_q_true = random_tensor<T>({c.rows}, 4);
  const Tensor log_q_negative = random_tensor<T>({c.samples}, 5);
  const auto given = [](bool on, const Tensor& tensor) { return on ? doubles(tensor) : Values(); };
  const test::naive::SampledLoss expected = test::naive::sampled_softmax_loss(
      doubles(hidden), doubles(weight), given(c.with_bias, bias), integers(targets),
      integers(negatives), given(c.corrected, log_q_true), given(c.corrected, log_q_negative),
      static_cast<std::size_t>(c.channels), static_cast<std::int32_t>(c.ignored), c.remove_hits);
  for (unsigned choice = 0; choice < 8; ++choice) {
    INFO("choice of gradients " << choice);
    Tensor loss = garbage<T>({});
    Tensor dhidden = garbage<T>(hidden.shape());
    Tensor dweight = garbage<T>({c.samples + c.rows, c.channels});
    Tensor dbias = garbage<T>({c.samples + c.rows});
    const auto out = [&](unsigned bit, Tensor& tensor) {
      return (choice & bit) != 0 ? tensor.mutable_view() : MutableView();
    };
    kernels::run<kernels::SampledSoftmaxLoss>(
        {.hidden = hidden.view(),
         .weight = weight.view(),
         .bias = c.with_bias ? bias.view() : View(),
         .targets = targets.view(),
         .negatives = negatives.view(),
         .log_q_true = c.corrected ? log_q_true.view() : View(),
         .log_q_negative = c.corrected ? log_q_negative.view() : View(),
         .loss = loss.mutable_view(),
         .dhidden = out(1, dhidden),
         .dweight_rows = out(2, dweight),
         .dbias_rows = out(4, dbias),
         .ignored = c.ignored,
         .remove_hits = c.remove_hits});
    test::check_close<T>(loss, {expected.loss}, tolerance::sum<T>);
    if ((choice & 1) != 0) test::check_close<T>(dhidden, expected.dhidden, tolerance::sum<T>);
    if ((choice & 2) != 0) test::check_close<T>(dweight, expected.dweight_rows, tolerance::sum<T>);
    if ((choice & 4) != 0) test::check_close<T>(dbias, expected.dbias_rows, tolerance::sum<T>);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("softmax_loss: loss and gradients are the naive loops", "[kernel][loss][grad]",
                   float, double) {
  // One item; one row; widths about a vector and a tile; rows over one block of 128; items over one
  // slice of 192.
  for (const SoftmaxCase& size : std::vector<SoftmaxCase>{{1, 1, 1},
                                                          {7, 3, 1},
                                                          {1, 5, 7},
                                                          {8, 8, 8},
                                                          {9, 33, 31},
                                                          {17, 16, 32},
                                                          {5, 31, 33},
                                                          {127, 4, 191},
                                                          {128, 5, 192},
                                                          {129, 6, 193},
                                                          {300, 3, 401},
                                                          {15, 7, 1000}}) {
    const Tensor targets = random_ids(size.rows, size.items, 9);
    for (const bool with_bias : {false, true}) {
      for (const bool relu : {false, true}) {
        check_softmax<TestType>({size.rows, size.channels, size.items, with_bias, relu}, targets);
      }
    }
    check_softmax<TestType>(
        {size.rows, size.channels, size.items, true, true, targets.data<std::int32_t>()[0]},
        targets);
  }
}

TEMPLATE_TEST_CASE("softmax_loss: so many items that slices grow", "[kernel][loss][grad]", float,
                   double) {
  const std::int64_t items = 192 * 64 + 5;
  check_softmax<TestType>({3, 2, items}, random_ids(3, items, 9));
}

TEMPLATE_TEST_CASE("softmax_loss: without counted rows loss and gradients are zero",
                   "[kernel][loss]", float, double) {
  check_softmax<TestType>({5, 3, 11, true, false, 4}, Tensor::full({5}, 4, DType::i32));
  check_softmax<TestType>({0, 3, 11}, Tensor({0}, DType::i32));
}

TEMPLATE_TEST_CASE("softmax_loss: large scores neither overflow nor vanish", "[kernel][loss]",
                   float, double) {
  // Scores of some thousands; the f32 score itself is good to a few 1e-7 of that, which the
  // tolerance, relative to the largest value, covers for the loss.
  const Tensor hidden = random_tensor<TestType>({6, 8}, 1, 30);
  const Tensor weight = random_tensor<TestType>({300, 8}, 2, 30);
  const Tensor targets = random_ids(6, 300, 3);
  Tensor loss = garbage<TestType>({});
  Tensor dhidden = garbage<TestType>(hidden.shape());
  kernels::run<kernels::SoftmaxLoss>({.hidden = hidden.view(),
                                      .weight = weight.view(),
                                      .targets = targets.view(),
                                      .loss = loss.mutable_view(),
                                      .dhidden = dhidden.mutable_view()});
  const test::naive::SoftmaxLoss expected = test::naive::softmax_loss(
      doubles(hidden), doubles(weight), {}, integers(targets), 8, -1, false);
  REQUIRE(expected.loss > 1000);
  test::check_close<TestType>(loss, {expected.loss}, tolerance::sum<TestType>);
  for (const double value : doubles(dhidden)) CHECK(std::isfinite(value));
}

TEMPLATE_TEST_CASE("sampled_softmax_loss: loss and gradients are the naive loops",
                   "[kernel][loss][grad]", float, double) {
  for (const SampledCase& size : std::vector<SampledCase>{{1, 1, 1, 1},
                                                          {7, 3, 5, 1},
                                                          {9, 8, 40, 0},
                                                          {8, 33, 31, 7},
                                                          {17, 16, 32, 8},
                                                          {5, 31, 500, 9},
                                                          {128, 4, 50, 33},
                                                          {129, 5, 17, 31},
                                                          {150, 3, 60, 400}}) {
    const Tensor targets = random_ids(size.rows, size.items, 9);
    const Tensor negatives =
        random_ids(size.samples, size.items, 10);  // with repeated ids, and hits
    for (unsigned options = 0; options < 8; ++options) {
      check_sampled<TestType>({size.rows, size.channels, size.items, size.samples,
                               (options & 1) != 0, (options & 2) != 0, (options & 4) != 0},
                              targets, negatives);
    }
    check_sampled<TestType>({size.rows, size.channels, size.items, size.samples, true, true, true,
                             targets.data<std::int32_t>()[0]},
                            targets, negatives);
  }
}

TEMPLATE_TEST_CASE("sampled_softmax_loss: every candidate is a hit, and scores far below zero",
                   "[kernel][loss][grad]", float, double) {
  // With nothing but the target left the loss is 0, however small exp of the target's score is.
  const Tensor targets = Tensor::full({4}, 2, DType::i32);
  const Tensor hits = Tensor::full({5}, 2, DType::i32);
  check_sampled<TestType>({4, 3, 6, 5}, targets, hits, 20);
  check_sampled<TestType>({4, 3, 6, 0}, targets, Tensor({0}, DType::i32), 20);
  const Tensor far = Tensor::full({4, 1}, -500, dtype_of<TestType>);
  const Tensor ones = Tensor::full({6, 1}, 1, dtype_of<TestType>);
  for (const Tensor& negatives : {hits, Tensor({0}, DType::i32)}) {
    Tensor loss = garbage<TestType>({});
    Tensor dhidden = garbage<TestType>({4, 1});
    kernels::run<kernels::SampledSoftmaxLoss>({.hidden = far.view(),
                                               .weight = ones.view(),
                                               .targets = targets.view(),
                                               .negatives = negatives.view(),
                                               .loss = loss.mutable_view(),
                                               .dhidden = dhidden.mutable_view()});
    CHECK(loss.item() == 0);
    for (const double value : doubles(dhidden)) CHECK(value == 0);
  }
}

TEMPLATE_TEST_CASE("sampled_softmax_loss: without counted rows loss and gradients are zero",
                   "[kernel][loss]", float, double) {
  check_sampled<TestType>({5, 3, 11, 7, true, true, true, 4}, Tensor::full({5}, 4, DType::i32),
                          random_ids(7, 11, 2));
}
