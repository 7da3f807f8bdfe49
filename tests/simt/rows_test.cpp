/// CUDA kernels that pick, replace, spread and sum rows, and those on steps, emulated, against
/// plain loops.

#include <numeric>

#include "kernels/cuda.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive.hpp"
#include "support/simt/device_array.hpp"
#include "support/simt/orders.hpp"

using namespace refrain;
using namespace refrain::test;
namespace cuda = kernels::cuda;

namespace {

struct Case {
  std::int64_t rows;
  std::int64_t width;
  int offset;
};

/// None, one, short odd rows, a team of each kind, rows longer than a block's pass, several chunks
/// of rows; tensors that start off a multiple of 16 bytes.
const Case cases[] = {{0, 4, 0},   {1, 1, 0},    {7, 3, 0},   {5, 4, 0},  {70, 20, 0},
                      {70, 20, 1}, {3, 1200, 0}, {3, 301, 0}, {600, 5, 0}};

template <class Body>
void for_cases(Body body) {
  for (const auto& [rows, width, offset] : cases) {
    INFO(rows << " rows of " << width << ", " << offset << " past a multiple of 16 bytes");
    body(rows, width, offset);
  }
}

std::vector<std::int32_t> ids_of(const DeviceArray<std::int32_t>& array) {
  return {array.span().begin(), array.span().end()};
}

}  // namespace

TEMPLATE_TEST_CASE("cuda gather_rows: copies the rows of the ids", "[simt][rows]", float, double) {
  using T = TestType;
  for_cases([](std::int64_t rows, std::int64_t width, int offset) {
    const auto table = random_array<T>({11, width}, 1, 1, offset);
    const auto ids = random_id_array(rows, 11, 2);
    for_each_order([&] {
      DeviceArray<T> out({rows, width}, {}, offset);
      cuda::gather_rows({.table = table.view(), .ids = ids.view(), .out = out.mutable_view()}, {});
      check_close<T>(out.span(), naive::gather(table.doubles(), ids_of(ids), width),
                     tolerance::exact);
    });
  });
}

TEMPLATE_TEST_CASE("cuda add_rows: adds to the named rows alone", "[simt][rows]", float, double) {
  using T = TestType;
  for_cases([](std::int64_t rows, std::int64_t width, int offset) {
    // Rows 2, 4, 6, ... in turn, every fifth one left out.
    DeviceArray<std::int32_t> names({rows});
    for (std::int64_t j = 0; j < rows; ++j)
      names.data()[j] = j % 5 == 4 ? -1 : static_cast<std::int32_t>(2 * (rows - j));
    const auto values = random_array<T>({rows, width}, 3, 1, offset);
    const Shape shape{2 * rows + 1, width};
    auto expected = random_array<T>(shape, 4).doubles();
    for (std::int64_t j = 0; j < rows; ++j) {
      if (names.data()[j] < 0) continue;
      for (std::int64_t c = 0; c < width; ++c) {
        expected[naive::at(names.data()[j] * width + c)] +=
            values.doubles()[naive::at(j * width + c)];
      }
    }
    for_each_order([&] {
      auto to = random_array<T>(shape, 4, 1, offset);
      cuda::add_rows({.rows = names.view(), .values = values.view(), .to = to.mutable_view()}, {});
      check_close<T>(to.span(), expected, tolerance::element<T>);
    });
  });
}

TEMPLATE_TEST_CASE("cuda select_step: one step of each sequence, and its gradient", "[simt][rows]",
                   float, double) {
  using T = TestType;
  for_cases([](std::int64_t batch, std::int64_t width, int offset) {
    const std::int64_t steps = 3;
    const auto x = random_array<T>({batch, steps, width}, 5, 1, offset);
    const auto dy = random_array<T>({batch, width}, 6, 1, offset);
    const auto all = x.doubles(), upstream = dy.doubles();
    for (std::int64_t step = 0; step < steps; ++step) {
      std::vector<double> picked, spread(all.size());
      for (std::int64_t b = 0; b < batch; ++b) {
        for (std::int64_t c = 0; c < width; ++c) {
          picked.push_back(all[naive::at((b * steps + step) * width + c)]);
          spread[naive::at((b * steps + step) * width + c)] = upstream[naive::at(b * width + c)];
        }
      }
      for_each_order([&] {
        DeviceArray<T> y({batch, width}, {}, offset), dx({batch, steps, width}, {}, offset);
        cuda::select_step({.x = x.view(), .y = y.mutable_view(), .step = step}, {});
        cuda::select_step_backward({.dy = dy.view(), .dx = dx.mutable_view(), .step = step}, {});
        check_close<T>(y.span(), picked, tolerance::exact);
        check_close<T>(dx.span(), spread, tolerance::exact);
      });
    }
  });
}

