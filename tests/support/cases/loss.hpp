#pragma once
/// Losses on every backend, against naive loops.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "refrain/kernels/loss.hpp"
#include "support/cases/backend.hpp"
#include "support/cases/outputs.hpp"
#include "support/cases/rows.hpp"
#include "support/naive_loss.hpp"

namespace refrain::test {

/// A loss and its gradients with respect to rows, table and bias. Gradients are multiplied by the
/// number of rows, by which the mean divides: otherwise they would be small against the absolute
/// tolerance.
inline std::vector<Expected> loss_outputs(std::int64_t rows, std::int64_t candidates,
                                          std::int64_t channels, double loss,
                                          const naive::Values& dhidden,
                                          const naive::Values& dweight,
                                          const naive::Values& dbias) {
  const double scale = static_cast<double>(std::max<std::int64_t>(1, rows));
  return {{{1}, {loss}, true},
          {{rows, channels}, dhidden, false, scale},
          {{candidates, channels}, dweight, false, scale},
          {{candidates}, dbias, false, scale}};
}

struct SoftmaxCase {
  std::int64_t rows, items, channels;
  bool with_bias = true, relu = false;
  std::int64_t ignored = -1;
  int offset = 0;
  double deviation = 1;
  double smoothing = 0;
};

template <class Backend, class T>
struct SoftmaxProblem {
  static constexpr Device where = Backend::device;

  explicit SoftmaxProblem(const SoftmaxCase& of)
      : c(of),
        hidden(random_array<T, where>({c.rows, c.channels}, 1, c.deviation, c.offset)),
        weight(random_array<T, where>({c.items, c.channels}, 2, c.deviation, c.offset)),
        bias(random_array<T, where>({c.items}, 3, c.deviation)),
        targets(random_id_array<where>(c.rows, c.items, 4)) {}

  naive::SoftmaxLoss expected() const {
    return naive::softmax_loss(hidden.doubles(), weight.doubles(),
                               c.with_bias ? bias.doubles() : naive::Values(), targets.values(),
                               naive::at(c.channels), static_cast<std::int32_t>(c.ignored), c.relu,
                               c.smoothing);
  }
  kernels::SoftmaxLoss args(MutableView loss, MutableView dhidden, MutableView dweight,
                            MutableView dbias) const {
    return {.hidden = hidden,
            .weight = weight,
            .bias = c.with_bias ? bias.view() : View(),
            .targets = targets,
            .loss = loss,
            .dhidden = dhidden,
            .dweight = dweight,
            .dbias = dbias,
            .ignored = c.ignored,
            .relu = c.relu,
            .smoothing = c.smoothing};
  }
  Outputs<T, where> check(Choices choices, std::int64_t max_bytes = 0) const {
    INFO("P " << c.rows << " V " << c.items << " C " << c.channels << " bias " << c.with_bias
              << " relu " << c.relu << " ignored " << c.ignored << " smoothing " << c.smoothing
              << past(c.offset));
    const naive::SoftmaxLoss e = expected();
    return check_outputs<Backend, T>(
        loss_outputs(c.rows, c.items, c.channels, e.loss, e.dhidden, e.dweight, e.dbias),
        {.choices = choices, .offset = c.offset}, [&](auto& outputs) {
          kernels::SoftmaxLoss run = args(outputs[0], outputs[1], outputs[2], outputs[3]);
          if (max_bytes != 0) run.max_score_bytes = max_bytes;
          Backend::run(run);
        });
  }

  SoftmaxCase c;
  GuardedArray<T, where> hidden, weight, bias;
  GuardedArray<std::int32_t, where> targets;
};

/// Large scores neither overflow nor vanish.
template <class Backend, class T>
void check_large_scores(double smoothing = 0) {
  // Scores of some thousands. A score in f32 has a relative error of a few 1e-7; the tolerance is
  // relative to the largest value and covers this for the loss.
  const SoftmaxProblem<Backend, T> problem({6, 300, 8, false, false, -1, 0, 30, smoothing});
  const double expected = problem.expected().loss;
  REQUIRE(expected > 1000);
  GuardedArray<T, Backend::device> loss({1}), dhidden({6, 8});
  Backend::run(problem.args(loss, dhidden, {}, {}));
  check_close<T>(loss.span(), naive::Values{expected}, tolerance::sum<T>);
  for (const double value : dhidden.doubles()) CHECK(std::isfinite(value));
}

struct SampledCase {
  std::int64_t rows, items, samples, channels;
  bool with_bias = true, corrected = true, remove_hits = true;
  std::int64_t ignored = -1;
  int offset = 0;
  double deviation = 1;
};

template <class Backend, class T>
struct SampledProblem {
  static constexpr Device where = Backend::device;

  explicit SampledProblem(const SampledCase& of)
      : c(of),
        hidden(random_array<T, where>({c.rows, c.channels}, 1, c.deviation, c.offset)),
        weight(random_array<T, where>({c.items, c.channels}, 2, c.deviation, c.offset)),
        bias(random_array<T, where>({c.items}, 3)),
        log_q_true(random_array<T, where>({c.rows}, 4)),
        log_q_negative(random_array<T, where>({c.samples}, 5)),
        targets(random_id_array<where>(c.rows, c.items, 6)),
        negatives(random_id_array<where>(c.samples, c.items, 7)) {}  // with repeated ids and hits

