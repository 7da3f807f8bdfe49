/// Time steps of sequences against naive loops, bit-identical for any number of threads.

#include "support/cases/rows.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("select_step: a step, and its gradient at that step", "[kernel][steps]", float,
                   double) {
  struct Sequences {
    RowCase size;
    std::int64_t steps;
  };
  for (const auto& [size, steps] :
       {Sequences{{0, 2}, 3}, Sequences{{1, 1}, 1}, Sequences{{3, 7}, 5}, Sequences{{64, 64}, 50},
        Sequences{{4001, 5}, 3}}) {
    INFO(text(size) << " at " << steps << " steps");
    for (const std::int64_t step : {std::int64_t{0}, steps / 2, steps - 1})
      check_select_step<CpuBackend, TestType>(size, steps, step);
  }
}