TEMPLATE_TEST_CASE("cuda replace_rows: rows with the id give way, and the gradient", "[simt][rows]",
                   float, double) {
  using T = TestType;
  for_cases([](std::int64_t rows, std::int64_t width, int offset) {
    const auto x = random_array<T>({rows, width}, 7, 1, offset);
    const auto row = random_array<T>({width}, 8, 1, offset);
    const auto ids = random_id_array(rows, 3, 9);
    const std::int32_t id = 1;
    const auto values = x.doubles(), replacement = row.doubles();
    std::vector<double> y(values), dx(values), drow(naive::at(width));
    for (std::int64_t i = 0; i < rows; ++i) {
      if (ids.data()[i] != id) continue;
      for (std::int64_t c = 0; c < width; ++c) {
        const std::size_t at = naive::at(i * width + c);
        y[at] = replacement[naive::at(c)];
        dx[at] = 0;
        drow[naive::at(c)] += values[at];
      }
    }
    for_each_order([&] {
      DeviceArray<T> got({rows, width}, {}, offset), got_dx({rows, width}, {}, offset),
          got_drow({width}, {}, offset);
      DeviceArray<T> alone({width});
      cuda::replace_rows(
          {.x = x.view(), .ids = ids.view(), .row = row.view(), .y = got.mutable_view(), .id = id},
          {});
      run_entry<kernels::ReplaceRowsBackward>(cuda::replace_rows_backward,
                                              cuda::replace_rows_backward_workspace,
                                              {.ids = ids.view(),
                                               .dy = x.view(),
                                               .dx = got_dx.mutable_view(),
                                               .drow = got_drow.mutable_view(),
                                               .id = id});
      run_entry<kernels::ReplaceRowsBackward>(
          cuda::replace_rows_backward, cuda::replace_rows_backward_workspace,
          {.ids = ids.view(), .dy = x.view(), .drow = alone.mutable_view(), .id = id});
      check_close<T>(got.span(), y, tolerance::exact);
      check_close<T>(got_dx.span(), dx, tolerance::exact);
      check_close<T>(got_drow.span(), drow, tolerance::sum<T>);
      CHECK(same_bytes(alone, got_drow));
    });
  });
}

TEMPLATE_TEST_CASE("cuda sum_rows: column sums, the same bits in every order", "[simt][rows]",
                   float, double) {
  using T = TestType;
  for_cases([](std::int64_t rows, std::int64_t width, int offset) {
    const auto x = random_array<T>({rows, width}, 10, 1, offset);
    std::vector<T> first;
    for_each_order([&] {
      DeviceArray<T> out({width});
      run_entry<kernels::SumRows>(cuda::sum_rows, cuda::sum_rows_workspace,
                                  {.x = x.view(), .out = out.mutable_view()});
      check_close<T>(out.span(), naive::column_sums(x.doubles(), rows, width), tolerance::sum<T>);
      const std::vector<T> sums(out.span().begin(), out.span().end());
      if (first.empty()) first = sums;
      CHECK(sums == first);
    });
  });
}

TEMPLATE_TEST_CASE("cuda steps: axes swapped, spans added and summed", "[simt][steps]", float,
                   double) {
  using T = TestType;
  struct Steps {
    std::int64_t batch, width;
    std::vector<std::int32_t> ends;
    int offset;
  };
  const Steps all[] = {{1, 1, {1}, 0},
                       {3, 5, {2, 3, 7}, 0},
                       {4, 8, {1, 2, 6, 11}, 0},
                       {4, 8, {5, 5, 6}, 1},
                       {2, 1100, {3, 4}, 0}};
  for (const Steps& size : all) {
    const std::int64_t steps = size.ends.back(), batch = size.batch, width = size.width;
    const std::int64_t count = static_cast<std::int64_t>(size.ends.size());
    INFO(steps << " steps of " << batch << " rows of " << width);
    const auto x = random_array<T>({steps, batch, width}, 11, 1, size.offset);
    const auto spans = random_array<T>({count, batch, width}, 12, 1, size.offset);
    const DeviceArray<std::int32_t> ends({count}, size.ends);
    const auto values = x.doubles(), added = spans.doubles();
    std::vector<double> swapped(values.size()), with_spans(values), sums(added.size());
    std::int64_t k = 0;
    for (std::int64_t t = 0; t < steps; ++t) {
      while (t >= size.ends[naive::at(k)]) ++k;
      for (std::int64_t b = 0; b < batch; ++b) {
        for (std::int64_t c = 0; c < width; ++c) {
          const std::size_t at = naive::at((t * batch + b) * width + c),
                            span = naive::at((k * batch + b) * width + c);
          swapped[naive::at((b * steps + t) * width + c)] = values[at];
          with_spans[at] += added[span];
          sums[span] += values[at];
        }
      }
    }
    for_each_order([&] {
      DeviceArray<T> y({batch, steps, width}, {}, size.offset),
          z({steps, batch, width}, {}, size.offset);
      DeviceArray<T> dspans({count, batch, width}, {}, size.offset);
      cuda::swap_axes({.x = x.view(), .y = y.mutable_view()}, {});
      cuda::add_spans(
          {.x = x.view(), .spans = spans.view(), .ends = ends.view(), .y = z.mutable_view()}, {});
      cuda::sum_spans({.dy = x.view(), .ends = ends.view(), .dspans = dspans.mutable_view()}, {});
      check_close<T>(y.span(), swapped, tolerance::exact);
      check_close<T>(z.span(), with_spans, tolerance::element<T>);
      check_close<T>(dspans.span(), sums, tolerance::sum<T>);
    });
  }
}