  naive::SampledLoss expected() const {
    const auto given = [](bool on, const auto& array) {
      return on ? array.doubles() : naive::Values();
    };
    return naive::sampled_softmax_loss(
        hidden.doubles(), weight.doubles(), given(c.with_bias, bias), targets.values(),
        negatives.values(), given(c.corrected, log_q_true), given(c.corrected, log_q_negative),
        naive::at(c.channels), static_cast<std::int32_t>(c.ignored), c.remove_hits);
  }
  Outputs<T, where> check(Choices choices, std::int64_t max_bytes = 0) const {
    INFO("P " << c.rows << " V " << c.items << " S " << c.samples << " C " << c.channels << " bias "
              << c.with_bias << " corrected " << c.corrected << " remove_hits " << c.remove_hits
              << " ignored " << c.ignored << past(c.offset));
    const naive::SampledLoss e = expected();
    return check_outputs<Backend, T>(
        loss_outputs(c.rows, c.samples + c.rows, c.channels, e.loss, e.dhidden, e.dweight_rows,
                     e.dbias_rows),
        {.choices = choices, .offset = c.offset}, [&](auto& outputs) {
          kernels::SampledSoftmaxLoss args{
              .hidden = hidden,
              .weight = weight,
              .bias = c.with_bias ? bias.view() : View(),
              .targets = targets,
              .negatives = negatives,
              .log_q_true = c.corrected ? log_q_true.view() : View(),
              .log_q_negative = c.corrected ? log_q_negative.view() : View(),
              .loss = outputs[0],
              .dhidden = outputs[1],
              .dweight_rows = outputs[2],
              .dbias_rows = outputs[3],
              .ignored = c.ignored,
              .remove_hits = c.remove_hits};
          if (max_bytes != 0) args.max_score_bytes = max_bytes;
          Backend::run(args);
        });
  }

  SampledCase c;
  GuardedArray<T, where> hidden, weight, bias, log_q_true, log_q_negative;
  GuardedArray<std::int32_t, where> targets, negatives;
};

/// Every candidate is a hit: only the target remains, so the loss is exactly 0, however small
/// exp(target's score) is.
template <class Backend, class T>
void check_nothing_but_hits(std::int64_t samples) {
  SampledProblem<Backend, T> problem({5, 4, samples, 2, false, false});
  std::fill_n(problem.targets.data(), 5, 3);
  std::fill_n(problem.negatives.data(), samples, 3);
  std::fill_n(problem.hidden.data(), 10, T{-250});
  std::fill_n(problem.weight.data(), 8, T{1});
  const auto out = problem.check(Choices::all);
  for (std::size_t i = 0; i < 4; ++i) {
    for (const T value : out.array(i).span()) CHECK(value == 0);
  }
}

/// Losses of pairs of table rows.
template <class Backend, class T>
void check_pair_loss(const RowCase& c, kernels::PairLossKind kind) {
  constexpr Device where = Backend::device;
  const std::int64_t items = 13;
  INFO(text(c) << ", kind " << static_cast<int>(kind));
  const auto user = random_array<T, where>(c.shape(), 1, 0.5, c.offset),
             table = random_array<T, where>({items, c.width}, 2, 0.5, c.offset);
  const auto positives = random_id_array<where>(c.rows, items, 3),
             negatives = random_id_array<where>(c.rows, items, 4);
  const naive::PairLoss expected =
      naive::pair_loss(user.doubles(), table.doubles(), positives.values(), negatives.values(),
                       naive::at(c.width), kind == kernels::PairLossKind::bpr);
  check_outputs<Backend, T>({{{1}, {expected.loss}, true},
                             {c.shape(), expected.duser},
                             {{2 * c.rows, c.width}, expected.dtable_rows}},
                            {.offset = c.offset}, [&](auto& outputs) {
                              Backend::run(kernels::PairLoss{.user = user,
                                                             .table = table,
                                                             .positives = positives,
                                                             .negatives = negatives,
                                                             .loss = outputs[0],
                                                             .duser = outputs[1],
                                                             .dtable_rows = outputs[2],
                                                             .kind = kind});
                            });
}

/// Scores far apart: losses of 0 and 2 a for scores of a and -a, without overflow.
template <class Backend>
void check_pair_loss_far_apart() {
  constexpr Device where = Backend::device;
  using Ids = GuardedArray<std::int32_t, where>;
  const GuardedArray<float, where> table({2, 1}, {1, -1});
  const Ids first({1}, {0}), second({1}, {1});
  for (const float a : {300.0f, 1000.0f}) {
    const GuardedArray<float, where> user({1, 1}, {a});
    const auto run = [&](const Ids& positive, const Ids& negative, kernels::PairLossKind kind) {
      GuardedArray<float, where> loss({1}), duser({1, 1});
      Backend::run(kernels::PairLoss{.user = user,
                                     .table = table,
                                     .positives = positive,
                                     .negatives = negative,
                                     .loss = loss,
                                     .duser = duser,
                                     .kind = kind});
      return std::vector<double>{loss.data()[0], duser.data()[0]};
    };
    // The gradient is the difference of the rows, with the sign that reduces the loss.
    for (const auto kind : {kernels::PairLossKind::bpr, kernels::PairLossKind::logistic}) {
      CHECK(run(first, second, kind) == std::vector<double>{0, 0});
      CHECK(run(second, first, kind) == std::vector<double>{2 * static_cast<double>(a), 2});
    }
  }
}

}  // namespace refrain::test
