/// CUDA kernels that gather rows and add rows to a table, emulated, against plain loops.

#include "refrain/kernels/gather.hpp"
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

namespace {}  // namespace

TEMPLATE_TEST_CASE("cuda gather_rows: copies the rows of the ids", "[simt][gather]", float,
                   double) {
  using T = TestType;
  for_row_cases([](std::int64_t rows, std::int64_t width, int offset) {
    const auto table = random_array<T>({11, width}, 1, 1, offset);
    const auto ids = random_id_array(rows, 11, 2);
    for_each_order([&] {
      DeviceArray<T> out({rows, width}, {}, offset);
      run_emulated<kernels::GatherRows>(
          {.table = table.view(), .ids = ids.view(), .out = out.mutable_view()});
      check_close<T>(out.span(), naive::gather(table.doubles(), ids.values(), width),
                     tolerance::exact);
    });
  });
}

TEMPLATE_TEST_CASE("cuda add_rows: adds to the named rows alone", "[simt][gather]", float, double) {
  using T = TestType;
  for_row_cases([](std::int64_t rows, std::int64_t width, int offset) {
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
      run_emulated<kernels::AddRows>(
          {.rows = names.view(), .values = values.view(), .to = to.mutable_view()});
      check_close<T>(to.span(), expected, tolerance::element<T>);
    });
  });
}
