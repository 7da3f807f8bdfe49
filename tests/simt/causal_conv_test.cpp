/// Convolutions on CUDA, emulated, against loops in double, with their gradients.

#include "kernels/causal_conv/cuda.hpp"
#include "kernels/matmul/product_scratch.hpp"
#include "support/cases/convolution.hpp"
#include "support/simt/emulated_backend.hpp"

using namespace refrain;
using namespace refrain::test;
namespace cuda = kernels::cuda;

TEMPLATE_TEST_CASE("cuda causal_conv: forward equals the naive loop", "[simt][causal_conv]", float,
                   double) {
  using T = TestType;
  // Edge cases: no rows, no input channels, sizes of one; batch boundaries inside a tile of 64
  // rows, at its end and one row after it; even and odd numbers of taps on both sides; taps that
  // reach before the sequence; channels around a slice of 16 and a tile of 64 columns. Then
  // convolutions that use cuBLASLt: one tap, more channels than a lane's share of a warp's row, no
  // channels, slices of one and of two sequences, unaligned addresses.
  for (const ConvCase& c : {ConvCase{0, 5, 4, 4, 2, 1, false},
                            ConvCase{2, 0, 4, 4, 2, 1, false},
                            ConvCase{2, 3, 0, 4, 1, 1, false},
                            ConvCase{1, 1, 1, 1, 1, 1, false},
                            ConvCase{3, 11, 4, 8, 3, 2, false},
                            ConvCase{2, 32, 16, 64, 2, 1, true},
                            ConvCase{5, 13, 17, 5, 2, 3, true, false},
                            ConvCase{1, 64, 15, 63, 3, 7, false},
                            ConvCase{1, 65, 8, 65, 1, 1, true},
                            ConvCase{2, 4, 20, 68, 3, 9, false, false},
                            ConvCase{3, 2, 12, 132, 4, 1, true},
                            ConvCase{2, 5, 8, 12, 2, 1, true, true, 1},
                            ConvCase{2, 7, 260, 5, 2, 1, true},
                            ConvCase{1, 3, 131, 2, 3, 1, false},
                            ConvCase{2, 3, 0, 65, 2, 1, false},
                            ConvCase{0, 3, 8, 65, 2, 1, false},
                            ConvCase{2, 0, 8, 65, 2, 1, false},
                            ConvCase{3, 5, 68, 12, 3, 2, true, true, 0, 1},
                            ConvCase{5, 4, 8, 72, 4, 1, false, true, 0, 2 * 4 * 4 * 8 * 4},
                            ConvCase{3, 5, 68, 8, 3, 2, false, false, 1, 1}}) {
    check_conv_forward<EmulatedBackend, T>(c);
  }
}

TEMPLATE_TEST_CASE("cuda causal_conv: a tensor is added, which may be y", "[simt][causal_conv]",
                   float, double) {
  using T = TestType;
  for (const ConvCase& c :
       {ConvCase{2, 33, 4, 72, 2, 1, false}, ConvCase{1, 3, 3, 5, 2, 1, true}}) {
    INFO(text(c));
    const ConvProblem<EmulatedBackend, T> problem(c);
    const auto added = random_array<T>({c.batch, c.steps, c.out}, 8);
    naive::Values expected = problem.expected;
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += added.doubles()[i];
    for_each_order([&] {
      DeviceArray<T> y = problem.output(), in_place = problem.output();
      cuda::convolve(problem.args(y), added);
      check_close<T>(y.span(), expected, tolerance::sum<T>);
      std::copy(added.span().begin(), added.span().end(), in_place.data());
      cuda::convolve(problem.args(in_place), in_place);
      CHECK(same_bytes(y, in_place));
    });
  }
}

TEST_CASE("cuda causal_conv: on tensor cores", "[simt][causal_conv]") {
  for (const MathMode mode : {MathMode::tf32, MathMode::bf16}) {
    const MathScope scope(mode);
    for (const ConvCase& c :
         {ConvCase{2, 9, 20, 36, 3, 2, false}, ConvCase{2, 7, 24, 60, 2, 1, true},
          ConvCase{1, 5, 9, 7, 2, 1, true}}) {
      INFO(name(mode) << ": " << text(c));
      const ConvProblem<EmulatedBackend, float> problem(c);
      for_each_order([&] {
        DeviceArray<float> y = problem.output();
        run_emulated(problem.args(y));
        check_close<float>(y.span(), problem.expected, tolerance_of<float>(mode));
        // The bits differ from those of the exact mode: the factors were rounded.
        const MathScope inner(MathMode::exact);
        DeviceArray<float> z = problem.output();
        run_emulated(problem.args(z));
        CHECK_FALSE(same_bytes(y, z));
      });
    }
  }
}

