#pragma once
/// Operations on rows of matrices on every backend, against naive loops.

#include <cstdint>
#include <vector>

#include "refrain/kernels/gather.hpp"
#include "refrain/kernels/layer_norm.hpp"
#include "refrain/kernels/replace_rows.hpp"
#include "refrain/kernels/steps.hpp"
#include "refrain/kernels/sum_rows.hpp"
#include "refrain/kernels/top_k.hpp"
#include "support/cases/backend.hpp"
#include "support/cases/outputs.hpp"
#include "support/naive.hpp"

namespace refrain::test {

struct RowCase {
  std::int64_t rows;
  std::int64_t width;
  int offset = 0;
  Shape shape() const { return {rows, width}; }
};

inline std::string text(const RowCase& c) {
  return detail::concat(c.rows, " rows of ", c.width, past(c.offset));
}

/// Calls check(case) for every case.
template <class Cases, class Check>
void for_rows(const Cases& cases, Check check) {
  for (const RowCase& c : cases) {
    INFO(text(c));
    check(c);
  }
}

template <class Backend, class T>
void check_layer_norm_forward(const RowCase& c) {
  constexpr Device where = Backend::device;
  const double epsilon = 1e-3;  // large, because a row of one element has variance 0
  const auto x = random_array<T, where>(c.shape(), 1, 1, c.offset);
  const auto gamma = random_array<T, where>({c.width}, 2),
             beta = random_array<T, where>({c.width}, 3);
  const auto expected =
      naive::layer_norm(x.doubles(), gamma.doubles(), beta.doubles(), c.rows, epsilon);
  check_outputs<Backend, T>({{c.shape(), expected.y, true},
                             {c.shape(), expected.normalized},
                             {{c.rows}, expected.inv_std}},
                            {.offset = c.offset}, [&](auto& outputs) {
                              Backend::run(kernels::LayerNormForward{.x = x,
                                                                     .gamma = gamma,
                                                                     .beta = beta,
                                                                     .y = outputs[0],
                                                                     .normalized = outputs[1],
                                                                     .inv_std = outputs[2],
                                                                     .epsilon = epsilon});
                            });
}

template <class Backend, class T>
void check_layer_norm_backward(const RowCase& c) {
  constexpr Device where = Backend::device;
  const auto gamma = random_array<T, where>({c.width}, 2),
             inv_std = random_array<T, where>({c.rows}, 4);
  const auto normalized = random_array<T, where>(c.shape(), 3),
             dy = random_array<T, where>(c.shape(), 5, 1, c.offset);
  const auto d = naive::layer_norm_backward(gamma.doubles(), normalized.doubles(),
                                            inv_std.doubles(), dy.doubles());
  check_outputs<Backend, T>({{c.shape(), d.dx}, {{c.width}, d.dgamma}, {{c.width}, d.dbeta}},
                            {.same_bits_for_any_choice = true}, [&](auto& outputs) {
                              Backend::run(kernels::LayerNormBackward{.gamma = gamma,
                                                                      .normalized = normalized,
                                                                      .inv_std = inv_std,
                                                                      .dy = dy,
                                                                      .dx = outputs[0],
                                                                      .dgamma = outputs[1],
                                                                      .dbeta = outputs[2]});
                            });
}

template <class Backend, class T>
void check_sum_rows(const RowCase& c) {
  const auto x = random_array<T, Backend::device>(c.shape(), 9, 1, c.offset);
  check_outputs<Backend, T>({{{c.width}, naive::column_sums(x.doubles(), c.rows, c.width), true}},
                            {.choices = Choices::all}, [&](auto& outputs) {
                              Backend::run(kernels::SumRows{.x = x, .out = outputs[0]});
                            });
}

/// Gathers rows of a table of 13.
template <class Backend, class T>
void check_gather_rows(const RowCase& c) {
  const auto table = random_array<T, Backend::device>({13, c.width}, 1, 1, c.offset);
  const auto ids = random_id_array<Backend::device>(c.rows, 13, 2);
  check_outputs<Backend, T>(
      {{c.shape(), naive::gather(table.doubles(), ids.values(), c.width), true}},
      {.choices = Choices::all, .offset = c.offset, .allowed = tolerance::exact},
      [&](auto& outputs) {
        Backend::run(kernels::GatherRows{.table = table, .ids = ids, .out = outputs[0]});
      });
}

/// Adds to rows 2, 4, 6, ... in decreasing order with every fifth one omitted.
template <class Backend, class T>
void check_add_rows(const RowCase& c) {
  constexpr Device where = Backend::device;
  GuardedArray<std::int32_t, where> names({c.rows});
  for (std::int64_t j = 0; j < c.rows; ++j)
    names.data()[j] = j % 5 == 4 ? -1 : static_cast<std::int32_t>(2 * (c.rows - j));
  const auto values = random_array<T, where>(c.shape(), 3, 1, c.offset);
  const Shape table{2 * c.rows + 1, c.width};
  auto expected = random_array<T, where>(table, 4).doubles();
  const auto added = values.doubles();
  for (std::int64_t j = 0; j < c.rows; ++j) {
    for (std::int64_t i = 0; names.data()[j] >= 0 && i < c.width; ++i)
      expected[naive::at(names.data()[j] * c.width + i)] += added[naive::at(j * c.width + i)];
  }
  SameBits<T> same;
  Backend::for_each_setting([&] {
    auto to = random_array<T, where>(table, 4, 1, c.offset);
    Backend::run(kernels::AddRows{.rows = names, .values = values, .to = to});
    check_close<T>(to.span(), expected, tolerance::element<T>);
    same(to.span());
  });
}

/// The sums of the rows of each id, in increasing order of ids, then ids of -1 and zeros.
template <class Backend, class T>
void check_coalesce_rows(const GuardedArray<std::int32_t, Backend::device>& ids,
                         const GuardedArray<T, Backend::device>& dy, Tolerance allowed,
                         int offset = 0) {
  constexpr Device where = Backend::device;
  const std::int64_t count = dy.shape()[0], width = dy.shape()[1];
  std::vector<std::int32_t> expected_rows;
  std::vector<double> expected_values;
  for (const auto& [id, sum] : naive::sums_by_id(ids.values(), dy.doubles(), width)) {
    if (id < 0) continue;
    expected_rows.push_back(id);
    expected_values.insert(expected_values.end(), sum.begin(), sum.end());
  }
  expected_rows.resize(naive::at(count), -1);
  expected_values.resize(naive::at(count * width), 0.0);
  SameBits<T> same;
  Backend::for_each_setting([&] {
    GuardedArray<std::int32_t, where> rows({count},
                                           std::vector<std::int32_t>(naive::at(count), -9));
    GuardedArray<T, where> values({count, width}, {}, offset);
    Backend::run(kernels::CoalesceRows{.ids = ids, .dy = dy, .rows = rows, .values = values});
    CHECK(rows.values() == expected_rows);
    check_close<T>(values.span(), expected_values, allowed);
    same(values.span());
  });
}

/// Sums are added in the order of positions: in float (1 + 1e8) - 1e8 is 0 and 1 + (1e8 - 1e8) is
/// 1.
template <class Backend>
void check_order_of_coalesced_rows() {
  constexpr Device where = Backend::device;
  const GuardedArray<std::int32_t, where> ids({6}, {4, 4, 2, 4, 2, 2});
  const GuardedArray<float, where> dy({6, 1}, {1.0f, 1e8f, 1e8f, -1e8f, -1e8f, 1.0f});
  Backend::for_each_setting([&] {
    GuardedArray<std::int32_t, where> rows({6});
    GuardedArray<float, where> values({6, 1});
    Backend::run(kernels::CoalesceRows{.ids = ids, .dy = dy, .rows = rows, .values = values});
    CHECK(rows.values() == std::vector<std::int32_t>{2, 4, -1, -1, -1, -1});
    CHECK(values.doubles() == std::vector<double>{1, 0, 0, 0, 0, 0});
  });
}

/// One step of each of c.rows sequences, and its gradient.
template <class Backend, class T>
void check_select_step(const RowCase& c, std::int64_t steps, std::int64_t step) {
  constexpr Device where = Backend::device;
  const Shape all{c.rows, steps, c.width};
  const auto x = random_array<T, where>(all, 5, 1, c.offset);
  const auto dy = random_array<T, where>(c.shape(), 6, 1, c.offset);
  const auto values = x.doubles(), upstream = dy.doubles();
  naive::Values picked, spread(values.size());
  for (std::int64_t b = 0; b < c.rows; ++b) {
    for (std::int64_t i = 0; i < c.width; ++i) {
      const std::size_t place = naive::at((b * steps + step) * c.width + i);
      picked.push_back(values[place]);
      spread[place] = upstream[naive::at(b * c.width + i)];
    }
  }
  check_outputs<Backend, T>(
      {{c.shape(), picked, true}, {all, spread, true}},
      {.choices = Choices::all, .offset = c.offset, .allowed = tolerance::exact},
      [&](auto& outputs) {
        Backend::run(kernels::SelectStep{.x = x, .y = outputs[0], .step = step});
        Backend::run(kernels::SelectStepBackward{.dy = dy, .dx = outputs[1], .step = step});
      });
}

/// Rows with the id are replaced by `row`; their gradients are added to its gradient.
template <class Backend, class T>
void check_replace_rows(const RowCase& c) {
  constexpr Device where = Backend::device;
  const auto x = random_array<T, where>(c.shape(), 7, 1, c.offset);
  const auto row = random_array<T, where>({c.width}, 8, 1, c.offset);
  const auto ids = random_id_array<where>(c.rows, 3, 9);
  const std::int32_t id = 1;
  const auto values = x.doubles(), replacement = row.doubles();
  naive::Values y(values), dx(values), drow(naive::at(c.width));
  for (std::int64_t i = 0; i < c.rows; ++i) {
    for (std::int64_t channel = 0; ids.data()[i] == id && channel < c.width; ++channel) {
      const std::size_t at = naive::at(i * c.width + channel);
      y[at] = replacement[naive::at(channel)];
      dx[at] = 0;
      drow[naive::at(channel)] += values[at];
    }
  }
  const RunOptions<T> exact{
      .choices = Choices::all, .offset = c.offset, .allowed = tolerance::exact};
  check_outputs<Backend, T>(
      {{c.shape(), y, true}, {c.shape(), dx, true}}, exact, [&](auto& outputs) {
        Backend::run(
            kernels::ReplaceRows{.x = x, .ids = ids, .row = row, .y = outputs[0], .id = id});
        Backend::run(kernels::ReplaceRowsBackward{.ids = ids, .dy = x, .dx = outputs[1], .id = id});
      });
  check_outputs<Backend, T>(
      {{c.shape(), dx}, {{c.width}, drow}}, {.offset = c.offset}, [&](auto& outputs) {
        Backend::run(kernels::ReplaceRowsBackward{
            .ids = ids, .dy = x, .dx = outputs[0], .drow = outputs[1], .id = id});
      });
}

/// The k largest scores of each row against a full sort.
template <class Backend, class T>
void check_top_k(const GuardedArray<T, Backend::device>& scores, std::int64_t k) {
  const std::int64_t rows = scores.shape()[0], length = scores.shape()[1];
  INFO(k << " of " << length << ", " << rows << " rows");
  const auto all = scores.doubles();
  std::vector<double> expected_values;
  std::vector<std::int32_t> expected_indices;
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto begin = all.begin() + row * length;
    const auto ranking = naive::ranking({begin, begin + length});
    for (std::int64_t j = 0; j < k; ++j) {
      expected_indices.push_back(ranking[naive::at(j)]);
      expected_values.push_back(begin[ranking[naive::at(j)]]);
    }
  }
  Backend::for_each_setting([&] {
    GuardedArray<T, Backend::device> values({rows, k});
    GuardedArray<std::int32_t, Backend::device> indices({rows, k});
    Backend::run(kernels::TopK{.scores = scores, .values = values, .indices = indices});
    check_close<T>(values.span(), expected_values, tolerance::exact);
    CHECK(indices.values() == expected_indices);
  });
}

}  // namespace refrain::test
