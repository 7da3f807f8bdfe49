/// The memory step on CUDA, emulated, against loops in double and dual numbers, and special cases
/// of its formulas.

#include "refrain/kernels/run.hpp"
#include "support/cases/memory.hpp"
#include "support/simt/emulated_backend.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

/// No rows, sizes of one, primes, fewer words than warps and more, words around the lanes of a
/// warp, more than one group of heads, several tiles of links, whole packs of 16 bytes.
constexpr MemoryCase memory_sizes[] = {{{0, 3, 2, 1}},     {{1, 1, 1, 1}},     {{2, 1, 5, 3}},
                                       {{3, 5, 1, 2}},     {{2, 7, 11, 5}, 1}, {{1, 12, 16, 1}},
                                       {{1, 8, 33, 2}, 1}, {{1, 50, 3, 1}}};

/// The same problem for the CPU, in f64.
template <class T>
MemoryProblem<CpuBackend, double> on_cpu(const MemoryProblem<EmulatedBackend, T>& problem) {
  MemoryProblem<CpuBackend, double> same(problem.size);
  const auto copy = [](const auto& from, auto& to) {
    std::copy(from.span().begin(), from.span().end(), to.data());
  };
  copy(problem.interface, same.interface);
  for (std::size_t i = 0; i < problem.parts; ++i) {
    copy(problem.before[i], same.before[i]);
    copy(problem.dafter[i], same.dafter[i]);
  }
  return same;
}

}  // namespace

TEMPLATE_TEST_CASE("cuda memory_step: forward equals the naive loop, bit-identical in every order",
                   "[simt][memory]", float, double) {
  for (const MemoryCase& size : memory_sizes) {
    INFO(text(size));
    MemoryProblem<EmulatedBackend, TestType>(size).check_forward();
  }
}

TEMPLATE_TEST_CASE(
    "cuda memory_step: backward is the derivative of the naive loop, bit-identical in every order",
    "[simt][memory]", float, double) {
  for (const MemoryCase& size : memory_sizes) {
    INFO(text(size));
    MemoryProblem<EmulatedBackend, TestType>(size).check_backward();
  }
}

TEMPLATE_TEST_CASE("cuda memory_step: absent gradients are zero and unneeded ones are not written",
                   "[simt][memory]", float, double) {
  MemoryProblem<EmulatedBackend, TestType>({2, 5, 6, 2}).check_single_gradients();
}

TEMPLATE_TEST_CASE("cuda memory_step: equally used words are allocated by index", "[simt][memory]",
                   float, double) {
  check_allocation_by_index<EmulatedBackend, TestType>({{1, 37, 3, 1}});
}

TEMPLATE_TEST_CASE("cuda memory_step: saturated gates, zero vectors and duplicate keys",
                   "[simt][memory]", float, double) {
  check_saturated_gates<EmulatedBackend, TestType>({{1, 9, 6, 3}});
}

TEMPLATE_TEST_CASE("cuda memory_step: no NaN from huge raw values", "[simt][memory]", float,
                   double) {
  check_huge_interface<EmulatedBackend, TestType>({{1, 5, 4, 2}});
}

TEMPLATE_TEST_CASE(
    "cuda memory_step: large memories equal the CPU, for every placement of a block's data",
    "[simt][memory]", float, double) {
  using T = TestType;
  constexpr std::int64_t scale = 8 / sizeof(T);
  struct Large {
    MemoryCase size;
    // Even without the words a block's data exceed the shared memory of the emulated GPU.
    bool scratch;
  };
  // Columns and words past a block's threads; words that are read from global memory; all data in
  // the scratch memory.
  const Large all[] = {{{{1, 2, 300, 2}}, false},
                       {{{1, 260, 2, 1}}, false},
                       {{{2, 5, 2500 * scale, 1}}, false},
                       {{{2, 2, 5500 * scale, 1}}, true}};
  for (const auto& [size, scratch] : all) {
    INFO(text(size));
    const MemoryProblem<EmulatedBackend, T> problem(size);
    const MemoryProblem<CpuBackend, double> reference = on_cpu(problem);
    // ThreadSanitizer does not detect how the library's threads synchronize.
    const ThreadCount single(1);
    const auto expected = reference.step();
    const auto gradients = reference.step_back(expected, reference.dafter);
    auto after = problem.empty_memory();
    CHECK((scratch_bytes(problem.forward_args(problem.mutable_views(after))) > 0) == scratch);
    after = problem.step();
    const auto got = problem.step_back(after, problem.dafter);
    for (std::size_t i = 0; i < problem.parts; ++i) {
      INFO("part " << i);
      check_close<T>(after[i].span(), expected[i].doubles(), tolerance::sum<T>);
      check_close<T>(got[i].span(), gradients[i].doubles(), tolerance::sum<T>);
    }
  }
}

TEST_CASE("cuda memory_step: a write and a read are one launch, their gradients another",
          "[simt][memory]") {
  for (const MemoryCase& size : {MemoryCase{{2, 3, 256, 1}}, MemoryCase{{1, 12, 256, 2}}}) {
    INFO(text(size));
    const MemoryProblem<EmulatedBackend, float> problem(size);
    problem.check_forward();
    auto after = problem.empty_memory();
    CHECK(launches_of([&] { after = problem.step(); }) == 1);
    CHECK(launches_of([&] { problem.step_back(after, problem.dafter); }) == 1);
  }
}

TEST_CASE("cuda memory_step: refuses sizes beyond 32-bit indices", "[simt][memory]") {
  const auto view = [](const Shape& shape) { return View{.data = nullptr, .shape = shape}; };
  const kernels::MemoryViews<View> memory{.words = view({1, 1 << 20, 2048}),
                                          .read_weightings = view({1, 1, 1 << 20})};
  CHECK_THROWS_AS(run_emulated<kernels::MemoryStepForward>({.before = memory}), Unsupported);
  CHECK_THROWS_AS(run_emulated<kernels::MemoryStepBackward>({.before = memory}), Unsupported);
}
