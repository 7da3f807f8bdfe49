/// CUDA kernels that replace rows, emulated, against plain loops.

#include "refrain/kernels/replace_rows.hpp"
#include "simt/row_cases.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/guarded_array.hpp"
#include "support/naive.hpp"
#include "support/simt/orders.hpp"
#include "support/simt/run_emulated.hpp"

using namespace refrain;
using namespace refrain::test;
namespace cuda = kernels::cuda;

TEMPLATE_TEST_CASE("cuda replace_rows: rows with the id give way, and the gradient",
                   "[simt][replace_rows]", float, double) {
  using T = TestType;
  for_row_cases([](std::int64_t rows, std::int64_t width, int offset) {
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
      run_emulated<kernels::ReplaceRows>(
          {.x = x.view(), .ids = ids.view(), .row = row.view(), .y = got.mutable_view(), .id = id});
      run_emulated<kernels::ReplaceRowsBackward>({.ids = ids.view(),
                                                  .dy = x.view(),
                                                  .dx = got_dx.mutable_view(),
                                                  .drow = got_drow.mutable_view(),
                                                  .id = id});
      run_emulated<kernels::ReplaceRowsBackward>(
          {.ids = ids.view(), .dy = x.view(), .drow = alone.mutable_view(), .id = id});
      check_close<T>(got.span(), y, tolerance::exact);
      check_close<T>(got_dx.span(), dx, tolerance::exact);
      check_close<T>(got_drow.span(), drow, tolerance::sum<T>);
      CHECK(same_bytes(alone, got_drow));
    });
  });
}
