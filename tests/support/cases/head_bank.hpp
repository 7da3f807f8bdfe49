#pragma once
/// The losses of the heads of many tasks, on every backend.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "refrain/kernels/loss.hpp"
#include "support/cases/backend.hpp"
#include "support/cases/bank.hpp"
#include "support/cases/outputs.hpp"
#include "support/naive_loss.hpp"

namespace refrain::test {

struct HeadBankCase {
  std::vector<std::int32_t> rows;     ///< of the bank, one for each row of the batch
  std::vector<std::int32_t> classes;  ///< of each row of the bank
  std::int64_t channels;
  std::vector<double> weights = {};  ///< of each row of the bank; empty: 1
  double smoothing = 0;
  int offset = 0;

  std::int64_t batch() const { return std::ssize(rows); }
  std::int64_t heads() const { return std::ssize(classes); }
  std::int64_t widest() const { return *std::max_element(classes.begin(), classes.end()); }
  std::int64_t classes_of(std::int64_t row) const { return row == 0 ? 0 : classes[naive::at(row)]; }
  double weight_of(std::int64_t row) const { return weights.empty() ? 1 : weights[naive::at(row)]; }
};

inline std::string text(const HeadBankCase& c) {
  std::string rows, classes;
  for (const std::int32_t row : c.rows) rows += detail::concat(" ", row);
  for (const std::int32_t count : c.classes) classes += detail::concat(" ", count);
  return detail::concat("rows", rows, ", classes", classes, ", C ", c.channels, ", weights ",
                        c.weights.size(), ", smoothing ", c.smoothing, past(c.offset));
}

/// The outputs are, in this order: losses, dhidden, dweight, dbias.
template <class Backend, class T>
struct HeadBankProblem {
  static constexpr Device where = Backend::device;
  using Array = GuardedArray<T, where>;
  using Ids = GuardedArray<std::int32_t, where>;
  using Vector = std::vector<T>;

  explicit HeadBankProblem(const HeadBankCase& of) : c(of) {
    hidden = random_array<T, where>({c.batch(), c.channels}, 1).values();
    weight = random_array<T, where>({c.heads() * c.widest() * c.channels}, 2).values();
    bias = random_array<T, where>({c.heads() * c.widest()}, 3).values();
    const T nan =
        std::numeric_limits<T>::quiet_NaN();  // elements outside of the heads are not read
    for (std::int64_t row = 0; row < c.heads(); ++row) {
      const auto leave_out = [&](Vector& bank, std::int64_t size) {
        std::fill(bank.begin() + (row * c.widest() + c.classes_of(row)) * size,
                  bank.begin() + (row + 1) * c.widest() * size, nan);
      };
      leave_out(weight, c.channels);
      leave_out(bias, 1);
    }
    Random random(4);
    for (const std::int32_t row : c.rows) {
      targets.push_back(
          static_cast<std::int32_t>(random.below(std::max<std::int64_t>(1, c.classes_of(row)))));
    }
  }

  /// The rows of a segment alone, with their head as row 1 of a bank without padding.
  HeadBankProblem alone(const Segment& s) const {
    HeadBankProblem own = *this;
    const std::int64_t classes = c.classes_of(s.row);
    own.c.rows.assign(naive::at(s.end - s.begin), 1);
    own.c.classes = {0, static_cast<std::int32_t>(classes)};
    if (!c.weights.empty()) own.c.weights = {0, c.weight_of(s.row)};
    own.hidden = part(hidden, s.begin * c.channels, s.end * c.channels);
    own.targets = {targets.begin() + s.begin, targets.begin() + s.end};
    const auto head = [&](const Vector& bank, std::int64_t size) {
      Vector both(naive::at(classes * size));
      const Vector row = of_head(bank, s.row, size);
      both.insert(both.end(), row.begin(), row.end());
      return both;
    };
    own.weight = head(weight, c.channels);
    own.bias = head(bias, 1);
    return own;
  }

  static Vector part(const Vector& all, std::int64_t begin, std::int64_t end) {
    return {all.begin() + begin, all.begin() + end};
  }
  Vector of_head(const Vector& bank, std::int64_t row, std::int64_t size) const {
    const std::int64_t begin = row * c.widest() * size;
    return part(bank, begin, begin + c.classes_of(row) * size);
  }
  static naive::Values doubles(const Vector& of) { return {of.begin(), of.end()}; }

  std::vector<Expected> expected() const {
    naive::Values losses, dhidden, dweight, dbias;
    // The values of a head, then zeros up to the widest head.
    const auto append = [](naive::Values& to, const naive::Values& more, std::int64_t size,
                           double factor) {
      const std::size_t end = to.size() + naive::at(size);
      for (const double value : more) to.push_back(factor * value);
      to.resize(end);
    };
    for (const Segment& s : segments_of(c.rows)) {
      const std::int64_t size = (s.end - s.begin) * c.channels;
      naive::SoftmaxLoss e;
      if (c.classes_of(s.row) > 0) {
        e = naive::softmax_loss(doubles(part(hidden, s.begin * c.channels, s.end * c.channels)),
                                doubles(of_head(weight, s.row, c.channels)),
                                doubles(of_head(bias, s.row, 1)),
                                {targets.begin() + s.begin, targets.begin() + s.end},
                                naive::at(c.channels), -1, false, c.smoothing);
      }
      const double factor = c.weight_of(s.row);
      append(dhidden, e.dhidden, size, factor);
      if (s.row == 0) continue;
      losses.push_back(factor * e.loss);
      append(dweight, e.dweight, c.widest() * c.channels, factor);
      append(dbias, e.dbias, c.widest(), factor);
    }
    const std::int64_t used = std::ssize(losses);
    const double scale = static_cast<double>(c.batch());
    return {{{used}, losses, true},
            {{c.batch(), c.channels}, dhidden, false, scale},
            {{used, c.widest(), c.channels}, dweight, false, scale},
            {{used, c.widest()}, dbias, false, scale}};
  }

