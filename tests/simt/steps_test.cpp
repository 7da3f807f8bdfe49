/// CUDA kernels on the time steps of sequences, emulated, against plain loops.

#include "simt/row_cases.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("cuda select_step: one step of each sequence, and its gradient", "[simt][steps]",
                   float, double) {
  for_rows(row_cases, [](const RowCase& c) {
    for (const std::int64_t step : {0, 1, 2})
      check_select_step<EmulatedBackend, TestType>(c, 3, step);
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
      run_emulated<kernels::SwapAxes>({.x = x, .y = y});
      run_emulated<kernels::AddSpans>({.x = x, .spans = spans, .ends = ends, .y = z});
      run_emulated<kernels::SumSpans>({.dy = x, .ends = ends, .dspans = dspans});
      check_close<T>(y.span(), swapped, tolerance::exact);
      check_close<T>(z.span(), with_spans, tolerance::element<T>);
      check_close<T>(dspans.span(), sums, tolerance::sum<T>);
    });
  }
}
