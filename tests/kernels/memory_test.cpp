/// The memory step against loops in double, its gradients against dual numbers, and special cases
/// of its formulas.

#include "support/cases/memory.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

/// No rows, sizes of one, primes, sizes around a vector, several tasks.
constexpr MemoryCase memory_sizes[] = {{{0, 3, 2, 1}},   {{1, 1, 1, 1}},   {{2, 1, 5, 3}},
                                       {{3, 5, 1, 2}},   {{2, 7, 11, 3}},  {{2, 15, 16, 1}},
                                       {{2, 17, 33, 2}}, {{67, 16, 15, 2}}};

}  // namespace

TEMPLATE_TEST_CASE("memory_step: forward equals the naive loop", "[kernel][memory]", float,
                   double) {
  for (const MemoryCase& size : memory_sizes) {
    INFO(text(size));
    MemoryProblem<CpuBackend, TestType>(size).check_forward();
  }
}

TEMPLATE_TEST_CASE("memory_step: backward is the derivative of the naive loop", "[kernel][memory]",
                   float, double) {
  for (const MemoryCase& size : memory_sizes) {
    INFO(text(size));
    MemoryProblem<CpuBackend, TestType>(size).check_backward();
  }
}

TEMPLATE_TEST_CASE("memory_step: absent gradients are zero and unneeded ones are not written",
                   "[kernel][memory]", float, double) {
  MemoryProblem<CpuBackend, TestType>({3, 7, 5, 2}).check_single_gradients();
}

TEMPLATE_TEST_CASE("memory_step: equally used words are allocated by index", "[kernel][memory]",
                   float, double) {
  check_allocation_by_index<CpuBackend, TestType>({{2, 19, 3, 1}});
}

TEMPLATE_TEST_CASE("memory_step: saturated gates, zero vectors and duplicate keys",
                   "[kernel][memory]", float, double) {
  check_saturated_gates<CpuBackend, TestType>({{2, 9, 6, 3}});
}

TEMPLATE_TEST_CASE("memory_step: no NaN from huge raw values", "[kernel][memory]", float, double) {
  check_huge_interface<CpuBackend, TestType>({{1, 5, 4, 2}});
}

TEMPLATE_TEST_CASE("memory_step: 10,000 steps stay finite and within bounds", "[kernel][memory]",
                   float, double) {
  using T = TestType;
  MemoryProblem<CpuBackend, T> problem({2, 5, 4, 2});
  for (std::size_t i = 0; i < problem.parts; ++i)
    problem.fill_before(i, i == 0 || i >= 4 ? 1e-6 : 0.0);
  Random random(5);
  bool finite = true;
  double least = 0;
  double most = 0;
  for (int i = 0; i < 10000; ++i) {
    const double deviation = i % 3 == 0 ? 30 : 1;
    for (std::int64_t e = 0; e < problem.size.interface().numel(); ++e)
      problem.interface.data()[e] = static_cast<T>(deviation * random.normal());
    auto after = problem.step();
    finite = finite && problem.all_finite(after);
    if (i % 10 == 0) finite = finite && problem.all_finite(problem.step_back(after, after));
    for (const std::size_t weighting : std::array<std::size_t, 4>{1, 2, 4, 5}) {
      for (const double value : after[weighting].doubles()) {
        least = std::min(least, value);
        most = std::max(most, value);
      }
    }
    problem.before = std::move(after);
  }
  CHECK(finite);
  CHECK(least > -1e-5);
  CHECK(most < 1 + 1e-5);
}
