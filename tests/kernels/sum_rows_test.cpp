/// Column sums against loops in double, and the same bytes for any number of threads.

#include "refrain/kernels/sum_rows.hpp"
#include "refrain/kernels/run.hpp"
#include "row_sizes.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("sum_rows: column sums", "[kernel][sum_rows]", float, double) {
  using T = TestType;
  for (const auto [rows, width] : row_sizes) {
    INFO(rows << " rows of " << width);
    const Tensor x = random_tensor<T>({rows, width}, 9);
    const auto got = same_for_any_threads([&, width = width] {
      Tensor out = garbage<T>({width});
      kernels::run<kernels::SumRows>({.x = x.view(), .out = out.mutable_view()});
      return std::vector<Tensor>{out};
    });
    check_close<T>(got[0], naive::column_sums(doubles(x), rows, width), tolerance::sum<T>);
  }
}
