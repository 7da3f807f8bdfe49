/// Halves of residual blocks on CUDA, emulated, against loops in double, with their gradients.

#include "support/cases/convolution.hpp"
#include "support/simt/emulated_backend.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

/// y without saved values, and all saved values with the residual.
template <class T>
void check_forward(const HalfCase& c, Insertion insertion, Tolerance allowed = tolerance::sum<T>) {
  check_half_forward<EmulatedBackend, T>(c, insertion, false, false, allowed);
  check_half_forward<EmulatedBackend, T>(c, insertion, true, true, allowed);
}

/// Computes all outputs of the forward pass once.
template <class T>
Outputs<T, Device::cuda> saved_outputs(const HalfProblem<EmulatedBackend, T>& problem) {
  const std::vector<Expected> expected = problem.expected(true, true);
  Outputs<T, Device::cuda> out(expected, ~0U, problem.c.offset);
  problem.run(out, expected.size(), true);
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE("cuda conv_norm: forward equals the naive loop, with and without saved values",
                   "[simt][conv_norm]", float, double) {
  using T = TestType;
  // One channel; channels below, at and above the narrow tile; bottlenecks of one, around a slice
  // of 32, and none; unaligned addresses.
  for (const HalfCase& c :
       {HalfCase{1, 1, 1, 1, 1, 1}, HalfCase{3, 23, 4, 3, 2, 8}, HalfCase{2, 5, 63, 2, 1, 33, true},
        HalfCase{2, 33, 64, 2, 40, 36}, HalfCase{1, 3, 20, 4, 1, 5, true},
        HalfCase{2, 4, 12, 2, 1, 16, false, 1}, HalfCase{1, 2, 8, 1, 1, 0},
        HalfCase{2, 3, 65, 2, 1, 4, true}}) {
    for (const Insertion insertion : insertions) {
      check_forward<T>(c, insertion);
    }
  }
}

TEST_CASE("cuda conv_norm: wider than a tile", "[simt][conv_norm]") {
  // Each size of register rows, in packs and in single elements; rows that need a whole block;
  // slices of one sequence; a bottleneck too wide for a tile.
  for (const HalfCase& c :
       {HalfCase{1, 3, 68, 2, 1, 12}, HalfCase{1, 2, 128, 1, 1, 8, true},
        HalfCase{1, 2, 132, 1, 1, 8}, HalfCase{2, 1, 255, 1, 1, 3}, HalfCase{1, 1, 256, 1, 1, 40},
        HalfCase{1, 2, 257, 1, 1, 2, true}, HalfCase{1, 2, 516, 1, 1, 4},
        HalfCase{1, 1, 1028, 1, 1, 3}, HalfCase{3, 5, 68, 3, 2, 8, true, 0, 1},
        HalfCase{3, 5, 76, 2, 1, 4, false, 1, 1}, HalfCase{2, 0, 68, 2, 1, 4},
        HalfCase{1, 2, 72, 1, 1, 0}, HalfCase{1, 2, 4, 2, 1, 640}}) {
    for (const Insertion insertion : insertions) {
      check_forward<float>(c, insertion);
    }
  }
}

TEST_CASE("cuda conv_norm: on tensor cores", "[simt][conv_norm]") {
  for (const MathMode mode : {MathMode::tf32, MathMode::bf16}) {
    const MathScope scope(mode);
    for (const HalfCase& c : {HalfCase{2, 5, 20, 2, 1, 12}, HalfCase{1, 3, 64, 1, 1, 36, true},
                              HalfCase{1, 2, 9, 2, 1, 3}}) {
      for (const Insertion insertion : insertions) {
        INFO(name(mode));
        check_forward<float>(c, insertion, tolerance_of<float>(mode));
      }
    }
  }
}

TEMPLATE_TEST_CASE("cuda conv_norm: one launch for every insertion, none without rows",
                   "[simt][conv_norm]", float, double) {
  using T = TestType;
  const auto launches = [](const HalfCase& c, Insertion insertion) {
    const HalfProblem<EmulatedBackend, T> problem(c, insertion);
    return launches_of([&] { saved_outputs(problem); });
  };
  for (const Insertion insertion : insertions) {
    CHECK(launches({2, 3, 8, 2, 1, 4}, insertion) == 1);
    CHECK(launches({2, 3, 7, 2, 1, 40}, insertion) == 1);
    CHECK(launches({0, 3, 8, 2, 1, 4}, insertion) == 0);
    const bool patched = insertion != Insertion::none;
    if (std::is_same_v<T, float>) {  // apart from cuBLASLt: columns, GELU, norm
      CHECK(launches({3, 2, 256, 2, 1, 4}, insertion) == (patched ? 3 : 2));
      CHECK(launches({3, 2, 256, 1, 1, 4}, insertion) == (patched ? 2 : 1));
      CHECK(launches({3, 2, 65, 2, 1, 4, false, 0, 1}, insertion) == (patched ? 5 : 4));
    } else {
      CHECK(launches({1, 1, 65, 1, 1, 4}, insertion) > 1);
    }
    if (insertion != Insertion::none) CHECK(launches({1, 1, 4, 1, 1, 640}, insertion) > 1);
  }
}

TEMPLATE_TEST_CASE("cuda conv_norm: an identity patch changes nothing", "[simt][conv_norm]", float,
                   double) {
  using T = TestType;
  const HalfCase c{2, 9, 12, 2, 1, 8};
  const HalfProblem<EmulatedBackend, T> plain(c, Insertion::none);
  HalfProblem<EmulatedBackend, T> patched(c, Insertion::serial);
  std::fill_n(patched.patch.up.data(), 8 * 12, T{0});
  std::fill_n(patched.patch.up_bias.data(), 12, T{0});
  const auto a = saved_outputs(plain), b = saved_outputs(patched);
  CHECK(same_bytes(a.array(0), b.array(0)));  // y
  CHECK(same_bytes(a.array(2), b.array(2)));  // inv_std
}

TEMPLATE_TEST_CASE("cuda conv_norm: gradients equal the naive chain rule", "[simt][conv_norm]",
                   float, double) {
  using T = TestType;
  for (const Insertion insertion : insertions) {
    // No rows, one, sizes around tiles of 32 rows, each size of register rows, bottlenecks wider
    // than a tile.
    check_half_backward<EmulatedBackend, T>({2, 0, 4, 3, 1, 4}, insertion);
    check_half_backward<EmulatedBackend, T>({1, 1, 1, 1, 1, 1}, insertion);
    check_half_backward<EmulatedBackend, T>({3, 11, 64, 3, 2, 8}, insertion,
                                            {.choices = Choices::all});
    check_half_backward<EmulatedBackend, T>({2, 16, 68, 2, 20, 36}, insertion,
                                            {.choices = Choices::all});
    check_half_backward<EmulatedBackend, T>({1, 5, 132, 1, 1, 12}, insertion,
                                            {.choices = Choices::all});
    check_half_backward<EmulatedBackend, T>({1, 31, 8, 2, 2, 4, true}, insertion);
    // Channels or addresses without whole packs; rows too long for registers.
    check_half_backward<EmulatedBackend, T>({2, 7, 9, 4, 1, 5, true}, insertion);
    check_half_backward<EmulatedBackend, T>({2, 7, 8, 3, 1, 4, true}, insertion,
                                            {.choices = Choices::all, .offset = 1});
    check_half_backward<EmulatedBackend, T>({1, 4, 260, 2, 1, 4}, insertion);
    // Slices of one sequence.
    check_half_backward<EmulatedBackend, T>({3, 6, 68, 3, 2, 4, true}, insertion, {.max_bytes = 1});
    check_half_backward<EmulatedBackend, T>({3, 4, 67, 2, 1, 3}, insertion,
                                            {.choices = Choices::all, .offset = 1, .max_bytes = 1});
  }
}

TEST_CASE("cuda conv_norm: gradients of more rows than one slice of sums has",
          "[simt][conv_norm]") {
  check_half_backward<EmulatedBackend, float>({5, 420, 4, 1, 1, 4}, Insertion::parallel,
                                              {.choices = Choices::all});
}

TEST_CASE("cuda conv_norm: gradients on tensor cores", "[simt][conv_norm]") {
  for (const MathMode mode : {MathMode::tf32, MathMode::bf16}) {
    const MathScope scope(mode);
    const RunOptions<float> options{.choices = Choices::all, .allowed = tolerance_of<float>(mode)};
    for (const Insertion insertion : insertions) {
      check_half_backward<EmulatedBackend, float>({3, 11, 40, 2, 2, 36}, insertion, options);
      check_half_backward<EmulatedBackend, float>({2, 7, 9, 2, 1, 5, true}, insertion, options);
    }
  }
}