TEMPLATE_TEST_CASE("cuda causal_conv: a sequence's results do not depend on its place in the batch",
                   "[simt][causal_conv]", float, double) {
  using T = TestType;
  const ConvCase c{
      7, 19, 8,   12,
      3, 4,  true};  // 133 rows: every sequence is at another place in its tile, some in two
  const ConvProblem<EmulatedBackend, T> problem(c);
  DeviceArray<T> y = problem.output();
  run_emulated(problem.args(y));
  for (std::int64_t b = 0; b < c.batch; ++b) {
    DeviceArray<T> x({1, c.steps, c.in}), alone({1, c.steps, c.out});
    std::copy_n(problem.x.data() + b * c.steps * c.in, c.steps * c.in, x.data());
    kernels::CausalConvForward args = problem.args(alone);
    args.x = x;
    run_emulated(args);
    CHECK(std::equal(alone.span().begin(), alone.span().end(), y.data() + b * c.steps * c.out));
  }
}

TEST_CASE("cuda causal_conv: gathered rows stay within their limit, or belong to one sequence",
          "[simt][causal_conv]") {
  constexpr std::size_t limit = 64 << 20;
  const auto shape = [](Shape of) { return View{nullptr, of, DType::f32, Device::cuda}; };
  kernels::Scratch of_products;
  cuda::take_product_scratch(of_products);
  const auto bytes = [&](std::int64_t batch, std::int64_t steps) {
    return scratch_bytes<kernels::CausalConvForward>(
               {.x = shape({batch, steps, 256}), .w = shape({3, 256, 256})}) -
           of_products.bytes();
  };
  CHECK(bytes(128, 50) == 128 * 50 * 3 * 256 * sizeof(float));
  CHECK(bytes(10000, 50) <= limit);
  CHECK(bytes(10000, 50) > limit / 2);
  CHECK(bytes(7, 100000) == 100000 * 3 * 256 * sizeof(float));
}

TEMPLATE_TEST_CASE("cuda causal_conv: gradients equal the naive loops", "[simt][causal_conv]",
                   float, double) {
  using T = TestType;
  // No rows, sizes of one, sizes around tiles of 64, channels with and without whole packs, a
  // dilation past the end, a second part of dw.
  for (const bool same : {false, true}) {
    for (const naive::ConvSizes& size : std::vector<naive::ConvSizes>{{0, 4, 3, 5, 3, 1, same},
                                                                      {2, 0, 4, 5, 3, 1, same},
                                                                      {1, 1, 1, 1, 1, 1, same},
                                                                      {2, 7, 3, 5, 3, 1, same},
                                                                      {3, 21, 65, 4, 4, 2, same},
                                                                      {1, 64, 4, 36, 2, 70, same},
                                                                      {5, 13, 8, 8, 3, 3, same}}) {
      check_conv_backward<EmulatedBackend, T>(size);
    }
  }
  check_conv_backward<EmulatedBackend, T>({5, 13, 8, 4, 3, 3, false}, {.offset = 1});
  // With cuBLASLt: one tap, no input channels, no rows; slices of one and of two sequences;
  // unaligned addresses.
  for (const bool same : {false, true}) {
    check_conv_backward<EmulatedBackend, T>({2, 3, 4, 66, 1, 1, same}, {.choices = Choices::all});
    check_conv_backward<EmulatedBackend, T>({2, 3, 0, 66, 2, 1, same}, {.choices = Choices::all});
    check_conv_backward<EmulatedBackend, T>({2, 0, 66, 4, 2, 1, same}, {.choices = Choices::all});
    check_conv_backward<EmulatedBackend, T>({3, 5, 68, 4, 3, 2, same}, {.max_bytes = 1});
    check_conv_backward<EmulatedBackend, T>(
        {5, 4, 8, 72, 4, 1, same}, {.choices = Choices::all, .max_bytes = 2 * 4 * 4 * 8 * 4});
    check_conv_backward<EmulatedBackend, T>({3, 4, 260, 3, 2, 9, same},
                                            {.choices = Choices::all, .offset = 1, .max_bytes = 1});
  }
  check_conv_backward<EmulatedBackend, T>({3, 100, 4, 5, 2, 7, true}, {.choices = Choices::all});
}

TEST_CASE("cuda causal_conv: gradients on tensor cores", "[simt][causal_conv]") {
  for (const MathMode mode : {MathMode::tf32, MathMode::bf16}) {
    const MathScope scope(mode);
    const RunOptions<float> options{.choices = Choices::all, .allowed = tolerance_of<float>(mode)};
    check_conv_backward<EmulatedBackend, float>({2, 35, 20, 36, 3, 2, false}, options);
    check_conv_backward<EmulatedBackend, float>({2, 9, 5, 7, 2, 1, true}, options);
  }
}