  void run(Outputs<T, where>& out) const {
    const Array rows({c.batch(), c.channels}, hidden, c.offset);
    const Array bank({c.heads(), c.widest(), c.channels}, weight, c.offset);
    const Array offsets({c.heads(), c.widest()}, bias);
    const Array factors({std::ssize(c.weights)}, {c.weights.begin(), c.weights.end()});
    const Ids classes({c.heads()}, c.classes), of_row({c.batch()}, c.rows);
    const Ids classes_of_rows({c.batch()}, targets);
    Backend::run(kernels::SoftmaxLossOfBank{.hidden = rows,
                                            .weight = bank,
                                            .bias = offsets,
                                            .classes = classes,
                                            .bank_rows = of_row,
                                            .targets = classes_of_rows,
                                            .weights = c.weights.empty() ? View() : factors.view(),
                                            .losses = out[0],
                                            .dhidden = out[1],
                                            .dweight = out[2],
                                            .dbias = out[3],
                                            .smoothing = c.smoothing});
  }

  HeadBankCase c;
  Vector hidden, weight, bias;
  std::vector<std::int32_t> targets;
};

/// Compares the losses and gradients of a batch with the expected values, and those of each head
/// with the bits of its rows alone, in a bank without padding.
template <class Backend, class T>
void check_head_bank(const HeadBankCase& c, Choices choices = Choices::all) {
  INFO(text(c));
  using Results = Outputs<T, Backend::device>;
  const HeadBankProblem<Backend, T> problem(c);
  const Results whole =
      check_outputs<Backend, T>(problem.expected(), {.choices = choices, .offset = c.offset},
                                [&](Results& outputs) { problem.run(outputs); });
  std::int64_t used = -1;
  for (const Segment& s : segments_of(c.rows)) {
    if (s.row > 0) ++used;
    const std::int64_t classes = c.classes_of(s.row);
    if (classes == 0) continue;
    INFO("rows " << s.begin << " to " << s.end << " of head " << s.row);
    const HeadBankProblem<Backend, T> own = problem.alone(s);
    Results alone(own.expected(), ~0U, c.offset);
    own.run(alone);
    const std::int64_t at[]{used, s.begin * c.channels, used * c.widest() * c.channels,
                            used * c.widest()};
    for (std::size_t i = 0; i < 4; ++i) {
      INFO("output " << i);
      const std::span<const T> part = alone.array(i).span();
      CHECK(std::memcmp(whole.array(i).data() + at[i], part.data(), part.size_bytes()) == 0);
    }
  }
}

/// One case for each path: heads of several sizes; rows without a head, a head without classes, and
/// one with a single class; odd widths and addresses; more classes than a warp has lanes, and more
/// rows than a block; one row each.
inline std::vector<HeadBankCase> head_bank_cases() {
  std::vector<std::int32_t> many(40);
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = static_cast<std::int32_t>(i / 2);
  return {
      {.rows = {1, 1, 1, 2, 2, 3}, .classes = {0, 2, 7, 4}, .channels = 8},
      {.rows = {0, 0, 1, 2, 2, 4},
       .classes = {3, 1, 0, 5, 6},
       .channels = 12,
       .weights = {0, 0.5, 2, 1, 0.75}},
      {.rows = {2, 2, 5, 5, 5},
       .classes = {0, 1, 3, 2, 2, 5},
       .channels = 5,
       .weights = {0, 0, 1, 0, 0, 0.25},
       .smoothing = 0.1,
       .offset = 1},
      {.rows = std::vector<std::int32_t>(150, 1), .classes = {0, 70, 3}, .channels = 4},
      {.rows = {1, 2}, .classes = {0, 33, 70}, .channels = 132, .smoothing = 0.25},
      {.rows = many, .classes = std::vector<std::int32_t>(20, 3), .channels = 16},
      {.rows = {0, 0}, .classes = {0, 3}, .channels = 4},
  };
}

/// For every choice of outputs.
inline HeadBankCase small_head_bank() {
  return {.rows = {0, 1, 2, 2}, .classes = {0, 3, 2}, .channels = 4, .weights = {0, 1, 0.5}};
}

/// Large scores neither overflow nor vanish.
template <class Backend, class T>
void check_large_scores_of_bank() {
  HeadBankProblem<Backend, T> problem({.rows = {1, 1, 2}, .classes = {0, 5, 9}, .channels = 8});
  for (T& value : problem.hidden) value *= T{900};
  const std::vector<Expected> expected = problem.expected();
  Outputs<T, Backend::device> outputs(expected, ~0U, 0);
  problem.run(outputs);
  check_close<T>(outputs.array(0).span(), expected[0].values, tolerance::sum<T>);
  for (const double value : outputs.array(1).doubles()) CHECK(std::isfinite(value));
}

}  // namespace refrain::test
