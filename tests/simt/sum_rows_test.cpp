/// Column sums by CUDA kernels, emulated, against plain loops.

#include "refrain/kernels/sum_rows.hpp"
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

TEMPLATE_TEST_CASE("cuda sum_rows: column sums, the same bits in every order", "[simt][sum_rows]",
                   float, double) {
  using T = TestType;
  for_row_cases([](std::int64_t rows, std::int64_t width, int offset) {
    const auto x = random_array<T>({rows, width}, 10, 1, offset);
    std::vector<T> first;
    for_each_order([&] {
      DeviceArray<T> out({width});
      run_emulated<kernels::SumRows>({.x = x.view(), .out = out.mutable_view()});
      check_close<T>(out.span(), naive::column_sums(x.doubles(), rows, width), tolerance::sum<T>);
      const std::vector<T> sums(out.span().begin(), out.span().end());
      if (first.empty()) first = sums;
      CHECK(sums == first);
    });
  });
}
